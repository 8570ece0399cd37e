import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BENCH = fileURLToPath(new URL('..', import.meta.url));

/** Installs the programs Waybill is compared with into bench/node_modules, unless they are there. Answers that directory. */
export function installPeers() {
  const modules = join(BENCH, 'node_modules');
  const stamp = join(modules, '.waybill-installed');
  const wanted = readFileSync(join(BENCH, 'package-lock.json'), 'utf8');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return modules;
  process.stderr.write('  installing what is compared with …\n');
  // None of them needs a script of a package to run.
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: BENCH,
    stdio: ['ignore', 2, 2],
  });
  if (status !== 0) throw new Error(`npm ci in ${BENCH} ended with ${status}`);
  writeFileSync(stamp, wanted);
  return modules;
}
