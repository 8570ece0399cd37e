import { createRequire } from 'node:module';
import type { BloomFilter as BloomFilterType } from 'bloom-filters';

// The package is CommonJS without named exports that Node can see.
const { BloomFilter } = createRequire(import.meta.url)('bloom-filters') as typeof import('bloom-filters');

/**
 * False positives of a generation by the formula. Double hashing has a quarter more than that (measured), so that five
 * generations make less than 0.1 % over the whole window.
 */
const FALSE_POSITIVES_PER_GENERATION = 0.00014;

/** The shape of a filter: how many bits and how many of them each key sets. */
export interface FilterShape {
  readonly bits: number;
  readonly hashes: number;
}

/** The least bits that keep `keys` keys within the allowed false positives (18.5 bits, 2.31 bytes a key). */
export function filterShape(keys: number): FilterShape {
  const perKey = -Math.log(FALSE_POSITIVES_PER_GENERATION) / Math.LN2 ** 2;
  return { bits: Math.max(1024, Math.ceil((keys * perKey) / 8) * 8), hashes: Math.round(perKey * Math.LN2) };
}

interface Internals {
  _hashing: {
    hashTwice(value: unknown): { first: number; second: number };
    getIndexes(value: unknown, size: number, hashes: number): ArrayLike<number>;
  };
  _filter: { array: Uint8Array };
}

/** Fingerprints are hashes already, so two 48-bit words of them stand in for the package's own hashing. */
function wordsOf(value: unknown): { first: number; second: number } {
  const bytes = value as Buffer;
  return { first: bytes.readUIntBE(0, 6), second: bytes.readUIntBE(6, 6) };
}

/**
 * The package's own indexes, (first + i * second + (i³ - i) / 6) mod size, by additions: computing each anew costs ten
 * times as much. `size` is below 2^53 / 2. The answer is good until the next call.
 */
export function indexesInto(
  indexes: number[],
  { first, second }: { readonly first: number; readonly second: number },
  size: number,
): number[] {
  let index = first % size;
  let step = second % size;
  for (let i = 0; i < indexes.length; i++) {
    indexes[i] = index;
    index += step;
    if (index >= size) index -= size;
    step += i + 1;
    if (step >= size) step -= size;
  }
  return indexes;
}

/** A Bloom filter over fingerprints. No false negatives for what was added. */
export class FingerprintFilter {
  readonly #filter: BloomFilterType;
  #keys: number;

  constructor(
    readonly shape: FilterShape,
    bytes?: Uint8Array,
    keys = 0,
  ) {
    this.#filter = new BloomFilter(shape.bits, shape.hashes);
    const internals = this.#filter as unknown as Internals;
    internals._hashing.hashTwice = wordsOf;
    const indexes = new Array<number>(shape.hashes).fill(0);
    internals._hashing.getIndexes = (value, size) => indexesInto(indexes, wordsOf(value), size);
    if (bytes) {
      if (bytes.length !== internals._filter.array.length) throw new RangeError('the bytes do not fit the shape');
      internals._filter.array = bytes;
    }
    this.#keys = keys;
  }

  /** Keys added so far. */
  get keys(): number {
    return this.#keys;
  }

  /** The bits themselves, for saving. */
  get bytes(): Uint8Array {
    return (this.#filter as unknown as Internals)._filter.array;
  }

  add(fingerprint: Buffer): void {
    this.#filter.add(fingerprint as never);
    this.#keys++;
  }

  /** False: definitely not added. True: maybe. */
  has(fingerprint: Buffer): boolean {
    return this.#filter.has(fingerprint as never);
  }

  /** Share of bits that keys of this number set, 0 to 1. Computed, not counted: counting would read every bit. */
  get fill(): number {
    return 1 - Math.exp((-this.shape.hashes * this.#keys) / this.shape.bits);
  }
}

/**
 * A filter that never fills up: when one is full a second, twice as large, stands beside it.
 * For the current generation, whose number of keys nobody knows yet.
 */
export class GrowingFilter {
  readonly #filters: FingerprintFilter[];
  #capacity: number;

  constructor(expectedKeys: number) {
    this.#capacity = Math.max(1000, expectedKeys);
    this.#filters = [new FingerprintFilter(filterShape(this.#capacity))];
  }

  add(fingerprint: Buffer): void {
    let last = this.#filters[this.#filters.length - 1] as FingerprintFilter;
    if (last.keys >= this.#capacity) {
      this.#capacity *= 2;
      last = new FingerprintFilter(filterShape(this.#capacity));
      this.#filters.push(last);
    }
    last.add(fingerprint);
  }

  has(fingerprint: Buffer): boolean {
    for (const filter of this.#filters) if (filter.has(fingerprint)) return true;
    return false;
  }

  get keys(): number {
    return this.#filters.reduce((sum, filter) => sum + filter.keys, 0);
  }

  /** Fill of the fullest. */
  get fill(): number {
    return Math.max(...this.#filters.map((filter) => filter.fill));
  }

  get bytes(): number {
    return this.#filters.reduce((sum, filter) => sum + filter.bytes.length, 0);
  }
}
