import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startRelay } from '../broker/relay.js';
import { publisher } from '../ingress/amqp-harness.js';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue } from '../support/consumers.js';
import { addTenant } from '../support/tenants.js';
import { until } from '../support/until.js';
import { type Installation, install, type Waybill } from '../support/waybill.js';

/* AMQP sources of the whole program: from a user's queue, through the database, to a target's queue. */

const RULES = 'rules:\n  - { name: all, when: { kind: [amqp, event] }, then: { targets: erp } }\n';
const ERP = { erp: { kind: 'queue' } };

function configOf(orders: Readonly<Record<string, unknown>>) {
  return { sources: { orders: { kind: 'amqp', queue: 'orders', ...orders } }, targets: ERP };
}

function numbers(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `o-${from + i}`);
}

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into
async function sourceNow(waybill: Waybill, name = 'orders'): Promise<any> {
  return (await waybill.call('GET', `/v1/sources/${name}`)).json;
}

async function messagesOf(waybill: Waybill, token?: string): Promise<{ externalId: string; account: string }[]> {
  return (await waybill.call('GET', '/v1/messages?limit=200', token === undefined ? {} : { token })).json.items;
}

/** A second process, which shares database and broker with the first and nothing else. */
function another(site: Installation): Promise<Waybill> {
  return site.start({ WAYBILL_DATA: join(site.directory, 'data-2') });
}

test('what was stored and not acked when the process died comes again and is a duplicate', async () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: this is how the file takes an environment variable
  const config = configOf({ url: '${ORDERS_URL}' });
  const site = await install({ config, rules: RULES, broker: true });
  const user = await publisher(site.vhost.url);
  await user.channel.assertQueue('orders', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  const broker = new URL(site.vhost.url);
  const relay = await startRelay(broker.hostname, Number(broker.port));
  const through = new URL(site.vhost.url);
  through.port = String(relay.port);

  const first = await site.start({ ORDERS_URL: through.href });
  await until(async () => (await sourceNow(first)).health.state === 'ok', 'the queue to be consumed');
  expect((await sourceNow(first)).definition.url).toBe(`amqp://***@127.0.0.1:${relay.port}/${site.vhost.vhost}`);
  await user.send('orders', numbers(0, 5));
  await until(async () => (await messagesOf(first)).length === 5, 'five to be stored and acked');
  // From now on no ack gets through.
  relay.stall();
  await user.send('orders', numbers(5, 20));
  await until(async () => (await messagesOf(first)).length === 25, 'all to be stored');
  await first.kill();
  await relay.cut();

  const second = await site.start({ ORDERS_URL: site.vhost.url });
  const erp = await consumeQueue(site.vhost);
  await until(
    async () => (await second.metric('waybill_accepted_total', { source: 'orders', verdict: 'duplicate' })) >= 20,
    'them to come again',
  );
  await user.send('orders', ['o-last']);
  await until(async () => (await messagesOf(second)).length === 26, 'what comes next to be stored');
  expect((await messagesOf(second)).map(({ externalId }) => externalId).sort()).toEqual(
    [...numbers(0, 25), 'o-last'].sort(),
  );
  expect(await second.metric('waybill_accepted_total', { source: 'orders', verdict: 'sequenced' })).toBe(1);

  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: 26,
  });
  const ended = await second.stop();
  expect(ended.code).toBe(0);
  expect(await user.ready('orders')).toBe(0);
}, 180_000);

test('of two processes one consumes, and the other one takes over when it is killed', async () => {
  const site = await install({ config: configOf({}), rules: RULES, broker: true });
  const user = await publisher(site.vhost.url);
  const one = await site.start();
  await until(async () => /no queue "orders"/.test((await sourceNow(one)).health.reason), 'the queue to be missed');
  expect(await sourceNow(one)).toMatchObject({ health: { state: 'failing', since: expect.any(String) } });
  const readiness = (await one.call('GET', '/readyz')).json;
  expect(readiness.degraded).toEqual([expect.stringContaining("1 of the sources' queues")]);

  await user.channel.assertQueue('orders', { durable: true });
  await until(async () => (await sourceNow(one)).health.state === 'ok', 'the queue to be found');
  const two = await another(site);
  await until(async () => two.log.some(({ state }) => state === 'standing_by'), 'the second to stand by');
  expect(await sourceNow(two)).toMatchObject({ health: { state: 'ok', reason: null } });
  expect(await two.metric('waybill_source_consuming', { source: 'orders' })).toBe(0);
  expect(await one.metric('waybill_source_consuming', { source: 'orders' })).toBe(1);

  await user.send('orders', numbers(0, 30));
  await until(async () => (await messagesOf(two)).length === 30, 'the first to store');
  await one.kill();
  await user.send('orders', numbers(30, 30));
  // Who stands by looks once a second, and the broker sees the connection of a killed process end; one that hangs it gives up
  // after 10 s and more, when two heartbeats were missed.
  await until(async () => (await messagesOf(two)).length === 60, 'the second to take over', 10_000);
  expect(await two.metric('waybill_source_consuming', { source: 'orders' })).toBe(1);
  // All of one account, and so in one order.
  const { items } = (await two.call('GET', '/v1/messages?account=orders&limit=200')).json;
  expect(items.map(({ externalId }: { externalId: string }) => externalId)).toEqual(numbers(0, 60).reverse());
}, 180_000);

