import { constants } from 'node:fs';
import {
  access,
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { diskFull, EmbeddedFailed } from './failure.js';
import { canReach, output, type Runner, spawnAs } from './runner.js';

/** The database's user, and the name of its database. */
export const WAYBILL = 'waybill';

export interface ClusterSettings {
  readonly dataDir: string;
  readonly runner: Runner;
  readonly systemDir: string;
  readonly log: Logger;
}

/**
 * Finds or makes the database's files, owned by whoever runs PostgreSQL this time, and returns their real path.
 *
 * They are `postgres` in the data directory; where root runs PostgreSQL as a user who can't enter that, they lie in
 * the system's directory and `postgres` is a link to there. Every step leaves something the next start understands:
 * `postgres.new` is a creation that wasn't finished; `postgres.old` beside no `postgres` a move that wasn't.
 */
export async function prepareCluster(settings: ClusterSettings): Promise<string> {
  const { dataDir, runner } = settings;
  const link = join(dataDir, 'postgres');
  if (runner.way === 'user') await openForPassing(dataDir);
  await finishMove(link);
  const found = await lstat(link).catch(() => undefined);
  if (!found || (await isEmptyDirectory(link))) await createCluster(link, settings);
  const cluster = await existingCluster(link);
  await checkVersion(cluster, runner);
  await takeOwnership(cluster, runner);
  return runner.way === 'user' && !(await canReach(runner.owner, '-w', cluster))
    ? moveAway(link, cluster, settings)
    : cluster;
}

/** Lets other users go through a directory to what is theirs, without showing them what else is in it. */
async function openForPassing(directory: string): Promise<void> {
  const { mode } = await stat(directory);
  await chmod(directory, (mode & 0o7777) | 0o011);
}

async function isEmptyDirectory(path: string): Promise<boolean> {
  const names = await readdir(path).catch(() => undefined);
  return names?.length === 0;
}

async function createCluster(link: string, settings: ClusterSettings): Promise<void> {
  const { runner, log } = settings;
  const fresh = `${link}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { mode: 0o700 });
  const place = runner.way === 'user' && !(await reachable(fresh, runner)) ? await systemPlace(settings) : fresh;
  await chown(place, runner.owner.uid, runner.owner.gid);
  await initialise(place, runner);
  if (place === fresh) {
    await rename(fresh, link);
  } else {
    await rm(fresh, { recursive: true });
    await symlink(place, link);
  }
  await syncDirectory(dirname(link));
  log.info({ cluster: place, version: runner.version, way: runner.way }, 'embedded database created');
}

async function reachable(path: string, runner: Runner): Promise<boolean> {
  await chown(path, runner.owner.uid, runner.owner.gid);
  return canReach(runner.owner, '-w', path);
}

/** A new directory in the system's. Its name is its own, so that no data directory ever gets at another one's. */
async function systemPlace({ dataDir, systemDir, runner, log }: ClusterSettings): Promise<string> {
  await mkdir(systemDir, { recursive: true });
  await openForPassing(systemDir);
  const home = await mkdtemp(join(systemDir, 'data-'));
  await openForPassing(home);
  const place = join(home, 'postgres');
  await mkdir(place, { mode: 0o700 });
  await chown(place, runner.owner.uid, runner.owner.gid);
  log.warn(
    { dataDir, place },
    'PostgreSQL runs as another user who cannot enter the data directory: the database lies elsewhere, and the data directory links to it',
  );
  return place;
}

async function initialise(place: string, runner: Runner): Promise<void> {
  const child = spawnAs(
    runner,
    [
      join(runner.binaries, 'initdb'),
      `--pgdata=${place}`,
      `--username=${WAYBILL}`,
      '--encoding=UTF8',
      // Sorting that no update of the machine's libraries can change under the indexes.
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--locale=C',
      // Only the socket is open, and only its owner can enter the directory it lies in.
      '--auth-local=trust',
      '--auth-host=reject',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' },
  );
  const { code, text } = await output(child);
  if (code === 0) return;
  await rm(place, { recursive: true, force: true });
  throw explainOutput(text, place);
}

/** Reads PostgreSQL's last words: it gives reasons in no other form. */
export function explainOutput(text: string, path: string): EmbeddedFailed {
  if (/No space left on device|Disk quota exceeded|wrote only \d+ of \d+ bytes/.test(text)) return diskFull(path);
  const reason = /(?:FATAL|PANIC|error):\s*(.*)/.exec(text)?.[1] ?? text.trim().split('\n').at(-1) ?? '';
  if (/Permission denied|Read-only file system/.test(text)) {
    return new EmbeddedFailed('unwritable', `PostgreSQL can't read or write ${path}: ${reason}`);
  }
  return new EmbeddedFailed('failed', `PostgreSQL doesn't start on ${path}: ${reason}`);
}

