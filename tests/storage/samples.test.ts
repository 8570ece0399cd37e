import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Tenant } from '../../src/message/tenant.js';
import { rateNow } from '../../src/overview/series.js';
import { newPoison, targetLags, unownedChannels } from '../../src/storage/overview.js';
import { lagSince, samplesSince, takeSample } from '../../src/storage/samples.js';
import { addDelivery, addMessage, addSource, addTarget, plan, quarantined, stand } from '../routes/seed.js';
import { insertProcess, insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

const START = Date.UTC(2026, 0, 31, 12);
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

let database: TestDatabase;
let tenant: Tenant;
let source: number;
let target: number;

beforeEach(async () => {
  database = await freshDatabase();
  tenant = await insertTenant(database.pool, 'one');
  source = await addSource(database.pool, tenant, 'feed');
  target = await addTarget(database.pool, tenant, 'erp');
});
afterEach(() => database.drop());

const shorts = (since = 0) => samplesSince(database.pool, tenant.id, 10 * SECOND, since);
const longs = (since = 0) => samplesSince(database.pool, tenant.id, 5 * MINUTE, since);

async function lineAt(number: number, channel = 0, of = target): Promise<void> {
  await database.pool.query(
    `insert into line (tenant, target, channel, epoch, last_number) values ($1, $2, $3, 1, $4)
     on conflict (tenant, target, channel) do update set last_number = excluded.last_number`,
    [tenant.id, of, channel, number],
  );
}

/** A delivery of message 0-1 under this number. */
async function delivery(number: number, state: 'pending' | 'failed' | 'delivered', at: number, of = target) {
  const place = { channel: 0, sequence: 1 };
  await addDelivery(database.pool, tenant, place, { target: of, number, plan: 1, state, at: new Date(at) });
}

describe('a sample', () => {
  test('waits for no row that accepting, planning or deciding holds', async () => {
    const { pool } = database;
    await lineAt(50);
    await delivery(41, 'pending', START - MINUTE);
    await stand(pool, tenant, { channel: 0, sequence: 1 }, 'waiting');
    const busy = await pool.connect();
    try {
      await busy.query('begin; set local idle_in_transaction_session_timeout = 0');
      for (const table of ['channel', 'reader', 'line', 'standing', 'delivery', 'inbox_count', 'target']) {
        await busy.query(`select from ${table} for update`);
      }
      // It would wait for as long as the test may take.
      expect(await takeSample(pool, START)).toBe(true);
      await busy.query('rollback');
    } finally {
      busy.release();
    }
  });

  test('has what every counter stands at', async () => {
    const { pool } = database;
    await pool.query(
      `update channel set last_sequence = 100, duplicates = 7, conflicts = 2, expired = 1 where tenant = $1 and channel < 2`,
      [tenant.id],
    );
    await pool.query('update reader set planned = 90 where tenant = $1 and channel < 2', [tenant.id]);
    await lineAt(50);
    await delivery(41, 'pending', START - MINUTE);
    await stand(pool, tenant, { channel: 0, sequence: 1 }, 'waiting');
    await stand(pool, tenant, { channel: 0, sequence: 2 }, 'closed');
    await stand(pool, tenant, { channel: 0, sequence: 3 }, 'waiting');
    await pool.query(`update standing set snoozed_until = 'infinity' where sequence = 3`);
    // One's time has come, and one's comes within this minute.
    await stand(pool, tenant, { channel: 1, sequence: 1 }, 'waiting');
    await stand(pool, tenant, { channel: 1, sequence: 2 }, 'waiting');
    await pool.query('update standing set snoozed_until = $1 where channel = 1 and sequence = 1', [new Date(START)]);
    await pool.query('update standing set snoozed_until = $1 where channel = 1 and sequence = 2', [
      new Date(START + 5 * SECOND),
    ]);
    await quarantined(pool, tenant, source, 'conflict');

    expect(await takeSample(pool, START + 300)).toBe(true);
    expect(await shorts()).toEqual([
      {
        slot: START,
        at: START + 300,
        accepted: 220,
        sequenced: 200,
        routed: 180,
        // 50 numbers were given; those from 41 on wait behind the first that does.
        delivered: 40,
        duplicates: 14,
        conflicts: 4,
        expired: 2,
        inbox: 3,
        waiting: 10,
      },
    ]);
    expect(await lagSince(pool, tenant.id, START)).toEqual([{ target, slot: START, waiting: 10 }]);
  });

  test('of a tenant in which nothing has happened is there, too, and no tenant has another’s', async () => {
    const other = await insertTenant(database.pool, 'two');
    await database.pool.query('update channel set last_sequence = 5 where tenant = $1', [other.id]);
    await takeSample(database.pool, START);
    expect(await shorts()).toMatchObject([{ accepted: 0, delivered: 0, inbox: 0, waiting: 0 }]);
    expect(await samplesSince(database.pool, other.id, 10 * SECOND, 0)).toMatchObject([{ sequenced: 20 }]);
  });

  test('counts as delivered neither what is under way nor what failed', async () => {
    const { pool } = database;
    const place = await addMessage(pool, tenant, { source });
    await lineAt(10);
    await takeSample(pool, START);
    await lineAt(20);
    await plan(pool, tenant, place, { open: true, n: 4, targets: [[target, 11, 'now']] });
    await delivery(15, 'failed', START + 2 * SECOND);
    await delivery(16, 'failed', START + 10 * SECOND);
    // That is for the next one: it has not been settled yet.
    await delivery(17, 'failed', START + 11 * SECOND);
    await takeSample(pool, START + 10 * SECOND);
    await takeSample(pool, START + 20 * SECOND);
    expect((await shorts()).map(({ delivered }) => delivered)).toEqual([10, 20 - 4 - 2, 20 - 4 - 3]);
  });

  test('says nothing of what was delivered while more waits without order than is counted', async () => {
    const { pool } = database;
    await pool.query(
      `update target set kind = 'webhook', definition = '{"kind":"webhook","url":"http://x"}' where id = $1`,
      [target],
    );
    await lineAt(100_001);
    await pool.query(
      `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state, created_at)
       select $1, $2, 0, 1, n, n, 1, 0, '{}', 'pending', $3 from generate_series(1, 99999) n`,
      [tenant.id, target, new Date(START)],
    );
    await takeSample(pool, START);
    await pool.query(
      `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state)
       select $1, $2, 0, 1, n, n, 1, 0, '{}', 'pending' from generate_series(100000, 100001) n`,
      [tenant.id, target],
    );
    await takeSample(pool, START + 10 * SECOND);
    expect((await shorts()).map(({ delivered, waiting }) => [delivered, waiting])).toEqual([
      [2, 99_999],
      [null, 100_000],
    ]);
    const lag = (await targetLags(pool, tenant.id)).get(target);
    expect(lag).toEqual({ target, waiting: 100_000, more: true, oldest: new Date(START) });
  });
});

describe('taking samples', () => {
  test('is done once in ten seconds, whoever asks and how often', async () => {
    const asked = await Promise.all(Array.from({ length: 6 }, (_, i) => takeSample(database.pool, START + i)));
    expect(asked.filter((done) => done)).toHaveLength(1);
    expect(await takeSample(database.pool, START + 9_999)).toBe(false);
    expect(await takeSample(database.pool, START + 10_000)).toBe(true);
    expect((await shorts()).map(({ slot }) => slot - START)).toEqual([0, 10_000]);
  });

  test('leaves a gap where nobody did, and goes on', async () => {
    await takeSample(database.pool, START);
    await database.pool.query('update channel set last_sequence = 600 where tenant = $1 and channel = 0', [tenant.id]);
    await takeSample(database.pool, START + HOUR);
    const samples = await shorts(START + HOUR - MINUTE);
    expect(samples).toHaveLength(1);
    expect(rateNow(samples, START + HOUR, ({ sequenced }) => sequenced)).toBeNull();
  });

  test('keeps the first of each five minutes for long, with its lags', async () => {
    await lineAt(1);
    await delivery(1, 'pending', START - MINUTE);
    for (let at = START - 20 * SECOND; at <= START + 6 * MINUTE; at += 10 * SECOND) {
      await database.pool.query(
        'update channel set last_sequence = last_sequence + 1 where tenant = $1 and channel = 0',
        [tenant.id],
      );
      await takeSample(database.pool, at + 40);
    }
    expect(
      (await longs()).map(({ slot, at, sequenced, waiting }) => [slot - START, at - START, sequenced, waiting]),
    ).toEqual([
      [-5 * MINUTE, -20 * SECOND + 40, 1, 1],
      [0, 40, 3, 1],
      [5 * MINUTE, 5 * MINUTE + 40, 33, 1],
    ]);
  });

  test('drops what is too old, and only that', async () => {
    await lineAt(1);
    await delivery(1, 'pending', START - MINUTE);
    await takeSample(database.pool, START);
    await takeSample(database.pool, START + HOUR);
    await takeSample(database.pool, START + 3 * HOUR);
    expect((await shorts()).map(({ slot }) => slot - START)).toEqual([HOUR, 3 * HOUR]);
    expect(await longs()).toHaveLength(3);
    await takeSample(database.pool, START + 8 * DAY + HOUR);
    expect((await shorts()).map(({ slot }) => slot - START)).toEqual([8 * DAY + HOUR]);
    expect((await longs()).map(({ slot }) => slot - START)).toEqual([HOUR, 3 * HOUR, 8 * DAY + HOUR]);
    const { rows } = await database.pool.query('select count(*) as lags from sample_lag');
    expect(rows).toEqual([{ lags: 4 }]);
  });

  test('goes on by time alone when the clock goes back', async () => {
    await takeSample(database.pool, START + HOUR);
    expect(await takeSample(database.pool, START)).toBe(true);
    expect(await takeSample(database.pool, START + HOUR)).toBe(false);
  });
});

describe('what each target has yet to get', () => {
  test('is counted by numbers where messages wait in line, over all channels, with the oldest', async () => {
    const { pool } = database;
    const idle = await addTarget(pool, tenant, 'idle');
    await lineAt(100);
    await lineAt(7, 1);
    await lineAt(7, 0, idle);
    await delivery(91, 'pending', START - HOUR);
    await delivery(92, 'pending', START - MINUTE);
    await pool.query(
      `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state, created_at)
       values ($1, $2, 1, 1, 7, 1, 1, 0, '{}', 'pending', $3)`,
      [tenant.id, target, new Date(START - DAY)],
    );
    const other = await insertTenant(pool, 'two');
    expect([...(await targetLags(pool, tenant.id)).values()]).toEqual([
      { target, waiting: 11, more: false, oldest: new Date(START - DAY) },
    ]);
    expect(await targetLags(pool, other.id)).toEqual(new Map());
  });
});

test('a channel is owned by whoever lives', async () => {
  const { pool } = database;
  expect(await unownedChannels(pool, tenant.id)).toEqual([0, 1, 2, 3]);
  const process = await insertProcess(pool, '7f6e4a52-0000-4000-8000-000000000001');
  await pool.query('update lease set holder = $1 where tenant = $2 and channel <> 2', [process, tenant.id]);
  expect(await unownedChannels(pool, tenant.id)).toEqual([2]);
  await pool.query(`update process set beat_at = now() - interval '11 seconds'`);
  expect(await unownedChannels(pool, tenant.id)).toEqual([0, 1, 2, 3]);
});

test('poison is new when nothing before had what may have stopped it', async () => {
  const { pool } = database;
  const add = (crash: string, cause: 'poison' | 'conflict' = 'poison') =>
    quarantined(pool, tenant, source, cause, { channel: 0, sequence: 1 }, { crash });
  const first = await add('aa');
  await add('aa');
  const second = await add('bb');
  await add('cc', 'conflict');
  expect(await newPoison(pool, tenant.id, new Date(Date.now() - DAY))).toEqual([`q-${second}`, `q-${first}`]);
  expect(await newPoison(pool, tenant.id, new Date(Date.now() + DAY))).toEqual([]);
  await pool.query(`update quarantine set state = 'discarded' where number = $1`, [second]);
  expect(await newPoison(pool, tenant.id, new Date(0))).toEqual([`q-${first}`]);
});
