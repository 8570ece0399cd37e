import { closeSync, openSync, readSync } from 'node:fs';

/** Reads a whole file of at most `maxBytes`; throws FileUnreadable. */
export type ReadFile = (path: string, maxBytes: number) => Uint8Array;

/** The message is a phrase that follows the file's name. */
export class FileUnreadable extends Error {
  override readonly name = 'FileUnreadable';
}

/** Never reads more than it may, so a device or a pipe without end is refused like a large file. */
export const readFileWithin: ReadFile = (path, maxBytes) => {
  try {
    return readWithin(path, maxBytes);
  } catch (error) {
    if (error instanceof FileUnreadable) throw error;
    throw new FileUnreadable(reasonOf(error));
  }
};

/** The file as text; throws FileUnreadable. */
export function readText(readFile: ReadFile, path: string, maxBytes: number): string {
  const text = decode(readFile(path, maxBytes));
  // PostgreSQL's text can't hold it, and no text file does.
  if (text === undefined || text.includes('\0')) throw new FileUnreadable('is not UTF-8 text');
  return text;
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function readWithin(path: string, maxBytes: number): Uint8Array {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(maxBytes + 1);
    let length = 0;
    while (length < buffer.length) {
      const read = readSync(file, buffer, length, buffer.length - length, null);
      if (read === 0) return buffer.subarray(0, length);
      length += read;
    }
    throw new FileUnreadable(`is larger than ${maxBytes} bytes`);
  } finally {
    closeSync(file);
  }
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'is not there';
    case 'EACCES':
    case 'EPERM':
      return 'may not be read by this user';
    case 'EISDIR':
      return 'is a folder';
    default:
      return `can't be read (${code})`;
  }
}
