import { describe, expect, it } from 'vitest';
import { createFreshWords } from '../../src/storage/fresh-words.js';

const view = (sequence: number, rung = 0) => ({ sequence, rung });

describe('words of views just written', () => {
  it('are kept by channel until they are let go of', () => {
    const fresh = createFreshWords(1e6);
    fresh.put(1, 0, view(1), 'one');
    fresh.put(1, 0, view(2), 'two');
    fresh.put(1, 0, view(2, 3), 'other');
    fresh.put(2, 0, view(1), 'another');
    const before = fresh.of(1, 0);
    expect([...before]).toEqual([
      [1, { rung: 0, words: 'one' }],
      [2, { rung: 3, words: 'other' }],
    ]);
    fresh.dropUpTo(1, 0, 1);
    expect([...fresh.of(1, 0).keys()]).toEqual([2]);
    expect(before.size).toBe(2);
    expect([...fresh.of(2, 0).keys()]).toEqual([1]);
    fresh.dropUpTo(1, 0, 2);
    expect(fresh.of(1, 0).size).toBe(0);
  });

  it('are no more than it may keep: those that were not asked for longest go', () => {
    const fresh = createFreshWords(3_000);
    for (let n = 1; n <= 100; n++) {
      fresh.put(1, n % 2, view(n), 'x'.repeat(800));
      const kept = [...fresh.of(1, 0).keys(), ...fresh.of(1, 1).keys()];
      expect(kept).toContain(n);
      expect(kept.length).toBe(Math.min(n, 3));
    }
    fresh.put(1, 2, view(1), 'x'.repeat(4_000));
    expect([0, 1, 2].flatMap((channel) => [...fresh.of(1, channel)])).toEqual([]);
  });
});
