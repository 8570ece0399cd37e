import { describe, expect, it } from 'vitest';
import { BeatWatch } from '../../src/owner/leases.js';
import { settableClock } from '../support/clock.js';

const SETTINGS = { beatMs: 1000, lostAfterMs: 4000 };

/** What one observer thinks of one other process. */
function observed() {
  const clock = settableClock();
  const watch = new BeatWatch(clock, SETTINGS);
  return {
    clock,
    look(beat: number | null): 'living' | 'unknown' | 'lost' {
      const { living, isLost } = watch.look(beat === null ? [] : [{ id: 'other', owns: true, beat }]);
      if (isLost('other')) return 'lost';
      return living.length > 0 ? 'living' : 'unknown';
    },
  };
}

describe('BeatWatch', () => {
  it('takes a process for living once its beat moves, and knows nothing of one that is not there', () => {
    const { look, clock } = observed();
    expect(look(null)).toBe('unknown');
    expect(look(7)).toBe('unknown');
    clock.advance(250);
    expect(look(8)).toBe('living');
    expect(look(null)).toBe('unknown');
  });

  it('leaves a process alone whose beat moves, however slowly', () => {
    const { look, clock } = observed();
    look(0);
    for (let times = 4; times < 40; times++) {
      clock.advance(999);
      expect(look(Math.floor(times / 4))).toBe('living');
    }
  });

  it('gives it up when its beat has stood still for the whole time on its own clock, and not before', () => {
    const { look, clock } = observed();
    look(4);
    for (let ms = 0; ms < 4000; ms += 250) {
      expect(look(5), `after ${ms} ms`).toBe('living');
      clock.advance(250);
    }
    expect(look(5)).toBe('lost');
    expect(look(6)).toBe('living');
  });

  it('gives up what it never saw to move after the same time', () => {
    const { look, clock } = observed();
    for (let ms = 0; ms < 4000; ms += 250) {
      expect(look(5)).toBe('unknown');
      clock.advance(250);
    }
    expect(look(5)).toBe('lost');
  });

  it('blames nobody for the time in which it did not look itself, and takes none of the dead for alive', () => {
    const { look, clock } = observed();
    look(4);
    expect(look(5)).toBe('living');
    clock.advance(60_000);
    expect(look(5)).toBe('living');
    for (let times = 0; times < 4; times++) {
      clock.advance(1000);
      look(5);
    }
    expect(look(5)).toBe('lost');
    clock.advance(60_000);
    expect(look(5)).toBe('lost');
  });
});
