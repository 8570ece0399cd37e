import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf, type Undecodable } from '../../src/channel/undecodable.js';
import type { Tenant } from '../../src/message/tenant.js';
import { decideQuarantined, listQuarantine } from '../../src/storage/quarantine.js';
import { createHealthLog, sourceHealth } from '../../src/storage/source-health.js';
import { createQuarantine } from '../../src/storage/undecodable.js';
import { insertProcess, insertTenant, testSecret } from '../support/arrivals.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

/* What AMQP sources write down beside messages: what no message could be made of, and how they are doing. */

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

let made = 0;

/** A tenant of one's own with a source; ids of sources are their tenant's own. */
async function tenantWithSource(): Promise<{ tenant: Tenant; source: { id: number; name: string } }> {
  const tenant = await insertTenant(database.pool, `tenant-${++made}`);
  const { rows } = await database.pool.query<{ id: number }>(
    `insert into source (tenant, name, kind, definition, managed_by)
     values ($1, 'orders', 'amqp', '{"kind":"amqp","queue":"orders"}', 'api') returning id`,
    [tenant.id],
  );
  return { tenant, source: { id: rows[0]?.id as number, name: 'orders' } };
}

function entry(of: { tenant: Tenant; source: { id: number; name: string } }, body: string, at = 1_700_000_000_000) {
  return {
    ...of,
    kind: 'amqp',
    account: 'orders',
    type: null,
    externalId: 'quoted "id"',
    arrivedAt: at,
    peer: 'orders',
    meta: '{"headers":{"a":"\\"{}"}}',
    raw: Buffer.from(body),
    reason: 'It has no usable messageId.',
    content: contentOf(body),
  } satisfies Undecodable;
}

test('what no message could be made of is kept whole, and the same again raises its count', async () => {
  const of = await tenantWithSource();
  const quarantine = createQuarantine(database.pool, testSecret());
  await quarantine([]);
  await quarantine([entry(of, 'one'), entry(of, 'two'), entry(of, 'one', 1_700_000_001_000)]);
  await quarantine([entry(of, 'three'), entry(of, 'two', 1_700_000_002_000)]);

  const { entries } = await listQuarantine(database.pool, of.tenant.id, {}, 10, null);
  expect(entries).toMatchObject([
    { number: 3, count: 1, cause: 'undecodable' },
    { number: 2, count: 2, lastAt: new Date(1_700_000_002_000) },
    {
      number: 1,
      count: 2,
      state: 'held',
      of: null,
      source: 'orders',
      kind: 'amqp',
      externalId: 'quoted "id"',
      reason: 'It has no usable messageId.',
      received: new Date(1_700_000_000_000),
      lastAt: new Date(1_700_000_001_000),
    },
  ]);
  const { rows } = await database.pool.query(
    `select raw, meta->'headers'->>'a' as header, sha256 = sha256(raw) as right from quarantine where tenant = $1 order by number`,
    [of.tenant.id],
  );
  expect(rows.map(({ raw, header, right }) => [String(raw), header, right])).toEqual([
    ['one', '"{}', true],
    ['two', '"{}', true],
    ['three', '"{}', true],
  ]);

  // One that was thrown away stays so.
  await decideQuarantined(database.pool, of.tenant.id, 1, 'anna', { action: 'discard', reason: null });
  await quarantine([entry(of, 'one')]);
  const again = await listQuarantine(database.pool, of.tenant.id, { state: 'discarded' }, 10, null);
  expect(again.entries).toMatchObject([{ number: 1, count: 3 }]);
});

test('the same content is another entry for another tenant, and many at once are numbered without gaps', async () => {
  const secret = testSecret();
  const quarantine = createQuarantine(database.pool, secret);
  const [one, two] = [await tenantWithSource(), await tenantWithSource()];
  await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      quarantine([entry(one, `a-${i}`), entry(one, 'same'), entry(one, `b-${i}`)]).then(() =>
        quarantine([entry(two, 'same')]),
      ),
    ),
  );
  const { entries } = await listQuarantine(database.pool, one.tenant.id, {}, 100, null);
  expect(entries.map(({ number }) => number)).toEqual(Array.from({ length: 17 }, (_, i) => 17 - i));
  const others = await listQuarantine(database.pool, two.tenant.id, {}, 100, null);
  expect(others.entries).toMatchObject([{ number: 1, count: 8 }]);
});

test('a source is as well as the best of its living processes says', async () => {
  const { tenant, source } = await tenantWithSource();
  const [a, b] = [
    createHealthLog(database.pool, await insertProcess(database.pool, randomUUID()), silent),
    createHealthLog(database.pool, await insertProcess(database.pool, randomUUID()), silent),
  ];
  const health = async () => (await sourceHealth(database.pool, tenant.id, [source.id])).get(source.id);
  expect(await health()).toBeUndefined();

  a.note(tenant.id, source.id, { state: 'down', reason: 'not yet' });
  a.note(tenant.id, source.id, { state: 'down', reason: 'There is no queue.' });
  await a.flush();
  expect(await health()).toMatchObject({ state: 'failing', reason: 'There is no queue.', since: expect.any(Date) });

  b.note(tenant.id, source.id, { state: 'standing_by', reason: 'Another one reads it.' });
  await b.flush();
  expect(await health()).toMatchObject({ state: 'failing', reason: 'There is no queue.' });
  a.note(tenant.id, source.id, { state: 'consuming' });
  await a.flush();
  expect(await health()).toMatchObject({ state: 'ok', reason: null });

  await database.pool.query(`update process set beat_at = now() - interval '1 minute'
    where id = (select process from source_health where tenant = ${tenant.id} and state = 'consuming')`);
  expect(await health()).toMatchObject({ state: 'waiting', reason: 'Another one reads it.' });
  const other = await tenantWithSource();
  expect(await sourceHealth(database.pool, other.tenant.id, [source.id])).toEqual(new Map());
});

test('what can not be written about a source is written the next time', async () => {
  const { tenant, source } = await tenantWithSource();
  const id = randomUUID();
  const log = createHealthLog(database.pool, id, silent);
  log.note(tenant.id, source.id, { state: 'consuming' });
  // There is no such process yet.
  await log.flush();
  await insertProcess(database.pool, id);
  await log.flush();
  expect(await sourceHealth(database.pool, tenant.id, [source.id])).toMatchObject(
    new Map([[source.id, { state: 'ok' }]]),
  );
});
