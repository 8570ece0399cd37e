import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FailureKind } from '../../src/content/content.js';
import { DEFAULT_LADDER, type Ladder, type RungName } from '../../src/content/index.js';
import { afterTry, type Next, type Standing, TOP, type TryEnd } from '../../src/content/ladder.js';

const DEATHS = ['crashed', 'killed_time', 'killed_memory', 'output_too_large'] as const;

const ladders: fc.Arbitrary<Ladder> = fc
  .array(fc.constantFrom<RungName>('full', 'headers'), { minLength: 1, maxLength: 12 })
  .map((rungs) => [...rungs, 'poison']);
const failures = fc.constantFrom<FailureKind>(...DEATHS, 'refused', 'unavailable');
const ends: fc.Arbitrary<TryEnd> = fc.oneof(
  failures.map((failure) => ({ end: 'failed', failure }) as const),
  fc.constant({ end: 'interrupted' } as const),
);

/** Where the message stands after these tries; stops when it is quarantined. */
function walk(ladder: Ladder, tries: readonly TryEnd[]): { standings: Standing[]; last: Next } {
  const standings = [TOP];
  let last: Next = { do: 'try', standing: TOP, alone: false, parked: false };
  for (const how of tries) {
    last = afterTry(standings.at(-1) as Standing, how, ladder);
    if (last.do === 'go_on') break;
    standings.push(last.standing);
    if (last.do === 'quarantine') break;
  }
  return { standings, last };
}

const failed = (failure: FailureKind): TryEnd => ({ end: 'failed', failure });

describe('what follows from a try', () => {
  it('goes on after success', () => {
    expect(afterTry(TOP, { end: 'processed' }, DEFAULT_LADDER)).toEqual({ do: 'go_on' });
  });

  it.each(DEATHS)('%s: one rung lower, alone and parked', (failure) => {
    expect(afterTry(TOP, failed(failure), DEFAULT_LADDER)).toEqual({
      do: 'try',
      standing: { rung: 1, interruptions: 0 },
      alone: true,
      parked: true,
    });
  });

  it('a limit: one rung lower, at once', () => {
    const next = afterTry(TOP, failed('refused'), DEFAULT_LADDER);
    expect(next).toEqual({ do: 'try', standing: { rung: 1, interruptions: 0 }, alone: false, parked: false });
  });

  it('quarantines where nothing more can be taken away', () => {
    const next = afterTry({ rung: 1, interruptions: 2 }, failed('crashed'), DEFAULT_LADDER);
    expect(next).toEqual({ do: 'quarantine', standing: { rung: 2, interruptions: 0 } });
  });

  it('takes two interruptions for chance, and the third for one rung', () => {
    const { standings } = walk(DEFAULT_LADDER, [
      { end: 'interrupted' },
      { end: 'interrupted' },
      { end: 'interrupted' },
    ]);
    expect(standings).toEqual([
      { rung: 0, interruptions: 0 },
      { rung: 0, interruptions: 1 },
      { rung: 0, interruptions: 2 },
      { rung: 1, interruptions: 0 },
    ]);
  });

  it('tries an interrupted message alone', () => {
    expect(afterTry(TOP, { end: 'interrupted' }, DEFAULT_LADDER)).toMatchObject({ do: 'try', alone: true });
  });

  it('never climbs, takes one rung at most from a try, and quarantines on the last rung alone', () => {
    fc.assert(
      fc.property(ladders, fc.array(ends, { maxLength: 60 }), (ladder, tries) => {
        const { standings, last } = walk(ladder, tries);
        for (const [i, { rung }] of standings.slice(1).entries()) {
          const before = (standings[i] as Standing).rung;
          expect(rung - before === 0 || rung - before === 1).toBe(true);
        }
        const end = standings.at(-1) as Standing;
        expect(last.do === 'quarantine').toBe(end.rung === ladder.length - 1);
      }),
    );
  });

  it('never lets the surroundings cost a rung, however often they fail', () => {
    fc.assert(
      fc.property(ladders, fc.array(ends, { maxLength: 40 }), fc.nat(20), (ladder, tries, times) => {
        const outside = Array.from({ length: times }, () => failed('unavailable'));
        const mixed = tries.flatMap((how) => [...outside, how]);
        const without = tries.filter((how) => how.end !== 'failed' || how.failure !== 'unavailable');
        expect(walk(ladder, mixed).standings.at(-1)).toEqual(walk(ladder, without).standings.at(-1));
      }),
    );
  });

  it('ends: no message costs more deaths than the ladder has rungs', () => {
    fc.assert(
      fc.property(ladders, fc.infiniteStream(fc.constantFrom(...DEATHS)), (ladder, deaths) => {
        const tries = [...deaths.take(ladder.length)].map(failed);
        const { standings, last } = walk(ladder, tries);
        expect(last.do).toBe('quarantine');
        expect(standings.length - 1).toBe(ladder.length - 1);
      }),
    );
  });
});
