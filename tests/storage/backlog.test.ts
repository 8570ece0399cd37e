import { afterEach, beforeEach, expect, test } from 'vitest';
import { brokerBacklog } from '../../src/storage/backlog.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(() => database.drop());

interface Waits {
  readonly kind?: 'queue' | 'webhook';
  readonly order?: 'channel' | 'none';
  readonly paused?: boolean;
  readonly epoch?: number;
}

/** A target of which 100 numbers were given on each of two channels; the last `waiting` of them wait on the first. */
async function target(tenant: number, name: string, waiting: number, given: Waits = {}): Promise<void> {
  const { kind = 'queue', order, paused = false, epoch = 1 } = given;
  const { pool } = database;
  const { rows } = await pool.query<{ id: number }>(
    `insert into target (tenant, name, kind, definition, managed_by, paused_at)
     values ($1, $2, $3, $4, 'api', case when $5 then now() end) returning id`,
    [tenant, name, kind, JSON.stringify({ kind, ...(order && { order }) }), paused],
  );
  const id = rows[0]?.id;
  await pool.query(
    `insert into line (tenant, target, channel, epoch, last_number) select $1, $2, c, 1, 100 from generate_series(0, 1) as c`,
    [tenant, id],
  );
  await pool.query(
    `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state, void)
     select $1::int, $2::int, 0, $4::bigint, n, n, 1, 0, '{}'::json, 'pending', null from generate_series(101 - $3::int, 100) as n
     -- An older number whose notice is due has gone out before, as everything behind it has.
     union all select $1, $2, 0, 1, 1, 1, 1, 0, '{}'::json, 'failed', 'due'`,
    [tenant, id, waiting, epoch],
  );
}

test('counts what waits for queues that are not paused, by tenant', async () => {
  const { pool } = database;
  const one = await insertTenant(pool, 'one', 2);
  const two = await insertTenant(pool, 'two', 2);
  await insertTenant(pool, 'three', 2);
  await target(one.id, 'in-line', 30);
  await target(one.id, 'named', 7, { order: 'channel' });
  await target(one.id, 'paused', 50, { paused: true });
  await target(one.id, 'hook', 60, { kind: 'webhook' });
  await target(two.id, 'loose', 5, { order: 'none' });
  const waiting = new Map((await brokerBacklog(pool, 1000)).map((each) => [each.tenant, each.messages]));
  expect(Object.fromEntries(waiting)).toEqual({ [one.id]: 37, [two.id]: 5 });
});

test('counts without order up to a bound, and what waits from before a restore by its line', async () => {
  const { pool } = database;
  const one = await insertTenant(pool, 'one', 2);
  await target(one.id, 'loose', 90, { order: 'none' });
  expect(await brokerBacklog(pool, 20)).toEqual([{ tenant: one.id, messages: 20 }]);
  await pool.query('delete from delivery');
  await target(one.id, 'restored', 10, { epoch: 0 });
  expect(await brokerBacklog(pool, 20)).toEqual([{ tenant: one.id, messages: 100 }]);
});
