import { microsecondsOf, msOf } from '../message/iso-time.js';

/**
 * Arrays as PostgreSQL's binary protocol has them (array_recv), for what is written with every message: as text a value costs more than twice
 * as much to write, is collected as several pieces of string, and is parsed again by the database. The parameter must be declared with just this element type.
 */

const BOOLEAN = 16;
const SMALLINT = 21;
const INT = 23;
const TEXT = 25;
const TIMESTAMPTZ = 1184;

/** Dimensions, whether there are nulls, element type; then the one dimension's size and first subscript. */
const HEAD_BYTES = 20;
/** Before each element; of a null it is all there is. */
const LENGTH_BYTES = 4;
const NULL = -1;

/** Longer texts are quicker with the engine's own encoder. */
const SHORT = 64;
const NOT_ASCII = 0x80;
const MOST_BYTES_A_UNIT = 3;

const MOST_INT = 2 ** 31 - 1;
const MOST_SMALLINT = 2 ** 15 - 1;
const WORD = 0x1_0000_0000;
/** 2000-01-01, from which PostgreSQL counts its microseconds, in milliseconds since 1970. */
const EPOCH_MS = 946_684_800_000;

/** `int[]`. Throws RangeError at what is none, as all of these do. */
export function intArray(values: readonly number[]): Buffer {
  const bytes = begin(INT, values.length, 4 * values.length);
  let at = HEAD_BYTES;
  for (let i = 0; i < values.length; i++) {
    at = writeInt(bytes, at, 4);
    at = writeInt(bytes, at, within(MOST_INT, values[i] as number));
  }
  return bytes;
}

/** `smallint[]`. */
export function smallintArray(values: readonly number[]): Buffer {
  const bytes = begin(SMALLINT, values.length, 2 * values.length);
  let at = HEAD_BYTES;
  for (let i = 0; i < values.length; i++) {
    const value = within(MOST_SMALLINT, values[i] as number);
    at = writeInt(bytes, at, 2);
    bytes[at++] = value >> 8;
    bytes[at++] = value;
  }
  return bytes;
}

/** `timestamptz[]`, of milliseconds since 1970. */
export function instantArray(values: readonly number[]): Buffer {
  const bytes = begin(TIMESTAMPTZ, values.length, 8 * values.length);
  let at = HEAD_BYTES;
  for (let i = 0; i < values.length; i++) at = writeMoment(bytes, at, values[i] as number, 0);
  return bytes;
}

/** `timestamptz[]`, of RFC 3339 with at most microseconds. */
export function timeArray(values: readonly (string | null)[]): Buffer {
  const bytes = begin(TIMESTAMPTZ, values.length, 8 * values.length);
  let at = HEAD_BYTES;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as string | null;
    at = value === null ? writeInt(bytes, at, NULL) : writeTime(bytes, at, value);
  }
  return bytes.subarray(0, at);
}

/** `boolean[]`. */
export function booleanArray(values: readonly boolean[]): Buffer {
  const bytes = begin(BOOLEAN, values.length, values.length);
  let at = HEAD_BYTES;
  for (let i = 0; i < values.length; i++) {
    at = writeInt(bytes, at, 1);
    bytes[at++] = values[i] ? 1 : 0;
  }
  return bytes;
}

/** `text[]`. A text must not have NUL or a lone surrogate in it. */
export function textArray(values: readonly (string | null)[]): Buffer {
  let units = 0;
  for (let i = 0; i < values.length; i++) units += (values[i] as string | null)?.length ?? 0;
  let bytes = begin(TEXT, values.length, units);
  let isRoomy = false;
  let at = HEAD_BYTES;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as string | null;
    if (value === null) {
      at = writeInt(bytes, at, NULL);
      continue;
    }
    let length = writeAscii(bytes, at + LENGTH_BYTES, value);
    if (length < 0) {
      if (!isRoomy) bytes = copied(bytes, at, HEAD_BYTES + LENGTH_BYTES * values.length + MOST_BYTES_A_UNIT * units);
      isRoomy = true;
      length = bytes.write(value, at + LENGTH_BYTES);
    }
    at = writeInt(bytes, at, length) + length;
  }
  return bytes.subarray(0, at);
}

function begin(element: number, size: number, bytesOfValues: number): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + LENGTH_BYTES * size + bytesOfValues);
  // There may be nulls.
  for (const [i, value] of [1, 1, element, size, 1].entries()) writeInt(bytes, 4 * i, value);
  return bytes;
}

function copied(bytes: Buffer, length: number, size: number): Buffer {
  const larger = Buffer.allocUnsafe(size);
  bytes.copy(larger, 0, 0, length);
  return larger;
}

function within(most: number, value: number): number {
  if (Number.isInteger(value) && value <= most && value >= -most - 1) return value;
  throw new RangeError(`${value} does not fit its column`);
}

/** Answers where what comes next begins, as all that write do. */
function writeInt(bytes: Buffer, at: number, value: number): number {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
  return at + 4;
}

/** A safe integer with its length. */
function writeBigint(bytes: Buffer, at: number, value: number): number {
  const high = Math.floor(value / WORD);
  return writeInt(bytes, writeInt(bytes, writeInt(bytes, at, 8), high), value - high * WORD);
}

/** The text's length, or -1 where it is too long or not ASCII. */
function writeAscii(bytes: Buffer, at: number, value: string): number {
  const { length } = value;
  if (length > SHORT) return -1;
  for (let i = 0; i < length; i++) {
    const unit = value.charCodeAt(i);
    if (unit >= NOT_ASCII) return -1;
    bytes[at + i] = unit;
  }
  return length;
}

function writeTime(bytes: Buffer, at: number, text: string): number {
  const ms = msOf(text);
  if (Number.isNaN(ms)) throw new RangeError(`this is no time: ${text}`);
  return writeMoment(bytes, at, ms, microsecondsOf(text));
}

/** A moment by its milliseconds since 1970 and what lies below them. */
function writeMoment(bytes: Buffer, at: number, ms: number, micros: number): number {
  const sinceEpoch = (ms - EPOCH_MS) * 1000 + micros;
  if (Number.isSafeInteger(sinceEpoch)) return writeBigint(bytes, at, sinceEpoch);
  // From the year 2285 on.
  return bytes.writeBigInt64BE(BigInt(ms - EPOCH_MS) * 1000n + BigInt(micros), writeInt(bytes, at, 8));
}
