import fc from 'fast-check';
import { expect, it } from 'vitest';
import { byCell, type Countable, cellsOf } from '../../src/billing/cells.js';
import { AGGREGATIONS, type Aggregation } from '../../src/billing/definitions.js';
import { Exact, greaterOf, lesserOf, sumOf } from '../../src/billing/exact.js';

/** As senders write numbers: long ones, with zeros at either end, with exponents. */
const value = fc
  .tuple(
    fc.boolean(),
    fc.bigInt({ min: 0n, max: 10n ** 30n }),
    fc.option(fc.stringMatching(/^\d{1,18}$/), { nil: null }),
    fc.option(fc.integer({ min: -9, max: 9 }), { nil: null }),
  )
  .map(([minus, whole, fraction, exponent]) => {
    const digits = `${minus ? '-' : ''}${whole}${fraction === null ? '' : `.${fraction}`}`;
    return exponent === null ? digits : `${digits}e${exponent}`;
  });

it('adds and compares as decimal.js does', () => {
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 8 }), (values) => {
      const exact = values.map((each) => new Exact(each));
      expect(new Exact(sumOf(values)).eq(Exact.sum(...exact))).toBe(true);
      expect(new Exact(values.reduce(greaterOf)).eq(Exact.max(...exact))).toBe(true);
      expect(new Exact(values.reduce(lesserOf)).eq(Exact.min(...exact))).toBe(true);
    }),
  );
});

/** As PostgreSQL writes a time: without zeros at the end of the fraction. */
const at = fc
  .tuple(fc.integer({ min: 10, max: 12 }), fc.integer({ min: 10, max: 12 }), fc.constantFrom('', '.1', '.10001', '.2'))
  .map(([hour, minute, fraction]) => `2026-03-01 ${hour}:${minute}:00${fraction}+00`);

const entry = fc.record({
  series: fc.integer({ min: 1, max: 3 }),
  at,
  n: value,
  who: fc.constantFrom('aa', 'bb', 'cc'),
});

it('makes of entries in any order what each hour of a series comes to', () => {
  fc.assert(
    fc.property(fc.constantFrom(...AGGREGATIONS), fc.array(entry, { maxLength: 30 }), (aggregation, given) => {
      const entries = given.map(({ series, at, n, who }, sequence): Countable => {
        const isValued = aggregation !== 'count' && aggregation !== 'unique';
        return {
          series,
          aggregation,
          at,
          sequence,
          value: isValued ? n : null,
          member: aggregation === 'unique' ? who : null,
        };
      });
      const cells = cellsOf([...entries].sort(byCell));
      const keys = cells.map(({ series, hour }) => `${series} ${hour}`);
      expect(new Set(keys).size).toBe(keys.length);
      expect(cells.reduce((sum, { events }) => sum + events, 0)).toBe(entries.length);
      for (const cell of cells) {
        const own = entries.filter(({ series, at }) => series === cell.series && at.slice(0, 13) === cell.hour);
        const last = own.reduce((a, b) =>
          moment(b) > moment(a) || (moment(b) === moment(a) && b.sequence > a.sequence) ? b : a,
        );
        expect(cell).toMatchObject({ events: own.length, at: last.at, sequence: last.sequence });
        expect(cell.first).toBe(Math.min(...own.map(({ sequence }) => sequence)));
        expect(cell.final).toBe(Math.max(...own.map(({ sequence }) => sequence)));
        expect([...cell.members].sort()).toEqual([...new Set(own.flatMap(({ member }) => member ?? []))].sort());
        expect(expected(aggregation, own, last)?.eq(cell.value ?? 'NaN') ?? cell.value === null).toBe(true);
      }
    }),
  );
});

/** Microseconds of the day. */
function moment({ at }: Countable): number {
  const [hour, minute, second] = at.slice(11, -3).split(':').map(Number) as [number, number, number];
  return Math.round((hour * 3_600 + minute * 60 + second) * 1e6);
}

function expected(aggregation: Aggregation, own: readonly Countable[], last: Countable): Exact | null {
  if (aggregation === 'count' || aggregation === 'unique') return null;
  const values = own.map(({ value }) => new Exact(value as string));
  switch (aggregation) {
    case 'sum':
      return Exact.sum(...values);
    case 'max':
      return Exact.max(...values);
    case 'min':
      return Exact.min(...values);
    case 'last':
      return new Exact(last.value as string);
    default: {
      const never: never = aggregation;
      return never;
    }
  }
}
