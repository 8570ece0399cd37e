import { z } from 'zod';

/*
 * A backup is one file (docs/decisions/0016-backup-and-restore.md):
 *
 *   waybill backup 1 LF
 *   frames: type (1 byte), length (4 bytes, big endian), that many bytes
 *     H  header, JSON                          first, once
 *     T  a table begins, JSON
 *     D  a piece of it: COPY's text, deflated  any number
 *     E  the table ends, JSON
 *     Z  trailer, JSON                         last, once
 *   SHA-256 over everything before it, 32 bytes
 *   LF waybill backup ends LF
 */

export const FORMAT = 1;
export const FIRST_LINE = `waybill backup ${FORMAT}\n`;
/** Of any version, so that a newer one is recognised. */
export const FIRST_WORDS = 'waybill backup ';
export const END_MARK = Buffer.from('\nwaybill backup ends\n');
export const DIGEST_BYTES = 32;
export const CLOSING_BYTES = DIGEST_BYTES + END_MARK.length;
export const FRAME_HEAD_BYTES = 5;

/** Of COPY's text in one piece. Larger ones compress no better. */
export const PIECE_BYTES = 256 * 1024;
/** Of a frame as it stands in the file; the header of ten thousand partitions is far below. */
export const LARGEST_FRAME_BYTES = 4 * 1024 * 1024;

export type FrameType = 'H' | 'T' | 'D' | 'E' | 'Z';

export interface Frame {
  readonly type: FrameType;
  readonly bytes: Buffer;
}

export function frameHead(type: FrameType, length: number): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(length, 1);
  return head;
}

export function isFrameType(text: string): text is FrameType {
  return /^[HTDEZ]$/.test(text);
}

const name = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/);
const count = z.int().min(0);

/** What was backed up, and from what. */
export const headerSchema = z.object({
  /** Version of Waybill that wrote it. */
  product: z.string().max(64),
  /** RFC 3339: when the moment was that it shows. */
  takenAt: z.iso.datetime(),
  installation: z.uuid(),
  epoch: count,
  /** Version of the PostgreSQL it comes from; for people. */
  postgres: z.string().max(256),
  /** Every migration its tables were made by, in order, with the SHA-256 of each in hex. */
  migrations: z
    .array(z.object({ name: z.string().regex(/^\d{4}_\w{1,100}\.sql$/), sha256: z.string().length(64) }))
    .min(1),
  tables: z.array(name).min(1),
  /** `key_1`, `message_1` …: those of the generations that were there. */
  partitions: z.array(z.object({ name, generation: z.int().min(1) })),
  /** Sequenced so far; for people. */
  messages: count,
});
export type Header = z.output<typeof headerSchema>;

export const tableSchema = z.object({ table: name, columns: z.array(name).min(1) });
export type TableHead = z.output<typeof tableSchema>;

/** Bytes are those of COPY's text. */
export const tableEndSchema = z.object({ rows: count, bytes: count });

export const trailerSchema = z.object({
  tables: count,
  rows: count,
  bytes: count,
  /** Counters of identity columns. */
  sequences: z.array(z.object({ name, last: count, called: z.boolean() })),
});
export type Trailer = z.output<typeof trailerSchema>;

const LINE_FEED = 10;

/** Rows in a piece of COPY's text: it writes a line feed after each, and none within. */
export function rowsIn(text: Buffer): number {
  let rows = 0;
  for (let at = text.indexOf(LINE_FEED); at >= 0; at = text.indexOf(LINE_FEED, at + 1)) rows++;
  return rows;
}
