import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readAmount } from '../../../src/content/extract/amount.js';

describe('an amount', () => {
  it.each([
    ['1.250,00 €', '1250.00', 'EUR'],
    ['€ 1,250.00', '1250.00', 'EUR'],
    ['EUR 12', '12', 'EUR'],
    ['12,5', '12.5', null],
    ['-12.50 USD', '-12.50', 'USD'],
    ['1 000 000,05 CHF', '1000000.05', 'CHF'],
    ["1'234'567.8", '1234567.8', null],
    ['1.234.567', '1234567', null],
    ['0.125', '0.125', null],
    ['0,125 kwd', '0.125', 'KWD'],
    ['12345.678', '12345.678', null],
    ['99999999999999999999.01', '99999999999999999999.01', null],
    ['US$5', '5', 'USD'],
  ])('%s', (written, digits, currency) => {
    expect(readAmount(written, null)).toEqual({ digits, currency });
  });

  it.each([
    '1.234',
    '1,234',
    '€1.234',
    '12.34.56',
    '1,23,4',
    '3 items',
    '10 %',
    'free',
    '',
    '1.2.3.4',
    '5 EUR USD',
    '1-2',
  ])('leaves "%s" alone: it is none, or could be two', (written) => {
    expect(readAmount(written, null)).toBeNull();
  });

  it('is told by the decimal sign of its source what it means', () => {
    expect(readAmount('1.234', ',')).toEqual({ digits: '1234', currency: null });
    expect(readAmount('1.234', '.')).toEqual({ digits: '1.234', currency: null });
    expect(readAmount('1,234', '.')).toEqual({ digits: '1234', currency: null });
    expect(readAmount('1.234,5', '.')).toBeNull();
  });

  it('is the same digits, however it is grouped', () => {
    const whole = fc.bigInt({ min: 0n, max: 10n ** 18n });
    const cents = fc.integer({ min: 0, max: 99 });
    const style = fc.constantFrom([',', '.'], ['.', ','], [' ', ','], ["'", '.'], ['', '.'], ['', ',']);
    fc.assert(
      fc.property(whole, cents, style, (n, c, [group = '', decimal = '']) => {
        const fraction = String(c).padStart(2, '0');
        const written = `${String(n).replace(/\B(?=(\d{3})+$)/g, group)}${decimal}${fraction}`;
        expect(readAmount(`${written} EUR`, null)).toEqual({ digits: `${n}.${fraction}`, currency: 'EUR' });
      }),
    );
  });

  it('never loses or makes up a digit, and never fails', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[-+€$A-Z0-9., ']{0,40}$/),
        fc.constantFrom(null, '.' as const, ',' as const),
        (text, decimal) => {
          const amount = readAmount(text, decimal);
          if (!amount) return;
          expect(amount.digits).toMatch(/^-?\d+(\.\d+)?$/);
          expect(amount.digits.replace(/\D/g, '').replace(/^0+/, '')).toBe(text.replace(/\D/g, '').replace(/^0+/, ''));
        },
      ),
      { numRuns: 2000 },
    );
  });
});
