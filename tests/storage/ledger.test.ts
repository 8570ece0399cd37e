import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AGGREGATIONS, type Aggregation } from '../../src/billing/definitions.js';
import { eraseAccount } from '../../src/storage/erase.js';
import { Ledger, readMessages } from '../../src/storage/ledger.js';
import { type RebuildEvent, rebuild } from '../../src/storage/rebuild.js';
import { liveBook, seriesOf, usage, usageFromJournal } from '../../src/storage/usage.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { tellBadly } from '../support/told-badly.js';
import { type Place, READ_WHOLE, type UsageBooks, type UsageEvent, usageBooks } from '../support/usage.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase({ max: 8 });
});
afterEach(() => database.drop());

const TIMED = { from: Date.parse('2020-01-01T00:00:00Z'), to: Date.parse('2030-01-01T00:00:00Z') };

async function takeAll(ledger: Ledger): Promise<void> {
  for (let due = await ledger.due(100); due.length > 0; due = await ledger.due(100))
    for (const place of due) await ledger.take(place);
}

/** What each meter of an account comes to, by name and dimensions. */
async function totals(books: UsageBooks, account: string, span = TIMED): Promise<Record<string, string>> {
  const { pool } = database;
  const series = await seriesOf(pool, books.tenant.id, account, null);
  const place = {
    tenant: books.tenant.id,
    book: await liveBook(pool, books.tenant.id),
    channel: series[0]?.channel ?? 0,
  };
  const found: Record<string, string> = {};
  for (const { id, meter, aggregation, dimensions } of series) {
    const question = { series: [id], aggregation, ...span };
    const [answer] = await usage(pool, place, [question]);
    const journal = await usageFromJournal(pool, place, question);
    expect([answer?.quantity, answer?.events]).toEqual([journal.quantity, journal.events]);
    const name = Object.keys(dimensions).length === 0 ? meter : `${meter} ${Object.values(dimensions).join()}`;
    if ((answer?.events ?? 0) > 0) found[name] = answer?.quantity ?? '';
  }
  return found;
}

async function everyMeter(books: UsageBooks): Promise<void> {
  for (const aggregation of AGGREGATIONS) {
    await books.meter(aggregation, {
      type: 'usage',
      aggregation,
      ...(aggregation !== 'count' && { value: aggregation === 'unique' ? '/data/u' : '/data/n' }),
    });
  }
}

const used = (account: string, n: string, time = '2026-03-01T10:00:00Z', u = n): UsageEvent => ({
  account,
  data: `{"n":${n},"u":"${u}"}`,
  time,
});

