import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bringForward, databaseTime, exchangeOffsets } from '../../src/storage/clock.js';
import { insertProcess, insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(() => database.drop());

test('the time of the database is milliseconds since 1970', async () => {
  const before = Date.now();
  const time = await databaseTime(database.pool);
  // One machine, one clock.
  expect(time).toBeGreaterThanOrEqual(before - 1);
  expect(time).toBeLessThanOrEqual(Date.now() + 1);
});

test('processes tell each other how far their clocks are ahead, as long as they live', async () => {
  const { pool } = database;
  const [one, two, dead] = [randomUUID(), randomUUID(), randomUUID()] as const;
  for (const id of [one, two, dead]) await insertProcess(pool, id);
  await pool.query('update process set name = id::text');
  await pool.query("update process set beat_at = now() - interval '2 minutes' where id = $1", [dead]);
  await exchangeOffsets(pool, dead, 1);
  await exchangeOffsets(pool, one, 1234.6);
  expect(await exchangeOffsets(pool, two, -90_000)).toEqual([{ name: one, offsetMs: 1235 }]);
  expect(await exchangeOffsets(pool, one, 0)).toEqual([{ name: two, offsetMs: -90_000 }]);
});

test('after the clock went back, what waits for a time is brought forward by as much, where this process is the owner', async () => {
  const { pool } = database;
  const [mine, theirs] = [randomUUID(), randomUUID()];
  const tenant = await insertTenant(pool, 'one', 2);
  await pool.query('update lease set holder = case channel when 0 then $1::uuid else $2::uuid end', [mine, theirs]);
  const day = "interval '1 day'";
  await pool.query(
    `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state, void, next_at, leased_until)
     select $1, 1, c.channel, 1, d.number, d.number, 1, 0, '{}', d.state, d.void, now() + d.after, now() + d.leased
     from generate_series(0, 1) as c(channel), (values
       (1, 'pending', null, ${day} + interval '1 minute', null::interval),
       (2, 'pending', null, interval '-1 minute', null),
       (3, 'failed', 'due', ${day} + interval '1 minute', null),
       (4, 'delivered', null, ${day} + interval '1 minute', null),
       (5, 'pending', null, ${day} + interval '1 minute', ${day} + interval '1 minute')
     ) as d(number, state, void, after, leased)`,
    [tenant.id],
  );
  await pool.query(
    `insert into standing (tenant, channel, sequence, state, version, rung, ready_at)
     select $1, channel, 1, 'parked', 1, 0, now() + ${day} + interval '1 minute' from generate_series(0, 1) as c(channel)`,
    [tenant.id],
  );
  await pool.query(
    `insert into decision (tenant, channel, sequence, version, who, action, hold_until)
     select $1, channel, 1, 2, 'anna', 'assign', now() + ${day} + interval '1 minute' from generate_series(0, 1) as c(channel)`,
    [tenant.id],
  );

  await bringForward(pool, mine as string, 86_400_000);

  const { rows } = await pool.query<{ channel: number; what: string }>(
    `select channel, 'delivery ' || number as what from delivery where next_at < now() + interval '2 minutes'
     union all select channel, 'lease ' || number from delivery where leased_until < now() + interval '2 minutes'
     union all select channel, 'parked' from standing where ready_at < now() + interval '2 minutes'
     union all select channel, 'decision' from decision where hold_until < now() + interval '2 minutes'
     order by 1, 2`,
  );
  expect(rows.filter(({ channel }) => channel === 0).map(({ what }) => what)).toEqual([
    'decision',
    'delivery 1',
    'delivery 2',
    'delivery 3',
    'delivery 5',
    'lease 5',
    'parked',
  ]);
  expect(rows.filter(({ channel }) => channel === 1).map(({ what }) => what)).toEqual(['delivery 2']);
});
