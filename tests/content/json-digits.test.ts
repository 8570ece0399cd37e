import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { expect, it } from 'vitest';
import { readExact } from '../../src/content/json/exact.js';
import { readJson } from '../../src/content/json/read.js';

const digits = (most: number) => fc.stringMatching(new RegExp(`^[0-9]{1,${most}}$`));
/** As JSON writes numbers: short ones, ones with zeros around the point or at the end, and ones that are no doubles. */
const number = fc
  .record({
    minus: fc.constantFrom('', '-'),
    whole: fc.oneof(fc.constant('0'), digits(18)).map((text) => text.replace(/^0+(?=\d)/, '')),
    fraction: fc.option(
      fc.oneof(
        digits(4),
        digits(17),
        digits(3).map((text) => `00000${text}`),
      ),
    ),
    exponent: fc.option(fc.constantFrom('e1', 'E-7', 'e+20'), { freq: 10 }),
  })
  .map(({ minus, whole, fraction, exponent }) => {
    const point = fraction === null ? '' : `.${fraction}`;
    return `${minus}${whole}${point}${exponent ?? ''}`;
  });

it('a number is a double only where that prints as it was written', () => {
  fc.assert(
    fc.property(number, (token) => {
      const value = readExact(token);
      const isDouble = String(Number(token)) === token;
      expect(value).toEqual(isDouble ? Number(token) : new LosslessNumber(token));
      const bytes = Buffer.from(`{"n":${token}}`);
      const read = readJson(bytes, 0, bytes.length);
      expect(read).toEqual({ ok: true, json: { value: { n: value }, lossless: !isDouble } });
    }),
    { numRuns: 5_000 },
  );
});

it.each(['0.1', '-0.5', '12.25', '123456789.12345', '10', '0', '100.01'])('%s is a double', (token) => {
  expect(readExact(token)).toBe(Number(token));
});

it.each(['-0', '0.10', '1.0', '12.50', '0.0000001', '12345678901234567.5', '1e2', '0.0'])('%s is not', (token) => {
  expect(readExact(token)).toEqual(new LosslessNumber(token));
});