describe('the ledger', () => {
  it('has a turn for each tenant, however many channels of another are further behind', async () => {
    const event = (account: string): UsageEvent => ({ account, data: '{}', time: '2026-03-01T10:00:00Z' });
    const busy = await usageBooks(database.pool, 'busy', 16);
    await busy.store(Array.from({ length: 200 }, (_, i) => event(`a${i}`)));
    await busy.planAll(1);
    const quiet = await usageBooks(database.pool, 'quiet', 2);
    const [place] = await quiet.store([event('ann')]);
    await quiet.planAll();
    const ledger = new Ledger({ pool: database.pool });
    const due = await ledger.due(2);
    expect(due.map(({ tenant }) => tenant).sort()).toEqual([busy.tenant.id, quiet.tenant.id].sort());
    expect(due).toContainEqual({ tenant: quiet.tenant.id, book: 1, channel: place?.channel });
  });

  it('reads events whatever their bytes are', async () => {
    const books = await usageBooks(database.pool, 'bytes', 1);
    await books.meter('cities', { type: 'usage', aggregation: 'count', dimensions: { city: '/data/city' } });
    const inCity = (city: string, more = '') => ({
      account: 'ann',
      data: `{"city":"${city}"${more}}`,
      time: '2026-03-01T10:00:00Z',
    });
    await books.store([
      inCity('Zürich'),
      inCity('\\u65e5\\u672c'),
      inCity('日本'),
      inCity('Bern', ',"x":"?"'),
      inCity('Genf'),
    ]);
    // A byte that is no UTF-8, and one that no text of the database holds.
    await database.pool.query(
      `update message set raw = overlay(raw placing '\\xff' from position('?'::bytea in raw)) where sequence = 4`,
    );
    await database.pool.query(`update message set raw = raw || '\\x00' where sequence = 5`);
    await books.planAll();
    await takeAll(new Ledger({ pool: database.pool }));
    expect(await totals(books, 'ann')).toEqual({
      'cities Zürich': '1',
      'cities 日本': '2',
      'cities Bern': '1',
      'cities Genf': '1',
    });
  });

  it('counts what was read whole, by every aggregation, to the last digit', async () => {
    const books = await usageBooks(database.pool, 'one');
    await everyMeter(books);
    await books.store([
      used('acme', '0.1', '2026-03-01T10:00:00.000001Z', 'x'),
      used('acme', '0.2', '2026-03-01T10:00:00.000002Z', 'y'),
      used('acme', '12345678901234567890.5', '2026-03-01T11:00:00Z', 'x'),
      used('acme', '-3', '2026-03-01T09:00:00Z', 'z'),
      used('other', '7', '2026-03-01T09:00:00Z', 'z'),
    ]);
    await books.planAll();
    await takeAll(new Ledger({ pool: database.pool }));
    expect(await totals(books, 'acme')).toEqual({
      count: '4',
      sum: '12345678901234567887.8',
      max: '12345678901234567890.5',
      min: '-3',
      last: '12345678901234567890.5',
      unique: '3',
    });
    expect(await totals(books, 'other')).toMatchObject({ count: '1', sum: '7' });
  });

  it('answers for parts of hours to the microsecond', async () => {
    const books = await usageBooks(database.pool, 'one');
    await books.meter('sum', { type: '*', aggregation: 'sum', value: '/data/n' });
    await books.store([
      used('acme', '1', '2026-03-01T10:14:59.999999Z'),
      used('acme', '2', '2026-03-01T10:15:00Z'),
      used('acme', '4', '2026-03-01T11:59:59.999999Z'),
      used('acme', '8', '2026-03-01T13:44:59.999999Z'),
      used('acme', '16', '2026-03-01T13:45:00Z'),
    ]);
    await books.planAll();
    await takeAll(new Ledger({ pool: database.pool }));
    const between = (from: string, to: string) =>
      totals(books, 'acme', { from: Date.parse(`2026-03-01T${from}Z`), to: Date.parse(`2026-03-01T${to}Z`) });
    expect(await between('10:15:00', '13:45:00')).toEqual({ sum: '14' });
    expect(await between('10:15:00', '10:15:00.001')).toEqual({ sum: '2' });
    expect(await between('10:00:00', '14:00:00')).toEqual({ sum: '31' });
    expect(await between('12:00:00', '13:00:00')).toEqual({});
  });

  it('keeps what it can not count, and says why', async () => {
    const books = await usageBooks(database.pool, 'one');
    await books.meter('sum', {
      type: 'usage',
      aggregation: 'sum',
      value: '/data/n',
      unit: 'GB',
      unitFrom: '/data/unit',
    });
    const event = (data: string, type = 'usage') => ({ account: 'acme', type, data, time: '2026-03-01T10:00:00Z' });
    await books.store([
      event('{"n":1,"unit":"GB"}'),
      event(`{"n":${'9'.repeat(400)},"unit":"GB"}`),
      event('{"n":"NaN","unit":"GB"}'),
      event('{"n":1,"unit":"MB"}'),
      event('{"unit":"GB"}'),
      event('{"n":1}', 'unheard'),
      event('{"n":1}', 'unheard'),
      { ...event('{"n":1,"unit":"GB"}'), account: 'feed' },
    ]);
    await books.planAll();
    await takeAll(new Ledger({ pool: database.pool }));
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    const problems = await database.pool.query('select code from usage_problem order by sequence, code');
    expect(problems.rows.map(({ code }) => code).sort()).toEqual([
      'unit_wrong',
      'value_missing',
      'value_not_a_number',
      'value_too_long',
    ]);
    const unmetered = await database.pool.query('select type, events from usage_unmetered');
    expect(unmetered.rows).toEqual([{ type: 'unheard', events: 2 }]);
  });

  it('leaves a gap where a message was not read whole, and heals it when it is', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    await books.meter('sum', { type: '*', aggregation: 'sum', value: '/data/n' });
    const ledger = new Ledger({ pool: database.pool });
    await books.store(['1', '2', '4', '8'].map((n) => used('acme', n)));
    await books.plan(0, [READ_WHOLE, { m: 'park', r: 0 }, { m: 'quarantine', r: 4 }, { m: 'wait', r: 2 }]);
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toEqual({ sum: '1' });
    expect(await gaps()).toEqual(['2 parked acme', '3 quarantined acme', '4 partial acme']);
    await books.extra({ channel: 0, sequence: 2 }, READ_WHOLE);
    await books.extra({ channel: 0, sequence: 3 }, { m: 'deliver', r: 1 });
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
    expect(await gaps()).toEqual(['3 partial acme', '4 partial acme']);
    // Sent again by a person, decided anew: counted already.
    await books.extra({ channel: 0, sequence: 2 }, READ_WHOLE);
    await books.extra({ channel: 0, sequence: 1 }, { m: 'close', r: 0 });
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toEqual({ sum: '3' });
  });

  it('asks again for what was lost', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    await books.meter('sum', { type: '*', aggregation: 'sum', value: '/data/n' });
    await books.store(['1', '2', '4'].map((n) => used('acme', n)));
    await books.planAll();
    let lost = new Set([2]);
    const ledger = new Ledger({
      pool: database.pool,
      read: async (...given) => (await readMessages(...given)).filter(({ sequence }) => !lost.has(sequence)),
    });
    await takeAll(ledger);
    expect(await gaps()).toEqual(['2 missing null']);
    const place = { tenant: books.tenant.id, book: 1, channel: 0 };
    expect(await ledger.ask(place, [2])).toMatchObject({ healed: 0 });
    lost = new Set();
    expect(await ledger.ask(place, [2, 1])).toMatchObject({ healed: 1, repeated: 1 });
    expect(await gaps()).toEqual([]);
    expect(await totals(books, 'acme')).toEqual({ sum: '7' });
  });

  it('counts with a meter from where it was made, and up to where it was removed', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    const ledger = new Ledger({ pool: database.pool });
    await books.store([used('acme', '1')]);
    await books.planAll();
    await takeAll(ledger);
    await books.meter('late', { type: '*', aggregation: 'sum', value: '/data/n' });
    await books.store([used('acme', '2')]);
    await books.planAll();
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toEqual({ late: '2' });
  });

  async function gaps(): Promise<string[]> {
    const { rows } = await database.pool.query('select sequence, reason, account from ledger_gap order by sequence');
    return rows.map(({ sequence, reason, account }) => `${sequence} ${reason} ${account}`);
  }
});

