import type { Pool } from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { SequenceRange } from '../../src/owner/ports.js';
import { createOwnerStore } from '../../src/storage/owner.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

const GENERATIONS = 5;
const A_GENERATION = 400;
const CHANNELS = 16;

let database: TestDatabase;
let tenant: number;

beforeEach(async () => {
  database = await freshDatabase();
  tenant = (await insertTenant(database.pool, 'one', CHANNELS)).id;
  for (let generation = 1; generation <= GENERATIONS; generation++) {
    if (generation > 1) await database.pool.query('select rotate_generation($1)', [generation - 1]);
    const first = (generation - 1) * A_GENERATION + 1;
    await database.pool.query(
      `insert into span (tenant, channel, first_sequence, generation) select tenant, channel, $1, $2 from channel
       where tenant = $3`,
      [first, generation, tenant],
    );
    await database.pool.query(
      `insert into message (generation, tenant, channel, sequence, source, kind, account, arrived_at, peer, sha256, batch, raw)
       select $1, tenant, channel, n, 1, 'event', 'a', now(), 'p', '', 1, 'x' from channel,
         generate_series($2::bigint, $2 + $3 - 1) n where tenant = $4`,
      [generation, first, A_GENERATION, tenant],
    );
  }
  // With what it then knows of the tables, the planner would rather join whole partitions.
  await database.pool.query('analyze');
});
afterEach(() => database.drop());

/** Rows of messages that PostgreSQL touches for what the store asks. */
async function touched(ranges: readonly SequenceRange[]): Promise<{ read: number; touched: number }> {
  let asked: { text: string; values: unknown[] } | undefined;
  const listening = {
    query: (text: string, values: unknown[]) => {
      asked = { text, values };
      return database.pool.query(text, values);
    },
  } as unknown as Pool;
  const read = await createOwnerStore(listening, '00000000-0000-0000-0000-000000000000', 1).read(ranges, {
    bytes: 1e9,
    mails: 1e9,
  });
  if (!asked) throw new Error('the store asked nothing');
  const { rows } = await database.pool.query(`explain (analyze, format json) ${asked.text}`, asked.values);
  return { read: read.length, touched: rowsOf(rows[0]['QUERY PLAN'][0].Plan) };
}

interface Node {
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly Plans?: readonly Node[];
}

function rowsOf(node: Node): number {
  const own = node['Relation Name']?.startsWith('message_')
    ? (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops']
    : 0;
  return own + (node.Plans ?? []).reduce((sum, each) => sum + rowsOf(each), 0);
}

it('reads of the store only what was asked for, however much lies before and behind', async () => {
  const channels = Array.from({ length: CHANNELS }, (_, channel) => ({ tenant, channel }));
  const heads = channels.map((each) => ({ ...each, first: 401, last: 525 }));
  expect(await touched(heads)).toEqual({ read: CHANNELS * 125, touched: CHANNELS * 125 });
  const holes = channels.flatMap((each) => [
    { ...each, first: 850, last: 850 },
    { ...each, first: 860, last: 862 },
  ]);
  expect(await touched(holes)).toEqual({ read: CHANNELS * 4, touched: CHANNELS * 4 });
  // A range ends where its generation does; what is left of it comes with the next look.
  const [first] = channels.map((each) => ({ ...each, first: 391, last: 420 })) as [SequenceRange];
  expect(await touched([first])).toEqual({ read: 10, touched: 10 });
});

it('reads of each channel as many bytes and mails as were asked for, and one at least', async () => {
  await database.pool.query("update message set kind = 'mail' where sequence % 3 = 0");
  const ranges = [0, 1].map((channel) => ({ tenant, channel, first: 401, last: 500 }));
  const store = createOwnerStore(database.pool, '00000000-0000-0000-0000-000000000000', 1);
  const read = async (most: { bytes: number; mails: number }) =>
    (await store.read(ranges, most)).map(({ channel, sequence }) => `${channel}/${sequence}`);
  const both = (...sequences: number[]) => [0, 1].flatMap((channel) => sequences.map((each) => `${channel}/${each}`));
  // 402 and 405 are mails, and each message has one byte.
  expect(await read({ bytes: 1e9, mails: 1 })).toEqual(both(401, 402, 403, 404));
  expect(await read({ bytes: 3, mails: 1 })).toEqual(both(401, 402, 403));
  expect(await read({ bytes: 1, mails: 1 })).toEqual(both(401));
});
