import { expect, test } from 'vitest';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/* From events to a statement that its target gets once, through a kill. */

const DAY = 86_400_000;
const dayBefore = (days: number) => new Date(Date.now() - days * DAY).toISOString().slice(0, 10);
const [FIRST, YESTERDAY] = [dayBefore(2), dayBefore(1)];
const OF = '/v1/accounts/acme';

function event(id: number, n: string): string {
  const attributes = { specversion: '1.0', id: `e${id}`, source: '/shop', type: 'used', subject: 'acme' };
  const head = JSON.stringify({ ...attributes, time: `${YESTERDAY}T12:00:00Z` });
  return `${head.slice(0, -1)},"data":{"n":${n}}}`;
}

test('usage is counted once, corrected, charged and told, whatever is killed', { timeout: 120_000 }, async () => {
  const config = { sources: { feed: { kind: 'events' } }, targets: { books: { kind: 'pull' } } };
  const site = await install({ config });
  let waybill = await site.start();
  const put = async (path: string, json: object) =>
    expect((await waybill.call('PUT', path, { json })).status).toBe(201);
  await put('/v1/meters/gb', { type: 'used', aggregation: 'sum', value: '/data/n', unit: 'GB' });
  const price = { model: 'per_unit', meter: 'gb', price: '0.10' };
  await put('/v1/rate-cards/basic', { currency: 'EUR', versions: [{ from: '2026-01-01', prices: [price] }] });
  await put('/v1/subscriptions/acme', {
    account: 'acme',
    rateCard: 'basic',
    currency: 'EUR',
    period: 'day',
    from: FIRST,
    graceHours: 1_000,
    target: 'books',
  });

  const ids = Array.from({ length: 200 }, (_, i) => i);
  const verdicts = await send(waybill, [...ids.map((id) => event(id, '0.1')), event(0, '0.1'), event(1, '0.1')]);
  expect(verdicts.filter(({ verdict }) => verdict === 'duplicate')).toHaveLength(2);
  await usageIs(() => waybill, '20');
  const [first] = verdicts;
  const corrected = await waybill.call('POST', `${OF}/corrections`, { json: { void: first?.message, why: 'a test' } });
  expect(corrected.status).toBe(202);
  await waybill.kill();
  waybill = await site.start();
  await send(waybill, [event(2, '0.1'), event(999, '1')]);
  await usageIs(() => waybill, '20.9');
  // Neither the correction nor anything else of the ledger is work for people.
  const waiting = await waybill.call('GET', '/v1/messages?state=waiting&type=waybill.correction.void');
  expect(waiting.json.items).toEqual([]);

  for (const period of [FIRST, YESTERDAY])
    await until(
      async () => (await waybill.call('POST', `${OF}/statements/${period}/close`, { json: {} })).status === 200,
      `the statement of ${period}`,
    );
  const { json: final } = await waybill.call('GET', `${OF}/statements/${YESTERDAY}`);
  expect(final).toMatchObject({ state: 'final', statement: { total: '2.09', complete: true } });
  // What is to be told is looked for at the start, and each minute.
  await waybill.kill();
  waybill = await site.start();
  const told: { type: string; body: { data: { hash: string } } }[] = [];
  await until(async () => {
    const { json } = await waybill.call('POST', '/v1/targets/books/pull', { json: { max: 10, wait: 1 } });
    told.push(...json.deliveries);
    const ids = json.deliveries.map(({ id }: { id: string }) => id);
    if (ids.length > 0) await waybill.call('POST', '/v1/targets/books/ack', { json: { lease: json.lease, ids } });
    return told.length >= 2;
  }, 'both statements to be told');
  expect(told.map(({ type }) => type)).toEqual(['waybill.statement.final', 'waybill.statement.final']);
  expect(told.map(({ body }) => body.data.hash)).toContain(final.hash);
  const rebuilt = await waybill.call('POST', '/v1/ledger/rebuild', { json: {} });
  expect(rebuilt.bytes.toString()).toContain('"ok":true,"swapped":true');
  const verified = await waybill.call('POST', '/v1/verify', { json: {} });
  expect(verified.bytes.toString()).toContain('"ok":true');
});

async function send(waybill: Waybill, events: readonly string[]): Promise<{ verdict: string; message: string }[]> {
  const { json } = await waybill.call('POST', '/v1/events', {
    body: events.join('\n'),
    headers: { 'content-type': 'application/x-ndjson' },
  });
  return json.results;
}

async function usageIs(waybill: () => Waybill, quantity: string): Promise<void> {
  const span = `from=${YESTERDAY}T00:00:00Z&to=${YESTERDAY}T23:59:59Z`;
  let seen: unknown;
  await until(async () => {
    const { json } = await waybill().call('GET', `${OF}/usage?${span}`);
    seen = json.items?.[0]?.quantity;
    return seen === quantity;
  }, `the usage to be ${quantity}`).catch((error: unknown) => {
    throw new Error(`it is ${String(seen)}`, { cause: error });
  });
}
