import { describe, expect, it } from 'vitest';
import { BeatWatch } from '../../src/owner/leases.js';
import { settableClock } from '../support/clock.js';

const SETTINGS = { beatMs: 1000, lostAfterMs: 4000 };
const other = (beat: number) => [{ id: 'other', owns: true, beat }];

describe('BeatWatch', () => {
  it('takes a process it has never seen for alive', () => {
    const watch = new BeatWatch(settableClock(), SETTINGS);
    expect(watch.living(other(7))).toHaveLength(1);
    expect(watch.living([])).toEqual([]);
  });

  it('leaves a process alone whose beat moves, however slowly', () => {
    const clock = settableClock();
    const watch = new BeatWatch(clock, SETTINGS);
    for (let look = 0; look < 40; look++) {
      expect(watch.living(other(Math.floor(look / 4)))).toHaveLength(1);
      clock.advance(999);
    }
  });

  it('gives it up when its beat has stood still for the whole time on its own clock, and not before', () => {
    const clock = settableClock();
    const watch = new BeatWatch(clock, SETTINGS);
    for (let ms = 0; ms < 4000; ms += 250) {
      expect(watch.living(other(5)), `after ${ms} ms`).toHaveLength(1);
      clock.advance(250);
    }
    expect(watch.living(other(5))).toEqual([]);
    expect(watch.living(other(6))).toHaveLength(1);
  });

  it('blames nobody for the time in which it did not look itself', () => {
    const clock = settableClock();
    const watch = new BeatWatch(clock, SETTINGS);
    expect(watch.living(other(5))).toHaveLength(1);
    clock.advance(60_000);
    expect(watch.living(other(5))).toHaveLength(1);
    for (let look = 0; look < 4; look++) {
      clock.advance(1000);
      watch.living(other(5));
    }
    expect(watch.living(other(5))).toEqual([]);
  });
});