describe('a ledger made anew', () => {
  async function rebuildOf(books: UsageBooks, acceptDifferences = false): Promise<RebuildEvent[]> {
    const events: RebuildEvent[] = [];
    for await (const event of rebuild(database.pool, books.tenant, { who: 'anna', acceptDifferences }))
      events.push(event);
    return events.filter(({ event }) => event !== 'progress');
  }

  async function filled() {
    const books = await usageBooks(database.pool, 'one');
    await everyMeter(books);
    const ledger = new Ledger({ pool: database.pool });
    const [first, second] = await books.store([
      used('acme', '5'),
      used('acme', '7', '2026-03-02T10:00:00Z'),
      used('beta', '1'),
    ]);
    await books.correct('acme', second as Place, { data: '{"n":8.5,"u":"x"}', time: '2026-03-02T11:00:00Z' });
    await books.planAll();
    await takeAll(ledger);
    return { books, ledger, first: first as Place };
  }

  it('is the same, takes the place of the old one, and goes on', async () => {
    const { books, ledger } = await filled();
    const before = [await totals(books, 'acme'), await totals(books, 'beta')];
    expect(await rebuildOf(books)).toEqual([{ event: 'result', ok: true, swapped: true, messages: 4, differences: 0 }]);
    expect(await liveBook(database.pool, books.tenant.id)).toBe(2);
    expect([await totals(books, 'acme'), await totals(books, 'beta')]).toEqual(before);
    await books.store([used('acme', '1')]);
    await books.planAll();
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toMatchObject({ sum: '14.5', count: '3' });
    const { rows } = await database.pool.query('select distinct book from usage_entry');
    expect(rows).toEqual([{ book: 2 }]);
  });

  it('is no further than the one in force, which goes on where it was', async () => {
    const { books, ledger } = await filled();
    await books.store([used('acme', '1'), used('gamma', '2')]);
    await books.planAll();
    expect(await rebuildOf(books)).toEqual([{ event: 'result', ok: true, swapped: true, messages: 4, differences: 0 }]);
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toMatchObject({ sum: '14.5', count: '3' });
    expect(await totals(books, 'gamma')).toMatchObject({ sum: '2', count: '1' });
  });

  it('takes within the hold what was counted since the last round, also of what is not stored any more', async () => {
    const { books, ledger } = await filled();
    const events: RebuildEvent[] = [];
    for await (const event of rebuild(database.pool, books.tenant, { who: 'anna', acceptDifferences: false })) {
      events.push(event);
      if (events.length > 1) continue;
      const [gone] = await books.store([used('acme', '1'), used('delta', '2'), used('delta', '3')]);
      await books.planAll();
      await takeAll(ledger);
      await database.pool.query('delete from message where tenant = $1 and channel = $2 and sequence = $3', [
        books.tenant.id,
        gone?.channel,
        gone?.sequence,
      ]);
    }
    expect(events.at(-1)).toEqual({ event: 'result', ok: true, swapped: true, messages: 7, differences: 0 });
    expect(await totals(books, 'acme')).toMatchObject({ sum: '14.5', count: '3' });
    expect(await totals(books, 'delta')).toMatchObject({ sum: '5', count: '2' });
  });

  it('is made while messages come and are counted without a pause', async () => {
    const { books, ledger } = await filled();
    let stored = 0;
    let making = true;
    const coming = (async () => {
      for (; making; stored++) {
        await books.store([used('acme', '1'), used(`account ${stored}`, '1')]);
        await books.planAll();
        // Every other one is left for the next time.
        if (stored % 2 === 0) await takeAll(ledger);
      }
    })();
    try {
      for (let i = 0; i < 5; i++) expect(await rebuildOf(books)).toMatchObject([{ ok: true, swapped: true }]);
    } finally {
      making = false;
      await coming;
    }
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toMatchObject({ count: String(2 + stored) });
  });

  it('that differs is told by account and meter, and only taken when somebody says so', async () => {
    const { books } = await filled();
    await database.pool.query("update usage_cell set value = value + 1 where how = 's' and events = 1 and value = 5");
    const difference = {
      event: 'difference',
      account: 'acme',
      meter: 'sum',
      hours: 1,
      eventsBefore: 1,
      eventsAfter: 1,
    };
    const [told, refused] = await rebuildOf(books);
    expect(told).toEqual(difference);
    expect(refused).toMatchObject({ ok: false, swapped: false, differences: 1 });
    expect(await liveBook(database.pool, books.tenant.id)).toBe(1);
    expect((await rebuildOf(books, true)).at(-1)).toMatchObject({ ok: false, swapped: true });
    expect(await totals(books, 'acme')).toMatchObject({ sum: '13.5' });
    expect(await rebuildOf(books)).toMatchObject([{ ok: true, swapped: true }]);
  });

  it('takes what is not stored any more from the journal', async () => {
    const { books, first } = await filled();
    await database.pool.query('delete from message where tenant = $1 and channel = $2 and sequence <= $3', [
      books.tenant.id,
      first.channel,
      first.sequence + 1,
    ]);
    expect(await rebuildOf(books)).toMatchObject([{ ok: true, swapped: true }]);
    expect(await totals(books, 'acme')).toMatchObject({ sum: '13.5', count: '2' });
    const { rows } = await database.pool.query('select from ledger_gap');
    expect(rows).toHaveLength(0);
  });
});

