/** Nested deeper than this, JSON is not read: nobody writes that by hand, and what reads it later may recurse. */
const MAX_DEPTH = 64;

/** What one pass over the bytes says of a JSON text, before it is parsed. */
export type Scan = 'plain' | 'digits' | 'too_deep';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const UPPER_E = 0x45;
const LOWER_E = 0x65;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Decimals of so many digits are doubles that print as written, if not too small. */
const EXACT_DIGITS = 15;

/**
 * Looks through the JSON in `bytes[from, to)` once, without recursion: is it nested deeper than MAX_DEPTH, and does a
 * number lose digits as a double (`digits`: `12.50`, `1e2`, 20 digits)? Of malformed text it says something or other;
 * the parser judges that.
 */
export function scan(bytes: Buffer, from: number, to: number): Scan {
  let depth = 0;
  let digits = false;
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number;
    if (byte === QUOTE) {
      i = stringEnd(bytes, i + 1, to);
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth++;
      if (depth > MAX_DEPTH) return 'too_deep';
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth--;
    } else if (byte === MINUS || isDigit(byte)) {
      const end = numberEnd(bytes, i + 1, to);
      digits ||= !printsAsWritten(bytes, i, end);
      i = end - 1;
    }
  }
  return digits ? 'digits' : 'plain';
}

/** Whether a double made from this token prints as the token. */
export function keepsDigits(token: string): boolean {
  return SHORT_DECIMAL.test(token) || String(Number(token)) === token;
}

/** Numbers of at most 15 digits, none of them for nothing: what doubles print as, and told in a tenth of the time of printing one. */
const SHORT_DECIMAL = /^-?(?:[1-9]\d{0,7}(?:\.\d{0,6}[1-9])?|0\.[1-9](?:\d{0,12}[1-9])?)$/;

/** Position of the quote that closes the string whose content starts at `i`, or `to`. */
export function stringEnd(bytes: Buffer, i: number, to: number): number {
  let at = i;
  while (at < to) {
    const byte = bytes[at];
    if (byte === QUOTE) return at;
    at += byte === BACKSLASH ? 2 : 1;
  }
  return to;
}

function numberEnd(bytes: Buffer, i: number, to: number): number {
  let at = i;
  while (at < to && isNumberByte(bytes[at] as number)) at++;
  return at;
}

function printsAsWritten(bytes: Buffer, from: number, to: number): boolean {
  return isShortDecimal(bytes, from, to) || keepsDigits(bytes.toString('latin1', from, to));
}

/** The common case, told without making a string: at most 15 digits, and none of those around a point is for nothing. */
function isShortDecimal(bytes: Buffer, from: number, to: number): boolean {
  if (to - from > EXACT_DIGITS) return false;
  let point = -1;
  for (let i = from; i < to; i++) {
    if (bytes[i] === DOT && point < 0) point = i;
    else if (!isDigit(bytes[i] as number)) return false;
  }
  return point < 0 || (isDigitAbove0(bytes[to - 1]) && (point > from + 1 || isDigitAbove0(bytes[point + 1])));
}

function isDigitAbove0(byte: number | undefined): boolean {
  return byte !== undefined && byte > ZERO && byte <= NINE;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function isNumberByte(byte: number): boolean {
  return isDigit(byte) || byte === DOT || byte === LOWER_E || byte === UPPER_E || byte === MINUS || byte === PLUS;
}
