import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { AGGREGATIONS } from '../../src/billing/definitions.js';
import { Ledger, readMessages } from '../../src/storage/ledger.js';
import { rebuild } from '../../src/storage/rebuild.js';
import { seriesOf, usageIn } from '../../src/storage/usage.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { type Place, type UsageBooks, usageBooks } from '../support/usage.js';

/*
 * Many events against a calculation by another program. WAYBILL_USAGE_EVENTS says how many; what is kept of the figures is
 * said with WAYBILL_USAGE_FIGURES=1.
 */
const EVENTS = Number(process.env.WAYBILL_USAGE_EVENTS ?? 12_000);
const ACCOUNTS = Math.max(20, EVENTS / 250);
const PAGE = 4_000;
const DAYS = 5;

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase({ max: 8 });
});
afterAll(() => database.drop());

/** Numbers in an order that looks like chance and is the same each time. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function independently(list: readonly object[]): Promise<Record<string, string[]>> {
  const script = fileURLToPath(new URL('../fixtures/reckon-usage.mjs', import.meta.url));
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [script], { maxBuffer: 1 << 28 }, (error, stdout) => {
      if (error) reject(error);
      else resolve(JSON.parse(stdout) as Record<string, string[]>);
    });
    child.stdin?.end(list.map((one) => `${JSON.stringify(one)}\n`).join(''));
  });
}

it('comes to what an independent calculation comes to, to the last digit', { timeout: 480_000 }, async () => {
  const books = await usageBooks(database.pool, 'large', 4);
  for (const aggregation of AGGREGATIONS)
    await books.meter(aggregation, {
      type: 'usage',
      aggregation,
      ...(aggregation !== 'count' && { value: aggregation === 'unique' ? '/data/u' : '/data/n' }),
    });
  const sent = await fill(books);

  const chance = dice(7);
  let disturbed = true;
  const ledger = new Ledger({
    pool: database.pool,
    read: async (...given) => {
      const rows = await readMessages(...given);
      if (disturbed && chance() < 0.03) throw new Error('killed');
      return disturbed ? rows.filter(() => chance() > 0.02) : rows;
    },
  });
  const began = performance.now();
  for (let due = await ledger.due(4); due.length > 0; due = await ledger.due(4))
    for (const place of due) await ledger.take(place).catch(() => null);
  disturbed = false;
  const gaps = await database.pool.query<{ channel: number; sequences: number[] }>(
    'select channel, array_agg(sequence) as sequences from ledger_gap group by channel',
  );
  expect(gaps.rows.length).toBeGreaterThan(0);
  for (const { channel, sequences } of gaps.rows) {
    const place = { tenant: books.tenant.id, book: 1, channel };
    // Some of them twice, and with some that were never lost.
    await ledger.ask(place, [...sequences, ...sequences.slice(0, 50), 1, 2, 3]);
    await ledger.ask(place, sequences);
  }
  const took = performance.now() - began;
  expect((await database.pool.query('select from ledger_gap')).rows).toHaveLength(0);
  expect(await asCounted(books)).toEqual(await independently(sent));

  const again = performance.now();
  for await (const event of rebuild(database.pool, books.tenant, { who: 'test', acceptDifferences: false }))
    if (event.event === 'result') expect(event).toMatchObject({ ok: true, swapped: true });
  if (process.env.WAYBILL_USAGE_FIGURES) {
    const rate = (ms: number) => `${Math.round((EVENTS / ms) * 1000)} events/s`;
    process.stdout.write(
      `six meters: disturbed ${rate(took)}, made anew and compared ${rate(performance.now() - again)}\n`,
    );
  }
});

it.runIf(process.env.WAYBILL_USAGE_FIGURES)('takes with one meter', { timeout: 480_000 }, async () => {
  const books = await usageBooks(database.pool, 'fast', 4);
  await books.meter('sum', { type: 'usage', aggregation: 'sum', value: '/data/n' });
  await fill(books);
  const ledger = new Ledger({ pool: database.pool });
  const began = performance.now();
  await Promise.all(
    [0, 1, 2, 3].map(async (channel) => {
      while (await ledger.take({ tenant: books.tenant.id, book: 1, channel }));
    }),
  );
  process.stdout.write(`one meter: ${Math.round((EVENTS / (performance.now() - began)) * 1000)} events/s\n`);
});

/** Events out of their order, 5 % of them days late, and 1 % voided. */
async function fill(books: UsageBooks): Promise<object[]> {
  const chance = dice(42);
  const sent: object[] = [];
  const places: { place: Place; account: string }[] = [];
  for (let first = 0; first < EVENTS; first += PAGE) {
    const page = Array.from({ length: Math.min(PAGE, EVENTS - first) }, (_, i) => {
      const day = Math.floor(((first + i) / EVENTS) * DAYS);
      const back = chance() < 0.05 ? Math.floor(chance() * (day + 1)) : 0;
      const second = Math.floor(chance() * 86_400);
      const time = new Date(Date.UTC(2026, 2, 1 + day - back) + second * 1_000).toISOString();
      const micro = String(Math.floor(chance() * 1_000)).padStart(3, '0');
      const n = `${chance() < 0.1 ? '-' : ''}${Math.floor(chance() * 1e9)}.${String(Math.floor(chance() * 1e6)).padStart(6, '0')}`;
      const account = `account-${Math.floor(chance() * ACCOUNTS)}`;
      return { account, at: time.replace('Z', `${micro}Z`), n, u: `u${Math.floor(chance() * 9)}` };
    });
    const stored = await books.store(
      page.map(({ account, at, n, u }) => ({ account, time: at, data: `{"n":${n},"u":"${u}"}` })),
    );
    stored.forEach((place, i) => {
      const { account, at, n, u } = page[i] as (typeof page)[number];
      sent.push({ id: place.sequence * 10 + place.channel, account, at, n, u });
      places.push({ place, account });
    });
    for (let voids = 0; voids < page.length / 100; voids++) {
      const { place, account } = places[Math.floor(chance() * places.length)] as (typeof places)[number];
      await books.correct(account, place, null);
      sent.push({ void: place.sequence * 10 + place.channel });
    }
    await books.planAll(500);
  }
  return sent;
}

async function asCounted({ tenant }: UsageBooks): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  const spans = Array.from({ length: DAYS }, (_, day) => ({
    from: Date.UTC(2026, 2, 1 + day),
    to: Date.UTC(2026, 2, 2 + day),
  }));
  for (let i = 0; i < ACCOUNTS; i++) {
    const account = `account-${i}`;
    for (const { id, aggregation, channel } of await seriesOf(database.pool, tenant.id, account, null)) {
      const place = { tenant: tenant.id, book: 1, channel };
      const answers = await usageIn(database.pool, place, { series: [id], aggregation }, spans);
      for (const [day, { quantity, events }] of answers.entries()) {
        if (events === 0) continue;
        const key = `${account} 2026-03-0${day + 1}`;
        found[key] ??= [];
        (found[key] as string[])[AGGREGATIONS.indexOf(aggregation)] = quantity;
      }
    }
  }
  return found;
}
