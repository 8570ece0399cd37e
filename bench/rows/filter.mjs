import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { FingerprintFilter, filterShape } from '../../dist/src/channel/filter.js';
import { atLeast, atMost, compared, inTurn, perSecond } from '../measure.mjs';

const { BloomFilter } = createRequire(import.meta.url)('bloom-filters');

/** Test and set of fingerprints; against the package with its own hashing, and what the filter costs and errs. */
export async function run({ scale }) {
  const count = Math.ceil(300_000 * scale);
  const shape = filterShape(count);
  const keys = Array.from({ length: count }, fingerprint);
  const texts = keys.slice(0, Math.ceil(count / 20)).map((key) => Buffer.from(key, 'latin1').toString('hex'));
  const figures = await inTurn(
    5,
    async () => testAndSet(new FingerprintFilter(shape), keys),
    async () => testAndSet(new BloomFilter(shape.bits, shape.hashes), texts),
  );
  const filter = new FingerprintFilter(shape);
  for (const key of keys) filter.add(key);
  let wrong = 0;
  for (let i = 0; i < count; i++) if (filter.has(fingerprint())) wrong++;
  const found = compared(figures);
  return {
    row: 'filter test-and-set on fingerprints',
    unit: 'keys/s',
    ...found,
    limitIs: "the package's own hashing",
    goals: [
      atLeast('keys/s', found.figure, 500_000),
      atMost('bytes a key', filter.bytes.length / count, 2.4),
      atMost('false positives over the window, %', (wrong / count) * 500, 0.1),
    ],
  };
}

function fingerprint() {
  return randomBytes(16).toString('latin1');
}

function testAndSet(filter, keys) {
  const begun = performance.now();
  for (const key of keys) if (!filter.has(key)) filter.add(key);
  return perSecond(keys.length, performance.now() - begun);
}
