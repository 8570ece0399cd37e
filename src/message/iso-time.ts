let last = { ms: 0, text: '1970-01-01T00:00:00.000Z' };

/** Milliseconds since 1970 as ISO 8601. What came together has one time, so the last one asked for is kept. */
export function isoTime(ms: number): string {
  if (ms !== last.ms) last = { ms, text: new Date(ms).toISOString() };
  return last.text;
}

/** Milliseconds since 1970 of an RFC 3339 time that was checked, what lies below them cut off. NaN of what is none in its form. */
export function msOf(text: string): number {
  if (!isFull(text)) return Date.parse(text);
  const year = digits(text, 0, 4);
  const [month, day] = [digits(text, 5, 7), digits(text, 8, 10)];
  return Date.UTC(
    year,
    month - 1,
    day,
    digits(text, 11, 13),
    digits(text, 14, 16),
    digits(text, 17, 19),
    digits(text, 20, 23),
  );
}

/** What lies below the milliseconds of such a time: 0 to 999. */
export function microsecondsOf(text: string): number {
  return isFull(text) ? digits(text, 23, 26) : Number(BELOW_MS.exec(text)?.[1]?.padEnd(3, '0') ?? 0);
}

const BELOW_MS = /\.\d{3}(\d{1,3})/;
const ZERO = 0x30;
const UPPER_Z = 0x5a;

/** `2024-05-06T07:08:09.123456Z`, as an ingress writes the times it has checked. */
const FULL_LENGTH = 27;

function isFull(text: string): boolean {
  // Of the years before 100 `Date.UTC` makes others.
  return text.length === FULL_LENGTH && text.charCodeAt(FULL_LENGTH - 1) === UPPER_Z && text.charCodeAt(0) !== ZERO;
}

function digits(text: string, from: number, to: number): number {
  let number = 0;
  for (let i = from; i < to; i++) number = 10 * number + text.charCodeAt(i) - ZERO;
  return number;
}
