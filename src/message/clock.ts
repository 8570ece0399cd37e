/** Where time comes from. Passed in everywhere, so that tests decide what time it is. */
export interface Clock {
  /** Wall-clock time in milliseconds since 1970, for what is written down. */
  now(): number;
  /** Milliseconds on a clock that never jumps, for durations and deadlines. */
  monotonic(): number;
}