describe('an account that is erased', () => {
  it('leaves its usage under a pseudonym, and begins anew when it comes again', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    await everyMeter(books);
    const ledger = new Ledger({ pool: database.pool });
    await books.store([used('acme', '5'), used('other', '1')]);
    await books.planAll();
    await takeAll(ledger);
    const wish = { account: 'acme', source: null, who: 'anna', reason: 'asked to' };
    let pseudonym = '';
    for await (const event of eraseAccount({ pool: database.pool, wake: () => undefined }, books.tenant, wish))
      if (event.event === 'result') pseudonym = event.pseudonym;
    expect(await totals(books, 'acme')).toEqual({});
    expect(await totals(books, pseudonym)).toMatchObject({ sum: '5', count: '1' });
    await books.store([used('acme', '2')]);
    await books.planAll();
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toMatchObject({ sum: '2', count: '1' });
    expect(await totals(books, pseudonym)).toMatchObject({ sum: '5', count: '1' });
    expect(await totals(books, 'other')).toMatchObject({ sum: '1' });
  });
});

describe('corrections', () => {
  it('of the greatest, least, last and only member leave what is left', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    await everyMeter(books);
    const ledger = new Ledger({ pool: database.pool });
    const stored = await books.store([
      used('acme', '5', '2026-03-01T10:10:00Z', 'a'),
      used('acme', '1', '2026-03-01T10:20:00Z', 'b'),
      used('acme', '9', '2026-03-01T10:30:00Z', 'c'),
      used('acme', '4', '2026-03-01T10:40:00Z', 'a'),
    ]);
    await books.planAll();
    await takeAll(ledger);
    const correct = async (i: number, instead: Parameters<UsageBooks['correct']>[2] = null) => {
      const place = await books.correct('acme', stored[i] as Place, instead);
      await books.planAll();
      await takeAll(ledger);
      return place;
    };
    await correct(2);
    expect(await totals(books, 'acme')).toEqual({ count: '3', sum: '10', max: '5', min: '1', last: '4', unique: '2' });
    await correct(1);
    await correct(3);
    expect(await totals(books, 'acme')).toEqual({ count: '1', sum: '5', max: '5', min: '5', last: '5', unique: '1' });
    // A second void changes nothing, nor does amending what is void.
    await correct(1);
    await correct(1, { data: '{"n":100,"u":"q"}', time: '2026-03-01T10:20:00Z' });
    expect(await totals(books, 'acme')).toMatchObject({ sum: '5' });
    const amended = await correct(0, { data: '{"n":6.5,"u":"z"}', time: '2026-03-01T12:00:00Z' });
    expect(await totals(books, 'acme')).toEqual({
      count: '1',
      sum: '6.5',
      max: '6.5',
      min: '6.5',
      last: '6.5',
      unique: '1',
    });
    await books.correct('acme', amended, null);
    await books.planAll();
    await takeAll(ledger);
    expect(await totals(books, 'acme')).toEqual({});
  });
});

