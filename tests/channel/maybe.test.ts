import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isBelow, maybeSchema, UnseenRoom, unseenBelow } from '../../src/channel/maybe.js';
import { sourceDefinitionSchema } from '../../src/channel/source.js';

/** A number as many ways to write it as there are, with what it comes to in units of 10^-60. */
const written = fc
  .record({
    negative: fc.boolean(),
    whole: fc.bigInt({ min: 0n, max: 10n ** 12n }),
    fraction: fc.string({ unit: fc.constantFrom(...'0123456789'), maxLength: 10 }),
    exponent: fc.integer({ min: -10, max: 10 }),
    how: fc.constantFrom('plain', 'e', 'E+'),
  })
  .map(({ negative, whole, fraction, exponent, how }) => {
    const digits = `${negative ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
    const shift = how === 'plain' ? 0 : how === 'E+' ? Math.abs(exponent) : exponent;
    const power = how === 'plain' ? '' : how === 'E+' ? `E+${shift}` : `e${shift}`;
    const units = BigInt(`${whole}${fraction}`) * 10n ** BigInt(60 - fraction.length + shift);
    return { text: digits + power, units };
  });

const threshold = fc
  .tuple(
    fc.bigInt({ min: 0n, max: 10n ** 12n }),
    fc.integer({ min: 0, max: 20 }),
    fc.bigInt({ min: 1n, max: 10n ** 9n }),
  )
  .map(([whole, zeros, rest]) => {
    const fraction = `${'0'.repeat(Math.min(zeros, 11))}${rest}`.slice(0, 20);
    return { text: `${whole}.${fraction}`, units: BigInt(`${whole}${fraction}`) * 10n ** BigInt(60 - fraction.length) };
  });

describe('below a threshold', () => {
  it('is what is nearer to 0, however it is written, and never what is equal', () => {
    fc.assert(
      fc.property(written, threshold, (value, bound) => {
        expect(isBelow(value.text, bound.text)).toBe(value.units < bound.units);
      }),
      { numRuns: 3_000 },
    );
  });

  it('is the same for a value and its opposite, and for zeros behind the point', () => {
    fc.assert(
      fc.property(written, threshold, ({ text }, bound) => {
        const opposite = text.startsWith('-') ? text.slice(1) : `-${text}`;
        expect(isBelow(opposite, bound.text)).toBe(isBelow(text, bound.text));
      }),
    );
  });

  const NINES = '9'.repeat(400);
  const cases: readonly (readonly [value: string | null, threshold: string, below: boolean])[] = [
    ['9.99', '10', true],
    ['10', '10.00', false],
    ['-10.00', '10', false],
    ['-9.9999999999999999999', '10', true],
    ['10.0000000000000000001', '10', false],
    ['9.9999999999999999999999', '10', false],
    ['0', '0.01', true],
    ['-0', '0.01', true],
    ['-0.0e5', '0.01', true],
    ['1e1', '10', false],
    ['1e1', '10.01', true],
    ['0.1E2', '10', false],
    ['1e-3', '0.001', false],
    ['9e-4', '0.001', true],
    ['1e39', '9999999999999999999999999999999999999999', true],
    ['1e40', '9999999999999999999999999999999999999999', false],
    // What the ledger could not count is looked up, however little it is.
    ['1e-21', '1', false],
    ['1e999999999', '1', false],
    ['1e-999999999', '1', false],
    [NINES, '1', false],
    [`0.${'0'.repeat(399)}1`, '1', false],
    [null, '1', false],
    ['', '1', false],
    ['NaN', '1', false],
    ['Infinity', '1', false],
    ['0x1', '1', false],
    ['1,5', '10', false],
    [' 1', '10', false],
    ['+1', '10', false],
  ];
  it.each(cases)('%s and %s: %s', (value, bound, below) => {
    expect(isBelow(value, bound)).toBe(below);
  });
});

describe('a policy', () => {
  it('looks everything up, unless it says that less is a duplicate', () => {
    expect(unseenBelow(undefined)).toBeUndefined();
    expect(unseenBelow({ threshold: '10', below: 'look-up' })).toBeUndefined();
    expect(unseenBelow({ threshold: '10', below: 'duplicate' })).toBe('10');
  });

  it.each(['10', '0.50', '0.00000000000000000001', '9'.repeat(40)])('takes the threshold %s', (text) => {
    expect(maybeSchema.safeParse({ threshold: text, below: 'duplicate' }).success).toBe(true);
  });

  it.each([10, '0', '0.00', '-1', '-0', '1e3', '', 'ten', '1.', '.5', '01', '9'.repeat(41), `0.${'0'.repeat(20)}1`])(
    'refuses the threshold %s',
    (threshold) => {
      const parsed = maybeSchema.safeParse({ threshold, below: 'duplicate' });
      expect(parsed.error?.issues.map(({ message }) => message)).toEqual([
        'a decimal above 0 in quotes, such as "10.00"',
      ]);
    },
  );

  it('is of sources that name a value', () => {
    const maybe = { threshold: '10', below: 'duplicate' };
    const problems = (definition: object) =>
      sourceDefinitionSchema.safeParse(definition).error?.issues.map((one) => one.path);
    expect(problems({ kind: 'events', maybe })).toEqual([['maybe']]);
    expect(problems({ kind: 'events', maybe, value: '/data/n' })).toBeUndefined();
    expect(problems({ kind: 'webhook', verify: { scheme: 'none' }, maybe })).toEqual([['maybe']]);
    expect(problems({ kind: 'webhook', verify: { scheme: 'none' }, maybe, value: '/n' })).toBeUndefined();
    expect(problems({ kind: 'amqp', queue: 'q', maybe })).toEqual([['maybe']]);
    expect(problems({ kind: 'amqp', queue: 'q', maybe, value: { from: 'header', header: 'n' } })).toBeUndefined();
    expect(problems({ kind: 'mail', addresses: ['a@example.com'], maybe })).toEqual([[]]);
  });
});

describe('the room for what is kept unseen', () => {
  it('is shared, and is what the store has left of it', () => {
    const room = new UnseenRoom(10 * 1024);
    expect([1, 2, 3, 4, 5, 6].map(() => room.take(1, 0))).toEqual([true, true, true, true, true, false]);
    expect(room.take(2, 2 * 1024)).toBe(true);
    expect(room.take(2, 2 * 1024)).toBe(false);
    room.counted([{ tenant: 2, rows: 4, bytes: 1024 }]);
    expect(room.take(2, 0)).toBe(false);
    expect(room.take(1, 1024)).toBe(true);
    room.counted([]);
    expect(room.take(2, 4 * 1024)).toBe(true);
  });
});
