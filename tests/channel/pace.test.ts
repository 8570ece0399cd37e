import { describe, expect, it } from 'vitest';
import { createPace } from '../../src/channel/pace.js';
import { settableClock } from '../support/clock.js';

const MANY = Number.POSITIVE_INFINITY;

/** Commits of so many milliseconds each, so many after the one before; what may share the next one then. */
function mostAfter(commits: readonly (readonly [idleMs: number, busyMs: number])[]): number {
  const clock = settableClock();
  const pace = createPace(() => clock.monotonic());
  for (const [idleMs, busyMs] of commits) {
    clock.advance(idleMs);
    pace.began();
    clock.advance(busyMs);
    pace.ended();
  }
  return pace.mostRequests();
}
const times = (count: number, idleMs: number, busyMs: number) =>
  Array.from({ length: count }, () => [idleMs, busyMs] as const);

describe('how many requests share a commit', () => {
  it('are few while the store has time, however long a commit takes', () => {
    expect(mostAfter(times(30, 4, 4))).toBe(32);
    expect(mostAfter(times(30, 200, 400))).toBe(32);
    expect(mostAfter([])).toBe(32);
  });

  it('are soon all that wait when very many come after a long rest', () => {
    expect(mostAfter([...times(30, 0.1, 15), [3_600_000, 15], ...times(30, 0.1, 15)])).toBe(MANY);
    expect(mostAfter([[3_600_000, 15], ...times(30, 0.1, 15)])).toBe(MANY);
  });

  it('are all that wait where the store has none, and few again some commits after it has', () => {
    expect(mostAfter(times(30, 0.1, 15))).toBe(MANY);
    expect(mostAfter([...times(30, 0.1, 15), ...times(10, 10, 5)])).toBe(32);
    expect(mostAfter([...times(30, 10, 5), ...times(40, 0.1, 15)])).toBe(MANY);
  });

  it('go by when no commit is under way, where there are two at once', () => {
    const clock = settableClock();
    const pace = createPace(() => clock.monotonic());
    pace.began();
    for (let n = 0; n < 50; n++) {
      clock.advance(5);
      pace.began();
      clock.advance(5);
      pace.ended();
    }
    clock.advance(1);
    pace.ended();
    // One stretch of half a second, and not a moment's rest.
    expect(pace.mostRequests()).toBe(MANY);
  });
});
