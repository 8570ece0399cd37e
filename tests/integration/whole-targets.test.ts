import { join } from 'node:path';
import { connect } from 'amqplib';
import { expect, onTestFinished, test } from 'vitest';
import { startRelay } from '../broker/relay.js';
import { type Books, check, compareReceipts, type Receipt, untilSettled } from '../support/checker.js';
import { consumeQueue, firsts, pullAll, receiveHooks } from '../support/consumers.js';
import { inLanes, Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/* Targets in every kind of trouble, and a broker that is away: nobody else waits, and nothing is lost or sent twice. */

const SOURCES = { feed: { kind: 'events' } };

test('of a message to four targets, two of them down, two are delivered at once and two when they are back', async () => {
  let back = false;
  const broken = await receiveHooks(() => (back ? 204 : 500));
  const hanging = await receiveHooks(() => (back ? 204 : null));
  const well = await receiveHooks();
  const site = await install({
    config: {
      sources: SOURCES,
      targets: {
        erp: { kind: 'queue' },
        well: { kind: 'webhook', url: well.url, allowPrivateAddresses: true },
        broken: { kind: 'webhook', url: broken.url, allowPrivateAddresses: true },
        hanging: { kind: 'webhook', url: hanging.url, allowPrivateAddresses: true, timeoutSeconds: 1 },
      },
    },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: [broken, hanging, erp, well] } }\n',
    broker: true,
  });
  const waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  const events = numbered(3);
  await sendEvents(waybill, events);

  await until(() => erp.once.length >= 3 && well.taken.length >= 3, 'the others to have theirs');
  await until(() => broken.asked.length >= 3 && hanging.asked.length >= 3, 'the two to be tried');
  expect(broken.taken.length + hanging.taken.length).toBe(0);
  await until(
    async () => (await stateOf(waybill, 'hanging')) === 'failing' && (await stateOf(waybill, 'broken')) === 'failing',
    'the failures to be shown',
  );
  expect(await stateOf(waybill, 'erp')).toBe('ok');
  await until(async () => (await lagOf(waybill, 'broken')) === 3, 'what waits to be counted');

  back = true;
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  // A queue that confirms late, or an answer that comes late to one that waits for a second, is asked again.
  for (const [target, receipts, repeats] of [
    ['erp', erp.receipts, expect.any(Number)],
    ['well', well.taken, 0],
    ['broken', broken.taken, 0],
    ['hanging', hanging.taken, expect.any(Number)],
  ] as const) {
    expect(compareReceipts(books, { tenant: 'default', target }, receipts), target).toEqual({
      violations: [],
      repeats,
      distinct: 3,
    });
  }
}, 180_000);

test.each(['channel', 'none'] as const)(
  'a webhook that refuses one message for good goes on with the next, and hears of its number (order %s)',
  async (order) => {
    const crm = await receiveHooks(({ externalId }) => (externalId === 'e-3' ? 422 : 204));
    const site = await install({
      config: { sources: SOURCES, targets: { crm: webhook(crm.url, { order }) } },
      rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: crm } }\n',
    });
    const waybill = await site.start();
    // One account, so one line.
    await sendEvents(waybill, numbered(6, 'anna'));
    await untilSettled(site.databaseUrl);

    const books = await check(site.databaseUrl);
    expect(books.violations).toEqual([]);
    expect(compareReceipts(books, { tenant: 'default', target: 'crm' }, crm.taken)).toMatchObject({
      violations: [],
      repeats: 0,
      distinct: 5,
    });
    const refused = crm.asked.filter(({ externalId }) => externalId === 'e-3');
    expect(refused).toHaveLength(1);
    const notices = crm.taken.filter(({ what }) => what === 'void');
    expect(notices.map(({ channel, number }) => ({ channel, number }))).toEqual([
      { channel: refused[0]?.channel, number: refused[0]?.number },
    ]);
    expect(JSON.parse(notices[0]?.body ?? '')).toMatchObject({
      type: 'waybill.delivery.void',
      reason: expect.stringContaining('422'),
    });
    if (order === 'channel') {
      expect(crm.taken.map(({ number, what }) => `${number} ${what}`)).toEqual([
        '1 message',
        '2 message',
        '3 message',
        '4 void',
        '5 message',
        '6 message',
      ]);
    }
    const failed = (await waybill.call('GET', '/v1/deliveries?state=failed')).json.items;
    expect(failed).toMatchObject([{ target: 'crm', state: 'failed', void: 'taken', code: 'http_422', attempts: 2 }]);

    // A person has it sent again: a new number, and the old one stays void.
    const retried = await waybill.call('POST', `/v1/deliveries/${failed[0].id}/retry`);
    expect(retried.status).toBe(202);
    await until(() => crm.asked.filter(({ externalId }) => externalId === 'e-3').length >= 2, 'it to be sent again');
    await untilSettled(site.databaseUrl);
    expect((await check(site.databaseUrl)).violations).toEqual([]);
  },
  180_000,
);

