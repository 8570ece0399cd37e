import fc from 'fast-check';
import { expect, test } from 'vitest';
import { positionsSchema, readCursor, writeCursor, writePositions } from '../../routes/cursor.js';

const positions = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 1023 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })), {
    selector: ([channel]) => channel,
    maxLength: 1024,
  })
  .map((entries) => new Map(entries.sort(([a], [b]) => a - b)));

test('positions come back from a cursor as they went in', () => {
  fc.assert(
    fc.property(positions, (given) => {
      expect(readCursor('messages', writeCursor('messages', writePositions(given)), positionsSchema)).toEqual(given);
    }),
  );
});

test('1,024 channels with a million messages each fit into an address', () => {
  const all = new Map(Array.from({ length: 1024 }, (_, channel) => [channel, 1_000_000 + channel]));
  expect(writeCursor('messages', writePositions(all)).length).toBeLessThan(8000);
});

test('no text makes it fail in another way than as a cursor that is none', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 50 }), (given) => {
      expect(() => readCursor('messages', Buffer.from(given).toString('base64url'), positionsSchema)).toThrow(
        'not one that this list gave out',
      );
    }),
  );
});
