import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isoTime, microsecondsOf, msOf } from '../../src/message/iso-time.js';

const moment = fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true });

describe('a time', () => {
  it('with microseconds is read to the last of them', () => {
    fc.assert(
      fc.property(moment, fc.integer({ min: 0, max: 999 }), (date, micros) => {
        const text = `${isoTime(date.getTime()).slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
        expect(msOf(text)).toBe(date.getTime());
        expect(microsecondsOf(text)).toBe(micros);
      }),
    );
  });

  it.each([
    ['2024-05-06T07:08:09Z', 0],
    ['2024-05-06T07:08:09.5Z', 0],
    ['2024-05-06T07:08:09.1234Z', 400],
    ['2024-05-06T07:08:09.12345+02:00', 450],
    // As long as one in UTC with microseconds.
    ['2024-05-06T07:08:09.1+02:00', 0],
    ['2024-05-06T07:08:09.123456-11:30', 456],
    ['0050-01-31T12:00:00.000123Z', 123],
  ])('%s is read whatever its form', (text, micros) => {
    expect(msOf(text)).toBe(Date.parse(text));
    expect(microsecondsOf(text)).toBe(micros);
  });

  it('is NaN when it is none', () => {
    for (const text of ['', 'yesterday', '2024-05-06 noon or a bit later']) expect(msOf(text)).toBeNaN();
  });
});
