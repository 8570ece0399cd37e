import { expect, test } from 'vitest';
import { until } from '../support/until.js';
import { install } from '../support/waybill.js';

/* Events far older than the window come by a backfill, through kills; meters and prices stand in the file. */

const OF = '/v1/accounts/acme';
const LONG_AGO = '2021-05-01T12:00:00.000001Z';
const SPAN = 'from=2021-01-01T00:00:00Z&to=2022-01-01T00:00:00Z';

function event(id: string, n: string, time = LONG_AGO): string {
  const head = { specversion: '1.0', id, source: '/shop', type: 'used', subject: 'acme', time };
  return `${JSON.stringify(head).slice(0, -1)},"data":{"n":${n}}}`;
}

test('a backfill takes what is long expired, and counts it once', { timeout: 120_000 }, async () => {
  const config = {
    sources: { feed: { kind: 'events' } },
    meters: { gb: { type: 'used', aggregation: 'sum', value: '/data/n', unit: 'GB' } },
  };
  const site = await install({ config });
  let waybill = await site.start();
  const meter = { type: 'used', aggregation: 'count' };
  expect((await waybill.call('PUT', '/v1/meters/gb', { json: meter })).json.code).toBe('managed_by_file');
  expect(await send('/v1/events', [event('a', '1')])).toMatchObject([{ verdict: 'expired' }]);
  // A day ahead is as far as a clock may be off.
  const ahead = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();
  expect(await send('/v1/events', [event('f', '1', ahead(25)), event('g', '1', ahead(23))])).toMatchObject([
    { verdict: 'expired' },
    { verdict: 'sequenced' },
  ]);
  const range = { from: '2021-01-01T00:00:00Z', to: '2022-01-01T00:00:00Z', why: 'moved from another system' };
  expect((await waybill.call('POST', '/v1/backfills', { json: range })).status).toBe(201);
  const events = ['a', 'b', 'c'].map((id) => event(id, '0.1'));
  expect(await send('/v1/backfills/1/events', [...events, event('d', '1', '2022-01-01T00:00:00Z')])).toMatchObject([
    ...events.map(() => ({ verdict: 'sequenced' })),
    { verdict: 'rejected', code: 'outside_range', pointer: '/time' },
  ]);
  const again = await waybill.call('POST', '/v1/backfills/1/events', {
    body: event('a', '0.1'),
    headers: { 'content-type': 'application/cloudevents+json' },
  });
  expect([again.status, again.json.results[0].verdict]).toEqual([200, 'duplicate']);
  const other = await send('/v1/backfills/1/events', [event('a', '7')]);
  expect(other).toMatchObject([{ verdict: 'conflict' }]);
  await waybill.kill();
  waybill = await site.start();
  await read(3);
  expect((await waybill.call('GET', `${OF}/usage?${SPAN}`)).json.items).toEqual([]);
  expect((await waybill.call('POST', '/v1/backfills/1/close', { json: {} })).status).toBe(200);
  await waybill.kill();
  waybill = await site.start();
  await usageIs('0.3');
  // Nothing of it was for people, or for a target.
  expect((await waybill.call('GET', '/v1/messages?state=waiting&type=waybill.backfill.event')).json.items).toEqual([]);
  expect((await waybill.call('POST', '/v1/backfills/1/events', { json: JSON.parse(event('z', '1')) })).json.code).toBe(
    'backfill_not_open',
  );

  // The same events by another backfill: known.
  await waybill.call('POST', '/v1/backfills', { json: range });
  await send('/v1/backfills/2/events', [...events, event('e', '1')]);
  await waybill.call('POST', '/v1/backfills/2/close', { json: {} });
  await usageIs('1.3');
  expect((await waybill.call('GET', '/v1/backfills/2')).json).toMatchObject({ read: 4, counted: 1, known: 3 });
  const reverted = await waybill.call('POST', '/v1/backfills/1/revert', { json: { why: 'the first file was cut' } });
  expect(reverted.json.state).toBe('reverted');
  await until(async () => (await waybill.call('GET', '/v1/backfills/2')).json.counted === 4, 'the others to count');
  await usageIs('1.3');
  const rebuilt = await waybill.call('POST', '/v1/ledger/rebuild', { json: {} });
  expect(rebuilt.bytes.toString()).toContain('"ok":true,"swapped":true');
  await usageIs('1.3');
  const verified = await waybill.call('POST', '/v1/verify', { json: {} });
  expect(verified.bytes.toString()).toContain('"ok":true');

  async function send(path: string, all: readonly string[]): Promise<{ verdict: string }[]> {
    const headers = { 'content-type': 'application/x-ndjson' };
    return (await waybill.call('POST', path, { body: all.join('\n'), headers })).json.results;
  }
  async function read(events: number): Promise<void> {
    await until(
      async () => (await waybill.call('GET', '/v1/backfills/1')).json.read === events,
      `the ledger to read ${events} events of the backfill`,
    );
  }
  async function usageIs(quantity: string): Promise<void> {
    await until(
      async () => (await waybill.call('GET', `${OF}/usage?${SPAN}`)).json.items?.[0]?.quantity === quantity,
      `the usage to be ${quantity}`,
    );
  }
});