async function existingCluster(link: string): Promise<string> {
  try {
    return await realpath(link);
  } catch (error) {
    throw new EmbeddedFailed(
      'broken',
      `${link} is a link to a directory that is gone. Put that back, or remove the link to begin with an empty database.`,
      { cause: error },
    );
  }
}

async function checkVersion(cluster: string, runner: Runner): Promise<void> {
  const path = join(cluster, 'PG_VERSION');
  const written = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (written === undefined) {
    throw new EmbeddedFailed(
      'broken',
      `${cluster} is not empty and not a PostgreSQL database (it has no PG_VERSION). Restore it from a backup, or move it away to begin with an empty one.`,
    );
  }
  const major = runner.version.split('.')[0];
  if (written.trim() !== major) {
    throw new EmbeddedFailed(
      'other_version',
      `${cluster} was written by PostgreSQL ${written.trim()}, and this Waybill brings ${runner.version}. Start the Waybill that wrote it, or move the data with its pg_dump or backup.`,
    );
  }
}

/**
 * Root may have run PostgreSQL another way before. The directory itself is changed last, so that what was
 * interrupted is done again.
 */
async function takeOwnership(cluster: string, runner: Runner): Promise<void> {
  const { uid } = await stat(cluster);
  if (uid === runner.owner.uid) return;
  if (runner.way === 'direct') {
    await access(cluster, constants.W_OK);
    throw new EmbeddedFailed(
      'unwritable',
      `${cluster} belongs to another user (id ${uid}), and PostgreSQL insists on its own. Run: chown -R ${runner.owner.uid}:${runner.owner.gid} ${cluster}`,
    );
  }
  await chownTree(cluster, runner.owner);
}

async function chownTree(path: string, owner: Runner['owner']): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inside = join(path, entry.name);
    if (entry.isDirectory()) await chownTree(inside, owner);
    else if (entry.isFile()) await chown(inside, owner.uid, owner.gid);
  }
  await chown(path, owner.uid, owner.gid);
}

async function moveAway(link: string, cluster: string, settings: ClusterSettings): Promise<string> {
  const place = await systemPlace(settings);
  const copy = spawnAs(ROOT, ['cp', '-a', `${cluster}/.`, place], { stdio: ['ignore', 'pipe', 'pipe'] });
  const { code, text } = await output(copy);
  if (code !== 0) throw explainOutput(text, place);
  await output(spawnAs(ROOT, ['sync', '-f', place], { stdio: 'ignore' }));
  await rename(link, `${link}.old`);
  await symlink(place, link);
  await syncDirectory(dirname(link));
  await rm(`${link}.old`, { recursive: true });
  return place;
}

const ROOT = { way: 'direct', owner: { uid: 0, gid: 0 }, prefix: [] } as const;

/** Until the link is there, no server has started on the copy, so the old files are the database. */
async function finishMove(link: string): Promise<void> {
  const old = `${link}.old`;
  if (!(await lstat(old).catch(() => undefined))) return;
  if (await lstat(link).catch(() => undefined)) await rm(old, { recursive: true });
  else await rename(old, link);
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
