import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type AccountUsage, accountPage, accountUsage } from '../../routes/ledger-views.js';
import { AGGREGATIONS, rateCardSchema, subscriptionSchema } from '../../src/billing/definitions.js';
import { accountHash, channelOf } from '../../src/channel/partition.js';
import { putBilling } from '../../src/storage/billing.js';
import { Ledger } from '../../src/storage/ledger.js';
import { seriesOf, usageFromJournal } from '../../src/storage/usage.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { type UsageBooks, type UsageEvent, usageBooks } from '../support/usage.js';

const ACCOUNTS = 60;
const NOW = Date.parse('2026-03-17T10:20:00Z');
const now = () => NOW;

let database: TestDatabase;
let books: UsageBooks;
beforeEach(async () => {
  database = await freshDatabase();
  books = await usageBooks(database.pool, 'many', 4);
  for (const aggregation of AGGREGATIONS)
    await books.meter(aggregation, {
      ...{ type: 'usage', aggregation, dimensions: { region: '/data/region' }, unit: aggregation },
      ...(aggregation !== 'count' && { value: '/data/n' }),
    });
  await books.store(Array.from({ length: ACCOUNTS }, (_, n) => eventsOf(n)).flat());
  await books.planAll();
  const ledger = new Ledger({ pool: database.pool });
  for (let due = await ledger.due(100); due.length > 0; due = await ledger.due(100))
    for (const place of due) await ledger.take(place);
});
afterEach(() => database.drop());

const nameOf = (n: number) => `account-${String(n).padStart(3, '0')}`;

/** Of this month and the one before, at odd times; the first account has none this month. */
function eventsOf(n: number): UsageEvent[] {
  const times = ['2026-02-03T04:05:06Z', '2026-02-17T10:19:59Z', '2026-02-25T00:00:00Z'];
  if (n > 0) times.push('2026-03-01T00:00:00Z', '2026-03-09T09:30:00Z', '2026-03-17T10:19:00Z');
  return times.map((time, i) => ({
    account: nameOf(n),
    data: `{"n":${n + i / 4},"region":"${i % 2 === 0 ? 'eu' : 'us'}"}`,
    time,
  }));
}

/** What the journal says of an account's first five meters. */
async function fromJournal(account: string): Promise<Pick<AccountUsage, 'usage' | 'complete' | 'moreMeters'>> {
  const { pool } = database;
  const series = await seriesOf(pool, books.tenant.id, account, null);
  const place = { tenant: books.tenant.id, book: 1, channel: series[0]?.channel ?? 0 };
  const within = async (meter: string, from: string, to: number) => {
    const of = series.filter((one) => one.meter === meter).map(({ id }) => id);
    const aggregation = meter as (typeof AGGREGATIONS)[number];
    return usageFromJournal(pool, place, { series: of, aggregation, from: Date.parse(from), to });
  };
  const usage = [];
  for (const meter of [...new Set(series.map((one) => one.meter))].slice(0, 5)) {
    const { quantity, events } = await within(meter, '2026-03-01T00:00:00Z', NOW);
    const before = await within(meter, '2026-02-01T00:00:00Z', Date.parse('2026-02-17T10:20:00Z'));
    usage.push({ meter, unit: meter, quantity, events, before: before.quantity });
  }
  return { usage, complete: true, moreMeters: AGGREGATIONS.length - 5 };
}

async function accountsOf(limit: number): Promise<{ accounts: readonly AccountUsage[]; asked: number }> {
  const asked = vi.spyOn(database.pool, 'query');
  const { accounts } = await accountPage({ pool: database.pool, now }, books.tenant, { limit });
  const times = asked.mock.calls.length;
  asked.mockRestore();
  return { accounts, asked: times };
}

it('a page of fifty accounts asks as often as one of two, and says what the journal says of each', async () => {
  const many = await accountsOf(50);
  expect(many.accounts.map(({ account }) => account)).toEqual(Array.from({ length: 50 }, (_, n) => nameOf(n)));
  for (const { account, ...told } of many.accounts) expect(told).toMatchObject(await fromJournal(account));
  const few = await accountsOf(2);
  expect(few.accounts).toEqual(many.accounts.slice(0, 2));
  expect(many.asked).toBe(few.asked);
  expect(many.asked).toBeLessThan(13);
  if (process.env.WAYBILL_USAGE_FIGURES) {
    let least = Number.POSITIVE_INFINITY;
    for (let n = 0; n < 15; n++) {
      const began = performance.now();
      await accountsOf(50);
      least = Math.min(least, performance.now() - began);
    }
    process.stdout.write(`fifty accounts: ${many.asked} questions, ${least.toFixed(1)} ms\n`);
  }
});

it('each account has its own period, and a gap of its own makes it alone incomplete', async () => {
  const { pool } = database;
  const subscription = { rateCard: 'basic', currency: 'EUR', from: '2026-01-01', zone: 'Asia/Tokyo', period: 'day' };
  const card = { currency: 'EUR', versions: [{ from: '2026-01-01', prices: [] }] };
  const by = { expected: 'absent', who: 'test' } as const;
  await putBilling(pool, books.tenant, 'rate-card', 'basic', rateCardSchema.parse(card), by);
  const ofOne = subscriptionSchema.parse({ ...subscription, account: nameOf(1) });
  await putBilling(pool, books.tenant, 'subscription', 'one', ofOne, by);
  const gap = (account: string, at: string) =>
    pool.query(
      `insert into ledger_gap (tenant, book, channel, sequence, reason, account, at)
       select $1, 1, $2, 1000 + count(*), 'parked', $3, $4 from ledger_gap`,
      [books.tenant.id, channelOf(accountHash(account), books.tenant.channels), account, at],
    );
  await gap(nameOf(2), '2026-03-20T00:00:00Z');
  await gap(nameOf(3), '2026-02-28T23:59:59Z');
  const { accounts } = await accountsOf(6);
  expect(accounts.map(({ complete }) => complete)).toEqual([true, true, false, true, true, true]);
  expect(accounts.map(({ period: { name, zone } }) => `${name} ${zone}`)).toEqual([
    ...['2026-03 UTC', '2026-03-17 Asia/Tokyo', '2026-03 UTC', '2026-03 UTC', '2026-03 UTC', '2026-03 UTC'],
  ]);
  // Of the day that began at 15:00 the day before.
  expect(accounts[1]?.usage[0]).toMatchObject({ meter: 'count', events: 1, quantity: '1', before: '0' });
  for (const told of accounts) {
    const alone = await accountUsage({ pool, now }, books.tenant, told.account, 5);
    expect(alone).toEqual(told);
  }
});
