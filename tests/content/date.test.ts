import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readDate } from '../../src/content/date.js';

describe('dates of mails', () => {
  it.each([
    ['Tue, 1 Jul 2025 10:00:00 +0000', '2025-07-01T10:00:00Z'],
    ['1 Jul 2025 10:00 +0200', '2025-07-01T08:00:00Z'],
    ['Tue,  1 Jul 2025 10:00:00 -0730 (somewhere)', '2025-07-01T17:30:00Z'],
    ['Sat, 31 Dec 1994 23:59:60 GMT', '1995-01-01T00:00:00Z'],
    ['Tue, 1 Jul 25 10:00:00 EST', '2025-07-01T15:00:00Z'],
    ['Fri, 21 Nov 97 09:55:06 -0600', '1997-11-21T15:55:06Z'],
  ])('%s', (text, date) => {
    expect(readDate(text)).toEqual({ date, proper: true });
  });

  it.each(['2025-07-01T10:00:00Z', 'Jul 1, 2025 10:00:00 GMT'])(
    '%s: can be read, but is not as it should be',
    (text) => {
      expect(readDate(text)).toEqual({ date: '2025-07-01T10:00:00Z', proper: false });
    },
  );

  it.each([
    '',
    'yesterday',
    'Tue, 1 Jul 2025',
    '99 Xyz 2025 10:00:00 +0000',
    `${' '.repeat(200)}1 Jul 2025 10:00 +0000`,
  ])('%j: is no date of ours', (text) => {
    expect(readDate(text)?.proper ?? false).toBe(false);
  });

  it('does not carry 31 February over into March', () => {
    expect(readDate('31 Feb 2025 10:00:00 +0000')?.proper ?? false).toBe(false);
  });

  it('reads what Date writes', () => {
    const times = fc.date({ min: new Date('1950-01-01'), max: new Date('2999-12-31'), noInvalidDate: true });
    fc.assert(
      fc.property(times, (time) => {
        const text = time.toUTCString();
        expect(readDate(text)).toEqual({ date: `${time.toISOString().slice(0, 19)}Z`, proper: true });
      }),
    );
  });
});
