import { describe, expect, it } from 'vitest';
import { BeatWatch, type Lease } from '../../src/owner/leases.js';
import { settableClock } from '../support/clock.js';

const lease = (holder: string | null, beat: number | null): Lease => ({ tenant: 1, channel: 0, holder, term: 4, beat });

describe('BeatWatch', () => {
  it('takes what nobody holds, and what a process holds that has left', () => {
    const watch = new BeatWatch(settableClock(), { lostAfterMs: 4000 });
    expect(watch.takeable([lease(null, null)], 'me')).toEqual([{ tenant: 1, channel: 0, term: 4 }]);
    expect(watch.takeable([lease('gone', null)], 'me')).toHaveLength(1);
    expect(watch.takeable([lease('me', 9)], 'me')).toEqual([]);
  });

  it('leaves a holder alone whose beat moves, however slowly', () => {
    const clock = settableClock();
    const watch = new BeatWatch(clock, { lostAfterMs: 4000 });
    for (let beat = 0; beat < 10; beat++) {
      expect(watch.takeable([lease('other', beat)], 'me')).toEqual([]);
      clock.advance(3999);
    }
  });

  it('takes over when a beat has stood still for the whole time on its own clock, and not before', () => {
    const clock = settableClock();
    const watch = new BeatWatch(clock, { lostAfterMs: 4000 });
    expect(watch.takeable([lease('other', 5)], 'me')).toEqual([]);
    clock.advance(3999);
    expect(watch.takeable([lease('other', 5)], 'me')).toEqual([]);
    clock.advance(1);
    expect(watch.takeable([lease('other', 5)], 'me')).toHaveLength(1);
  });

  it('begins to count anew when it has not seen a holder for a while', () => {
    const clock = settableClock();
    const watch = new BeatWatch(clock, { lostAfterMs: 4000 });
    watch.takeable([lease('other', 5)], 'me');
    watch.takeable([lease('me', 1)], 'me');
    clock.advance(5000);
    expect(watch.takeable([lease('other', 5)], 'me')).toEqual([]);
  });
});
