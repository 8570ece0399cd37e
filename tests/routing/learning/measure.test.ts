import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isDue } from '../../../src/routing/learning/due.js';
import { atThreshold, binOf } from '../../../src/routing/learning/measure.js';
import { rounded } from '../../../src/routing/learning/model.js';
import { exceeding, whyNotReady } from '../../../src/routing/learning/readiness.js';

const hundredth = fc.integer({ min: 1, max: 99 }).map((n) => n / 100);

describe('thresholds', () => {
  it('1.4: scores 0.7 and 0.7 against A 0.6 and B 0.8 choose A alone', () => {
    const [A, B] = [1, 2];
    expect(
      exceeding([
        { target: A, probability: 0.7, threshold: 0.6 },
        { target: B, probability: 0.7, threshold: 0.8 },
      ]),
    ).toEqual([A]);
  });

  it('equal is not exceeded, at any hundredth', () => {
    fc.assert(
      fc.property(hundredth, (threshold) => {
        const asked = (probability: number) => exceeding([{ target: 1, probability, threshold }]).length;
        expect([asked(threshold), asked(rounded(threshold)), asked(rounded(threshold + 0.0001))]).toEqual([0, 0, 1]);
      }),
    );
  });

  it('a bin says exactly which thresholds its probabilities exceed', () => {
    fc.assert(
      fc.property(
        fc.oneof(hundredth, fc.double({ min: 0, max: 1, noNaN: true })),
        hundredth,
        (probability, threshold) => {
          expect(binOf(probability) > Math.round(threshold * 100)).toBe(probability > threshold);
        },
      ),
    );
  });

  it('precision and recall are shares of what would have been sent, and of what people sent', () => {
    const measured = {
      bins: [
        [30, 1, 4],
        [60, 1, 1],
        [61, 2, 1],
        [95, 4, 0],
      ] as const,
    };
    expect(atThreshold(measured, 0.6)).toEqual({
      threshold: 0.6,
      sent: 7,
      right: 6,
      wanted: 8,
      precision: 6 / 7,
      recall: 6 / 8,
    });
    expect(atThreshold(measured, 0.95)).toMatchObject({ sent: 0, precision: null, recall: 0 });
    expect(atThreshold({ bins: [] }, 0.5)).toMatchObject({ wanted: 0, precision: null, recall: null });
  });
});

describe('readiness', () => {
  const setting = { threshold: 0.6, decisions: 20 };
  it.each([
    [undefined, 'needs 20 decisions, has 0'],
    [{ yes: 3, no: 4 }, 'needs 20 decisions, has 7'],
    [{ yes: 2, no: 18 }, 'needs 3 decisions that chose it, has 2'],
    [{ yes: 30, no: 0 }, 'needs 3 decisions that did not choose it, has 0'],
    [{ yes: 10, no: 10 }, null],
  ])('%o: %s', (counted, why) => {
    expect(whyNotReady(setting, counted)).toBe(why);
  });

  it.each([
    [{ fresh: 9, decisions: null, isOld: true }, false],
    [{ fresh: 10, decisions: null, isOld: true }, true],
    [{ fresh: 4, decisions: 20, isOld: false }, false],
    [{ fresh: 5, decisions: 20, isOld: false }, true],
    [{ fresh: 99, decisions: 1000, isOld: false }, false],
    [{ fresh: 100, decisions: 1000, isOld: false }, true],
    [{ fresh: 1, decisions: 1000, isOld: true }, true],
    [{ fresh: 0, decisions: 1000, isOld: true }, false],
  ])('learns anew with %o: %s', (since, due) => {
    expect(isDue(since)).toBe(due);
  });
});
