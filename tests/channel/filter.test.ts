import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FingerprintFilter, filterShape, GrowingFilter, indexesInto, remainder } from '../../src/channel/filter.js';
import { FilterBank } from '../../src/channel/filter-bank.js';
import { FilterSet } from '../../src/channel/filter-set.js';
import { textOf } from '../../src/channel/sha256.js';
import { settableClock } from '../support/clock.js';

// The package does not export it; a filter has one.
const { BloomFilter } = createRequire(import.meta.url)('bloom-filters') as typeof import('bloom-filters');
const hashing = (new BloomFilter(8, 1) as unknown as { _hashing: OwnHashing })._hashing;

interface OwnHashing {
  hashTwice(value: unknown): { first: number; second: number };
  getIndexes(value: unknown, size: number, hashes: number): number[];
}

const fingerprint = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(textOf);
const anyFingerprint = () => textOf(randomBytes(16));

describe('a filter of fingerprints', () => {
  it('never denies what was added, also after it has been saved and loaded', () => {
    fc.assert(
      fc.property(fc.array(fingerprint, { maxLength: 300 }), fc.integer({ min: 1, max: 300 }), (keys, expected) => {
        const filter = new FingerprintFilter(filterShape(expected));
        for (const key of keys) filter.add(key);
        const loaded = new FingerprintFilter(filter.shape, Uint8Array.from(filter.bytes), filter.keys);
        for (const key of keys) {
          expect(filter.has(key)).toBe(true);
          expect(loaded.has(key)).toBe(true);
        }
      }),
    );
  });

  it('knows a key by all of its bytes, whatever it was asked for before', () => {
    const filter = new FingerprintFilter(filterShape(1000));
    for (let at = 0; at < 12; at++) {
      const key = `${'\0'.repeat(at)}\xff${'\0'.repeat(15 - at)}`;
      expect(filter.has(key)).toBe(false);
      filter.add(key);
      expect(filter.has(key)).toBe(true);
    }
    expect(filter.keys).toBe(12);
  });

  it('errs for at most 0.02 % of keys at 2.4 bytes a key', () => {
    const count = 50_000;
    const filter = new FingerprintFilter(filterShape(count));
    for (let i = 0; i < count; i++) filter.add(anyFingerprint());
    let wrong = 0;
    for (let i = 0; i < 200_000; i++) if (filter.has(anyFingerprint())) wrong++;
    expect(filter.bytes.length / count).toBeLessThan(2.4);
    // 40 expected; three standard deviations above.
    expect(wrong).toBeLessThan(60);
  });

  it("has the package's own indexes, though it computes them otherwise", () => {
    const word = fc.integer({ min: 0, max: 2 ** 48 - 1 });
    fc.assert(
      fc.property(word, word, fc.integer({ min: 1024, max: 2 ** 40 }), (first, second, size) => {
        hashing.hashTwice = () => ({ first, second });
        const indexes = new Float64Array(14);
        indexesInto(indexes, 2, 14, first, second, { size, inverse: 1 / size });
        expect([...indexes.slice(2)]).toEqual(hashing.getIndexes('any', size, 12));
      }),
    );
  });

  it('refuses bytes that do not fit its shape', () => {
    expect(() => new FingerprintFilter(filterShape(10), new Uint8Array(3))).toThrow(RangeError);
  });
});

describe('a growing filter', () => {
  it('keeps everything when it grows beyond what was expected', () => {
    const filter = new GrowingFilter(1000);
    const keys = Array.from({ length: 5000 }, () => anyFingerprint());
    for (const key of keys) filter.add(key);
    expect(keys.every((key) => filter.has(key))).toBe(true);
    expect(filter.keys).toBe(5000);
  });
});

