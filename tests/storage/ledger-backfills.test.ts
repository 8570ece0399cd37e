import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acceptanceText } from '../../src/billing/backfill.js';
import { AGGREGATIONS } from '../../src/billing/definitions.js';
import { backfillFigures, beginSend, knownEvents, openBackfill } from '../../src/storage/backfills.js';
import { eraseAccount } from '../../src/storage/erase.js';
import { listHeld } from '../../src/storage/held.js';
import { Ledger } from '../../src/storage/ledger.js';
import { type RebuildEvent, rebuild } from '../../src/storage/rebuild.js';
import { liveBook, seriesOf, usage, usageFromJournal } from '../../src/storage/usage.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { tellBadly } from '../support/told-badly.js';
import { type Place, type UsageBooks, usageBooks } from '../support/usage.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase({ max: 8 });
});
afterEach(() => database.drop());

const TIMED = { from: Date.parse('2020-01-01T00:00:00Z'), to: Date.parse('2030-01-01T00:00:00Z') };

async function take(books: UsageBooks): Promise<void> {
  await books.planAll();
  const ledger = new Ledger({ pool: database.pool });
  for (let due = await ledger.due(100); due.length > 0; due = await ledger.due(100))
    for (const place of due) await ledger.take(place);
}

/** What each meter of an account comes to; cells and journal say the same. */
async function totals(books: UsageBooks, account: string): Promise<Record<string, string>> {
  const { pool } = database;
  const series = await seriesOf(pool, books.tenant.id, account, null);
  const place = {
    tenant: books.tenant.id,
    book: await liveBook(pool, books.tenant.id),
    channel: series[0]?.channel ?? 0,
  };
  const found: Record<string, string> = {};
  for (const { id, meter, aggregation } of series) {
    const question = { series: [id], aggregation, ...TIMED };
    const [answer] = await usage(pool, place, [question]);
    const journal = await usageFromJournal(pool, place, question);
    expect([answer?.quantity, answer?.events]).toEqual([journal.quantity, journal.events]);
    if ((answer?.events ?? 0) > 0) found[meter] = answer?.quantity ?? '';
  }
  return found;
}

/** A replay from zero comes to the same. */
async function replayed(books: UsageBooks): Promise<void> {
  const events: RebuildEvent[] = [];
  for await (const event of rebuild(database.pool, books.tenant, { who: 'anna', acceptDifferences: false }))
    events.push(event);
  expect(events.filter(({ event }) => event !== 'progress')).toMatchObject([
    { ok: true, swapped: true, differences: 0 },
  ]);
}

async function withSum(channels = 1): Promise<UsageBooks> {
  const books = await usageBooks(database.pool, 'one', channels);
  await books.meter('sum', { type: 'usage', aggregation: 'sum', value: '/data/n' });
  return books;
}

const event = (id: string, n: string, time = '2025-03-01T10:00:00Z') => ({ id, data: `{"n":${n},"u":"${n}"}`, time });

