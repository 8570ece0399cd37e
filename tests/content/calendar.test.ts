import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Calendar, readCalendar } from '../../src/content/calendar.js';

const written = (...lines: string[]) => `${lines.join('\r\n')}\r\n`;
const calendar = (...lines: string[]) => written('BEGIN:VCALENDAR', 'VERSION:2.0', ...lines, 'END:VCALENDAR');
const event = (...lines: string[]) => written('BEGIN:VEVENT', ...lines, 'END:VEVENT').trimEnd();

/** As the reader of mails calls it, who takes a failure for "no calendar". */
function readOrNull(text: string): Calendar | null {
  try {
    return readCalendar(text);
  } catch {
    return null;
  }
}

describe('a calendar', () => {
  it('of an invitation has what is needed to answer it', () => {
    const text = calendar(
      'METHOD:REQUEST',
      'BEGIN:VTIMEZONE',
      'TZID:Europe/Vienna',
      'END:VTIMEZONE',
      event(
        'UID:1@example.com',
        'SEQUENCE:2',
        'STATUS:CONFIRMED',
        'SUMMARY:Lunch\\, with',
        '  everybody',
        'LOCATION:Caf\u00e9',
        'DTSTART;TZID=Europe/Vienna:20260105T120000',
        'DTEND;TZID=Europe/Vienna:20260105T130000',
        'RRULE:FREQ=WEEKLY',
        'ORGANIZER;CN=Anna:mailto:anna@example.com',
        'ATTENDEE;CN="Smith, Bob";PARTSTAT=NEEDS-ACTION;ROLE=REQ-PARTICIPANT:MAILTO:bob@example.com',
        'ATTENDEE:mailto:carl@example.com',
      ),
    );
    expect(readCalendar(text)).toEqual({
      method: 'REQUEST',
      items: [
        {
          kind: 'event',
          uid: '1@example.com',
          sequence: 2,
          status: 'CONFIRMED',
          summary: 'Lunch, with everybody',
          location: 'Caf\u00e9',
          start: { time: '2026-01-05T12:00:00', zone: 'Europe/Vienna' },
          end: { time: '2026-01-05T13:00:00', zone: 'Europe/Vienna' },
          duration: null,
          organizer: { name: 'Anna', address: 'anna@example.com', status: null, role: null },
          attendees: [
            { name: 'Smith, Bob', address: 'bob@example.com', status: 'NEEDS-ACTION', role: 'REQ-PARTICIPANT' },
            { name: null, address: 'carl@example.com', status: null, role: null },
          ],
          repeats: true,
        },
      ],
    });
  });

  it('has whole days and times of the world', () => {
    const items = readCalendar(
      calendar(
        event('DTSTART;VALUE=DATE:20260101', 'DTEND;VALUE=DATE:20260102'),
        event('DTSTART:20260101T100000Z', 'DURATION:PT1H'),
      ),
    )?.items;
    expect(items).toMatchObject([
      { start: { time: '2026-01-01', zone: null }, end: { time: '2026-01-02', zone: null }, repeats: false },
      { start: { time: '2026-01-01T10:00:00Z', zone: null }, end: null, duration: 'PT1H' },
    ]);
  });

  it('has tasks with what they are due, journals and busy times, and nothing of what is no item', () => {
    const items = readCalendar(
      calendar(
        written('BEGIN:VTODO', 'UID:a', 'DUE:20260101T100000Z', 'END:VTODO').trimEnd(),
        written('BEGIN:VJOURNAL', 'UID:b', 'END:VJOURNAL').trimEnd(),
        written('BEGIN:VFREEBUSY', 'UID:c', 'END:VFREEBUSY').trimEnd(),
        written('BEGIN:VTIMEZONE', 'TZID:x', 'END:VTIMEZONE').trimEnd(),
        written('BEGIN:X-OTHER', 'UID:d', 'END:X-OTHER').trimEnd(),
      ),
    )?.items;
    expect(items?.map(({ kind, uid, end }) => [kind, uid, end?.time])).toEqual([
      ['todo', 'a', '2026-01-01T10:00:00Z'],
      ['journal', 'b', undefined],
      ['freebusy', 'c', undefined],
    ]);
  });

  it('of several in one file has the items of all', () => {
    const text = calendar('METHOD:PUBLISH', event('UID:1')) + calendar('METHOD:CANCEL', event('UID:2'), event('UID:3'));
    const read = readCalendar(text);
    expect(read?.method).toBe('PUBLISH');
    expect(read?.items.map(({ uid }) => uid)).toEqual(['1', '2', '3']);
  });

  it('without anything is one all the same', () => {
    expect(readCalendar(calendar())).toEqual({ method: null, items: [] });
    expect(readCalendar(calendar(event()))?.items).toMatchObject([
      { kind: 'event', uid: null, sequence: null, start: null, organizer: null, attendees: [], repeats: false },
    ]);
  });
});

describe('what is no calendar', () => {
  it.each([
    '',
    'hello',
    'BEGIN:VCALENDAR',
    'END:VCALENDAR',
    'BEGIN:VCARD\r\nEND:VCARD\r\n',
    'BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n',
    event('UID:1'),
  ])('%j reads as none, or fails', (text) => {
    expect(readOrNull(text)).toBeNull();
  });

  it('never comes out as anything but plain, clean data', () => {
    const bits = fc.constantFrom(
      ...[
        'BEGIN:',
        'END:',
        'VCALENDAR',
        'VEVENT',
        'UID',
        'SUMMARY',
        'DTSTART',
        'ATTENDEE',
        'SEQUENCE',
        'RRULE',
        ':',
        ';',
        '=',
      ],
      ...[
        '\r\n',
        '\n',
        ' ',
        '"',
        ',',
        '\\n',
        '\0',
        '\ud800',
        'TZID',
        'VALUE',
        '20260101',
        'mailto:',
        '__proto__',
        '1e999',
      ],
    );
    fc.assert(
      fc.property(fc.array(bits, { maxLength: 40 }), (each) => {
        const read = readOrNull(calendar(event(each.join(''))));
        const json = JSON.stringify(read);
        expect(json).not.toMatch(/\\u0000|\\ud[89a-f][0-9a-f]{2}/i);
        expect(JSON.parse(json)).toEqual(read);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a calendar made to stop programs', () => {
  it('has no more items and attendees than are read', () => {
    const items = readCalendar(calendar(...Array.from({ length: 150 }, (_, i) => event(`UID:${i}`))))?.items;
    expect(items).toHaveLength(100);
    const guests = Array.from({ length: 700 }, (_, i) => `ATTENDEE:mailto:${i}@example.com`);
    const invited = readCalendar(calendar(event(...guests), event(...guests), event(...guests)))?.items;
    expect(invited?.map(({ attendees }) => attendees.length)).toEqual([700, 300, 0]);
  });

  it('has no texts longer than are read', () => {
    const long = 'x'.repeat(20_000);
    const text = calendar(
      event(`UID:${long}`, `SUMMARY:${long}`, `LOCATION:${long}`, `ATTENDEE;CN=${long}:mailto:${long}`),
    );
    const [item] = readCalendar(text)?.items ?? [];
    expect([item?.uid, item?.summary, item?.location].map((each) => each?.length)).toEqual([500, 10_000, 10_000]);
    expect([item?.attendees[0]?.name, item?.attendees[0]?.address].map((each) => each?.length)).toEqual([500, 500]);
  });

  it('does not expand what comes again', () => {
    const text = calendar(event('DTSTART:20260101T000000Z', 'RRULE:FREQ=SECONDLY'));
    expect(readCalendar(text)?.items).toMatchObject([{ repeats: true }]);
  });
});
