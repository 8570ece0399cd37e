import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { restAfter } from '../../src/owner/rest.js';

describe('the rest between two rounds', () => {
  it('is twice the round while little waits, and none once enough does', () => {
    expect(restAfter({ tookMs: 3, waiting: 0, channels: 16 })).toBe(6);
    expect(restAfter({ tookMs: 20, waiting: 127, channels: 16 })).toBe(40);
    expect(restAfter({ tookMs: 20, waiting: 128, channels: 16 })).toBe(0);
  });

  it('delays nothing by more than a twentieth of a second', () => {
    fc.assert(
      fc.property(fc.nat(100_000), fc.nat(10_000), fc.nat(1024), (tookMs, waiting, channels) => {
        const ms = restAfter({ tookMs, waiting, channels });
        expect(ms).toBeGreaterThanOrEqual(0);
        expect(ms).toBeLessThanOrEqual(50);
      }),
    );
  });
});
