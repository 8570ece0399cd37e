import { describe, expect, it } from 'vitest';
import { type Price, rateCardSchema, subscriptionSchema } from '../../src/billing/definitions.js';
import {
  adjustments,
  askedOf,
  type Contract,
  flatLines,
  joinRanges,
  type Line,
  type Series,
  segmentsOf,
  totalOf,
  usageLine,
} from '../../src/billing/statement.js';
import { periodNamed } from '../../src/billing/zone.js';

const ROUNDING = { digits: 2, mode: 'half_even' } as const;

function contract(name: string, versions: { from: string; prices: Price[] }[], subscription: object): Contract {
  return {
    name,
    card: rateCardSchema.parse({ currency: 'EUR', versions }),
    subscription: subscriptionSchema.parse({ account: 'acme', rateCard: name, currency: 'EUR', ...subscription }),
  };
}

function series(id: number, meter: string, dimensions = {}): Series {
  return { id, meter, aggregation: 'sum', unit: null, dimensions };
}

function month(name: string, zone = 'UTC') {
  const period = periodNamed(name, 'month', zone);
  if (!period) throw new Error(`${name} is no month`);
  return period;
}

const FEE: Price = { model: 'flat', name: 'Base', amount: '31.00' };

describe('the parts of a period', () => {
  it('are one where nothing changes', () => {
    const [only, ...others] = segmentsOf(month('2026-03'), [
      contract('basic', [{ from: '2020-01-01', prices: [FEE] }], { from: '2025-01-01' }),
    ]);
    expect(others).toEqual([]);
    expect(only && flatLines(only, ROUNDING)[0]?.amount).toBe('31.00');
  });

  it('begin with each subscription and each version of its card, and share the fee by their time', () => {
    const parts = segmentsOf(month('2026-01'), [
      contract('new', [{ from: '2020-01-01', prices: [{ ...FEE, amount: '62.00' }] }], { from: '2026-01-21' }),
      contract(
        'old',
        [
          { from: '2020-01-01', prices: [FEE] },
          { from: '2026-01-11', prices: [{ ...FEE, amount: '93.00' }] },
        ],
        { from: '2026-01-02', until: '2026-01-16' },
      ),
    ]);
    expect(
      parts.map(({ from, to, terms }) => [new Date(from).getUTCDate(), (to - from) / 86_400_000, terms?.version]),
    ).toEqual([
      [1, 1, undefined],
      [2, 9, '2020-01-01'],
      [11, 5, '2026-01-11'],
      [16, 5, undefined],
      [21, 11, '2020-01-01'],
    ]);
    expect(parts.flatMap((part) => flatLines(part, ROUNDING)).map(({ amount }) => amount)).toEqual([
      '9.00',
      '15.00',
      '22.00',
    ]);
  });

  it('share by hours that pass, also where the clock changes', () => {
    // March in Berlin has 743 hours; the last 15 days of it 359.
    const parts = segmentsOf(month('2026-03', 'Europe/Berlin'), [
      contract('late', [{ from: '2020-01-01', prices: [{ ...FEE, amount: '743.00' }] }], {
        from: '2026-03-17',
        zone: 'Europe/Berlin',
      }),
    ]);
    expect(parts.flatMap((part) => flatLines(part, ROUNDING)).map(({ amount }) => amount)).toEqual(['359.00']);
  });
});