describe('a backfill', () => {
  it('counts when it is closed, not before, and no more when it is reverted; each equals a replay', async () => {
    const books = await withSum();
    await books.store([{ account: 'acme', ...event('a', '1') }]);
    await books.fill('acme', 1, event('b', '2.5'));
    await books.fill('acme', 1, event('c', '4', '2024-12-31T23:59:59.999999Z'));
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    await replayed(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    await books.word('acme', 1, 'close');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '7.5' });
    await replayed(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '7.5' });
    await books.word('acme', 1, 'revert');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    await replayed(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
  });

  it('of 10,000 events of one channel is closed in seconds, and so is its replay', async () => {
    const books = await withSum();
    const events = Array.from({ length: 10_000 }, (_, i) => event(`e${i}`, '1', `2025-03-0${1 + (i % 9)}T10:00:00Z`));
    await books.store(events.slice(0, 100).map((each) => ({ account: 'acme', ...each })));
    await books.fillAll('acme', 1, events);
    await take(books);
    await books.word('acme', 1, 'close');
    // Each event looking through all the others took minutes.
    const began = performance.now();
    await take(books);
    await replayed(books);
    expect(performance.now() - began).toBeLessThan(30_000);
    expect(await totals(books, 'acme')).toEqual({ sum: '10000' });
  });

  it('does not count what came by itself, however long ago, and says so', async () => {
    const books = await withSum();
    const [first] = await books.store([{ account: 'acme', ...event('a', '1') }]);
    await take(books);
    // Keys and content have outlived their time: the journal knows it all the same.
    await database.pool.query('delete from message where tenant = $1', [books.tenant.id]);
    const again = await books.fill('acme', 1, event('a', '1'));
    const other = await books.fill('acme', 1, event('a', '99', '2025-04-01T00:00:00Z'));
    await books.fill('acme', 1, event('b', '2'));
    await books.word('acme', 1, 'close');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
    const known = await knownEvents(database.pool, books.tenant.id, 1, { channel: -1, sequence: 0 }, 10);
    expect(known).toEqual([
      { ...again, of: first?.sequence },
      { ...other, of: first?.sequence },
    ]);
    expect(await backfillFigures(database.pool, books.tenant.id, 1)).toMatchObject({ read: 3, counted: 1, known: 2 });
    await replayed(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
  });

  it('gives way to what comes by itself afterwards', async () => {
    const books = await withSum();
    await books.fill('acme', 1, event('a', '1'));
    await books.word('acme', 1, 'close');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    await books.store([{ account: 'acme', ...event('a', '1') }]);
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    expect(await backfillFigures(database.pool, books.tenant.id, 1)).toMatchObject({ counted: 0, known: 1 });
    await replayed(books);
  });

  it('holds back what amends an amendment, in whatever order they are read', async () => {
    const books = await withSum();
    const filled = await books.fill('acme', 1, event('a', '1'));
    const amendment = await books.correct('acme', filled, { data: '{"n":2}', time: event('a', '1').time });
    const last = await books.correct('acme', amendment, { data: '{"n":4}', time: event('a', '1').time });
    const place = { tenant: books.tenant.id, book: 1, channel: filled.channel };
    const ledger = new Ledger({ pool: database.pool });
    for (const { sequence } of [last, filled, amendment]) await ledger.feed(place, [{ sequence, gap: null }]);
    expect(await totals(books, 'acme')).toEqual({});
  });

  it('may be sent again to another one after it was reverted, and counts once however many hold it', async () => {
    const books = await withSum();
    await books.fill('acme', 1, event('a', '1'));
    await books.word('acme', 1, 'close');
    await books.fill('acme', 2, event('a', '2'));
    await books.fill('acme', 3, event('a', '4'));
    await books.word('acme', 3, 'close');
    await books.word('acme', 2, 'close');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    await books.word('acme', 1, 'revert');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '2' });
    await books.word('acme', 2, 'revert');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '4' });
    await replayed(books);
  });

  it('is corrected like anything else, and takes its corrections with it when it is reverted', async () => {
    const books = await withSum();
    const first = await books.fill('acme', 1, event('a', '1'));
    const second = await books.fill('acme', 1, event('b', '2'));
    await books.correct('acme', first, null);
    const amended = await books.correct('acme', second, { data: '{"n":5}', time: '2025-03-01T10:00:00Z' });
    await take(books);
    expect(await totals(books, 'acme')).toEqual({});
    await books.word('acme', 1, 'close');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '5' });
    await books.correct('acme', amended, { data: '{"n":7}', time: '2025-03-01T10:00:00Z' });
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '7' });
    await replayed(books);
    await books.word('acme', 1, 'revert');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({});
    await replayed(books);
  });

  it('counts with a meter that was made since, also what another one had', async () => {
    const books = await withSum();
    await books.store([{ account: 'acme', ...event('a', '1') }]);
    await take(books);
    await books.meter('new', { type: 'usage', aggregation: 'count' });
    await books.fill('acme', 1, event('a', '1'));
    await books.word('acme', 1, 'close');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1', new: '1' });
    await replayed(books);
  });

  it('says what of it no meter is for, and what none can count', async () => {
    const books = await withSum();
    await books.meter('other', { type: 'never', aggregation: 'count' });
    await books.fill('acme', 1, { ...event('a', '1'), data: '{"n":"many"}' });
    await books.word('acme', 1, 'close');
    await take(books);
    expect(await backfillFigures(database.pool, books.tenant.id, 1)).toMatchObject({
      read: 1,
      counted: 0,
      uncountable: 1,
    });
    expect(await totals(books, 'acme')).toEqual({});
  });

  it('is known from the journal when its messages are not stored any more', async () => {
    const books = await withSum();
    await books.store([{ account: 'acme', ...event('a', '1') }]);
    await books.fill('acme', 1, event('a', '1'));
    await books.fill('acme', 1, event('b', '2'));
    await books.fill('acme', 2, event('c', '4'));
    await books.word('acme', 1, 'close');
    await books.word('acme', 2, 'close');
    await books.word('acme', 2, 'revert');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
    await database.pool.query('delete from message where tenant = $1 and sequence <> 3', [books.tenant.id]);
    await replayed(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
    await books.fill('acme', 3, event('b', '2'));
    await books.fill('acme', 3, event('a', '1'));
    await books.word('acme', 3, 'close');
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
  });
});

