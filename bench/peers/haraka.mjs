import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installPeers } from './install.mjs';
import { freePort, startProgram } from './program.mjs';

/** Haraka that takes mail for everybody and writes each to a file of its own: written, fsynced, renamed, then 250. */
export async function startHaraka({ directory }) {
  const modules = installPeers();
  const port = await freePort();
  const home = join(directory, 'haraka');
  const spool = join(directory, 'spool');
  for (const path of ['config', 'plugins', 'queue']) mkdirSync(join(home, path), { recursive: true });
  mkdirSync(spool);
  cpSync(fileURLToPath(new URL('./haraka/plugins/', import.meta.url)), join(home, 'plugins'), { recursive: true });
  const config = {
    'smtp.ini': `listen=127.0.0.1:${port}\nnodes=0\n`,
    plugins: 'accept_all\nspool\n',
    'log.ini': '[main]\nlevel=error\n',
    me: 'bench.example.com\n',
    internalcmd_key: '',
  };
  // Without the file it ships, it ends at the first connection.
  cpSync(join(modules, 'Haraka', 'config', 'connection.ini'), join(home, 'config', 'connection.ini'));
  for (const [name, text] of Object.entries(config)) writeFileSync(join(home, 'config', name), text);
  const program = await startProgram({
    script: join(modules, 'Haraka', 'haraka.js'),
    args: [],
    cwd: home,
    env: { HARAKA: home, BENCH_SPOOL: spool },
    port,
    log: join(home, 'output.log'),
  });
  return { ...program, port, kept: () => readdirSync(spool).length };
}
