import { afterEach, beforeEach, expect, it } from 'vitest';
import { createTenant } from '../../src/storage/tenants.js';
import { listWaiting } from '../../src/storage/waiting.js';
import { addMessage, addSource, plan } from '../routes/seed.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(() => database.drop());

it('reads what waits in pieces that fit into memory, each message once, and of mail no bytes at all', async () => {
  const { pool } = database;
  const made = await createTenant(pool, 'default', 1, 'test');
  if (made.result !== 'ok') throw new Error('the tenant could not be made');
  const source = await addSource(pool, made.tenant, 'feed');
  const large = 'x'.repeat(9 * 1024 * 1024);
  for (const kind of ['event', 'mail', 'event', 'event'] as const) {
    await plan(pool, made.tenant, await addMessage(pool, made.tenant, { source, kind, raw: large }), { mode: 'wait' });
  }
  const pages: number[][] = [];
  let mark = null;
  do {
    const page: Awaited<ReturnType<typeof listWaiting>> = await listWaiting(pool, made.tenant.id, 3, mark);
    pages.push(page.messages.map(({ message }) => message.sequence));
    expect(page.looked).toBe(page.messages.length);
    for (const { message, source: name } of page.messages) {
      expect([name, message.raw.length]).toEqual(['feed', message.kind === 'mail' ? 0 : large.length]);
    }
    mark = page.next;
  } while (mark);
  expect(pages).toEqual([
    [4, 3],
    [2, 1],
  ]);
});

it('lists by when each began to need somebody: a snoozed one when its time came', async () => {
  const { pool } = database;
  const made = await createTenant(pool, 'default', 1, 'test');
  if (made.result !== 'ok') throw new Error('the tenant could not be made');
  const source = await addSource(pool, made.tenant, 'feed');
  for (let i = 0; i < 4; i++) {
    await plan(pool, made.tenant, await addMessage(pool, made.tenant, { source }), { mode: 'wait' });
  }
  await pool.query("update standing set since = now() - interval '1 hour' * (10 - sequence)");
  await pool.query("update standing set snoozed_until = now() - interval '1 minute' where sequence = 2");
  await pool.query("update standing set snoozed_until = now() + interval '1 minute' where sequence = 3");
  const seen: number[] = [];
  for (let mark = null as Awaited<ReturnType<typeof listWaiting>>['next']; ; ) {
    const page = await listWaiting(pool, made.tenant.id, 1, mark);
    seen.push(...page.messages.map(({ message }) => message.sequence));
    mark = page.next;
    if (mark === null) break;
  }
  expect(seen).toEqual([2, 4, 1]);
});
