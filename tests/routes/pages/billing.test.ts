import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { changeOf } from '../../../routes/ledger-views.js';
import { barsOf, scaleOf } from '../../../routes/pages/bars.js';
import { backTo, exactTime, grouped } from '../../../routes/pages/billing-words.js';
import { definitionText, readDefinition } from '../../../routes/pages/definition-text.js';
import { meterSchema, rateCardSchema } from '../../../src/billing/definitions.js';
import { spentMs } from '../../support/spent.js';

describe('bars', () => {
  const bar = (quantity: string) => ({ quantity, label: quantity, href: '/' });
  const decimal = fc
    .tuple(fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n }), fc.nat({ max: 999_999_999 }))
    .map(([whole, part]) => `${whole}.${String(part).padStart(9, '0')}`);

  test('stand within the drawing whatever they are, in their order, the greatest and the least at its edges', () => {
    fc.assert(
      fc.property(fc.array(fc.option(decimal), { maxLength: 50 }), (values) => {
        const known = values.filter((value) => value !== null);
        const { bars, height, zero } = barsOf(
          values.map((value) => (value === null ? null : bar(value))),
          scaleOf(known),
        );
        expect(bars.map(({ label }) => label)).toEqual(known);
        for (const [i, { x, y, width, height: tall, left, room }] of bars.entries()) {
          expect(y).toBeGreaterThanOrEqual(0);
          expect(y + tall).toBeLessThanOrEqual(height + 0.02);
          expect(tall).toBeGreaterThanOrEqual(2);
          expect(x).toBeGreaterThanOrEqual(left);
          expect(x + width).toBeLessThanOrEqual(left + room + 0.02);
          expect(left).toBeGreaterThan(i === 0 ? -1 : (bars[i - 1]?.left ?? 0));
        }
        expect(zero).toBeGreaterThanOrEqual(0);
        expect(zero).toBeLessThanOrEqual(height);
      }),
    );
  });

  test('are as high as they say, above zero and below it', () => {
    const { bars, zero } = barsOf([bar('30'), null, bar('-10'), bar('15')], scaleOf(['30', '-10', '15']));
    expect(zero).toBe(90);
    expect(bars.map(({ y, height }) => [y, height])).toEqual([
      [0, 90],
      [90, 30],
      [45, 45],
    ]);
  });
});

describe('words', () => {
  test('quantities keep every digit', () => {
    fc.assert(
      fc.property(fc.bigInt(), fc.stringMatching(/^(\.\d{1,20})?$/), (whole, part) => {
        const written = grouped(`${whole}${part}`);
        expect(written.replaceAll(',', '').replace('−', '-')).toBe(`${whole}${part}`);
      }),
    );
    expect(grouped('-1234567.5')).toBe('−1,234,567.5');
    expect(grouped('999')).toBe('999');
  });

  test('a change is said against what was before', () => {
    expect(changeOf('110', '100')).toBe('+10 %');
    expect(changeOf('0', '0')).toBeNull();
    expect(changeOf('1', '0')).toBe('new');
    expect(changeOf('5', '5')).toBe('the same');
    expect(changeOf('0', '3')).toBe('−100 %');
    expect(changeOf('-5', '-10')).toBe('+50 %');
    expect(changeOf('11505', '10')).toBe('+114,950 %');
  });

  test('times are to the microsecond where they have any', () => {
    expect(exactTime('2026-03-29T01:02:03.000000Z')).toBe('2026-03-29 01:02:03 UTC');
    expect(exactTime('2026-03-29T01:02:03.120000Z')).toBe('2026-03-29 01:02:03.12 UTC');
    expect(exactTime('2026-03-29T01:02:03.000001Z')).toBe('2026-03-29 01:02:03.000001 UTC');
  });

  test('an address that is too long leads nowhere back', () => {
    expect(backTo('/billing')).toBe('/billing');
    expect(backTo(`/billing/accounts/${'%F0%9F%98%80'.repeat(512)}`)).toBeUndefined();
  });
});

describe('definitions as text', () => {
  const problems = (text: string) => {
    const read = readDefinition(text, rateCardSchema);
    return read.ok ? [] : read.problems;
  };

  test('are read as they were written', () => {
    const meter = meterSchema.parse({
      type: 'a',
      aggregation: 'sum',
      value: '/data/n',
      dimensions: { region: '/data/r' },
    });
    expect(readDefinition(definitionText(meter), meterSchema)).toEqual({ ok: true, value: meter });
    expect(readDefinition(JSON.stringify(meter), meterSchema)).toEqual({ ok: true, value: meter });
  });

  test('say where what is wrong', () => {
    expect(problems('currency: EUR\nversions:\n  - from: 2026-02-30\n    prices: []\n')).toEqual([
      { line: 3, column: 11, message: 'versions.0.from: no such day' },
    ]);
    const number =
      'currency: EUR\nversions:\n  - from: 2026-01-01\n    prices:\n      - {model: flat, name: Base, amount: 0.1}\n';
    expect(problems(number)).toEqual([
      {
        line: 5,
        column: 43,
        message: expect.stringContaining('write the number in quotes, so that it keeps every digit'),
      },
    ]);
    expect(problems('currency: [')[0]).toMatchObject({ line: 1 });
    expect(problems('')).toHaveLength(1);
  });

  test('are bounded: neither nesting nor aliases make much of little', () => {
    expect(problems('['.repeat(50_000))).toEqual([
      { line: 1, column: expect.any(Number), message: 'It is nested too deeply.' },
    ]);
    const laughs = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`);
    const from = spentMs();
    expect(problems(`a0: &a0 [x]\n${laughs.join('\n')}\n`).length).toBeGreaterThan(0);
    expect(spentMs() - from).toBeLessThan(2_000);
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => void problems(text)));
  });
});