describe('an account that is erased', () => {
  it('is named by none of its backfills, which count on under its pseudonym', async () => {
    const books = await withSum();
    const wish = { from: Date.parse('2025-01-01'), to: Date.parse('2026-01-01'), account: 'acme' };
    await openBackfill(database.pool, books.tenant, wish, { who: 'anna', why: 'moved' });
    const sent = { account: 'acme', channel: 0, first: '2025-03-01T10:00:00Z', last: '2025-03-01T10:00:00Z' };
    expect(await beginSend(database.pool, books.tenant.id, 1, [sent], 1)).toBe('ok');
    const place = await books.fill('acme', 1, event('a', '2'));
    await books.word('other', 1, 'close');
    await books.say('acme', acceptanceText({ account: 'acme', target: '0-1', who: 'otto', why: 'as acme says' }));
    await take(books);
    let pseudonym = '';
    const asked = { account: 'acme', source: null, who: 'anna', reason: 'asked to' };
    for await (const each of eraseAccount({ pool: database.pool, wake: () => undefined }, books.tenant, asked))
      if (each.event === 'result') pseudonym = each.pseudonym;
    expect(await totals(books, 'acme')).toEqual({});
    expect(await totals(books, pseudonym)).toEqual({ sum: '2' });
    for (const table of [
      'backfill',
      'backfill_account',
      'backfill_event',
      'backfill_word',
      'ledger_acceptance',
      'message',
    ]) {
      const { rows } = await database.pool.query<{ text: string }>(`select t::text as text from ${table} t`);
      expect([table, rows.filter(({ text }) => text.includes('acme'))]).toEqual([table, []]);
    }
    await replayed(books);
    expect(await totals(books, pseudonym)).toEqual({ sum: '2' });
    expect(place.channel).toBe(0);
  });
});