test('what can not be decoded is in the quarantine with its reason, and can be let in', async () => {
  const site = await install({ config: configOf({}), rules: RULES, broker: true });
  const user = await publisher(site.vhost.url);
  await user.channel.assertQueue('orders', { durable: true });
  const event = { specversion: '1.0', id: 'e-1', source: '/shop', type: 'order', subject: 'anna', data: { n: 1 } };
  const asEvent = { contentType: 'application/cloudevents+json' };
  await user.send('orders', [JSON.stringify(event), JSON.stringify({ ...event, id: null })], asEvent);
  await user.send('orders', [JSON.stringify({ ...event, data: { n: 2 } })], asEvent);
  await user.send('orders', ['nameless', 'nameless'], { messageId: undefined as unknown as string, headers: { a: 1 } });
  await user.send('orders', ['last']);
  const waybill = await site.start();
  await until(async () => (await messagesOf(waybill)).length === 2, 'the good ones to be accepted');
  expect((await messagesOf(waybill)).map(({ externalId, account }) => [externalId, account])).toEqual(
    expect.arrayContaining([
      ['e-1', 'anna'],
      ['last', 'orders'],
    ]),
  );
  const quarantine = async () => (await waybill.call('GET', '/v1/quarantine')).json.items;
  const inAll = (items: readonly { count: number }[]) => items.reduce((sum, { count }) => sum + count, 0);
  // They are written apart from what is accepted.
  await until(async () => inAll(await quarantine()) === 4, 'the others to be set aside');
  const held = await quarantine();
  expect(held).toHaveLength(3);
  expect(held).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ cause: 'conflict', externalId: 'e-1', reason: null }),
      expect.objectContaining({ cause: 'undecodable', reason: 'The event has no id; every event needs one.' }),
      expect.objectContaining({ cause: 'undecodable', kind: 'amqp', count: 2, account: 'orders' }),
    ]),
  );
  expect(await waybill.metric('waybill_undecodable_total', { source: 'orders' })).toBe(3);

  const nameless = held.find(({ count }: { count: number }) => count === 2);
  expect((await waybill.call('GET', `/v1/quarantine/${nameless.id}/raw`)).bytes.toString()).toBe('nameless');
  const page = await waybill.call('GET', `/quarantine?cause=undecodable`, { headers: { accept: 'text/html' } });
  expect(page.bytes.toString()).toContain('no usable messageId');
  const released = await waybill.call('POST', `/v1/quarantine/${nameless.id}/release`);
  expect(released.status).toBe(200);
  const message = (await waybill.call('GET', `/v1/messages/${released.json.message}`)).json;
  expect(message).toMatchObject({ kind: 'amqp', account: 'orders' });
  expect(JSON.stringify(message)).toContain('"a":1');
  await untilSettled(site.databaseUrl);
  expect((await check(site.databaseUrl)).violations).toEqual([]);
}, 180_000);

test('sources are made, changed and removed while it runs, and nobody takes what is not theirs', async () => {
  const site = await install({ config: { sources: {}, targets: ERP }, rules: RULES, broker: true });
  const user = await publisher(site.vhost.url);
  for (const queue of ['one', 'two']) await user.channel.assertQueue(queue, { durable: true });
  const waybill = await site.start();
  const acme = await addTenant(waybill, 'acme', ['sources.read', 'sources.write', 'messages.read']);
  const put = (name: string, definition: object, token = site.adminToken) =>
    waybill.call('PUT', `/v1/sources/${name}`, { token, json: { kind: 'amqp', ...definition } });

  expect(await put('orders', { queue: 'waybill.acme.erp' })).toMatchObject({ status: 422 });
  expect((await put('orders', { queue: 'one' })).status).toBe(201);
  await user.send('one', ['a']);
  await until(async () => (await messagesOf(waybill)).length === 1, 'the first queue to be consumed');
  expect((await put('again', { queue: 'one' })).json).toMatchObject({ status: 409, code: 'queue_taken' });

  // The same names, the same ids, another tenant; with a login of its own.
  expect((await put('orders', { queue: 'two' }, acme)).json).toMatchObject({ status: 403, code: 'broker_not_yours' });
  expect((await put('orders', { queue: 'two', url: site.vhost.url }, acme)).status).toBe(201);
  await user.send('two', ['a', 'b']);
  await until(async () => (await messagesOf(waybill, acme)).length === 2, 'the other tenant to get its own');
  expect((await messagesOf(waybill)).map(({ externalId }) => externalId)).toEqual(['a']);
  expect((await waybill.call('GET', '/v1/sources', { token: acme })).json.items).toMatchObject([
    { name: 'orders', definition: { queue: 'two' } },
  ]);

  expect((await waybill.call('DELETE', '/v1/sources/orders', { token: acme })).status).toBe(204);
  await until(async () => (await user.consumers('two')) === 0, 'the queue to be let go');
  expect((await put('orders', { queue: 'two' })).status).toBe(200);
  await user.send('two', ['c']);
  await until(async () => (await messagesOf(waybill)).length === 2, 'the source to follow');
  await until(async () => (await user.consumers('one')) === 0, 'the other queue to be let go');
  await user.send('one', ['left']);
  expect(await user.ready('one')).toBe(1);
  expect((await waybill.stop()).code).toBe(0);
}, 180_000);
