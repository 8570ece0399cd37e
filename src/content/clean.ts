import { toUSVString } from 'node:util';

/*
 * What every text of a view has in common: it can be stored and sent anywhere. No NUL, no lone surrogate, bounded.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b\u000e-\u001f\u007f]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const LINE_CONTROLS = /[\u0000-\u001f\u007f]+/g;

/** A body's text: control characters other than white space become U+FFFD. */
export function cleanText(text: string): string {
  return toUSVString(text.replace(CONTROLS, '\ufffd'));
}

/** A text of one line, cut at `maxLength` UTF-16 code units: runs of control characters become one space, ends are trimmed. */
export function cleanLine(text: string, maxLength = Number.POSITIVE_INFINITY): string {
  return toUSVString(text.slice(0, maxLength).replace(LINE_CONTROLS, ' ').trim());
}

/** At most `maxBytes` of UTF-8, cut between characters. */
export function cutText(text: string, maxBytes: number): { readonly text: string; readonly cut: boolean } {
  // No UTF-16 code unit takes more than three bytes.
  if (text.length * 3 <= maxBytes || Buffer.byteLength(text) <= maxBytes) return { text, cut: false };
  const bytes = Buffer.from(text.slice(0, maxBytes));
  let end = Math.min(maxBytes, bytes.length);
  while (end > 0 && isContinuation(bytes[end])) end--;
  return { text: bytes.toString('utf8', 0, end), cut: true };
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

const MAX_NAME = 255;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const NOT_IN_NAMES = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069<>:"|?*]/g;

/**
 * A file name as a sender gave it, made harmless: the last step of a path, without control characters, marks that
 * turn the direction of writing, and what file systems refuse. Null when nothing is left.
 */
export function cleanFileName(name: string): string | null {
  const step =
    name
      .slice(-4 * MAX_NAME)
      .split(/[/\\]/)
      .at(-1) ?? '';
  const plain = toUSVString(
    step
      .replace(NOT_IN_NAMES, '')
      .replace(/^[.\s]+/, '')
      .trimEnd(),
  );
  const { text } = cutText(plain, MAX_NAME);
  return text === '' ? null : text;
}