describe('what a meter holds of a final period', () => {
  async function held(): Promise<{ books: UsageBooks; place: Place }> {
    const books = await usageBooks(database.pool, 'one', 1);
    await books.meter('sum', { type: 'usage', aggregation: 'sum', value: '/data/n', late: 'quarantine' });
    await books.store([{ account: 'acme', ...event('a', '1') }]);
    await take(books);
    await database.pool.query(
      `insert into statement (tenant, account, period_from, period_to, channel, through, body, hash, made_by)
       values ($1, 'acme', '2025-03-01', '2025-04-01', 0, 1, '{"period":{"name":"2025-03"}}', '', 'test')`,
      [books.tenant.id],
    );
    const [place] = await books.store([{ account: 'acme', ...event('b', '2') }]);
    await take(books);
    return { books, place: place as Place };
  }

  it('is listed, and counts when somebody says so; a replay comes to the same', async () => {
    const { books, place } = await held();
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    const list = () => listHeld(database.pool, books.tenant.id, { channel: -1, sequence: 0 }, null, 10);
    expect(await list()).toMatchObject([{ ...place, account: 'acme', meters: ['sum'], period: '2025-03' }]);
    await replayed(books);
    expect(await list()).toHaveLength(1);
    const accept = acceptanceText({ account: 'acme', target: `0-${place.sequence}`, who: 'anna', why: 'it is right' });
    await books.say('acme', accept);
    await take(books);
    expect(await list()).toEqual([]);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
    await replayed(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
    await books.correct('acme', place, null);
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    await replayed(books);
  });

  it('is gone for good when it is voided, whatever is accepted afterwards', async () => {
    const { books, place } = await held();
    await books.correct('acme', place, null);
    await books.say('acme', acceptanceText({ account: 'acme', target: `0-${place.sequence}`, who: 'anna', why: 'x' }));
    await take(books);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    expect(await listHeld(database.pool, books.tenant.id, { channel: -1, sequence: 0 }, 'acme', 10)).toEqual([]);
    await replayed(books);
  });
});

/* The same ledger whatever comes in whatever order, held against a reckoning of its own, in whole numbers. */

type Told =
  | { what: 'event'; account: number; id: number; n: number; minute: number }
  | { what: 'fill'; account: number; id: number; n: number; minute: number; backfill: number }
  | { what: 'word'; backfill: number; action: 'close' | 'revert' }
  | { what: 'void'; of: number }
  | { what: 'amend'; of: number; n: number; minute: number };
type Placed = Told & { place: number; of?: number; account?: number };

const ACCOUNTS = ['acme', 'beta'];
const about = { account: fc.nat(1), id: fc.nat(5), n: fc.integer({ min: -50, max: 50 }), minute: fc.nat(179) };
const backfill = fc.integer({ min: 1, max: 3 });
const told: fc.Arbitrary<Told> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant('event' as const), ...about }) },
  { weight: 5, arbitrary: fc.record({ what: fc.constant('fill' as const), ...about, backfill }) },
  {
    weight: 3,
    arbitrary: fc.record({ what: fc.constant('word' as const), backfill, action: fc.constant('close' as const) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant('word' as const), backfill, action: fc.constant('revert' as const) }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('void' as const), of: fc.nat(30) }) },
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constant('amend' as const), of: fc.nat(30), n: about.n, minute: about.minute }),
  },
);
const story = fc.record({
  told: fc.array(told, { minLength: 3, maxLength: 30 }),
  order: fc.array(fc.nat(1_000), { minLength: 60, maxLength: 90 }),
  batches: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 10 }),
  crashes: fc.array(fc.boolean(), { minLength: 5, maxLength: 10 }),
  /** Whether messages are still stored when the second replay is made, by turns. */
  stored: fc.array(fc.boolean(), { minLength: 1, maxLength: 10 }),
});

const timeOf = (at: number) =>
  `2025-03-01T${String(10 + Math.floor(at / 60)).padStart(2, '0')}:${String(at % 60).padStart(2, '0')}:00Z`;
const dataOf = ({ n }: { n: number }) => `{"n":${n / 10},"u":"${n % 4}"}`;

/** Who counts, by the rules that the notes state. */
function reckoned(all: readonly Placed[]): { account: number; n: number; minute: number; place: number }[] {
  const corrections = all.filter(({ what }) => what === 'void' || what === 'amend');
  const inForce = (number: number) => {
    const words = all.flatMap((one) => (one.what === 'word' && one.backfill === number ? [one.action] : []));
    return words.includes('close') && !words.includes('revert');
  };
  const origin = (one: Placed): Placed => {
    const target = one.what === 'amend' ? all.find(({ place }) => place === one.of) : undefined;
    return target ? origin(target) : one;
  };
  return all.flatMap((one) => {
    if (one.what === 'void' || one.what === 'word') return [];
    if (corrections.some(({ of }) => of === one.place)) return [];
    if (one.what === 'amend' && corrections.some(({ of, place }) => of === one.of && place < one.place)) return [];
    const from = origin(one);
    if (from.what === 'fill') {
      if (!inForce(from.backfill)) return [];
      const before = all.some(
        (other) =>
          (other.what === 'event' && other.id === from.id) ||
          (other.what === 'fill' && other.id === from.id && other.place < from.place && inForce(other.backfill)),
      );
      if (before) return [];
    }
    return [{ account: one.account ?? 0, n: one.n, minute: one.minute, place: one.place }];
  });
}