describe('lines', () => {
  const prices: Price[] = [
    { model: 'per_unit', meter: 'gb', price: '2', where: { region: 'eu' } },
    { model: 'per_unit', meter: 'gb', price: '3', per: ['region'] },
    { model: 'per_unit', meter: 'calls', price: '0.001' },
  ];
  const [segment] = segmentsOf(month('2026-03'), [
    contract('c', [{ from: '2020-01-01', prices }], { from: '2020-01-01' }),
  ]);
  if (!segment) throw new Error('no segment');

  it('take each series once, at the first price that fits; what fits none is unpriced', () => {
    const asked = askedOf(segment, [
      series(1, 'gb', { region: 'us', tier: 'hot' }),
      series(2, 'gb', { region: 'eu', tier: 'hot' }),
      series(3, 'gb', { region: 'eu', tier: 'cold' }),
      series(4, 'gb', { region: 'us', tier: 'cold' }),
      series(5, 'gb', { region: 'as' }),
      series(6, 'calls'),
      series(7, 'seats'),
    ]);
    const lines = asked.map((each) => usageLine(each, { quantity: '10', events: 3, ranges: [] }, ROUNDING));
    expect(asked.map(({ series: ids }, i) => [ids, lines[i]?.dimensions, lines[i]?.kind, lines[i]?.amount])).toEqual([
      [[6], {}, 'usage', '0.01'],
      [[5], { region: 'as' }, 'usage', '30.00'],
      [[3, 2], { region: 'eu' }, 'usage', '20.00'],
      [[4, 1], { region: 'us' }, 'usage', '30.00'],
      [[7], {}, 'unpriced', null],
    ]);
    expect(totalOf(lines, ROUNDING)).toBe('80.01');
  });

  it('are rounded once each, and the total is their sum', () => {
    const asked = askedOf(segment, [series(6, 'calls'), series(1, 'gb', { region: 'us' })]);
    const lines = asked.map((each) => usageLine(each, { quantity: '5', events: 5, ranges: [] }, ROUNDING));
    // Half a cent goes to the even one.
    expect(lines.map(({ amount }) => amount)).toEqual(['0.00', '15.00']);
    expect(totalOf(lines, ROUNDING)).toBe('15.00');
  });
});

describe('adjustments', () => {
  const tiers = [
    { upTo: '100', price: '1' },
    { upTo: null, price: '0.5' },
  ];
  const [segment] = segmentsOf(month('2026-03'), [
    contract('c', [{ from: '2020-01-01', prices: [{ model: 'graduated', meter: 'gb', tiers }] }], {
      from: '2020-01-01',
    }),
  ]);
  const line = (quantity: string, events: number): Line => {
    const [asked] = segment ? askedOf(segment, [series(1, 'gb')]) : [];
    if (!asked) throw new Error('nothing asked');
    return usageLine(asked, { quantity, events, ranges: [] }, ROUNDING);
  };

  it('are the difference of the whole period, across the edge of a tier', () => {
    const [only, ...others] = adjustments('2026-03', [line('90', 3)], [line('110', 4)], ROUNDING);
    expect(others).toEqual([]);
    expect(only).toMatchObject({ kind: 'adjustment', period: '2026-03', quantity: '20', events: 1, amount: '15.00' });
  });

  it('are made once: the next statement knows of them', () => {
    const first = adjustments('2026-03', [line('90', 3)], [line('110', 4)], ROUNDING);
    expect(adjustments('2026-03', [line('90', 3), ...first], [line('110', 4)], ROUNDING)).toEqual([]);
    const back = adjustments('2026-03', [line('90', 3), ...first], [line('80', 2)], ROUNDING);
    expect(back).toMatchObject([{ quantity: '-30', amount: '-25.00', events: -2 }]);
  });

  it('take a line back that is there no more', () => {
    expect(adjustments('2026-03', [line('90', 3)], [], ROUNDING)).toMatchObject([
      { quantity: '-90', amount: '-90.00', events: -3 },
    ]);
  });
});

describe('ranges', () => {
  it('are joined where they touch, and the nearest where there are too many', () => {
    const range = (from: number, to: number, channel = 0) => ({ channel, from, to });
    expect(joinRanges([range(5, 6), range(1, 2), range(3, 4), range(9, 9)], 10)).toEqual([range(1, 6), range(9, 9)]);
    expect(joinRanges([range(1, 2), range(10, 11), range(13, 14), range(1, 1, 1)], 3)).toEqual([
      range(1, 2),
      range(10, 14),
      range(1, 1, 1),
    ]);
    expect(joinRanges([range(1, 2), range(10, 11), range(1, 1, 1)], 1)).toEqual([range(1, 11), range(1, 1, 1)]);
  });
});
