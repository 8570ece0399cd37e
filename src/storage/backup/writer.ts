import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { deflateRaw } from 'node:zlib';
import {
  END_MARK,
  FIRST_LINE,
  type FrameType,
  frameHead,
  type Header,
  PIECE_BYTES,
  rowsIn,
  type TableHead,
  type Trailer,
} from './format.js';
import type { Sink } from './sink.js';

const deflate = promisify(deflateRaw);
/** Higher levels gain a few per cent for twice the time: most of it is hashes and what senders wrote. */
const LEVEL = 1;
/** Pieces compressed at the same time, by threads of the runtime. */
const MOST_COMPRESSING = 4;

/** Writes a backup in its format. Calls are awaited one after the other. */
export class BackupWriter {
  readonly #hash = createHash('sha256');
  #written = 0;
  #tables = 0;
  #rows = 0;
  #bytes = 0;

  constructor(private readonly sink: Sink) {}

  /** Bytes of the file so far. */
  get written(): number {
    return this.#written;
  }

  get rows(): number {
    return this.#rows;
  }

  async begin(header: Header): Promise<void> {
    await this.#put(Buffer.from(FIRST_LINE));
    await this.#json('H', header);
  }

  /** `text` is what COPY gives, in chunks of any size. `told` is called now and then. */
  async table(head: TableHead, text: AsyncIterable<Buffer>, told: () => void): Promise<void> {
    await this.#json('T', head);
    const before = { rows: this.#rows, bytes: this.#bytes };
    const compressing: Promise<Buffer>[] = [];
    const oldest = async () => {
      const piece = await compressing.shift();
      if (piece) await this.#frame('D', piece);
      told();
    };
    try {
      for await (const piece of piecesOf(text)) {
        this.#rows += rowsIn(piece);
        this.#bytes += piece.length;
        compressing.push(deflate(piece, { level: LEVEL }));
        if (compressing.length >= MOST_COMPRESSING) await oldest();
      }
      while (compressing.length > 0) await oldest();
    } finally {
      await Promise.allSettled(compressing);
    }
    this.#tables++;
    await this.#json('E', { rows: this.#rows - before.rows, bytes: this.#bytes - before.bytes });
  }

  async end(sequences: Trailer['sequences']): Promise<Trailer> {
    const trailer = { tables: this.#tables, rows: this.#rows, bytes: this.#bytes, sequences };
    await this.#json('Z', trailer);
    const closing = Buffer.concat([this.#hash.digest(), END_MARK]);
    this.#written += closing.length;
    await this.sink.write(closing);
    return trailer;
  }

  #json(type: FrameType, value: unknown): Promise<void> {
    return this.#frame(type, Buffer.from(JSON.stringify(value)));
  }

  async #frame(type: FrameType, bytes: Buffer): Promise<void> {
    await this.#put(frameHead(type, bytes.length));
    await this.#put(bytes);
  }

  async #put(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes);
    this.#written += bytes.length;
    await this.sink.write(bytes);
  }
}

/** The same bytes in pieces of PIECE_BYTES, the last one smaller; rows may reach from one into the next. */
async function* piecesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let gathered: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    let rest = chunk;
    while (size + rest.length >= PIECE_BYTES) {
      const fits = PIECE_BYTES - size;
      yield Buffer.concat([...gathered, rest.subarray(0, fits)]);
      rest = rest.subarray(fits);
      gathered = [];
      size = 0;
    }
    if (rest.length > 0) gathered.push(rest);
    size += rest.length;
  }
  if (size > 0) yield Buffer.concat(gathered);
}
