import type { Leaf, Structure } from './scan.js';

/** The leaves that say they are base64 and are not. */
export function brokenBase64(raw: Buffer, structure: Structure): ReadonlySet<Leaf> {
  const says = structure.leaves.filter((leaf) => leaf.encoding === 'base64');
  return new Set(says.filter((leaf) => !isBase64(raw, leaf.start, leaf.end)));
}

/** 1: a character of base64; 2: `=`; 3: white space. */
const BASE64_CLASS = base64Classes();

function base64Classes(): Uint8Array {
  const classes = new Uint8Array(256);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  for (const char of alphabet) classes[char.charCodeAt(0)] = 1;
  classes['='.charCodeAt(0)] = 2;
  for (const char of ' \t\r\n') classes[char.charCodeAt(0)] = 3;
  return classes;
}

/** Whether `raw[from, to)` is base64 to its end: only its characters, whole groups, padding at the end alone. */
function isBase64(raw: Buffer, from: number, to: number): boolean {
  let chars = 0;
  let padding = 0;
  for (let at = from; at < to; at++) {
    const kind = BASE64_CLASS[raw[at] as number];
    if (kind === 1) {
      if (padding > 0) return false;
      chars++;
    } else if (kind === 2) {
      padding++;
    } else if (kind === 0) {
      return false;
    }
  }
  return padding <= 2 && (chars + padding) % 4 === 0;
}