test("what a queue's consumer refuses for good is failed with a notice, and the others go on", async () => {
  const site = await install({
    config: { sources: SOURCES, targets: { erp: { kind: 'queue' } } },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: erp } }\n',
    broker: true,
  });
  const waybill = await site.start();
  // Dead letters are read by every process, also by one that owns no channel.
  await site.start({ WAYBILL_DATA: join(site.directory, 'data-2') });
  const refuses = new Set(['e-1', 'e-4', 'e-5', 'e-9', 'e-13', 'e-19']);
  const erp = await consumeQueue(site.vhost, {
    answer: ({ what, externalId }) => (what === 'message' && refuses.has(externalId ?? '') ? 'reject' : 'ack'),
  });
  await sendEvents(waybill, numbered(20, 'anna'));
  await until(() => erp.once.filter(({ what }) => what === 'message').length >= 20, 'all to have come');
  const voids = () => erp.once.filter(({ what }) => what === 'void');
  await until(() => voids().length >= refuses.size, 'the notices');
  const refused = erp.once.filter(({ externalId }) => refuses.has(externalId ?? ''));
  const places = (receipts: readonly Receipt[]) => receipts.map(({ channel, number }) => `${channel}-${number}`).sort();
  expect(places(voids())).toEqual(places(refused));
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(stateCounts(books)).toEqual({ delivered: 20 - refuses.size, failed: refuses.size });
  const failed = (await waybill.call('GET', '/v1/deliveries?state=failed')).json.items;
  expect(failed).toHaveLength(refuses.size);
  expect(failed[0]).toMatchObject({ target: 'erp', state: 'failed', void: 'taken', code: 'rejected' });

  // The line is clear again: what comes now goes at once.
  await sendEvents(waybill, [{ key: 'later', account: 'anna', type: 'usage' }]);
  await until(() => erp.receipts.some(({ externalId }) => externalId === 'later'), 'a later one to come');
}, 180_000);

test('a queue target whose exchange leads nowhere is paused with an alarm, and goes on when it is resumed', async () => {
  const site = await install({
    config: {
      sources: SOURCES,
      targets: { erp: { kind: 'queue' }, warehouse: { kind: 'queue', exchange: 'depot', routingKey: 'orders' } },
    },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: [warehouse, erp] } }\n',
    broker: true,
  });
  const connection = await connect(site.vhost.url);
  onTestFinished(() => connection.close().catch(() => undefined));
  const channel = await connection.createChannel();
  await channel.assertExchange('depot', 'direct');
  const waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  await sendEvents(waybill, numbered(4, 'anna'));
  await until(() => erp.once.length >= 4, 'the other target to have all');
  await until(async () => (await stateOf(waybill, 'warehouse')) === 'paused', 'the target to be paused');
  expect((await waybill.call('GET', '/v1/targets/warehouse')).json.paused).toMatchObject({
    code: 'unroutable',
    by: 'waybill',
  });
  expect(await waybill.metric('waybill_target_paused_total', { target: 'warehouse', code: 'unroutable' })).toBe(1);
  await untilSettled(site.databaseUrl, { mayWait: ['default/warehouse'] });
  expect((await check(site.databaseUrl, { mayWait: ['default/warehouse'] })).violations).toEqual([]);

  await channel.assertQueue('orders');
  await channel.bindQueue('orders', 'depot', 'orders');
  const warehouse = await consumeQueue(site.vhost, { target: 'warehouse', queue: 'orders' });
  expect((await waybill.call('POST', '/v1/targets/warehouse/resume')).status).toBe(200);
  await untilSettled(site.databaseUrl);
  await until(() => warehouse.once.length >= 4, 'what waited to come');
  expect(warehouse.once.map(({ number }) => number)).toEqual([1, 2, 3, 4]);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  for (const [target, { receipts }] of [
    ['erp', erp],
    ['warehouse', warehouse],
  ] as const) {
    expect(compareReceipts(books, { tenant: 'default', target }, receipts)).toMatchObject({
      violations: [],
      distinct: 4,
    });
  }
}, 180_000);

