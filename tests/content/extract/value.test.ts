import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readDate } from '../../../src/content/extract/date.js';
import { KNOWN_TYPES } from '../../../src/content/extract/definition.js';
import { foundOf } from '../../../src/content/extract/value.js';

describe('a date', () => {
  it.each([
    ['2026-03-01', '2026-03-01'],
    ['2026-03-01T10:00:00Z', '2026-03-01T10:00:00Z'],
    ['2026-03-01 10:00', '2026-03-01T10:00'],
    ['2026-03-01T10:00:00.5+01:00', '2026-03-01T10:00:00.5+01:00'],
    ['1.3.2026', '2026-03-01'],
    ['13/3/2026', '2026-03-13'],
    ['3/13/2026', '2026-03-13'],
    ['4/4/2026', '2026-04-04'],
    ['1 March 2026', '2026-03-01'],
    ['Sunday, March 1st, 2026', '2026-03-01'],
    ['So., 1. März 2026', '2026-03-01'],
    ['24. Dez. 2026', '2026-12-24'],
  ])('%s', (written, iso) => {
    expect(readDate(written)).toBe(iso);
  });

  it.each(['3/4/2026', '31.2.2026', '2026-13-01', '2026-03-01T25:00', 'tomorrow', '1 Foo 2026', '01.03.26', ''])(
    'leaves "%s" alone: it is none, or could be two',
    (written) => {
      expect(readDate(written)).toBeNull();
    },
  );

  it('is every day of every year, in each of its spellings', () => {
    const day = fc.date({ min: new Date('1900-01-01'), max: new Date('2999-12-31'), noInvalidDate: true });
    fc.assert(
      fc.property(day, (date) => {
        const iso = date.toISOString().slice(0, 10);
        const [year, month, of] = iso.split('-').map(Number);
        expect(readDate(iso)).toBe(iso);
        expect(readDate(`${of}.${month}.${year}`)).toBe(iso);
        const long = date.toLocaleDateString('en-GB', {
          timeZone: 'UTC',
          day: 'numeric',
          month: 'long',
          year: 'numeric',
        });
        expect(readDate(long)).toBe(iso);
      }),
    );
  });
});

describe('a value', () => {
  const found = (type: string, written: string) => foundOf({ type, decimal: null }, written, 'subject');

  it.each([
    ['phone', '+49 (0)30 123-456', '+4930123456'],
    ['phone', 'tel:+1 202 555 0100', '+12025550100'],
    ['phone', '030 / 12 34 56', '030123456'],
    ['email', 'Anna <Anna.Smith@Example.COM>', 'Anna.Smith@example.com'],
    ['email', 'mailto:a@B.example', 'a@b.example'],
    ['order-number', '  A-17 \t x ', 'A-17 x'],
    ['customer-number', '007', '007'],
  ])('%s %s', (type, written, value) => {
    expect(found(type, written)).toMatchObject({ type, value, where: 'subject' });
    expect(found(type, written)).not.toHaveProperty('unclear');
  });

  it('that is not of its type stays as written, and says that it is unclear', () => {
    for (const [type, written] of [
      ['phone', 'call me'],
      ['phone', '123'],
      ['email', 'nobody'],
      ['date', '3/4/2026'],
      ['amount', '1.234'],
    ] as const) {
      expect(found(type, written)).toEqual({ type, value: written, written, where: 'subject', unclear: true });
    }
  });

  it('keeps the currency of an amount beside its digits', () => {
    expect(found('amount', '1.250,00 €')).toEqual({
      type: 'amount',
      value: '1250.00',
      currency: 'EUR',
      written: '1.250,00 €',
      where: 'subject',
    });
  });

  it('never fails, is never empty, and spells what it has spelled the same', () => {
    const type = fc.constantFrom(...KNOWN_TYPES, 'own');
    fc.assert(
      fc.property(type, fc.string({ unit: 'binary', maxLength: 1200 }), (of, text) => {
        const one = found(of, text);
        if (!one) return;
        expect(one.value).not.toBe('');
        expect(one.written.length).toBeLessThanOrEqual(1000);
        if (of !== 'amount' && !one.unclear) expect(found(of, one.value)?.value).toBe(one.value);
      }),
      { numRuns: 2000 },
    );
  });
});
