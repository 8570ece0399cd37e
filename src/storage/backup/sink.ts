import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { BackupFailed, reasonOf } from './failure.js';

/** Where a backup goes. Either `finish` or `discard` ends it. */
export interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  /** All of it is there now, durably, or it rejects. */
  finish(): Promise<void>;
  /** Leaves nothing behind. */
  discard(): Promise<void>;
}

/** Of many small pieces one larger write is made. */
const BUFFERED_BYTES = 1024 * 1024;

/**
 * A file that appears under its name only when it is whole; until then it is `<path>.part`. Readable for its owner
 * alone, since it holds secrets. `force` replaces what is there.
 */
export async function fileSink(path: string, { force }: { readonly force: boolean }): Promise<Sink> {
  const part = `${path}.part`;
  if (!force) await refuseExisting(path);
  if (force) await rm(part, { force: true }).catch(() => undefined);
  let file: FileHandle;
  try {
    file = await open(part, 'wx', 0o600);
  } catch (error) {
    throw unwritable(part, error);
  }
  const gathered = new Gathered(async (bytes) => {
    try {
      await file.writeFile(bytes);
    } catch (error) {
      throw unwritable(part, error);
    }
  });
  return {
    write: (bytes) => gathered.write(bytes),
    async finish() {
      await gathered.flush();
      try {
        await file.sync();
        await file.close();
        await rename(part, path);
        await syncDirectory(dirname(path));
      } catch (error) {
        throw unwritable(path, error);
      }
    },
    async discard() {
      await file.close().catch(() => undefined);
      await rm(part, { force: true });
    },
  };
}

/** A pipe. What has gone out can't be taken back: whoever reads it finds the end missing. */
export function streamSink(stream: Writable): Sink {
  // Each write is told of its own failure.
  stream.on('error', () => undefined);
  const gathered = new Gathered(
    (bytes) =>
      new Promise((resolve, reject) => {
        stream.write(bytes, (error) => (error ? reject(unwritable('stdout', error)) : resolve()));
      }),
  );
  return { write: (bytes) => gathered.write(bytes), finish: () => gathered.flush(), discard: async () => undefined };
}

class Gathered {
  #pieces: Uint8Array[] = [];
  #size = 0;

  constructor(private readonly out: (bytes: Uint8Array) => Promise<void>) {}

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    if (this.#size >= BUFFERED_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    const bytes = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#size = 0;
    await this.out(bytes);
  }
}

async function refuseExisting(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return;
  throw new BackupFailed('file_exists', `${path} is there already. Choose another name, or say --force to replace it.`);
}

function unwritable(path: string, error: unknown): BackupFailed {
  if (error instanceof BackupFailed) return error;
  if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
    return new BackupFailed(
      'file_exists',
      `${path} is there: another backup is being written to it, or one was killed. Remove it, or say --force.`,
    );
  }
  return new BackupFailed('file_unwritable', `${path} can't be written: ${reasonOf(error)}.`, { cause: error });
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
