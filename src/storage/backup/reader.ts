import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { inflateRaw } from 'node:zlib';
import type { z } from 'zod';
import { BackupFailed, interrupted, reasonOf } from './failure.js';
import {
  CLOSING_BYTES,
  DIGEST_BYTES,
  END_MARK,
  FIRST_LINE,
  FIRST_WORDS,
  FORMAT,
  FRAME_HEAD_BYTES,
  type Frame,
  type Header,
  headerSchema,
  isFrameType,
  LARGEST_FRAME_BYTES,
  PIECE_BYTES,
  rowsIn,
  type TableHead,
  type Trailer,
  tableEndSchema,
  tableSchema,
  trailerSchema,
} from './format.js';

const inflate = promisify(inflateRaw);
const CHUNK_BYTES = 1024 * 1024;
/** A first line is short in any format; what is longer is something else. */
const LONGEST_FIRST_LINE = 64;

/** One table of a backup. Its pieces are read before the next table is. */
export interface TableSection extends TableHead {
  readonly pieces: AsyncIterable<Buffer>;
}

/** A backup whose bytes are as they were written, and whose parts fit together. */
export interface CheckedBackup {
  readonly header: Header;
  readonly trailer: Trailer;
  /** Of the file. */
  readonly size: number;
  /** Every table once more, in order. */
  tables(): AsyncGenerator<TableSection>;
  close(): Promise<void>;
}

export interface CheckOptions {
  readonly signal: AbortSignal;
  /** How many bytes have been checked, of twice the file's size: once for its checksum, once for its parts. */
  readonly checking: (read: number, of: number) => void;
}

/**
 * Opens a backup and reads all of it: first words, end, checksum, structure and counts. Rejects with BackupFailed, which
 * says what is wrong with it. The caller closes it.
 */
export async function openBackup(path: string, options: CheckOptions): Promise<CheckedBackup> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    return await checked(new BackupFile(path, file, options.signal), options.checking);
  } catch (error) {
    await file.close();
    if (options.signal.aborted) throw interrupted();
    throw error instanceof BackupFailed ? error : unreadable(path, error);
  }
}

async function checked(backup: BackupFile, checking: CheckOptions['checking']): Promise<CheckedBackup> {
  const size = await backup.checkEnds();
  await backup.checkDigest((read) => checking(read, 2 * size));
  let header: Header | undefined;
  let trailer: Trailer | undefined;
  const names: string[] = [];
  const counted = { tables: 0, rows: 0, bytes: 0 };
  for await (const part of backup.parts((read) => checking(size + read, 2 * size))) {
    if ('header' in part) header = part.header;
    if ('trailer' in part) trailer = part.trailer;
    if (!('table' in part)) continue;
    names.push(part.table);
    counted.tables++;
    for await (const piece of part.pieces) {
      counted.rows += rowsIn(piece);
      counted.bytes += piece.length;
    }
  }
  if (!header || !trailer) throw backup.broken('its header or its trailer is missing');
  for (const what of ['tables', 'rows', 'bytes'] as const) {
    if (counted[what] !== trailer[what]) {
      throw backup.broken(`it says ${trailer[what]} ${what} and has ${counted[what]}`);
    }
  }
  if (header.tables.join() !== names.join()) throw backup.broken('its header names other tables');
  return { header, trailer, size, tables: () => tablesOf(backup), close: () => backup.close() };
}

async function* tablesOf(backup: BackupFile): AsyncGenerator<TableSection> {
  for await (const part of backup.parts(() => undefined)) if ('table' in part) yield part;
}

type Part = { readonly header: Header } | { readonly trailer: Trailer } | TableSection;

/** Is told how many bytes of the file have been passed. */
type Told = (read: number) => void;

class BackupFile {
  #size = 0;

  constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly signal: AbortSignal,
  ) {}

  close(): Promise<void> {
    return this.file.close();
  }

  /** What does not hold although the checksum does; only a program that writes wrong backups gets here. */
  broken(what: string): BackupFailed {
    return new BackupFailed('backup_altered', `${this.path} is not whole: ${what}. Nothing was changed.`);
  }

  /** Whether it begins and ends like a backup of this format. */
  async checkEnds(): Promise<number> {
    const stats = await this.file.stat();
    if (!stats.isFile())
      throw unreadable(this.path, new Error('it is not a file; write what a pipe brings to one first'));
    this.#size = stats.size;
    const begin = await this.#at(0, Math.min(LONGEST_FIRST_LINE, stats.size));
    const line = begin.toString('latin1').split('\n', 1)[0] ?? '';
    if (`${line}\n` !== FIRST_LINE) throw this.#wrongBeginning(line);
    const closing =
      stats.size < CLOSING_BYTES ? Buffer.alloc(0) : await this.#at(stats.size - END_MARK.length, END_MARK.length);
    if (!closing.equals(END_MARK)) throw this.#cutShort();
    return stats.size;
  }

  #wrongBeginning(line: string): BackupFailed {
    const version = line.startsWith(FIRST_WORDS) ? /^\d{1,9}$/.exec(line.slice(FIRST_WORDS.length))?.[0] : undefined;
    if (version !== undefined && Number(version) > FORMAT) {
      return new BackupFailed(
        'backup_newer',
        `${this.path} has format ${version}, and this Waybill reads format ${FORMAT}: a newer Waybill wrote it. Restore it with that one or a later one. Nothing was changed.`,
      );
    }
    if (this.#size > 0 && FIRST_LINE.startsWith(line) && this.#size <= line.length) return this.#cutShort();
    return new BackupFailed(
      'not_a_backup',
      `${this.path} is not a backup of Waybill: it does not begin like one. Nothing was changed.`,
    );
  }

  #cutShort(): BackupFailed {
    return new BackupFailed(
      'backup_cut_short',
      `${this.path} has no end: it was cut short while it was written or copied. Take an earlier one, or copy it again. Nothing was changed.`,
    );
  }

  async checkDigest(told: Told): Promise<void> {
    const hash = createHash('sha256');
    const end = this.#size - CLOSING_BYTES;
    for await (const chunk of this.#chunks(end, told)) hash.update(chunk);
    const written = await this.#at(end, DIGEST_BYTES);
    if (hash.digest().equals(written)) return;
    throw new BackupFailed(
      'backup_altered',
      `${this.path} was altered: its bytes are not those its checksum was made of. Take another one, or copy it again. Nothing was changed.`,
    );
  }

  /** Header, tables and trailer, in order. The pieces of a table must have been read when the next part is asked for. */
  async *parts(told: Told): AsyncGenerator<Part> {
    const frames = this.#frames(told);
    const next = async (): Promise<Frame> => {
      const { value, done } = await frames.next();
      if (done) throw this.broken('it ends where something should follow');
      return value;
    };
    const first = await next();
    if (first.type !== 'H') throw this.broken('it begins without a header');
    yield { header: this.#json(first, headerSchema) };
    for (;;) {
      const frame = await next();
      if (frame.type === 'Z') {
        yield { trailer: this.#json(frame, trailerSchema) };
        break;
      }
      if (frame.type !== 'T') throw this.broken(`a frame ${frame.type} stands between two tables`);
      const head = this.#json(frame, tableSchema);
      yield { ...head, pieces: this.#pieces(head.table, next) };
    }
    if (!(await frames.next()).done) throw this.broken('something follows its trailer');
  }

  async *#pieces(table: string, next: () => Promise<Frame>): AsyncGenerator<Buffer> {
    let rows = 0;
    let bytes = 0;
    let frame = await next();
    for (; frame.type === 'D'; frame = await next()) {
      const piece = await this.#inflated(frame.bytes);
      rows += rowsIn(piece);
      bytes += piece.length;
      yield piece;
    }
    if (frame.type !== 'E') throw this.broken(`a frame ${frame.type} stands within table ${table}`);
    const end = this.#json(frame, tableEndSchema);
    if (end.rows !== rows || end.bytes !== bytes) {
      throw this.broken(`table ${table} says ${end.rows} rows in ${end.bytes} bytes and has ${rows} in ${bytes}`);
    }
  }

  async #inflated(bytes: Buffer): Promise<Buffer> {
    try {
      return await inflate(bytes, { maxOutputLength: PIECE_BYTES });
    } catch {
      throw this.broken('a piece of it does not unpack');
    }
  }

  #json<T>(frame: Frame, schema: z.ZodType<T>): T {
    let value: unknown;
    try {
      value = JSON.parse(frame.bytes.toString());
    } catch {
      throw this.broken(`a frame ${frame.type} is not JSON`);
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw this.broken(`in a frame ${frame.type}, ${issue?.path.join('.')}: ${issue?.message}`);
  }

  async *#frames(told: Told): AsyncGenerator<Frame> {
    const bytes = new Taken(this.#chunks(this.#size - CLOSING_BYTES, told));
    await bytes.take(FIRST_LINE.length);
    for (;;) {
      const head = await bytes.take(FRAME_HEAD_BYTES);
      if (head.length === 0) return;
      if (head.length < FRAME_HEAD_BYTES) throw this.broken('its last frame is none');
      const type = head.toString('latin1', 0, 1);
      const length = head.readUInt32BE(1);
      if (!isFrameType(type)) throw this.broken('one of its frames is of no known type');
      if (length > LARGEST_FRAME_BYTES) throw this.broken(`a frame ${type} claims ${length} bytes`);
      const content = await bytes.take(length);
      if (content.length < length) throw this.broken(`a frame ${type} goes on beyond its end`);
      yield { type, bytes: content };
    }
  }

  /** The file from its beginning up to `end`. */
  async *#chunks(end: number, told: Told): AsyncGenerator<Buffer> {
    for (let at = 0; at < end; at += CHUNK_BYTES) {
      this.signal.throwIfAborted();
      const chunk = await this.#at(at, Math.min(CHUNK_BYTES, end - at));
      told(at + chunk.length);
      yield chunk;
    }
  }

  async #at(position: number, length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    let got = 0;
    while (got < length) {
      const { bytesRead } = await this.file.read(bytes, got, length - got, position + got);
      // It was cut while we were reading it.
      if (bytesRead === 0) throw this.#cutShort();
      got += bytesRead;
    }
    return bytes;
  }
}

/** Takes given numbers of bytes from chunks of any size. */
class Taken {
  #rest: Buffer = Buffer.alloc(0);

  constructor(private readonly chunks: AsyncGenerator<Buffer>) {}

  /** So many bytes; fewer where there are no more. */
  async take(length: number): Promise<Buffer> {
    const gathered = [this.#rest];
    let size = this.#rest.length;
    while (size < length) {
      const { value, done } = await this.chunks.next();
      if (done) break;
      gathered.push(value);
      size += value.length;
    }
    const all = gathered.length === 1 ? this.#rest : Buffer.concat(gathered);
    this.#rest = all.subarray(length);
    return all.subarray(0, length);
  }
}

function unreadable(path: string, error: unknown): BackupFailed {
  return new BackupFailed('file_unreadable', `${path} can't be read: ${reasonOf(error)}.`, { cause: error });
}
