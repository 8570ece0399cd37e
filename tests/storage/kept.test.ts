import { afterAll, beforeAll, expect, it } from 'vitest';
import { needsOf } from '../../src/routing/backtest.js';
import { compileRuleSet } from '../../src/routing/compile.js';
import { type KeptWish, keptMessages } from '../../src/storage/kept.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

const CHANNELS = 4;
const A_GENERATION = 600;
const START = Date.UTC(2026, 0, 1);

let database: TestDatabase;
let tenant: { readonly id: number; readonly channels: number };

/** Three generations, the first of which retention has dropped, but for one message that was moved; an hour each. */
beforeAll(async () => {
  database = await freshDatabase();
  const { pool } = database;
  tenant = { id: (await insertTenant(pool, 'one', CHANNELS)).id, channels: CHANNELS };
  const span = (first: number, generation: number, channel: number | null = null) =>
    pool.query(
      `insert into span (tenant, channel, first_sequence, generation, moved) select tenant, channel, $1, $2, $3::int is not null
         from channel where tenant = $4 and ($3::int is null or channel = $3)`,
      [first, generation, channel, tenant.id],
    );
  const messages = (generation: number, first: number, count: number, channel: number | null = null) =>
    pool.query(
      `insert into message (generation, tenant, channel, sequence, source, kind, account, type, arrived_at, peer, sha256, batch, raw)
       select $1, tenant, channel, n, 1, 'event', 'a-' || n, 't', $6::timestamptz + n * interval '6 s', 'p', '', 1,
         convert_to('{"data":' || n || '}', 'UTF8')
       from channel, generate_series($2::bigint, $2 + $3 - 1) n where tenant = $4 and ($5::int is null or channel = $5)`,
      [generation, first, count, tenant.id, channel, new Date(START)],
    );
  await pool.query('select rotate_generation(1)');
  await pool.query('select rotate_generation(2)');
  await span(1, 0);
  await span(100, 3, 2);
  await span(101, 0, 2);
  await messages(3, 100, 1, 2);
  await span(A_GENERATION + 1, 2);
  await messages(2, A_GENERATION + 1, A_GENERATION);
  await span(2 * A_GENERATION + 1, 3);
  await messages(3, 2 * A_GENERATION + 1, A_GENERATION);
  await pool.query('update channel set last_sequence = $2, generation = 3 where tenant = $1', [
    tenant.id,
    3 * A_GENERATION,
  ]);
  await pool.query('update reader set planned = $2 where tenant = $1', [tenant.id, 3 * A_GENERATION - 10]);
});
afterAll(() => database.drop());

const none = needsOf(compileRuleSet({ mode: 'first-match', rules: [] }));

async function all(wish: KeptWish) {
  const kept = await keptMessages(database.pool, tenant, wish, none);
  const ids: string[] = [];
  const newest: number[] = [];
  let looked = 0;
  let gone = 0;
  for await (const page of kept.pages) {
    for (const entry of page.messages) {
      if ('fetch' in entry) throw new Error('nothing here is large');
      ids.push(`${entry.message.channel}-${entry.message.sequence}`);
    }
    newest.push(Math.max(...page.messages.map((entry) => ('fetch' in entry ? 0 : entry.message.sequence))));
    looked += page.looked;
    gone += page.gone;
  }
  return { total: kept.total, ids, newest, looked, gone };
}

it('gives each message that is planned and still kept once, about the newest first', async () => {
  const { total, ids, newest, looked, gone } = await all({});
  const planned = 3 * A_GENERATION - 10;
  expect([total, looked]).toEqual([CHANNELS * planned, CHANNELS * planned]);
  expect(gone).toBe(CHANNELS * A_GENERATION - 1);
  expect(ids).toHaveLength(CHANNELS * (planned - A_GENERATION) + 1);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toContain('2-100');
  const withMessages = newest.filter((sequence) => sequence > 0);
  expect(withMessages).toEqual([...withMessages].sort((a, b) => b - a));
});

it('gives what arrived in a time', async () => {
  const at = (sequence: number) => new Date(START + sequence * 6_000);
  const { ids, gone } = await all({ after: at(1000), before: at(1100) });
  expect([ids.length, gone]).toEqual([CHANNELS * 100, 0]);
  expect(ids).toContain('3-1000');
  expect(ids).toContain('3-1099');
});

it('gives no more than it is asked for', async () => {
  const { total, ids } = await all({ limit: 11 });
  expect([total, ids.length]).toEqual([11, 11]);
  expect((await all({ limit: 1 })).ids).toHaveLength(1);
});

it('reads along the primary key, whatever the planner knows of the tables', async () => {
  await database.pool.query('analyze');
  const asked: string[] = [];
  const { query } = database.pool;
  const listening = Object.create(database.pool) as typeof database.pool;
  listening.query = ((...args: [{ text: string; values: unknown[] }]) => {
    if (typeof args[0] === 'object') asked.push(JSON.stringify(args[0]));
    return (query as (...all: unknown[]) => unknown).apply(database.pool, args);
  }) as typeof query;
  const kept = await keptMessages(listening, tenant, {}, none);
  await kept.pages.next();
  await kept.pages.return(undefined);
  const [page] = asked.map((text) => JSON.parse(text) as { text: string; values: unknown[] });
  const { rows } = await database.pool.query(`explain (analyze, format json) ${page?.text}`, page?.values);
  const plan = JSON.stringify(rows[0]['QUERY PLAN']);
  expect(plan).toMatch(/"Node Type":"Index Scan"[^{}]*"Relation Name":"message_3"/);
  expect(plan).not.toMatch(/"Node Type":"Seq Scan"[^{}]*"Relation Name":"message_/);
});
