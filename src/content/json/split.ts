import { stringEnd } from './scan.js';

/** One element's bytes within a body: `[from, to)`. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

const LF = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Splitting stops one beyond what is allowed: enough to know that there are too many, and bounded. */
function enough(spans: readonly Span[], limit: number): boolean {
  return spans.length > limit;
}

/**
 * The lines of NDJSON, without their line ends and the white space around them; empty lines are left out.
 * At most `limit + 1` of them.
 */
export function splitLines(body: Buffer, limit: number): Span[] {
  const spans: Span[] = [];
  let at = 0;
  while (at < body.length && !enough(spans, limit)) {
    const lineFeed = body.indexOf(LF, at);
    const end = lineFeed === -1 ? body.length : lineFeed;
    const span = trimmed(body, at, end);
    if (span.from < span.to) spans.push(span);
    at = end + 1;
  }
  return spans;
}

/**
 * The elements of a JSON array, verbatim but for the white space around them; at most `limit + 1`. Undefined where
 * brackets, quotes and commas don't make one array with nothing after it. Whether each element is JSON is not looked at.
 */
export function splitArray(body: Buffer, limit: number): Span[] | undefined {
  const { from, to } = trimmed(body, 0, body.length);
  if (body[from] !== OPEN_BRACKET) return undefined;
  const spans: Span[] = [];
  let start = from + 1;
  let depth = 1;
  for (let i = start; i < to; i++) {
    const byte = body[i] as number;
    if (byte === QUOTE) {
      i = stringEnd(body, i + 1, to);
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth++;
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth--;
      if (depth === 0) return byte === CLOSE_BRACKET && i === to - 1 ? closed(body, spans, start, i) : undefined;
    } else if (byte === COMMA && depth === 1) {
      spans.push(trimmed(body, start, i));
      start = i + 1;
      if (enough(spans, limit)) return spans;
    }
  }
  return undefined;
}

/** With the last element, which no comma follows; `[]` has none. */
function closed(body: Buffer, spans: Span[], start: number, end: number): Span[] {
  const last = trimmed(body, start, end);
  if (spans.length > 0 || last.from < last.to) spans.push(last);
  return spans;
}

/** `[from, to)` without JSON white space at either end. */
export function trimmed(body: Buffer, from: number, to: number): Span {
  let start = from;
  let end = to;
  while (start < end && isWhiteSpace(body[start] as number)) start++;
  while (end > start && isWhiteSpace(body[end - 1] as number)) end--;
  return { from: start, to: end };
}

function isWhiteSpace(byte: number): boolean {
  return byte === 0x20 || byte === LF || byte === 0x0d || byte === 0x09;
}
