import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MeteredPrice, rateCardSchema } from '../../src/billing/definitions.js';
import { ALL, Exact, type Share } from '../../src/billing/exact.js';
import { priceQuantity, rounded } from '../../src/billing/price.js';

const HALF: Share = { of: new Exact(1), whole: new Exact(2) };
const amount = (quantity: string, price: MeteredPrice, share: Share = ALL, aggregation: 'sum' | 'max' = 'sum') =>
  priceQuantity(new Exact(quantity), price, aggregation, share).amount.toFixed();

const tiers = [
  { upTo: '1000', price: '0.10', flat: '5' },
  { upTo: '5000', price: '0.05' },
  { upTo: null, price: '0.01', flat: '20' },
];
const graduated: MeteredPrice = { model: 'graduated', meter: 'calls', tiers };
const volume: MeteredPrice = { model: 'volume', meter: 'calls', tiers };
const perUnit: MeteredPrice = { model: 'per_unit', meter: 'calls', price: '0.003', free: '100' };

describe('a price', () => {
  it.each([
    ['0', '0'],
    ['99.5', '0'],
    ['100', '0'],
    ['100.000000000000000001', '0.000000000000000000003'],
    ['1100', '3'],
    // A credit uses up nothing that is free.
    ['-10', '-0.03'],
  ])('per unit, 100 free: %s cost %s', (quantity, cost) => {
    expect(amount(quantity, perUnit)).toBe(cost);
  });

  it.each([
    ['0', '0'],
    ['1', '5.1'],
    ['1000', '105'],
    ['1000.01', '105.0005'],
    ['1001', '105.05'],
    ['5000', '305'],
    ['5000.5', '325.005'],
    ['6000', '335'],
    ['-2', '-0.2'],
  ])('graduated: %s cost %s', (quantity, cost) => {
    expect(amount(quantity, graduated)).toBe(cost);
  });

  it.each([
    ['0', '0'],
    ['1', '5.1'],
    ['1000', '105'],
    ['1000.01', '50.0005'],
    ['5000', '250'],
    ['5000.5', '70.005'],
    ['6000', '80'],
  ])('by volume: %s cost %s', (quantity, cost) => {
    expect(amount(quantity, volume)).toBe(cost);
  });

  it('shrinks allowances and tiers with its share of the period, for what adds up', () => {
    expect(amount('550', perUnit, HALF)).toBe('1.5');
    expect(amount('1000', graduated, HALF)).toBe(new Exact(500).times('0.10').plus(5).plus(25).toFixed());
  });

  it('costs its share of the price, for what is a level', () => {
    expect(amount('1100', perUnit, HALF, 'max')).toBe('1.5');
    expect(amount('1000', graduated, HALF, 'max')).toBe('52.5');
  });

  it('says each step, and the steps add up', () => {
    const { steps } = priceQuantity(new Exact('6000'), graduated, 'sum', ALL);
    expect(steps).toEqual([
      { quantity: '1000', price: '0.10', flat: '5', upTo: '1000', amount: '105' },
      { quantity: '4000', price: '0.05', flat: null, upTo: '5000', amount: '200' },
      { quantity: '1000', price: '0.01', flat: '20', upTo: null, amount: '30' },
    ]);
  });

  it('of tiers is what counting unit by unit comes to', () => {
    const card = fc.record({
      bounds: fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }),
      prices: fc.array(fc.integer({ min: 0, max: 999 }), { minLength: 5, maxLength: 5 }),
      free: fc.integer({ min: 0, max: 20 }),
      quantity: fc.integer({ min: 0, max: 90 }),
    });
    fc.assert(
      fc.property(card, ({ bounds, prices, free, quantity }) => {
        const ends = [...bounds.sort((a, b) => a - b), null];
        const steps = ends.map((upTo, i) => ({
          upTo: upTo === null ? null : String(upTo),
          price: `0.${String(prices[i]).padStart(3, '0')}`,
        }));
        let thousandths = 0;
        for (let unit = 1; unit <= quantity - free; unit++) {
          const tier = ends.findIndex((upTo) => upTo === null || unit <= upTo);
          thousandths += prices[tier] as number;
        }
        const price: MeteredPrice = { model: 'graduated', meter: 'm', tiers: steps, free: String(free) };
        expect(amount(String(quantity), price)).toBe(new Exact(thousandths).div(1000).toFixed());
      }),
    );
  });
});

describe('rounding', () => {
  it.each([
    ['2.345', 'half_even', '2.34'],
    ['2.355', 'half_even', '2.36'],
    ['2.345', 'half_up', '2.35'],
    ['-2.345', 'half_up', '-2.35'],
    ['2.341', 'up', '2.35'],
    ['2.349', 'down', '2.34'],
    ['-0.001', 'half_even', '0.00'],
    ['12', 'half_even', '12.00'],
  ] as const)('%s %s is %s', (text, mode, cost) => {
    expect(rounded(new Exact(text), { digits: 2, mode })).toBe(cost);
  });

  it('happens to no digit before it is asked for', () => {
    const price: MeteredPrice = { model: 'per_unit', meter: 'm', price: '0.00000000000000000001' };
    expect(amount(`${'9'.repeat(40)}.${'9'.repeat(20)}`, price)).toBe(`${'9'.repeat(20)}.${'9'.repeat(40)}`);
  });
});

describe('a rate card', () => {
  const card = (prices: unknown[]) => ({ currency: 'EUR', versions: [{ from: '2026-01-01', prices }] });
  const said = (value: unknown) => {
    const read = rateCardSchema.safeParse(value);
    return read.success ? [] : read.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  };

  it('says what is wrong with its tiers and dates', () => {
    const upside = [
      { upTo: '10', price: '1' },
      { upTo: '9.99', price: '1' },
      { upTo: null, price: '1' },
    ];
    expect(said(card([{ model: 'volume', meter: 'm', tiers: upside }]))).toEqual([
      'versions.0.prices.0.tiers.1.upTo: must be more than 10',
    ]);
    expect(said(card([{ model: 'volume', meter: 'm', tiers: [{ upTo: '10', price: '1' }] }]))).toEqual([
      'versions.0.prices.0.tiers.0.upTo: is null in the last tier, and there alone',
    ]);
    expect(said(card([{ model: 'per_unit', meter: 'm', price: 0.1 }]))).toHaveLength(1);
    expect(said(card([{ model: 'per_unit', meter: 'm', price: '1e3' }]))).toHaveLength(1);
    expect(said({ currency: 'EUR', versions: [{ from: '2026-02-30', prices: [] }] })).toHaveLength(1);
    const twice = [
      { from: '2026-02-01', prices: [] },
      { from: '2026-02-01', prices: [] },
    ];
    expect(said({ currency: 'EUR', versions: twice })).toEqual(['versions.1.from: must be after 2026-02-01']);
  });
});
