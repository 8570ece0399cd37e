import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DataDirectoryInUse, EmbeddedFailed } from './failure.js';

export interface DirectoryLock {
  release(): void;
}

/**
 * Takes the data directory for this process, or throws DataDirectoryInUse.
 *
 * The lock is the kernel's (flock), on a file this process holds open, so it ends with the process however that ends,
 * and holds between containers that share the directory. Node has no flock: the program of that name sets it
 * on the descriptor it inherits, and since the lock belongs to the open file, it stays ours when that program has gone.
 */
export function lockDirectory(dataDir: string): DirectoryLock {
  const path = join(dataDir, 'lock');
  const file = openSync(path, 'a+', 0o600);
  try {
    setLock(file, dataDir, path);
    ftruncateSync(file);
    writeSync(file, `${process.pid}\n`);
  } catch (error) {
    closeSync(file);
    throw error;
  }
  return { release: () => closeSync(file) };
}

/** A process that was just killed holds its lock until the kernel has put it away. */
const PATIENCE_SECONDS = '2';

function setLock(file: number, dataDir: string, path: string): void {
  const flock = spawnSync('flock', ['-w', PATIENCE_SECONDS, '-x', '3'], { stdio: ['ignore', 'ignore', 'pipe', file] });
  if (flock.status === 0) return;
  if (flock.status === 1) throw new DataDirectoryInUse(dataDir, holder(path));
  const reason = flock.error?.message ?? flock.stderr.toString().trim();
  throw new EmbeddedFailed(
    'unsupported',
    `The data directory can't be locked (${reason}). The embedded database needs Linux and the program flock (util-linux); otherwise set DATABASE_URL to a PostgreSQL of your own.`,
  );
}

/** The holder writes its id right after it has the lock: a moment earlier there is none. */
function holder(path: string): number | undefined {
  const pid = Number.parseInt(readFileSync(path, 'utf8'), 10);
  return Number.isSafeInteger(pid) ? pid : undefined;
}
