import { createHash } from 'node:crypto';

/**
 * Raised whenever the code that reads mail changes in what it can stand: what once killed it is then tried anew, since
 * it may be harmless now.
 */
const VERSION = 1;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const NAMES = /^(?:content-|mime-version[ \t]*:)/i;
/** The longest of those names that matter, in bytes. */
const LONGEST_NAME = 32;
/** Of a header, before the rest is hashed as it stands. */
const MOST_FIELDS = 10_000;
const MOST_BYTES = 1024 * 1024;

/**
 * SHA-256 of what of a mail can kill a parser: its body, and the fields that say how the body is made. Two copies of one
 * mail to two people have the same. `how`: the ladder and the limits it is read by. Linear.
 */
export function crashHash(raw: Uint8Array, how: string): Buffer {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  const sha = createHash('sha256').update(`waybill crash ${VERSION}\n${how}\n`);
  let at = 0;
  // What lies beyond is no header to the reader either.
  for (let fields = 0; fields < MOST_FIELDS && at < MOST_BYTES; fields++) {
    if (at >= bytes.length || isBlankLine(bytes, at)) break;
    const next = fieldEnd(bytes, at);
    const letter = (bytes[at] as number) | 0x20;
    const may = letter === 0x63 || letter === 0x6d;
    if (may && NAMES.test(bytes.toString('latin1', at, Math.min(next, at + LONGEST_NAME))))
      sha.update(bytes.subarray(at, next));
    at = next;
  }
  return sha.update(bytes.subarray(at)).digest();
}

function isBlankLine(raw: Buffer, at: number): boolean {
  return raw[at] === LF || (raw[at] === CR && raw[at + 1] === LF);
}

function fieldEnd(raw: Buffer, at: number): number {
  let end = at;
  do {
    const lineFeed = raw.indexOf(LF, end);
    if (lineFeed === -1) return raw.length;
    end = lineFeed + 1;
  } while (raw[end] === SPACE || raw[end] === TAB);
  return end;
}
