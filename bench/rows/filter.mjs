import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { FingerprintFilter, filterShape } from '../../dist/src/channel/filter.js';
import { inTurn, median, perSecond } from '../measure.mjs';

const { BloomFilter } = createRequire(import.meta.url)('bloom-filters');

/** Test and set of fingerprints; against the package with its own hashing, and what the filter costs and errs. */
export async function run({ scale }) {
  const count = Math.ceil(300_000 * scale);
  const shape = filterShape(count);
  const keys = Array.from({ length: count }, () => randomBytes(16));
  const texts = keys.slice(0, Math.ceil(count / 20)).map((key) => key.toString('hex'));
  const { a, b } = await inTurn(
    5,
    async () => testAndSet(new FingerprintFilter(shape), keys),
    async () => testAndSet(new BloomFilter(shape.bits, shape.hashes), texts),
  );
  const filter = new FingerprintFilter(shape);
  for (const key of keys) filter.add(key);
  let wrong = 0;
  for (let i = 0; i < count; i++) if (filter.has(randomBytes(16))) wrong++;
  return {
    row: 'filter test-and-set on fingerprints',
    unit: 'keys/s',
    figure: median(a),
    limit: median(b),
    limitIs: "the package's own hashing",
    goal: 10,
    floor: 10,
    least: 500_000,
    also: {
      bytesPerKey: Math.round((filter.bytes.length / count) * 100) / 100,
      falsePositivesFiveGenerations: `${((wrong / count) * 500).toFixed(3)} %`,
    },
  };
}

function testAndSet(filter, keys) {
  const begun = performance.now();
  for (const key of keys) if (!filter.has(key)) filter.add(key);
  return perSecond(keys.length, performance.now() - begun);
}
