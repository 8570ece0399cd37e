import { afterEach, beforeEach, expect, it } from 'vitest';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { createFreshWords } from '../../src/storage/fresh-words.js';
import { fillSearch, searchPlaces } from '../../src/storage/search.js';
import { addMessage, addSource } from '../routes/seed.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { longestTurnMs } from '../support/spent.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(() => database.drop());

it('puts many large messages in whole, those of the cursor and late ones, while others have their turns', async () => {
  const { pool } = database;
  const tenant = await insertTenant(pool, 'one');
  const source = await addSource(pool, tenant, 'feed');
  const raw = `needle ${'a b '.repeat(25_000)}`;
  for (let i = 0; i < 25; i++) await addMessage(pool, tenant, { source, raw });
  await pool.query('update reader set planned = 25 where tenant = $1 and channel = 0', [tenant.id]);
  const found = async () => (await searchPlaces(pool, tenant.id, ['needle'], 100)).length;

  const longest = await longestTurnMs(async () => {
    expect(await fillSearch(pool, ['event'], createFreshWords(1e6), () => false)).toEqual({ more: false });
    expect(await found()).toBe(25);
    await pool.query('delete from search_words');
    await pool.query('insert into search_late select $1, 0, n from generate_series(1, 30) n', [tenant.id]);
    await fillSearch(pool, [], createFreshWords(1e6), () => false);
  });
  expect(await found()).toBe(25);
  expect((await pool.query('select from search_late')).rowCount).toBe(0);
  expect(longest).toBeLessThan(1_000);
});

it('leaves out what is erased or goes while its words are made', async () => {
  const { pool } = database;
  const tenant = await insertTenant(pool, 'one');
  const source = await addSource(pool, tenant, 'feed');
  for (let i = 0; i < 3; i++) await addMessage(pool, tenant, { source, raw: 'needle' });
  await pool.query('update reader set planned = 3 where tenant = $1 and channel = 0', [tenant.id]);
  // Holds back whoever puts in, after the reading.
  const client = await pool.connect();
  await client.query('begin; set local idle_in_transaction_session_timeout = 0');
  await client.query("select pg_advisory_xact_lock(hashtext('waybill keeping'))");
  const filling = fillSearch(pool, ['event'], createFreshWords(1e6), () => false);
  for (let waits = false; !waits; ) {
    const { rows } = await pool.query<{ waits: boolean }>(
      `select exists (select from pg_locks where locktype = 'advisory' and not granted
         and database = (select oid from pg_database where datname = current_database())) as waits`,
    );
    waits = rows[0]?.waits ?? false;
  }
  await client.query('update message set erased_at = now() where sequence = 1');
  await client.query('delete from message where sequence = 2');
  await client.query('commit');
  client.release();
  await filling;
  expect(await searchPlaces(pool, tenant.id, ['needle'], 9)).toEqual([{ channel: 0, sequence: 3 }]);
});

it('takes what waits alone where no source brings what is searched, and all else where one does', async () => {
  const { pool } = database;
  const tenant = await insertTenant(pool, 'one');
  const source = await addSource(pool, tenant, 'feed');
  for (let i = 0; i < 450; i++) await addMessage(pool, tenant, { source, raw: 'needle' });
  await pool.query('update reader set planned = 450 where tenant = $1 and channel = 0', [tenant.id]);
  await pool.query(
    `insert into standing (tenant, channel, sequence, state, version)
       select $1, 0, n, case when n % 3 = 0 then 'closed' else 'waiting' end, 1 from generate_series(1, 450) n`,
    [tenant.id],
  );
  await pool.query('delete from search_late');
  await fillSearch(pool, ['mail'], createFreshWords(1e6), () => false);
  const found = (await searchPlaces(pool, tenant.id, ['needle'], 999)).map(({ sequence }) => sequence);
  expect(found.sort((a, b) => a - b)).toEqual(
    Array.from({ length: 450 }, (_, i) => i + 1).filter((sequence) => sequence % 3 > 0),
  );
  const box = await addSource(pool, tenant, 'box', 'mail');
  await addMessage(pool, tenant, { source: box, kind: 'mail', raw: 'x', view: { ...EMPTY_VIEW, subject: 'straw' } });
  await pool.query('update reader set planned = 451 where tenant = $1 and channel = 0', [tenant.id]);
  await fillSearch(pool, ['mail'], createFreshWords(1e6), () => false);
  expect(await searchPlaces(pool, tenant.id, ['straw'], 9)).toEqual([{ channel: 0, sequence: 451 }]);
});

it('takes the words of a view as they were written with it, while it is the view that is there', async () => {
  const { pool } = database;
  const tenant = await insertTenant(pool, 'one');
  const box = await addSource(pool, tenant, 'box', 'mail');
  const view = { ...EMPTY_VIEW, subject: 'straw' };
  for (let i = 0; i < 3; i++) await addMessage(pool, tenant, { source: box, kind: 'mail', raw: 'x', view });
  await pool.query('update reader set planned = 2 where tenant = $1 and channel = 0', [tenant.id]);
  const fresh = createFreshWords(1e6);
  fresh.put(tenant.id, 0, { sequence: 1, rung: 0 }, 'needle Größe');
  // Read anew on another rung since.
  fresh.put(tenant.id, 0, { sequence: 2, rung: 4 }, 'needle');
  await fillSearch(pool, ['mail'], fresh, () => false);
  expect(fresh.of(tenant.id, 0).size).toBe(0);
  const places = (word: string) => searchPlaces(pool, tenant.id, [word], 9);
  expect(await places('needle')).toEqual([{ channel: 0, sequence: 1 }]);
  expect(await places('Größe')).toEqual([{ channel: 0, sequence: 1 }]);
  expect(await places('straw')).toEqual([{ channel: 0, sequence: 2 }]);
  fresh.put(tenant.id, 0, { sequence: 3, rung: 0 }, 'needle');
  await pool.query('insert into search_late values ($1, 0, 3)', [tenant.id]);
  await fillSearch(pool, ['mail'], fresh, () => false);
  expect((await places('needle')).map(({ sequence }) => sequence).sort()).toEqual([1, 3]);
});
