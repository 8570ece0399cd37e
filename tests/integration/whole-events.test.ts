import { join } from 'node:path';
import { expect, test } from 'vitest';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue } from '../support/consumers.js';
import { emptyFilters, fillFilters, rotateGeneration, savedFilters } from '../support/filters.js';
import { type Seeded, seeded } from '../support/seeded.js';
import { type Form, inLanes, Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { type Installation, install, type Waybill } from '../support/waybill.js';

/*
 * Events through HTTP to a RabbitMQ consumer, three in ten of them duplicates of every sort. The short form runs with
 * `npm test`; WAYBILL_LONG=1 sends 100,000. WAYBILL_SEED repeats what a run chose.
 */

const long = process.env.WAYBILL_LONG === '1';
const TOTAL = long ? 100_000 : 5_000;
const SEED = Number(process.env.WAYBILL_SEED ?? Math.floor(Math.random() * 2 ** 31));
const CONNECTIONS = 6;

const CONFIG = {
  sources: { feed: { kind: 'events', value: '/data/amount' } },
  targets: { erp: { kind: 'queue' } },
};
const RULES = 'rules:\n  - { name: all, when: { kind: event }, then: { targets: erp } }\n';

test(
  `${TOTAL} events, 30 % of them duplicates, are delivered once each (seed ${SEED})`,
  async () => {
    const random = seeded(SEED);
    const site = await install({ config: CONFIG, rules: RULES, broker: true });
    const ledger = new Ledger();
    let waybill = await site.start();
    const consumer = await consumeQueue(site.vhost);
    const parts = originals(TOTAL, random);
    const seen: SentEvent[] = [];

    const sendPart = async (fresh: readonly SentEvent[]) => {
      await sendShuffled(waybill, fresh, seen, ledger, random);
      seen.push(...fresh);
    };
    const restart = async () => {
      expect(await waybill.stop()).toMatchObject({ code: 0 });
      waybill = await site.start();
    };

    await sendPart(parts[0] ?? []);
    // The border comes while events, and duplicates from before it, are being taken.
    await Promise.all([sendPart(parts[1] ?? []), rotateGeneration(site.databaseUrl)]);
    await restart();
    await Promise.all([sendPart(parts[2] ?? []), rotateGeneration(site.databaseUrl)]);
    await untilFiltersSaved(site, 2);
    await waybill.stop();
    await fillFilters(site.databaseUrl);
    waybill = await site.start();
    await untilFiltersReady(waybill);
    await sendPart(parts[3] ?? []);
    // Really full: it called keys "maybe seen" that were new, and the store decided.
    expect(await waybill.metric('waybill_filter_false_maybe_ratio')).toBeGreaterThan(0.3);

    await waybill.stop();
    await emptyFilters(site.databaseUrl, join(site.directory, 'data', 'filters'));
    expect((await savedFilters(site.databaseUrl)).map(({ whole, fill }) => ({ whole, fill }))).toEqual([
      { whole: false, fill: 0 },
      { whole: false, fill: 0 },
    ]);
    waybill = await site.start();
    // At once: it must not wait for filters to be right.
    await sendPart(parts[4] ?? []);
    await until(
      async () => (await savedFilters(site.databaseUrl)).every(({ whole, fill }) => whole && fill > 0),
      'the filters to be built anew',
    );

    await untilSettled(site.databaseUrl);
    const books = await check(site.databaseUrl);
    expect(books.violations).toEqual([]);
    expect(ledger.violations).toEqual([]);
    const { sequenced, duplicate } = ledger.tally;
    expect(sequenced + duplicate).toBe(TOTAL);
    expect(books.counted.get('default')).toEqual({ sequenced, duplicates: duplicate, conflicts: 0, expired: 0 });
    expect([...books.messages.values()].map(({ externalId }) => externalId).sort()).toEqual(
      seen.map(({ key }) => key).sort(),
    );
    for (const { id, externalId } of books.messages.values()) {
      expect(ledger.messages.get(externalId as string)).toBe(id);
    }
    await until(() => consumer.once.length >= sequenced, 'the consumer to have everything');
    const compared = compareReceipts(books, { tenant: 'default', target: 'erp' }, consumer.receipts);
    expect(compared).toMatchObject({ violations: [], distinct: seen.length });
  },
  long ? 900_000 : 120_000,
);

test('one id under two accounts at once, and across a generation: one sequenced, the others in conflict', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  const ledger = new Ledger();
  let waybill = await site.start();
  const consumer = await consumeQueue(site.vhost);
  const claims = (account: string): SentEvent[] =>
    Array.from({ length: 40 }, (_, i) => ({ key: `claimed-${i}`, account, type: 'usage' }));
  const claim = async (account: string) => {
    for (const event of claims(account)) ledger.note([event], await sendEvents(waybill, [event], { form: 'single' }));
  };

  await Promise.all(['anna', 'bert', 'cleo'].map(claim));
  expect(ledger.tally).toEqual({ sequenced: 40, duplicate: 0, conflict: 80 });

  await rotateGeneration(site.databaseUrl);
  await claim('dora');
  await waybill.stop();
  waybill = await site.start();
  await claim('emil');
  expect(ledger.tally).toEqual({ sequenced: 40, duplicate: 0, conflict: 160 });
  // Other content under the same account is a conflict, too; the same again is not.
  const first = (claims('fred')[0] as SentEvent).key;
  const taken = { key: 'once', account: 'fred', type: 'usage' };
  ledger.note([taken], await sendEvents(waybill, [taken]));
  ledger.note([{ ...taken, variant: 1 }], await sendEvents(waybill, [{ ...taken, variant: 1 }]));
  ledger.note([taken], await sendEvents(waybill, [taken]));
  expect(ledger.tally).toEqual({ sequenced: 41, duplicate: 1, conflict: 161 });
  expect(ledger.violations).toEqual([]);

  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(books.counted.get('default')).toEqual({ sequenced: 41, duplicates: 1, conflicts: 161, expired: 0 });
  await until(() => consumer.once.length >= 41, 'the consumer to have the originals');
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, consumer.receipts)).toMatchObject({
    violations: [],
    distinct: 41,
  });
  // Every one that lost is held whole, and the one under its account that came twice is counted, not held twice.
  const held = await waybill.call('GET', '/v1/quarantine?limit=200');
  const entries = held.json.items as { cause: string; externalId: string; count: number }[];
  expect(entries).toHaveLength(161);
  expect(new Set(entries.map(({ cause }) => cause))).toEqual(new Set(['conflict']));
  expect(entries.filter(({ externalId }) => externalId === first)).toHaveLength(4);
});

