import { isUtf8 } from 'node:buffer';
import { TextDecoder } from 'node:util';

/** Names that mail uses and the Encoding Standard lacks. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ['ansi', 'windows-1252'],
  ['cp932', 'shift_jis'],
  ['cp936', 'gbk'],
  ['cp949', 'euc-kr'],
  ['cp950', 'big5'],
  ['gb-2312', 'gbk'],
  ['iso-2022-jp-1', 'iso-2022-jp'],
  ['latin-1', 'windows-1252'],
  ['utf_8', 'utf-8'],
]);

/** Known to mailparser (by iconv-lite) and not to the Encoding Standard: bodies in these are read, header words are not. */
const PARSER_ONLY =
  /^(?:utf-?7(?:-imap)?|utf-?32(?:le|be)?|(?:cp|ibm|oem)-?(?:437|720|737|775|85[0-8]|86[0-59]|922|1046|112[45]|1129|1133|1161|1162|1163)|hp-roman8|viscii|tcvn|rk1048|mik|pt154|koi8-t|armscii-?8)$/;

const MAX_LABEL = 64;
/** Decoders by label. Labels come from senders, and so the list is bounded. */
const decoders = new Map<string, TextDecoder | null>();
const MAX_DECODERS = 256;

function normalLabel(label: string): string {
  // RFC 2231 allows a language after the charset: utf-8*en.
  const name = (label.split('*', 1)[0] ?? '').trim().toLowerCase();
  const windows = /^(?:win|cp|windows)[-_]?(125\d|874)$/.exec(name);
  return windows ? `windows-${windows[1]}` : (ALIASES.get(name) ?? name);
}

/** A decoder by the charset's name as mails write it, or undefined for one that nobody knows. */
export function decoderFor(label: string): TextDecoder | undefined {
  if (label.length > MAX_LABEL) return undefined;
  const known = decoders.get(label);
  if (known !== undefined) return known ?? undefined;
  if (decoders.size >= MAX_DECODERS) decoders.clear();
  const made = makeDecoder(normalLabel(label));
  decoders.set(label, made);
  return made ?? undefined;
}

function makeDecoder(label: string): TextDecoder | null {
  try {
    return new TextDecoder(label, { ignoreBOM: true });
  } catch {
    return null;
  }
}

/** Whether a body in this charset can be read: by us or by the parser. */
export function isKnownCharset(label: string): boolean {
  return decoderFor(label) !== undefined || PARSER_ONLY.test(normalLabel(label));
}

/** Whether a label only says that nothing beyond ASCII is in it, as many senders write who don't know better. */
export function isAsciiLabel(label: string): boolean {
  return /^(?:us-?)?ascii$|^ansi_x3\.4-19(?:68|86)$/.test(label.trim().toLowerCase());
}

/**
 * Text in one of the two charsets that nearly all mail is in, where it is what it says: needing no parser, it is read ten
 * times faster. Null for all else, among it the bytes that ISO-8859-1 and Windows-1252 read differently.
 */
export function plainText(bytes: Buffer, label: string): string | null {
  const name = label.toLowerCase();
  if (name === 'utf-8' || name === 'utf8') return isUtf8(bytes) ? bytes.toString('utf8') : null;
  if (name !== 'iso-8859-1' && name !== 'windows-1252') return null;
  const text = bytes.toString('latin1');
  return DISPUTED.test(text) ? null : text;
}

const DISPUTED = /[\x80-\x9f]/;

/** Bytes as text in a charset that their sender names, where that says something. */
export function textIn(bytes: Buffer, label: string | null): string {
  const decoder = label === null || isAsciiLabel(label) ? undefined : decoderFor(label);
  return decoder?.decode(bytes) ?? guessText(bytes);
}

/** Bytes of unknown charset as text: UTF-8 if that is what they are, else Windows-1252, which every byte has a character in. */
export function guessText(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  return decoderFor('windows-1252')?.decode(bytes) ?? bytes.toString('latin1');
}