describe('filters that are asked together', () => {
  it('say what each of them would say', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.array(fingerprint, { minLength: 1, maxLength: 300 }), (expected, keys) => {
        // Far more keys than they are made for, so that some that were not added may be there.
        const filters = expected.map((count, i) => ({
          generation: i,
          filter: new FingerprintFilter(filterShape(count)),
        }));
        const [added, others] = [keys.slice(0, keys.length / 2), keys.slice(keys.length / 2)];
        for (const [i, key] of added.entries()) filters[i % filters.length]?.filter.add(key);
        const bank = new FilterBank(filters);
        for (const key of [...added, ...others, ...Array.from({ length: 20 }, anyFingerprint)]) {
          const each = filters.filter(({ filter }) => filter.has(key)).map(({ generation }) => generation);
          expect(bank.mayHave(key)).toEqual(each);
        }
      }),
    );
  });

  it('name a generation once, whose keys lie in several', () => {
    const parts = [1, 2].map(() => ({ generation: 7, filter: new FingerprintFilter(filterShape(10)) }));
    const key = anyFingerprint();
    for (const { filter } of parts) filter.add(key);
    expect(new FilterBank(parts).mayHave(key)).toEqual([7]);
  });

  it('find where a bit lies without a division', () => {
    const word = fc.integer({ min: 0, max: 2 ** 48 - 1 });
    fc.assert(
      fc.property(word, fc.integer({ min: 1024, max: 2 ** 40 }), fc.nat(3), (word, size, near) => {
        const multiple = Math.floor(word / size) * size;
        for (const value of [word, multiple + near, Math.max(0, multiple - near)])
          expect(remainder(value, { size, inverse: 1 / size })).toBe(value % size);
      }),
    );
  });
});

describe('the filters of a window', () => {
  it('look up whatever has no ready filter, and what a ready one calls maybe', () => {
    const filters = new FilterSet(3, 1000, settableClock());
    const [old, fresh] = [anyFingerprint(), anyFingerprint()];
    const sealed = new FingerprintFilter(filterShape(10));
    sealed.add(old);
    filters.seal(1, sealed);
    filters.seal(2, null);
    expect(filters.lookUps(old)).toEqual([1, 2, 3]);
    filters.ready();
    filters.drop(2);
    expect(filters.lookUps(old)).toEqual([1]);
    expect(filters.lookUps(fresh)).toEqual([]);
    filters.remember([fresh]);
    expect(filters.lookUps(fresh)).toEqual([3]);
  });

  it('ask the store for a while after another process was first with a key', () => {
    const clock = settableClock();
    const filters = new FilterSet(1, 1000, clock);
    filters.ready();
    filters.distrust();
    expect(filters.lookUps(anyFingerprint())).toEqual([1]);
    clock.advance(10_000);
    expect(filters.lookUps(anyFingerprint())).toEqual([]);
  });

  it('look up the generation before until its filter is there', () => {
    const filters = new FilterSet(1, 1000, settableClock());
    filters.ready();
    filters.advance([1, 2]);
    expect(filters.lookUps(anyFingerprint())).toEqual([1, 2]);
    expect(filters.missing()).toEqual([1]);
  });

  it('skip no generation when several were opened, and forget what is not there any more', () => {
    const filters = new FilterSet(2, 1000, settableClock());
    filters.seal(1, new FingerprintFilter(filterShape(10)));
    filters.advance([2, 3, 4]);
    expect(filters.lookUps(anyFingerprint())).toEqual([2, 3, 4]);
    expect(filters.status().map(({ generation }) => generation)).toEqual([2, 3, 4]);
    // Read before the last rotation.
    filters.advance([1, 2, 3]);
    expect(filters.current).toBe(4);
    expect(filters.missing()).toEqual([2, 3]);
  });

  it('know a key of the current generation also after that has grown', () => {
    const filters = new FilterSet(1, 1000, settableClock());
    filters.ready();
    const keys = Array.from({ length: 3000 }, anyFingerprint);
    expect(filters.lookUps('never added, 16b')).toEqual([]);
    filters.remember(keys);
    for (const key of keys) expect(filters.lookUps(key)).toEqual([1]);
  });

  it('do not grow with duplicates', () => {
    const filters = new FilterSet(1, 1000, settableClock());
    const key = anyFingerprint();
    filters.remember(Array.from({ length: 5000 }, () => key));
    expect(filters.status()).toMatchObject([{ keys: 1 }]);
  });
});