test('RabbitMQ away at the start and in the middle: accepting goes on, and all comes in order when it is back', async () => {
  const site = await install({
    config: {
      sources: SOURCES,
      targets: { erp: { kind: 'queue' }, wms: { kind: 'queue' }, archive: { kind: 'pull' } },
    },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: [erp, wms, archive] } }\n',
    broker: true,
  });
  const behind = new URL(site.vhost.url);
  const relay = await startRelay(behind.hostname, Number(behind.port), false);
  onTestFinished(() => relay.close());
  const front = new URL(site.vhost.url);
  front.port = String(relay.port);
  const waybill = await site.start({ AMQP_URL: front.href });
  const ledger = new Ledger();
  const events = numbered(1_500);
  const send = async (from: number, to: number) => {
    const tasks = [];
    for (let at = from; at < to; at += 25) {
      const batch = events.slice(at, at + 25);
      tasks.push(async () => ledger.note(batch, await sendEvents(waybill, batch)));
    }
    await inLanes(3, tasks);
  };

  // Away at the start.
  expect(await degraded(waybill)).toMatch(/the broker is down: queue deliveries wait/);
  await send(0, 300);
  const archived = await pullAll(waybill, 'archive');
  await until(async () => archived.push(...(await pullAll(waybill, 'archive'))) >= 300, 'the pull target to be served');
  // That the broker took nothing is written down a moment later.
  await untilSettled(site.databaseUrl, WAITING);
  expect((await check(site.databaseUrl, WAITING)).violations).toEqual([]);
  await until(async () => (await lagOf(waybill, 'erp')) === 300, 'what waits to be counted');
  await relay.open();
  const erp = await consumeQueue(site.vhost);
  const wms = await consumeQueue(site.vhost, { target: 'wms' });
  await until(() => erp.once.length >= 300, 'what waited to be delivered', 40_000);
  await until(async () => (await degraded(waybill)) === '', 'nothing to be degraded');

  // Away in the middle, twice, and for a moment it says nothing at all.
  const sending = send(300, 1_500);
  await until(() => erp.once.length >= 400, 'some to have come');
  await relay.cut();
  await until(async () => (await degraded(waybill)) !== '', 'the loss to be noticed');
  await until(() => ledger.tally.sequenced >= 800, 'accepting to go on');
  await relay.open();
  await until(() => erp.once.length >= 800, 'delivering to go on', 40_000);
  relay.stall();
  await until(() => ledger.tally.sequenced >= 1_200, 'accepting to go on');
  await relay.cut();
  relay.flow();
  await relay.open();
  await sending;
  expect(ledger.tally).toEqual({ sequenced: 1_500, duplicate: 0, conflict: 0 });

  await untilSettled(site.databaseUrl, { mayWait: ['default/archive'] });
  archived.push(...(await pullAll(waybill, 'archive')));
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  for (const { receipts, once } of [erp, wms]) {
    await until(() => once.length >= 1_500, 'the consumers to have everything');
    expect(outOfOrder(receipts)).toEqual([]);
  }
  expect(outOfOrder(archived)).toEqual([]);
  for (const [target, receipts] of [
    ['erp', erp.receipts],
    ['wms', wms.receipts],
    ['archive', archived],
  ] as const) {
    const compared = compareReceipts(books, { tenant: 'default', target }, receipts);
    expect(compared, target).toMatchObject({ violations: [], distinct: 1_500 });
  }
}, 180_000);

const WAITING = { mayWait: ['default/erp', 'default/wms'] };

function numbered(count: number, account?: string): SentEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    key: `e-${i}`,
    account: account ?? `customer-${i % 40}`,
    type: 'usage',
  }));
}

function webhook(url: string, more: Readonly<Record<string, unknown>> = {}) {
  return { kind: 'webhook', url, allowPrivateAddresses: true, ...more };
}

function lagOf(waybill: Waybill, target: string): Promise<number> {
  return waybill.metric('waybill_target_lag_messages', { target });
}

async function stateOf(waybill: Waybill, target: string): Promise<string> {
  return (await waybill.call('GET', `/v1/targets/${target}`)).json.health.state;
}

/** What /readyz says is not as it should be; messages are accepted all the same. */
async function degraded(waybill: Waybill): Promise<string> {
  const { status, json } = await waybill.call('GET', '/readyz', { token: null });
  expect(status).toBe(200);
  expect(json.accepting).toBe(true);
  return (json.degraded as string[]).join('; ');
}

function stateCounts(books: Books): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of books.deliveries.values()) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

function outOfOrder(receipts: readonly Receipt[]): string[] {
  const last = new Map<number, number>();
  const wrong: string[] = [];
  for (const { channel, number } of firsts(receipts)) {
    const before = last.get(channel) ?? 0;
    if (number !== before + 1) wrong.push(`${channel}-${number} came after ${channel}-${before}`);
    last.set(channel, Math.max(before, number));
  }
  return wrong;
}
