import fc from 'fast-check';
import { expect, test } from 'vitest';
import { reconnectWait } from '../../src/broker/backoff.js';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test('waits double from 0.2 s up to 30 s', () => {
  expect([1, 2, 3, 4, 8, 9, 50].map((failures) => reconnectWait(failures, 0.5))).toEqual([
    200, 400, 800, 1_600, 25_600, 30_000, 30_000,
  ]);
});

test('every wait is varied by at most half, and never outgrows its limit', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), random, (failures, r) => {
      const middle = reconnectWait(failures, 0.5);
      const wait = reconnectWait(failures, r);
      expect(wait).toBeGreaterThanOrEqual(middle / 2 - 1);
      expect(wait).toBeLessThanOrEqual(middle * 1.5 + 1);
      expect(wait).toBeLessThanOrEqual(45_000);
    }),
  );
});
