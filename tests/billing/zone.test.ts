import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isZone, periodAfter, periodAt, periodNamed, startOfDate } from '../../src/billing/zone.js';

const HOUR = 3_600_000;
const at = (text: string) => Date.parse(text);
const hours = ({ from, to }: { from: number; to: number }) => (to - from) / HOUR;

describe('periods in a zone', () => {
  it('are an hour short and an hour long where the clock changes', () => {
    const spring = periodAt(at('2026-03-29T12:00:00Z'), 'day', 'Europe/Berlin');
    expect(spring).toMatchObject({
      name: '2026-03-29',
      from: at('2026-03-28T23:00:00Z'),
      to: at('2026-03-29T22:00:00Z'),
    });
    expect(hours(spring)).toBe(23);
    const autumn = periodAt(at('2026-10-25T12:00:00Z'), 'day', 'Europe/Berlin');
    expect(autumn).toMatchObject({ from: at('2026-10-24T22:00:00Z'), to: at('2026-10-25T23:00:00Z') });
    expect(hours(autumn)).toBe(25);
    expect(hours(periodAt(at('2026-03-15T00:00:00Z'), 'month', 'Europe/Berlin'))).toBe(31 * 24 - 1);
    expect(hours(periodAt(at('2026-10-15T00:00:00Z'), 'month', 'Europe/Berlin'))).toBe(31 * 24 + 1);
  });

  it('tell both hours of two apart by their instants', () => {
    // 02:30 comes twice on this night: both are part of the same day, and the last moment before midnight too.
    for (const time of ['2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z', '2026-10-25T22:59:59.999Z'])
      expect(periodAt(at(time), 'day', 'Europe/Berlin').name).toBe('2026-10-25');
    expect(periodAt(at('2026-10-25T23:00:00Z'), 'day', 'Europe/Berlin').name).toBe('2026-10-26');
  });

  it('begin where the clock skips midnight, and with the first midnight where it shows it twice', () => {
    // Chile goes from 24:00 to 01:00 in September; Azores from 01:00 back to 00:00 in October.
    expect(startOfDate('2025-09-07', 'America/Santiago')).toBe(at('2025-09-07T04:00:00Z'));
    expect(startOfDate('2025-10-26', 'Atlantic/Azores')).toBe(at('2025-10-26T00:00:00Z'));
    expect(hours(periodAt(at('2025-10-26T12:00:00Z'), 'day', 'Atlantic/Azores'))).toBe(25);
  });

  it('know half and quarter hours, and days that never were', () => {
    expect(startOfDate('2026-01-01', 'Asia/Kathmandu')).toBe(at('2025-12-31T18:15:00Z'));
    expect(startOfDate('2026-01-01', 'Asia/Kolkata')).toBe(at('2025-12-31T18:30:00Z'));
    // Samoa skipped 30 December 2011.
    expect(periodAt(at('2011-12-30T09:59:59Z'), 'day', 'Pacific/Apia').name).toBe('2011-12-29');
    expect(periodAt(at('2011-12-30T10:00:00Z'), 'day', 'Pacific/Apia').name).toBe('2011-12-31');
  });

  it('follow each other without a hole, and hold the instant they were asked for', () => {
    const zones = [
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Australia/Lord_Howe',
      'Pacific/Chatham',
      'America/Sao_Paulo',
    ];
    fc.assert(
      fc.property(
        fc.integer({ min: at('2000-01-01T00:00:00Z'), max: at('2040-01-01T00:00:00Z') }),
        fc.constantFrom(...zones),
        fc.constantFrom('day' as const, 'month' as const),
        (instant, zone, kind) => {
          const period = periodAt(instant, kind, zone);
          expect(period.from).toBeLessThanOrEqual(instant);
          expect(period.to).toBeGreaterThan(instant);
          expect(periodAfter(period).from).toBe(period.to);
          expect(periodNamed(period.name, kind, zone)).toEqual(period);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('are named by what exists', () => {
    expect(periodNamed('2026-13', 'month', 'UTC')).toBeUndefined();
    expect(periodNamed('2026-02-30', 'day', 'UTC')).toBeUndefined();
    expect(periodNamed('2026-2', 'month', 'UTC')).toBeUndefined();
    expect(isZone('Europe/Berlin')).toBe(true);
    expect(isZone('Europe/Bärlin')).toBe(false);
    expect(isZone('+01:00')).toBe(false);
  });
});