describe('any order, repetition, split into batches and placement of crashes', () => {
  it('comes to the same ledger, with corrections and backfills, and so does a replay, whatever is still stored', async () => {
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(story, async ({ told: given, order, batches, crashes, stored }) => {
        runs++;
        const books = await usageBooks(database.pool, `t${runs}`, 1);
        for (const aggregation of AGGREGATIONS) {
          const value = { value: aggregation === 'unique' ? '/data/u' : '/data/n' };
          await books.meter(aggregation, { type: 'usage', aggregation, ...(aggregation !== 'count' && value) });
        }
        const all: Placed[] = [];
        for (const one of given) {
          if (one.what === 'event' || one.what === 'fill') {
            const account = ACCOUNTS[one.account] as string;
            const said = { id: String(one.id), data: dataOf(one), time: timeOf(one.minute) };
            const [stored] = one.what === 'event' ? await books.store([{ account, ...said }]) : [];
            const place = stored ?? (await books.fill(account, one.what === 'fill' ? one.backfill : 0, said));
            all.push({ ...one, place: place.sequence });
          } else if (one.what === 'word') {
            all.push({ ...one, place: (await books.word('acme', one.backfill, one.action)).sequence });
          } else {
            const usable = all.filter(({ what }) => what !== 'word' && what !== 'void');
            const target = usable[one.of % Math.max(1, usable.length)];
            if (!target) continue;
            const account = target.account ?? 0;
            const instead = one.what === 'amend' ? { data: dataOf(one), time: timeOf(one.minute) } : null;
            const at = { channel: 0, sequence: target.place };
            const { sequence } = await books.correct(ACCOUNTS[account] as string, at, instead);
            all.push({ ...one, of: target.place, account, place: sequence });
          }
        }
        await books.planAll();
        const place = { tenant: books.tenant.id, book: 1, channel: 0 };
        await tellBadly(database.pool, place, all.length, { order, batches, crashes });
        const honest = new Ledger({ pool: database.pool });
        const everything = all.map(({ place: sequence }) => ({ sequence, gap: null }));
        await honest.feed(place, everything.reverse());
        while ((await honest.take(place)) !== null);
        const live = reckoned(all);
        const check = async () => {
          for (const [i, account] of ACCOUNTS.entries()) {
            const own = live.filter((one) => one.account === i);
            const values = own.map(({ n }) => n);
            const last = [...own].sort((a, b) => a.minute - b.minute || a.place - b.place).at(-1);
            const sums = {
              count: String(own.length),
              sum: String(values.reduce((a, b) => a + b, 0) / 10),
              max: String(Math.max(...values) / 10),
              min: String(Math.min(...values) / 10),
              last: String((last?.n ?? 0) / 10),
              unique: String(new Set(values.map((n) => `${n % 4}`)).size),
            };
            expect(await totals(books, account)).toEqual(own.length === 0 ? {} : sums);
          }
        };
        await check();
        await replayed(books);
        await check();
        const gone = all.flatMap(({ place: sequence }) => (stored[sequence % stored.length] ? [] : [sequence]));
        const remove = 'delete from message where tenant = $1 and sequence = any ($2::bigint[])';
        await database.pool.query(remove, [books.tenant.id, `{${gone.join(',')}}`]);
        await replayed(books);
        await check();
      }),
      { numRuns: Number(process.env.WAYBILL_RUNS ?? 25) },
    );
  });
});