/* The same ledger whatever comes in whatever order: held against a reckoning of its own, in whole numbers. */

type Told =
  | { what: 'event'; account: number; n: number; u: number; minute: number }
  | { what: 'void'; of: number }
  | { what: 'amend'; of: number; n: number; u: number; minute: number };

const ACCOUNTS = ['acme', 'beta'];
const minute = fc.integer({ min: 0, max: 179 });
const n = fc.integer({ min: -50, max: 50 });
const u = fc.integer({ min: 0, max: 3 });
const told: fc.Arbitrary<Told> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ what: fc.constant('event' as const), account: fc.nat(1), n, u, minute }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('void' as const), of: fc.nat(30) }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('amend' as const), of: fc.nat(30), n, u, minute }) },
);
const story = fc.record({
  told: fc.array(told, { minLength: 3, maxLength: 30 }),
  order: fc.infiniteStream(fc.nat(1_000)).map((stream) => [...stream.take(90)]),
  batches: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 10 }),
  crashes: fc.array(fc.boolean(), { minLength: 5, maxLength: 10 }),
});

const timeOf = (at: number) =>
  `2026-03-01T${String(10 + Math.floor(at / 60)).padStart(2, '0')}:${String(at % 60).padStart(2, '0')}:00Z`;
const dataOf = (value: { n: number; u: number }) => `{"n":${value.n / 10},"u":"${value.u}"}`;