/** Seven in ten of so many are originals, in five parts. */
function originals(total: number, random: Seeded): SentEvent[][] {
  const count = Math.round(total * 0.7);
  const parts: SentEvent[][] = [[], [], [], [], []];
  for (let i = 0; i < count; i++) {
    const part = parts[Math.floor((i * parts.length) / count)];
    part?.push({ key: `e-${i}`, account: `customer-${random.below(200)}`, type: `usage.${random.below(4)}` });
  }
  return parts;
}

/**
 * Sends a part over several connections with three in ten added that were sent before: most of them anywhere in the
 * past, some in the same batch, some in a batch that another connection sends at the same time.
 */
async function sendShuffled(
  waybill: Waybill,
  fresh: readonly SentEvent[],
  seen: readonly SentEvent[],
  ledger: Ledger,
  random: Seeded,
): Promise<void> {
  const wanted = Math.round((fresh.length * 3) / 7);
  const past = seen.length > 0 ? seen : fresh;
  const again = Array.from({ length: wanted }, (_, i) => random.pick(i % 3 === 0 ? fresh : past));
  const all = random.shuffled([...fresh, ...again]);
  const forms: Form[] = ['ndjson', 'ndjson', 'array', 'single'];
  const tasks: (() => Promise<void>)[] = [];
  for (let at = 0; at < all.length; ) {
    const form = random.pick(forms);
    const size = form === 'single' ? 5 : 1 + random.below(long ? 1000 : 150);
    const batch = all.slice(at, at + size);
    at += batch.length;
    tasks.push(async () => ledger.note(batch, await sendEvents(waybill, batch, { form })));
  }
  await inLanes(CONNECTIONS, tasks);
}

async function untilFiltersSaved(site: Installation, count: number): Promise<void> {
  await until(
    async () => (await savedFilters(site.databaseUrl)).filter(({ whole }) => whole).length === count,
    `${count} sealed generations to have their filters saved`,
  );
}

async function untilFiltersReady(waybill: Waybill): Promise<void> {
  await until(async () => (await waybill.metric('waybill_filter_ready')) === 3, 'all filters to be loaded');
}
