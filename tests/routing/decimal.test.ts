import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareDecimals, decimalKey, parseDecimal } from '../../src/routing/decimal.js';

function compare(a: string, b: string): number {
  const left = parseDecimal(a);
  const right = parseDecimal(b);
  if (!left || !right) throw new Error(`${a} or ${b} is no number`);
  return Math.sign(compareDecimals(left, right));
}

/** units × 10^-scale in one of the ways it may be written. */
function written(units: bigint, scale: number, style: 'plain' | 'exponent' | 'zeros'): string {
  if (style === 'exponent') return `${units}e-${scale}`;
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, '0');
  const whole = digits.slice(0, digits.length - scale);
  const fraction = digits.slice(digits.length - scale) + (style === 'zeros' ? '000' : '');
  return `${units < 0n ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

const style = fc.constantFrom('plain' as const, 'exponent' as const, 'zeros' as const);
// Near one another as well as far apart, and with more digits than a double holds.
const units = fc.oneof(fc.bigInt({ min: -200n, max: 200n }), fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n }));

describe('decimals', () => {
  it('order as whole numbers of their smallest unit do, however written', () => {
    fc.assert(
      fc.property(units, units, fc.nat(30), fc.nat(30), style, style, (a, b, scaleA, scaleB, styleA, styleB) => {
        const exactA = a * 10n ** BigInt(30 - scaleA);
        const exactB = b * 10n ** BigInt(30 - scaleB);
        const expected = exactA === exactB ? 0 : exactA < exactB ? -1 : 1;
        const textA = written(a, scaleA, styleA);
        const textB = written(b, scaleB, styleB);
        expect(compare(textA, textB)).toBe(expected);
        const same = decimalKey(parseDecimal(textA) as never) === decimalKey(parseDecimal(textB) as never);
        expect(same).toBe(expected === 0);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['9007199254740993', '9007199254740992', 1],
    ['0.1', '0.10000000000000000000000001', -1],
    ['1e400', '1e401', -1],
    ['-1e-400', '0', -1],
    ['-0', '0', 0],
    ['0e99', '0.000', 0],
    ['1E+2', '100', 0],
    ['1e0000000000000000000002', '100', 0],
    ['-5', '-6', 1],
    ['-5', '-5.0', 0],
    ['1e999999999999999', '9.99e999999999999998', 1],
  ])('%s against %s', (a, b, expected) => {
    expect(compare(a, b)).toBe(expected);
  });

  it.each([
    '',
    '01',
    '+1',
    '.5',
    '1.',
    '1e',
    '0x10',
    '1_000',
    ' 1',
    '1 ',
    'NaN',
    'Infinity',
    '--1',
    '1e1234567890123456',
  ])('"%s" is no number', (text) => {
    expect(parseDecimal(text)).toBeUndefined();
  });
});
