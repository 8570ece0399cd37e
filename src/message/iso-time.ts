let last = { ms: 0, text: '1970-01-01T00:00:00.000Z' };

/** Milliseconds since 1970 as ISO 8601. What came together has one time, so the last one asked for is kept. */
export function isoTime(ms: number): string {
  if (ms !== last.ms) last = { ms, text: new Date(ms).toISOString() };
  return last.text;
}
