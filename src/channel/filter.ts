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
    hashTwice(value: string): { first: number; second: number };
    getIndexes(value: string, size: number, hashes: number): ArrayLike<number>;
  };
  _filter: { array: Uint8Array };
}

/** Fingerprints are hashes already, so two 48-bit words of them stand in for the package's own hashing. */
export function wordsOf(fingerprint: string): { first: number; second: number } {
  return { first: wordAt(fingerprint, 0), second: wordAt(fingerprint, 6) };
}

function wordAt(fingerprint: string, at: number): number {
  return threeBytesAt(fingerprint, at) * 0x1_00_00_00 + threeBytesAt(fingerprint, at + 3);
}

function threeBytesAt(fingerprint: string, at: number): number {
  return (fingerprint.charCodeAt(at) << 16) | (fingerprint.charCodeAt(at + 1) << 8) | fingerprint.charCodeAt(at + 2);
}

/** A filter's size in bits, with 1 / size beside it: dividing by it costs four times as much as multiplying. */
export interface Modulus {
  readonly size: number;
  readonly inverse: number;
}

export function modulusOf({ bits }: FilterShape): Modulus {
  return { size: bits, inverse: 1 / bits };
}

/**
 * The package's own indexes, (first + i * second + (i³ - i) / 6) mod size, by additions: computing each anew costs ten
 * times as much. Written into `indexes` from `at` up to `end`. `size` is below 2^53 / 2.
 */
export function indexesInto(
  indexes: Float64Array,
  at: number,
  end: number,
  first: number,
  second: number,
  modulus: Modulus,
): void {
  const { size } = modulus;
  let index = remainder(first, modulus);
  let step = remainder(second, modulus);
  for (let i = at; i < end; i++) {
    indexes[i] = index;
    index = within(index + step, size);
    step = within(step + i - at + 1, size);
  }
}

/** `value % size` of whole numbers below 2^53. */
export function remainder(value: number, { size, inverse }: Modulus): number {
  const rest = value - Math.floor(value * inverse) * size;
  if (rest < 0) return rest + size;
  return within(rest, size);
}

/** What is less than twice the size, within it. */
function within(index: number, size: number): number {
  return index >= size ? index - size : index;
}

/** What is asked for is mostly added next: its indexes are good until another's are wanted. */
function lastIndexes(shape: FilterShape): Internals['_hashing']['getIndexes'] {
  const indexes = new Float64Array(shape.hashes);
  const modulus = modulusOf(shape);
  let last = '';
  return (fingerprint) => {
    if (fingerprint === last) return indexes;
    last = fingerprint;
    const { first, second } = wordsOf(fingerprint);
    indexesInto(indexes, 0, indexes.length, first, second, modulus);
    return indexes;
  };
}

/** A Bloom filter over fingerprints, 16 characters each, one a byte. No false negatives for what was added. */
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
    internals._hashing.getIndexes = lastIndexes(shape);
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

  add(fingerprint: string): void {
    this.#filter.add(fingerprint);
    this.#keys++;
  }

  /** False: definitely not added. True: maybe. */
  has(fingerprint: string): boolean {
    return this.#filter.has(fingerprint);
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
  /** Filters that have its keys, at least one. */
  readonly parts: FingerprintFilter[];
  #capacity: number;

  constructor(expectedKeys: number) {
    this.#capacity = Math.max(1000, expectedKeys);
    this.parts = [new FingerprintFilter(filterShape(this.#capacity))];
  }

  add(fingerprint: string): void {
    let last = this.parts[this.parts.length - 1] as FingerprintFilter;
    if (last.keys >= this.#capacity) {
      this.#capacity *= 2;
      last = new FingerprintFilter(filterShape(this.#capacity));
      this.parts.push(last);
    }
    last.add(fingerprint);
  }

  has(fingerprint: string): boolean {
    for (const filter of this.parts) if (filter.has(fingerprint)) return true;
    return false;
  }

  get keys(): number {
    return this.parts.reduce((sum, filter) => sum + filter.keys, 0);
  }

  /** Fill of the fullest. */
  get fill(): number {
    return Math.max(...this.parts.map((filter) => filter.fill));
  }

  get bytes(): number {
    return this.parts.reduce((sum, filter) => sum + filter.bytes.length, 0);
  }
}