interface Counted {
  account: string;
  at: number;
  order: number;
  n: number;
  u: number;
}

/** What an account comes to by the rule that the notes state, in tenths. */
function reckoned(all: readonly (Told & { place: number; account: string })[]): Map<string, Counted[]> {
  const killed = new Set(all.flatMap((one) => (one.what === 'event' ? [] : [one.of])));
  const live = all.filter((one) => {
    if (killed.has(one.place)) return false;
    if (one.what === 'event') return true;
    if (one.what === 'void') return false;
    return !all.some((other) => other.what !== 'event' && other.of === one.of && other.place < one.place);
  });
  const found = new Map<string, Counted[]>();
  for (const one of live) {
    if (one.what === 'void') continue;
    const counted = { account: one.account, at: one.minute, order: one.place, n: one.n, u: one.u };
    found.set(one.account, [...(found.get(one.account) ?? []), counted]);
  }
  return found;
}

function comesTo(aggregation: Aggregation, live: readonly Counted[]): string {
  const values = live.map((one) => one.n);
  const tenths = (value: number) => String(value / 10);
  switch (aggregation) {
    case 'count':
      return String(live.length);
    case 'sum':
      return tenths(values.reduce((a, b) => a + b, 0));
    case 'max':
      return tenths(Math.max(...values));
    case 'min':
      return tenths(Math.min(...values));
    case 'last':
      return tenths([...live].sort((a, b) => a.at - b.at || a.order - b.order).at(-1)?.n ?? 0);
    case 'unique':
      return String(new Set(live.map((one) => one.u)).size);
  }
}

describe('any order, repetition, split into batches and placement of crashes', () => {
  it('comes to the same ledger', async () => {
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(story, async ({ told: given, order, batches, crashes }) => {
        runs++;
        const books = await usageBooks(database.pool, `t${runs}`, 1);
        await everyMeter(books);
        const all: (Told & { place: number; account: string })[] = [];
        for (const one of given) {
          const target = one.what === 'event' ? undefined : all[one.of % Math.max(1, all.length)];
          if (one.what === 'event') {
            const account = ACCOUNTS[one.account] as string;
            const [place] = await books.store([{ account, data: dataOf(one), time: timeOf(one.minute) }]);
            all.push({ ...one, place: place?.sequence ?? 0, account: account as never });
          } else if (target) {
            const at = { channel: 0, sequence: target.place };
            const instead = one.what === 'amend' ? { data: dataOf(one), time: timeOf(one.minute) } : null;
            const { sequence } = await books.correct(target.account, at, instead);
            all.push({ ...one, of: target.place, place: sequence, account: target.account as never });
          }
        }
        const place = { tenant: books.tenant.id, book: 1, channel: 0 };
        await tellBadly(database.pool, place, all.length, { order, batches, crashes });
        const honest = new Ledger({ pool: database.pool });
        const everything = all.map(({ place: sequence }) => ({ sequence, gap: null }));
        await honest.feed(place, everything.reverse());
        await honest.feed(place, everything);
        const expected = reckoned(all);
        for (const account of ACCOUNTS) {
          const live = expected.get(account) ?? [];
          const sums =
            live.length === 0 ? {} : Object.fromEntries(AGGREGATIONS.map((how) => [how, comesTo(how, live)]));
          expect(await totals(books, account)).toEqual(sums);
        }
        const { rows } = await database.pool.query('select from ledger_gap where tenant = $1', [books.tenant.id]);
        expect(rows).toHaveLength(0);
      }),
      { numRuns: 25 },
    );
  });
});
