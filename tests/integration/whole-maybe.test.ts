import { expect, test } from 'vitest';
import { fillFilters, rotateGeneration, savedFilters } from '../support/filters.js';
import { until } from '../support/until.js';
import { type Installation, install, type Waybill } from '../support/waybill.js';

/* Filters that take every event for seen, a policy that believes them of little ones, kills, and what is charged. */

const DAY = 86_400_000;
const YESTERDAY = new Date(Date.now() - DAY).toISOString().slice(0, 10);
const OF = '/v1/accounts/acme';

function event(id: string, n: string): string {
  const attributes = { specversion: '1.0', id, source: '/shop', type: 'used', subject: 'acme' };
  return `${JSON.stringify({ ...attributes, time: `${YESTERDAY}T12:00:00Z` }).slice(0, -1)},"data":{"n":${n}}}`;
}

const some = (name: string, n: string): string[] => Array.from({ length: 100 }, (_, i) => event(`${name}-${i}`, n));

test('false positives on both sides of the threshold are charged once each, whatever is killed', {
  timeout: 180_000,
}, async () => {
  const maybe = { threshold: '10.00', below: 'duplicate' };
  const config = { sources: { feed: { kind: 'events', value: '/data/n', maybe } } };
  const site = await install({ config });
  let waybill = await site.start();
  const meter = { type: 'used', aggregation: 'sum', value: '/data/n', unit: 'EUR' };
  expect((await waybill.call('PUT', '/v1/meters/worth', { json: meter })).status).toBe(201);
  await rotateGeneration(site.databaseUrl);
  await filtersAreSaved(site);
  await waybill.stop();
  await fillFilters(site.databaseUrl);
  waybill = await started(site);

  const above = [...some('above', '10.00'), event('credit', '-10')];
  expect(verdicts(await send(waybill, above))).toEqual({ sequenced: 101 });
  expect(verdicts(await send(waybill, above))).toEqual({ 'duplicate by store': 101 });

  // Answered, and killed before or while they are looked up; then the same again.
  for (let round = 0; round < 4; round++) {
    const below = [...some(`below ${round}`, '0.1'), event(`less ${round}`, '-9.99')];
    expect(verdicts(await send(waybill, below))).toEqual({ 'duplicate by filter': 101 });
    await waybill.kill();
    waybill = await started(site);
    expect(verdicts(await send(waybill, below))).toEqual({ 'duplicate by filter': 101 });
  }
  await until(async () => (await told(waybill)).waiting === 0, 'all of them to be looked up');
  expect(await told(waybill)).toEqual({
    source: 'feed',
    policy: maybe,
    saved: 808,
    waiting: 0,
    oldest: null,
    falsePositives: { events: 404, value: '79.96' },
    conflicts: 0,
  });
  // 100 × 10 − 10, and 4 × (100 × 0.1 − 9.99).
  await usageIs(waybill, { quantity: '990.04', events: 505 });
  expect(verdicts(await send(waybill, [event('below 0-1', '0.2')]))).toEqual({ 'duplicate by filter': 1 });
  await until(async () => (await waybill.metric('waybill_unseen_total', { became: 'conflict' })) === 1, 'the conflict');
  expect(await waybill.metric('waybill_unseen_messages')).toBe(0);
  const held = await waybill.call('GET', '/v1/quarantine');
  expect(held.json.items).toMatchObject([{ cause: 'conflict', value: '0.2' }]);
  await usageIs(waybill, { quantity: '990.04', events: 505 });

  const rebuilt = await waybill.call('POST', '/v1/ledger/rebuild', { json: {} });
  expect(rebuilt.bytes.toString()).toContain('"ok":true,"swapped":true');
  const verified = await waybill.call('POST', '/v1/verify', { json: {} });
  expect(verified.bytes.toString()).toContain('"ok":true');
  await waybill.stop();
});

async function filtersAreSaved(site: Installation): Promise<void> {
  await until(async () => (await savedFilters(site.databaseUrl)).some(({ whole }) => whole), 'the filter to be saved');
}

async function started(site: Installation): Promise<Waybill> {
  const waybill = await site.start();
  await until(async () => (await waybill.metric('waybill_filter_ready')) === 2, 'both filters to be loaded');
  return waybill;
}

interface Result {
  readonly verdict: string;
  readonly basis?: string;
  readonly of?: string;
}

async function send(waybill: Waybill, events: readonly string[]): Promise<Result[]> {
  const { json } = await waybill.call('POST', '/v1/events', {
    body: events.join('\n'),
    headers: { 'content-type': 'application/x-ndjson' },
  });
  return json.results;
}

/** How often each came. By the filter nobody knows of what. */
function verdicts(results: readonly Result[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { verdict, basis, of } of results) {
    expect(of !== undefined).toBe(basis === 'store');
    const said = basis === undefined ? verdict : `${verdict} by ${basis}`;
    counts[said] = (counts[said] ?? 0) + 1;
  }
  return counts;
}

async function told(waybill: Waybill) {
  return (await waybill.call('GET', '/v1/channels')).json.maybe[0];
}

async function usageIs(waybill: Waybill, wanted: { quantity: string; events: number }): Promise<void> {
  const span = `from=${YESTERDAY}T00:00:00Z&to=${YESTERDAY}T23:59:59Z`;
  let seen: unknown;
  await until(
    async () => {
      const { json } = await waybill.call('GET', `${OF}/usage?${span}`);
      const [item] = json.items;
      seen = item && { quantity: item.quantity, events: item.events };
      return JSON.stringify(seen) === JSON.stringify(wanted);
    },
    `the usage to be ${JSON.stringify(wanted)}`,
  ).catch((error: unknown) => {
    throw new Error(`it is ${JSON.stringify(seen)}`, { cause: error });
  });
}
