import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  booleanArray,
  instantArray,
  intArray,
  smallintArray,
  textArray,
  timeArray,
} from '../../src/storage/binary-array.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

/** What the database has of it, each value as its own text. */
async function read(type: string, bytes: Buffer): Promise<(string | null)[]> {
  const { rows } = await database.pool.query<{ value: string | null }>(
    `select v::text as value from unnest($1::${type}[]) with ordinality as u(v, n) order by n`,
    [bytes],
  );
  return rows.map(({ value }) => value);
}

const RUNS = { numRuns: 30 };
const list = <T>(of: fc.Arbitrary<T>) => fc.array(of, { maxLength: 50 });
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 100 }),
  fc.string({ unit: 'binary-ascii', maxLength: 100 }),
  fc.constantFrom('', 'NULL', '{}', '"', '\\', 'ü'.repeat(70), '😀'),
);
const storable = text.map((value) => value.replaceAll('\0', '').toWellFormed());

describe('what the database reads', () => {
  it('is each integer', async () => {
    const int = fc.integer();
    const small = fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 });
    await fc.assert(
      fc.asyncProperty(list(int), list(small), async (ints, smalls) => {
        expect(await read('int', intArray(ints))).toEqual(ints.map(String));
        expect(await read('smallint', smallintArray(smalls))).toEqual(smalls.map(String));
      }),
      RUNS,
    );
  });

  it('is no number that its column does not hold', () => {
    for (const wrong of [2 ** 31, -(2 ** 31) - 1, 1.5, Number.NaN]) expect(() => intArray([wrong])).toThrow(RangeError);
    for (const wrong of [2 ** 15, -(2 ** 15) - 1]) expect(() => smallintArray([wrong])).toThrow(RangeError);
  });

  it('is each truth', async () => {
    const values = [true, false, true];
    expect(await read('boolean', booleanArray(values))).toEqual(values.map(String));
    expect(await read('boolean', booleanArray([]))).toEqual([]);
  });

  it('is each text, of whatever characters', async () => {
    await fc.assert(
      fc.asyncProperty(list(fc.option(storable)), async (texts) => {
        expect(await read('text', textArray(texts))).toEqual(texts);
      }),
      RUNS,
    );
  });

  it('is each moment, to the microsecond', async () => {
    const texts = [
      '1970-01-01T00:00:00.000000Z',
      null,
      '1999-12-31T23:59:59.999999Z',
      '2024-02-29T12:00:00.000001Z',
      '2024-05-06T07:08:09.5+02:00',
      // Beyond what a number holds in microseconds.
      '2285-06-05T23:47:34.740993Z',
      '9999-12-31T23:59:59.999999Z',
    ];
    const { rows } = await database.pool.query<{ same: boolean }>(
      'select $1::timestamptz[] = $2::text[]::timestamptz[] as same',
      [timeArray(texts), texts],
    );
    expect(rows).toEqual([{ same: true }]);
    const ms = [0, 1_700_000_000_123, 253_402_300_799_999, -1];
    const instants = await database.pool.query<{ same: boolean }>(
      'select $1::timestamptz[] = $2::text[]::timestamptz[] as same',
      [instantArray(ms), ms.map((each) => new Date(each).toISOString())],
    );
    expect(instants.rows).toEqual([{ same: true }]);
    expect(() => timeArray(['soon'])).toThrow(RangeError);
  });
});
