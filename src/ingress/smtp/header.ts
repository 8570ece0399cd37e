import { TextDecoder } from 'node:util';

/** How much of a mail is looked at for its header, in bytes. What lies beyond is not found. */
const MAX_HEADER_BYTES = 256 * 1024;
/** Of one field's value, in bytes. */
const MAX_VALUE_BYTES = 8 * 1024;
const MAX_NAME_BYTES = 64;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/**
 * The first value of each wanted field, by lower-case name: unfolded, as it stands in the mail (8-bit as UTF-8).
 * Linear in the header's length, and never fails: what is no field is passed over.
 */
export function firstFields(raw: Buffer, wanted: ReadonlySet<string>): Map<string, string> {
  const found = new Map<string, string>();
  const limit = Math.min(raw.length, MAX_HEADER_BYTES);
  for (let at = 0; at < limit && !blankLineAt(raw, at) && found.size < wanted.size; ) {
    const end = fieldEnd(raw, at, limit);
    const colon = colonOf(raw, at, end);
    if (colon !== -1) {
      const name = raw.toString('latin1', at, colon).trimEnd().toLowerCase();
      if (wanted.has(name) && !found.has(name)) found.set(name, unfolded(raw, colon + 1, end));
    }
    at = end;
  }
  return found;
}

function blankLineAt(raw: Buffer, at: number): boolean {
  return raw[at] === LF || (raw[at] === CR && raw[at + 1] === LF);
}

/** Where the field that starts at `at` ends: after its line and those that continue it. */
function fieldEnd(raw: Buffer, at: number, limit: number): number {
  let end = at;
  do {
    const lineFeed = raw.indexOf(LF, end);
    if (lineFeed === -1 || lineFeed >= limit) return limit;
    end = lineFeed + 1;
  } while (raw[end] === SPACE || raw[end] === TAB);
  return end;
}

function colonOf(raw: Buffer, start: number, end: number): number {
  const last = Math.min(end, start + MAX_NAME_BYTES);
  for (let at = start; at < last; at++) if (raw[at] === COLON) return at;
  return -1;
}

function unfolded(raw: Buffer, start: number, end: number): string {
  const value = raw.toString('utf8', start, Math.min(end, start + MAX_VALUE_BYTES));
  return value.replace(/\r?\n/g, '').trim();
}

const ENCODED_WORD = /=\?([^?\s]{1,40})\?([bq])\?([^?\s]*)\?=/gi;

/** Reads RFC 2047's encoded words (`=?utf-8?Q?Caf=C3=A9?=`); what can't be read stays as it is. */
export function decodedWords(text: string): string {
  if (!text.includes('=?')) return text;
  return text
    .replace(/\?=[ \t]+(?==\?)/g, '?=')
    .replace(ENCODED_WORD, (word, charset: string, encoding: string, body: string) => {
      const bytes = encoding.toLowerCase() === 'b' ? Buffer.from(body, 'base64') : quotedBytes(body);
      return decoderOf(charset)?.decode(bytes) ?? word;
    });
}

function quotedBytes(text: string): Buffer {
  const binary = text
    .replace(/_/g, ' ')
    .replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(binary, 'latin1');
}

/** RFC 2231 allows a language after the charset: `utf-8*en`. */
function decoderOf(charset: string): TextDecoder | undefined {
  try {
    return new TextDecoder(charset.split('*')[0]);
  } catch {
    return undefined;
  }
}
