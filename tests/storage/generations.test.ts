import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openGenerations } from '../../src/storage/generations.js';
import { insertTenant } from '../support/arrivals.js';
import { settableClock } from '../support/clock.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

const DAY = 86_400_000;

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(() => database.drop());

async function open(futureMs = DAY, steady = () => true) {
  // Generations are dated by the database.
  const clock = settableClock(Date.now());
  const settings = { windowMs: 35 * DAY, futureMs, expectedKeys: 1000, cacheDirectory: null };
  return { clock, ...(await openGenerations({ pool: database.pool, settings, clock, steady, log: silent })) };
}

async function dropped(): Promise<number[]> {
  const { rows } = await database.pool.query<{ id: number }>(
    'select id from generation where keys_dropped_at is not null order by id',
  );
  return rows.map((row) => row.id);
}

describe('the generations', () => {
  it('keep keys for the window and for as long as an event may come before its time', async () => {
    const { clock, rotate, tend } = await open(3 * DAY);
    await rotate();
    clock.advance(37.9 * DAY);
    await tend();
    expect(await dropped()).toEqual([]);
    clock.advance(0.2 * DAY);
    await tend();
    expect(await dropped()).toContain(1);
  });

  it('keep keys a day beyond the window at least', async () => {
    const { clock, rotate, tend } = await open(0);
    await rotate();
    clock.advance(35.9 * DAY);
    await tend();
    expect(await dropped()).toEqual([]);
  });

  it('keep their keys, however old they seem, while time has just jumped', async () => {
    let steady = false;
    const { clock, rotate, tend } = await open(DAY, () => steady);
    await rotate();
    clock.advance(400 * DAY);
    await tend();
    expect(await dropped()).toEqual([]);
    steady = true;
    await tend();
    expect(await dropped()).toContain(1);
  });

  it('are sealed with the time of their sealing, whatever arrived', async () => {
    const tenant = await insertTenant(database.pool, 'one');
    await database.pool.query(
      `insert into message (generation, tenant, channel, sequence, source, kind, account, arrived_at, peer, sha256, batch, raw)
       values (1, $1, 0, 1, 1, 'event', 'a', now() - interval '1 day', 'p', '', 1, '')`,
      [tenant.id],
    );
    const { rotate } = await open();
    await rotate();
    const { rows } = await database.pool.query(
      `select last_arrival > now() - interval '1 minute' as late from generation where id = 1`,
    );
    expect(rows).toEqual([{ late: true }]);
  });

  it('do not hold up the commits behind a long reader, and are dropped when it is gone', async () => {
    const { clock, rotate, tend } = await open();
    await rotate();
    clock.advance(37 * DAY);
    const reader = await database.pool.connect();
    try {
      await reader.query('begin');
      await reader.query('set local idle_in_transaction_session_timeout = 0');
      await reader.query('select count(*) from key');
      // If it waited for the reader, this would have no end.
      await tend();
      expect(await dropped()).toEqual([]);
      await reader.query('commit');
    } finally {
      reader.release();
    }
    await tend();
    expect(await dropped()).toContain(1);
  });

  it('are loaded although one of them can not be', async () => {
    const { rotate, tend, filters } = await open();
    await rotate();
    await rotate();
    await database.pool.query(
      `create function no_filter() returns trigger language plpgsql as $$ begin
         if (select id from generation where uid = new.generation) = 1 then raise exception 'no room'; end if;
         return new; end $$`,
    );
    await database.pool.query(
      'create trigger no_filter before insert on filter for each row execute function no_filter()',
    );
    await tend();
    expect(filters.status().map(({ generation, ready }) => [generation, ready])).toEqual([
      [1, false],
      [2, true],
      [3, true],
    ]);
    await database.pool.query('drop trigger no_filter on filter');
    await tend();
    expect(filters.missing()).toEqual([]);
  });
});
