import { chmod, chown, mkdir, mkdtemp, readdir, readlink, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { WAYBILL } from './cluster.js';
import type { Runner } from './runner.js';

/** A socket's whole path has at most 107 bytes on Linux; its name takes `/.s.PGSQL.5432`. */
const LONGEST_DIRECTORY = 107 - '/.s.PGSQL.5432'.length;

/**
 * The directory of the server's socket, closed to everybody but PostgreSQL's user (and root): beside the cluster, or where
 * that path is too long, in the machine's temporary directory, with a link to it in its stead so that it is found again.
 */
export async function prepareSockets(cluster: string, runner: Runner): Promise<string> {
  await removeSockets(cluster);
  const beside = placeBeside(cluster);
  let directory = beside;
  if (Buffer.byteLength(beside) > LONGEST_DIRECTORY) {
    directory = await mkdtemp(join(tmpdir(), 'waybill-'));
    await symlink(directory, beside);
  } else {
    await mkdir(directory);
  }
  await chmod(directory, 0o700);
  await chown(directory, runner.owner.uid, runner.owner.gid);
  return directory;
}

export async function removeSockets(cluster: string): Promise<void> {
  const beside = placeBeside(cluster);
  const elsewhere = await readlink(beside).catch(() => undefined);
  if (elsewhere !== undefined) await rm(elsewhere, { recursive: true, force: true });
  await rm(beside, { recursive: true, force: true });
}

/** Where the server that runs on a cluster has its socket; undefined when none does. */
export async function findSockets(cluster: string): Promise<string | undefined> {
  const beside = placeBeside(cluster);
  const elsewhere = await readlink(beside).catch(() => undefined);
  return elsewhere ?? ((await stat(beside).catch(() => undefined)) && beside);
}

function placeBeside(cluster: string): string {
  return join(dirname(cluster), 'run');
}

/** A server that was killed leaves its socket and a lock on it, which names a process id that may be another's by now. */
export async function emptySockets(directory: string): Promise<void> {
  for (const name of await readdir(directory)) await rm(join(directory, name));
}

/** The host in front is for those who read URLs by the book; the one in the query is what counts. */
export function socketUrl(directory: string, database: string): string {
  return `postgres://${WAYBILL}@localhost/${database}?host=${encodeURIComponent(directory)}`;
}
