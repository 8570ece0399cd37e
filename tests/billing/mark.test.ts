import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Admitted, admit, type GapReason, type Mark, type Seen } from '../../src/billing/mark.js';

/** A ledger that keeps what `admit` says, in memory. */
function ledger() {
  let mark: Mark = { through: 0, gaps: new Map() };
  const counted: number[] = [];
  return {
    counted,
    mark: () => mark,
    take(batch: readonly Seen[]): Admitted {
      const admitted = admit(mark, batch);
      const gaps = new Map(mark.gaps);
      for (const sequence of admitted.healed) gaps.delete(sequence);
      for (const [sequence, reason] of admitted.opened) gaps.set(sequence, reason);
      mark = { through: admitted.through, gaps };
      counted.push(...admitted.fresh);
      return admitted;
    },
  };
}

const whole = (sequence: number): Seen => ({ sequence, gap: null });

describe('the mark and its gaps', () => {
  it('count a sequence once, whatever comes again', () => {
    const books = ledger();
    books.take([whole(1), whole(2), whole(2)]);
    const again = books.take([whole(1), whole(2), whole(3)]);
    expect(books.counted).toEqual([1, 2, 3]);
    expect(again.repeated).toBe(2);
  });

  it('hold a gap open until it heals, and heal it once', () => {
    const books = ledger();
    books.take([whole(1), whole(4)]);
    expect([...books.mark().gaps]).toEqual([
      [2, 'missing'],
      [3, 'missing'],
    ]);
    expect(books.take([{ sequence: 3, gap: 'parked' }]).opened.get(3)).toBe('parked');
    expect(books.take([whole(3), whole(3)]).healed).toEqual([3]);
    expect(books.take([whole(3)]).repeated).toBe(1);
    expect(books.counted).toEqual([1, 4, 3]);
    expect([...books.mark().gaps.keys()]).toEqual([2]);
  });

  it('do not count what was set aside until it comes whole', () => {
    const books = ledger();
    books.take([{ sequence: 1, gap: 'parked' }, whole(2)]);
    books.take([{ sequence: 1, gap: 'quarantined' }]);
    expect(books.counted).toEqual([2]);
    books.take([whole(1)]);
    expect(books.counted).toEqual([2, 1]);
    // Read lower later on, by a person's wish: it has been counted.
    expect(books.take([{ sequence: 1, gap: 'partial' }]).opened.size).toBe(0);
  });

  it('come to the same in any order, with any repetition, in any batches', () => {
    const story = fc.integer({ min: 1, max: 40 }).chain((last) =>
      fc.record({
        last: fc.constant(last),
        said: fc.array(
          fc.record({
            sequence: fc.integer({ min: 1, max: last }),
            gap: fc.constantFrom<GapReason | null>(null, null, null, 'parked', 'missing'),
          }),
          { maxLength: 120 },
        ),
        cuts: fc.array(fc.integer({ min: 1, max: 17 }), { minLength: 1, maxLength: 60 }),
      }),
    );
    fc.assert(
      fc.property(story, ({ last, said, cuts }) => {
        const books = ledger();
        const all = [...said, { sequence: last, gap: null }];
        let at = 0;
        for (let turn = 0; at < all.length; turn++) {
          const size = cuts[turn % cuts.length] as number;
          books.take(all.slice(at, at + size));
          at += size;
        }
        const came = new Set(all.filter(({ gap }) => gap === null).map(({ sequence }) => sequence));
        expect([...books.counted].sort((a, b) => a - b)).toEqual([...came].sort((a, b) => a - b));
        const missing = Array.from({ length: last }, (_, i) => i + 1).filter((sequence) => !came.has(sequence));
        expect([...books.mark().gaps.keys()].sort((a, b) => a - b)).toEqual(missing);
        expect(books.mark().through).toBe(last);
      }),
    );
  });
});
