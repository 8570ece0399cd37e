import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  boundsOf,
  LAST_DAY,
  LAST_HOUR,
  levelsOf,
  rateNow,
  ratesOf,
  type Sample,
  SHORT_STEP,
} from '../../src/overview/series.js';

const NOW = Date.UTC(2026, 0, 31, 12, 0, 7);
const MINUTE = 60_000;

function sample(slot: number, sequenced: number, late = 0): Sample {
  const at = slot + late;
  const rest = { accepted: sequenced, routed: sequenced, delivered: null, duplicates: 0, conflicts: 0, expired: 0 };
  return { slot, at, sequenced, ...rest, inbox: sequenced % 7, waiting: 0 };
}

const sequenced = (one: Sample) => one.sequenced;

/** Every ten seconds over the last 62 minutes, with these growths, over and over. */
function hourOf(growths: readonly number[], late: readonly number[] = [0]): Sample[] {
  const first = Math.floor(NOW / SHORT_STEP) * SHORT_STEP - 62 * MINUTE;
  let total = 0;
  return Array.from({ length: (62 * MINUTE) / SHORT_STEP + 1 }, (_, i) => {
    total += growths[i % growths.length] ?? 0;
    return sample(first + i * SHORT_STEP, total, late[i % late.length]);
  });
}

describe('rates over time', () => {
  test('points beside each other add up to what the counter grew between the first bound and the last', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(100_000), { minLength: 1, maxLength: 40 }),
        fc.array(fc.nat(3_000), { minLength: 1, maxLength: 10 }),
        (growths, late) => {
          const samples = hourOf(growths, late);
          const bounds = boundsOf(LAST_HOUR, NOW);
          const at = (bound: number | undefined) => samples.find(({ slot }) => slot === bound) as Sample;
          const rates = ratesOf(samples, LAST_HOUR, NOW, sequenced);
          const sum = rates.reduce<number>(
            (all, rate, i) => all + ((rate ?? Number.NaN) * (at(bounds[i + 1]).at - at(bounds[i]).at)) / 1000,
            0,
          );
          const grown = at(bounds.at(-1)).sequenced - at(bounds[0]).sequenced;
          expect(Math.abs(sum - grown)).toBeLessThanOrEqual(1e-6 * Math.max(1, grown));
        },
      ),
      { numRuns: 200 },
    );
  });

  test('nothing is made up where nobody counted: a gap is a gap, also for the point on either side', () => {
    const bounds = boundsOf(LAST_HOUR, NOW);
    const [from, to] = [bounds[20] as number, bounds[23] as number];
    const samples = hourOf([5]).filter(({ slot }) => slot < from - SHORT_STEP || slot > to + SHORT_STEP);
    const rates = ratesOf(samples, LAST_HOUR, NOW, sequenced);
    expect(rates).toHaveLength(60);
    expect(rates.flatMap((rate, i) => (rate === null ? [i] : []))).toEqual([19, 20, 21, 22, 23]);
    expect(rates.filter((rate) => rate !== null).every((rate) => rate === 0.5)).toBe(true);
  });

  test('one sample that is missing makes no gap', () => {
    const bounds = boundsOf(LAST_HOUR, NOW);
    const samples = hourOf([5]).filter(({ slot }) => slot !== bounds[30]);
    const rates = ratesOf(samples, LAST_HOUR, NOW, sequenced);
    expect(rates.filter((rate) => rate === 0.5)).toHaveLength(60);
  });

  test('a counter that falls is no rate below zero, and one that is not known is none', () => {
    const bounds = boundsOf(LAST_HOUR, NOW);
    const [a, b] = [sample(bounds[0] as number, 100), sample(bounds[1] as number, 40)];
    expect(ratesOf([a, b], LAST_HOUR, NOW, sequenced)[0]).toBe(0);
    expect(ratesOf([a, b], LAST_HOUR, NOW, ({ delivered }) => delivered)[0]).toBeNull();
  });

  test('a clock that went back makes a gap', () => {
    const bounds = boundsOf(LAST_HOUR, NOW);
    const samples = [sample(bounds[0] as number, 1, 90_000), sample(bounds[1] as number, 2)];
    expect(ratesOf(samples, LAST_HOUR, NOW, sequenced)[0]).toBeNull();
  });

  test('the last day is made of samples five minutes apart', () => {
    const bounds = boundsOf(LAST_DAY, NOW);
    expect([bounds.length, (bounds[1] as number) - (bounds[0] as number)]).toEqual([97, 15 * MINUTE]);
    const samples = bounds.map((bound, i) => sample(bound, 900 * i));
    expect(ratesOf(samples, LAST_DAY, NOW, sequenced)).toEqual(Array.from({ length: 96 }, () => 1));
  });

  test('a level is that of the end of its point', () => {
    const bounds = boundsOf(LAST_HOUR, NOW);
    const levels = levelsOf(
      [sample(bounds[1] as number, 3), sample(bounds[2] as number, 5)],
      LAST_HOUR,
      NOW,
      (one) => one.inbox,
    );
    expect(levels.slice(0, 3)).toEqual([3, 5, null]);
  });
});

describe('the rate now', () => {
  test('is that of the last minute, of what there is of it, and none of old samples', () => {
    const samples = hourOf([100]);
    const at = samples.at(-1)?.at ?? 0;
    expect(rateNow(samples, at, sequenced)).toBe(10);
    expect(rateNow(samples.slice(-2), at, sequenced)).toBe(10);
    expect(rateNow(samples.slice(-1), at, sequenced)).toBeNull();
    expect(rateNow(samples, at + 31_000, sequenced)).toBeNull();
    expect(rateNow([], at, sequenced)).toBeNull();
  });
});
