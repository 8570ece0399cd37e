import { afterEach, beforeEach, expect, it } from 'vitest';
import { decide } from '../../src/storage/decisions.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(() => database.drop());

it('a replay that names a target twice sends it once', async () => {
  const tenant = await insertTenant(database.pool, 'one');
  await database.pool.query(
    `insert into message (generation, tenant, channel, sequence, source, kind, account, arrived_at, peer, sha256, batch, raw)
     values (1, $1, 0, 1, 1, 'event', 'a', now(), 'p', '', 1, '')`,
    [tenant.id],
  );
  await database.pool.query('insert into span values ($1, 0, 1, 1)', [tenant.id]);
  await database.pool.query('update channel set last_sequence = 1 where tenant = $1 and channel = 0', [tenant.id]);
  await database.pool.query('update reader set planned = 1 where tenant = $1 and channel = 0', [tenant.id]);
  const decided = await decide(
    database.pool,
    tenant.id,
    { channel: 0, sequence: 1 },
    {
      who: 'ann',
      action: 'replay',
      version: null,
      targets: [7, 8, 7],
      reason: null,
      until: null,
      hold: 0,
      idempotencyKey: null,
    },
  );
  expect(decided).toMatchObject({ result: 'decided', decision: { targets: [7, 8], plan: null } });
});
