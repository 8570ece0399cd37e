import type { Clock } from '../../src/message/clock.js';

/** A clock that a test sets. Both readings move together, by `advance` alone. */
export interface SettableClock extends Clock {
  advance(ms: number): void;
}

/** Starts at the given time, milliseconds since 1970; by default 2026-01-01T00:00:00Z. */
export function settableClock(startMs = Date.UTC(2026, 0, 1)): SettableClock {
  let elapsed = 0;
  return {
    now: () => startMs + elapsed,
    monotonic: () => elapsed,
    advance(ms) {
      if (ms < 0) throw new RangeError('time goes forward');
      elapsed += ms;
    },
  };
}

/** The machine's own time, for tests of what has to wait for real processes and sockets. */
export const realClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };
