import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { Failed } from './failure.js';
import type { Io } from './io.js';

/** Of a whole input, or of one line; more than Waybill takes in one piece, by far. */
const LARGEST_BYTES = 256 * 1024 * 1024;

/** Where a command reads from: a file, or stdin for `-`. Breaks off with Failed. */
export async function* readInput(io: Io, file: string): AsyncGenerator<Buffer> {
  const stream: Readable = file === '-' ? io.stdin : createReadStream(file);
  try {
    for await (const chunk of stream) yield Buffer.from(chunk as Uint8Array | string);
  } catch (error) {
    const name = file === '-' ? 'stdin' : file;
    throw new Failed('input_unreadable', `${name} can't be read: ${reason(error)}.`);
  }
}

function reason(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
      return 'there is no such file';
    case 'EACCES':
      return 'you may not read it';
    case 'EISDIR':
      return 'it is a directory';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

/** All of it, together with what comes in `chunks`. */
export async function wholeOf(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size = checkedSize(size + chunk.length);
    all.push(chunk);
  }
  return Buffer.concat(all);
}

const LINE_FEED = 10;

/** Lines without their ends, as they come in, however many. */
export async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let open: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, from)) {
      yield Buffer.concat([...open, chunk.subarray(from, end)]);
      open = [];
      size = 0;
      from = end + 1;
    }
    open.push(chunk.subarray(from));
    size = checkedSize(size + chunk.length - from);
  }
  yield Buffer.concat(open);
}

function checkedSize(size: number): number {
  if (size <= LARGEST_BYTES) return size;
  throw new Failed(
    'input_too_large',
    `The input is larger than ${LARGEST_BYTES} bytes without a line end; send it in pieces.`,
  );
}
