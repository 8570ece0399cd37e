import { hexAt } from './hex.js';
import type { Leaf } from './scan.js';

/*
 * Transfer encodings, decoded by our own code in one pass each: parsers' streams take ten times as long, and what is
 * decoded must be the same on every rung.
 */

const EQUALS = 0x3d;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;

/** A leaf's bytes without its transfer encoding: as far as it goes where it is broken, as it stands where it is unknown. */
export function decodedLeaf(raw: Buffer, leaf: Leaf, isBroken: boolean): Buffer {
  const written = raw.subarray(leaf.start, leaf.end);
  switch (leaf.encoding) {
    case 'base64':
      return isBroken ? brokenBase64Bytes(written) : Buffer.from(written.toString('latin1'), 'base64');
    case 'quoted-printable':
      return quotedPrintableBytes(written);
    case 'identity':
    case 'unknown':
      return written;
    default: {
      const never: never = leaf.encoding;
      return never;
    }
  }
}

const ALPHABET = base64Values();

function base64Values(): Int8Array {
  const values = new Int8Array(256).fill(-1);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  for (const [value, char] of [...alphabet].entries()) values[char.charCodeAt(0)] = value;
  return values;
}

/** What is no base64 is passed over; padding ends a group wherever it stands, as where several texts were put together. */
function brokenBase64Bytes(written: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(Math.ceil((written.length * 3) / 4));
  let length = 0;
  let bits = 0;
  let count = 0;
  for (const byte of written) {
    if (byte === EQUALS) {
      bits = 0;
      count = 0;
      continue;
    }
    const value = ALPHABET[byte] as number;
    if (value < 0) continue;
    bits = ((bits << 6) | value) & 0xffffff;
    count++;
    if (count > 1) bytes[length++] = (bits >> (8 - 2 * count)) & 0xff;
    if (count === 4) count = 0;
  }
  return bytes.subarray(0, length);
}

/** RFC 2045, 6.7: blanks at the end of a line are not part of it, and a `=` that encodes nothing stands for itself. */
export function quotedPrintableBytes(written: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(written.length);
  let length = 0;
  /** Length without the blanks that would be dropped if the line ended here. */
  let kept = 0;
  for (let at = 0; at < written.length; at++) {
    const byte = written[at] as number;
    if (byte === EQUALS) {
      const soft = softBreak(written, at + 1);
      if (soft > 0) {
        at = soft - 1;
        kept = length;
        continue;
      }
      const code = hexAt(written, at + 1);
      if (code >= 0) {
        bytes[length++] = code;
        at += 2;
      } else {
        bytes[length++] = byte;
      }
      kept = length;
      continue;
    }
    if (byte === LF || (byte === CR && written[at + 1] === LF)) length = kept;
    bytes[length++] = byte;
    if (byte !== SPACE && byte !== TAB) kept = length;
  }
  return bytes.subarray(0, kept);
}

/** Where the next line begins when nothing but blanks stand between `at` and the end of the line; 0 when more does. */
function softBreak(written: Buffer, from: number): number {
  let at = from;
  while (written[at] === SPACE || written[at] === TAB) at++;
  if (written[at] === LF) return at + 1;
  if (written[at] === CR) return at + (written[at + 1] === LF ? 2 : 1);
  return at >= written.length ? at : 0;
}
