import fc from 'fast-check';
import { expect, it } from 'vitest';
import { candidate } from '../../src/channel/batch.js';
import type { Arrival } from '../../src/message/arrival.js';

const DAY = 86_400_000;
const WINDOW = { pastMs: 35 * DAY, futureMs: DAY };
const ARRIVED = Date.parse('2026-03-29T00:30:00Z');

function expired(eventTime: string | null, released?: true): boolean {
  const arrival: Arrival = {
    ...{ tenant: { id: 1, name: 'acme', channels: 4 }, source: { id: 1, name: 'feed' }, kind: 'event', account: 'a' },
    ...{ type: 'used', externalId: 'e', value: null, eventTime, arrivedAt: ARRIVED, peer: 'test', meta: null },
    ...{ identity: Buffer.from('e'), digest: '\0'.repeat(16), onOtherContent: 'conflict', raw: Buffer.alloc(0) },
    ...(released && { released }),
  };
  return candidate(arrival, Buffer.alloc(32), WINDOW).expired;
}

const beside = (ms: number) => new Date(ARRIVED + ms).toISOString();

it.each([
  ['at the end of the window', beside(-35 * DAY), false],
  ['a millisecond before it', beside(-35 * DAY - 1), true],
  ['a day ahead', beside(DAY), false],
  ['a millisecond more than a day ahead', beside(DAY + 1), true],
  ['in another offset', '2026-03-30T02:30:00.000+02:00', false],
  ['in another offset, and later', '2026-03-30T02:30:00.001+02:00', true],
  ['without a time of its own', null, false],
])('an event %s is judged by its time against its arrival', (_, time, is) => {
  expect(expired(time)).toBe(is);
  // A backfill, and a person, may be as late as they like.
  expect(expired(time, true)).toBe(false);
});

it('is expired just where its distance says so', () => {
  fc.assert(
    fc.property(fc.integer({ min: -40 * DAY, max: 40 * DAY }), (ms) => {
      expect(expired(beside(ms))).toBe(ms < -35 * DAY || ms > DAY);
    }),
  );
});
