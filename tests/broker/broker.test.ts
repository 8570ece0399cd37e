import { connect } from 'amqplib';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { Broker, type Destination, ReservedName } from '../../src/broker/broker.js';
import type { DeadDelivery } from '../../src/broker/dead.js';
import type { BrokerNotice } from '../../src/broker/notice.js';
import type { Publication, Publisher } from '../../src/broker/publisher.js';
import { amqpProperties } from '../../src/delivery/wire.js';
import type { Clock } from '../../src/message/clock.js';
import { outgoing } from '../delivery/sample.js';
import { realClock, settableClock } from '../support/clock.js';
import { freshVhost, type Vhost } from '../support/rabbitmq.js';
import { until } from '../support/until.js';
import { type Relay, startRelay } from './relay.js';

let vhost: Vhost;
let relay: Relay;
let notices: BrokerNotice[];
const cleanup: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  vhost = await freshVhost();
});
afterAll(() => vhost.drop());

beforeEach(async () => {
  const { hostname, port } = new URL(vhost.url);
  relay = await startRelay(hostname, Number(port));
  cleanup.push(() => relay.close());
  notices = [];
});
afterEach(async () => {
  for (const clean of cleanup.splice(0).reverse()) await clean();
});

const INSTALLATION = '6f2c7a54-52d8-4b0e-9f67-5a0c61f2a0b1';

function throughRelay(): string {
  const url = new URL(vhost.url);
  url.hostname = '127.0.0.1';
  url.port = String(relay.port);
  return url.href;
}

function createBroker(url = throughRelay(), installation = INSTALLATION, clock: Clock = realClock): Broker {
  const broker = new Broker({
    url,
    installation,
    heartbeatSeconds: 5,
    clock,
    random: () => 0,
    notify: (notice) => notices.push(notice),
  });
  cleanup.push(() => broker.close());
  return broker;
}

async function startedBroker(): Promise<Broker> {
  const broker = createBroker();
  broker.start();
  await until(() => broker.state() === 'up', 'the broker to be up');
  return broker;
}

const own = (target: string): Destination => ({ to: 'own', tenant: 'acme', target });

function publications(from: number, to: number, body?: Buffer): Publication[] {
  return Array.from({ length: to - from + 1 }, (_, i) => {
    const one = outgoing(from + i);
    return { body: body ?? one.body, properties: amqpProperties(one) };
  });
}

async function results(publisher: Publisher, batch: readonly Publication[], unconfirmedMs = 20_000) {
  return (await publisher.publish(batch, unconfirmedMs)).map(({ result }) => result);
}

/** Delivery numbers that wait in a queue, in order; takes them off. */
async function drain(queue: string, count: number): Promise<number[]> {
  const connection = await connect(vhost.url);
  const channel = await connection.createChannel();
  const numbers: number[] = [];
  await channel.consume(queue, (message) => {
    if (!message) return;
    numbers.push(Number(message.properties.headers?.['waybill-delivery']));
    channel.ack(message);
  });
  await until(() => numbers.length >= count, `${count} messages in ${queue}, so far ${numbers.length}`);
  await connection.close();
  return numbers;
}

const count = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

test('publishes in order, confirmed, to a quorum queue of its own', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('ordered'));
  const both = await Promise.all([
    results(publisher, publications(1, 300)),
    results(publisher, publications(301, 500)),
  ]);
  expect(both.flat()).toEqual(new Array(500).fill('confirmed'));
  expect(await drain('waybill.acme.ordered', 500)).toEqual(count(500));
  const queue = (await vhost.api('GET', `/queues/${vhost.vhost}/waybill.acme.ordered`)) as {
    type: string;
    arguments: Record<string, string>;
  };
  expect(queue.type).toBe('quorum');
  expect(queue.arguments).toEqual({
    'x-queue-type': 'quorum',
    'x-overflow': 'reject-publish',
    'x-dead-letter-exchange': '',
    'x-dead-letter-routing-key': 'waybill.dead',
    'x-dead-letter-strategy': 'at-least-once',
  });
});

test('a broker that is not there yet is connected to when it is', async () => {
  await relay.cut();
  const broker = createBroker();
  const publisher = broker.publisher(own('later'));
  let ups = 0;
  broker.onUp(() => ups++);
  broker.start();
  await until(() => notices.some(({ event }) => event === 'down'), 'the first attempt to fail');
  expect(broker.state()).toBe('down');
  expect(broker.problem()).toContain('ECONNREFUSED');
  expect(await publisher.publish(publications(1, 2), 1_000)).toEqual([
    { result: 'interrupted', reason: broker.problem() },
    { result: 'interrupted', reason: broker.problem() },
  ]);
  await relay.open();
  await until(() => ups >= 1, 'the notice that the broker is up');
  expect(broker.problem()).toBeNull();
  expect(await results(publisher, publications(1, 2))).toEqual(['confirmed', 'confirmed']);
});

test('a lost connection interrupts what is unconfirmed; sent again from there, nothing is lost or out of order', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('lossy'));
  let next = 1;
  let cuts = 0;
  while (next <= 2_000) {
    const sending = results(publisher, publications(next, Math.min(next + 199, 2_000)));
    if (cuts < 3 && next > 400 * (cuts + 1)) {
      cuts++;
      await relay.cut();
      await relay.open();
    }
    const answers = await sending;
    const failed = answers.findIndex((result) => result !== 'confirmed');
    next += failed === -1 ? answers.length : failed;
    if (failed !== -1) await until(() => broker.state() === 'up', 'the broker to be up again');
  }
  expect(cuts).toBe(3);
  const seen = await drain('waybill.acme.lossy', 2_000);
  let mark = 0;
  const fresh = seen.filter((number) => {
    if (number <= mark) return false;
    expect(number).toBe(mark + 1);
    mark = number;
    return true;
  });
  expect(fresh).toEqual(count(2_000));
});

test('what is unconfirmed in time is interrupted, and so is everything after it until that is answered', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('slow'));
  await results(publisher, publications(1, 1));
  relay.stall();
  expect(await publisher.publish(publications(2, 3), 50)).toEqual([
    { result: 'interrupted', reason: 'unconfirmed' },
    { result: 'interrupted', reason: 'unconfirmed' },
  ]);
  expect(await publisher.publish(publications(2, 3), 10_000)).toEqual([
    { result: 'interrupted', reason: 'earlier messages are unconfirmed' },
    { result: 'interrupted', reason: 'earlier messages are unconfirmed' },
  ]);
  relay.flow();
  await until(async () => (await results(publisher, publications(2, 2)))[0] === 'confirmed', 'the channel to be free');
  const numbers = await drain('waybill.acme.slow', 4);
  expect(numbers.slice(0, 4)).toEqual([1, 2, 3, 2]);
});

test('a broker that takes connections but says nothing interrupts, and a channel that stays silent is replaced', async () => {
  const clock = settableClock();
  const broker = createBroker(throughRelay(), INSTALLATION, clock);
  broker.start();
  await until(() => broker.state() === 'up', 'the broker to be up');
  const publisher = broker.publisher(own('silent'));
  relay.stall();
  expect(await publisher.publish(publications(1, 1), 50)).toEqual([
    { result: 'interrupted', reason: 'RabbitMQ does not answer' },
  ]);
  relay.flow();
  expect(await results(publisher, publications(1, 1))).toEqual(['confirmed']);
  relay.stall();
  await publisher.publish(publications(2, 2), 50);
  clock.advance(29_000);
  const [early] = await publisher.publish(publications(2, 2), 50);
  expect(early).toEqual({ result: 'interrupted', reason: 'earlier messages are unconfirmed' });
  clock.advance(31_000);
  const [replaced] = await publisher.publish(publications(2, 2), 50);
  expect(replaced).toEqual({ result: 'interrupted', reason: 'RabbitMQ does not answer' });
  relay.flow();
  expect(await results(publisher, publications(2, 2))).toEqual(['confirmed']);
});

test('a memory or disk alarm stops sending, its end starts it again', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('alarmed'));
  expect(await results(publisher, publications(1, 1))).toEqual(['confirmed']);
  let ups = 0;
  broker.onUp(() => ups++);
  // connection.blocked and connection.unblocked (class 10, methods 60 and 61) on channel 0, as RabbitMQ writes them.
  relay.inject(methodFrame(Buffer.concat([Buffer.from([0, 10, 0, 60, 10]), Buffer.from('low on mem')])));
  await until(() => broker.state() === 'blocked', 'the broker to be blocked');
  expect(broker.problem()).toContain('alarm');
  expect(await results(publisher, publications(2, 2))).toEqual(['interrupted']);
  relay.inject(methodFrame(Buffer.from([0, 10, 0, 61])));
  await until(() => ups >= 1, 'the notice that the broker is up');
  expect(broker.state()).toBe('up');
  expect(await results(publisher, publications(2, 2))).toEqual(['confirmed']);
  expect(notices.map(({ event }) => event)).toEqual(['up', 'blocked', 'unblocked']);
});

function methodFrame(payload: Buffer): Buffer {
  const head = Buffer.alloc(7);
  head.writeUInt8(1, 0);
  head.writeUInt32BE(payload.length, 3);
  return Buffer.concat([head, payload, Buffer.from([0xce])]);
}

test('a message that no queue takes is returned, the others are not', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('vanishing'));
  expect(await results(publisher, publications(1, 1))).toEqual(['confirmed']);
  await vhost.api('DELETE', `/queues/${vhost.vhost}/waybill.acme.vanishing`);
  expect(await results(publisher, publications(2, 4))).toEqual(['returned', 'returned', 'returned']);
  expect(await results(broker.publisher({ to: 'queue', queue: 'nowhere' }), publications(1, 1))).toEqual(['returned']);
});

test('a missing exchange is the trouble of its own target alone', async () => {
  const broker = await startedBroker();
  const lost = broker.publisher({ to: 'exchange', exchange: 'nowhere', routingKey: 'k' });
  const fine = broker.publisher(own('unconcerned'));
  const [first, second] = await Promise.all([results(lost, publications(1, 3)), results(fine, publications(1, 100))]);
  expect(first).toEqual(['unusable', 'unusable', 'unusable']);
  expect(second).toEqual(new Array(100).fill('confirmed'));
  await vhost.api('PUT', `/exchanges/${vhost.vhost}/nowhere`, { type: 'fanout', durable: true });
  await vhost.api('PUT', `/queues/${vhost.vhost}/now-somewhere`, { durable: true });
  await vhost.api('POST', `/bindings/${vhost.vhost}/e/nowhere/q/now-somewhere`, {});
  expect(await results(lost, publications(1, 3))).toEqual(['confirmed', 'confirmed', 'confirmed']);
});

test('a queue that was declared otherwise is unusable, with the reason', async () => {
  const broker = await startedBroker();
  await vhost.api('PUT', `/queues/${vhost.vhost}/waybill.acme.other`, { durable: true });
  const [answer] = await broker.publisher(own('other')).publish(publications(1, 1), 5_000);
  expect(answer).toEqual({ result: 'unusable', reason: expect.stringContaining('waybill.acme.other') });
});

test('a full queue refuses, message by message', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('full'));
  await results(publisher, publications(1, 1));
  await vhost.api('PUT', `/policies/${vhost.vhost}/small`, {
    pattern: '^waybill\\.acme\\.full$',
    definition: { 'max-length': 2 },
    'apply-to': 'queues',
  });
  // RabbitMQ applies a policy a little later, and takes a few more than the length before it refuses.
  await until(
    async () => (await results(publisher, publications(2, 2)))[0] === 'nacked',
    'the full queue to refuse a message',
  );
  const consumer = await connect(vhost.url);
  const channel = await consumer.createChannel();
  await channel.consume('waybill.acme.full', (message) => message && channel.ack(message));
  await until(async () => (await results(publisher, publications(2, 2)))[0] === 'confirmed', 'the queue to take it');
  await consumer.close();
});

test('a full queue whose limit is lifted is used again', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('lifted'));
  await results(publisher, publications(1, 1));
  await vhost.api('PUT', `/policies/${vhost.vhost}/lifted`, {
    pattern: '^waybill\\.acme\\.lifted$',
    definition: { 'max-length': 2 },
    'apply-to': 'queues',
  });
  await until(
    async () => (await results(publisher, publications(2, 2)))[0] === 'nacked',
    'the full queue to refuse a message',
  );
  await vhost.api('DELETE', `/policies/${vhost.vhost}/lifted`);
  await until(async () => (await results(publisher, publications(2, 2)))[0] === 'confirmed', 'the queue to take it');
});

test('a message beyond the size RabbitMQ takes is refused, and its neighbours go on', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('large'));
  // RabbitMQ 3.10 takes 128 MiB.
  const batch = [
    ...publications(1, 1),
    ...publications(2, 2, Buffer.alloc(128 * 1024 * 1024 + 1)),
    ...publications(3, 3),
  ];
  const answers = await results(publisher, batch);
  expect(answers[1]).toBe('refused');
  expect(['confirmed', 'interrupted']).toContain(answers[0]);
  expect(answers[2]).toBe('interrupted');
  expect(await results(publisher, publications(3, 3))).toEqual(['confirmed']);
});

test('what a consumer rejects is told with its delivery, and is off the queue only when it was noted', async () => {
  const broker = await startedBroker();
  const dead: DeadDelivery[] = [];
  let refusals = 1;
  broker.onDead(async (delivery) => {
    if (refusals-- > 0) throw new Error('the database is away');
    dead.push(delivery);
  });
  await results(broker.publisher(own('picky')), publications(1, 3));
  const connection = await connect(vhost.url);
  const channel = await connection.createChannel();
  await channel.consume('waybill.acme.picky', (message) => {
    if (!message) return;
    if (message.properties.headers?.['waybill-delivery'] === 2) channel.reject(message, false);
    else channel.ack(message);
  });
  await until(() => dead.length === 1, 'the dead letter to be noted');
  await connection.close();
  expect(dead).toEqual([
    {
      tenant: 'acme',
      target: 'picky',
      epoch: 1_767_225_600,
      channel: 7,
      number: 2,
      what: 'message',
      cause: 'rejected',
    },
  ]);
  expect(notices).toContainEqual({ event: 'dead_deferred', reason: 'the database is away' });
});

test("a dead letter that is nobody's delivery is taken off with a notice", async () => {
  const broker = await startedBroker();
  broker.onDead(() => Promise.reject(new Error('should not be asked')));
  const connection = await connect(vhost.url);
  const channel = await connection.createConfirmChannel();
  channel.sendToQueue('waybill.dead', Buffer.from('stray'), { messageId: 'stray-1' });
  await channel.waitForConfirms();
  await connection.close();
  await until(() => notices.some(({ event }) => event === 'dead_unknown'), 'the notice of the stray letter');
  expect(notices).toContainEqual({ event: 'dead_unknown', messageId: 'stray-1' });
});

test('reading dead letters goes on after a lost connection, and when somebody deletes the queue', async () => {
  const broker = await startedBroker();
  const dead: number[] = [];
  broker.onDead(async ({ number }) => {
    dead.push(number);
  });
  const consuming = () => notices.filter((notice) => notice.event === 'up' && notice.use === 'consuming').length;
  await until(() => consuming() > 0, 'the reader to be there');
  await relay.cut();
  const beforeCut = consuming();
  await relay.open();
  await until(() => consuming() > beforeCut, 'the reader to be back');
  const beforeDeletion = consuming();
  await vhost.api('DELETE', `/queues/${vhost.vhost}/waybill.dead`);
  await until(() => consuming() > beforeDeletion, 'the reader to be back again');
  const publisher = broker.publisher(own('rejected'));
  await until(() => broker.state() === 'up', 'the broker to be up');
  expect(await results(publisher, publications(1, 1))).toEqual(['confirmed']);
  const connection = await connect(vhost.url);
  const channel = await connection.createChannel();
  await channel.consume('waybill.acme.rejected', (message) => message && channel.reject(message, false));
  await until(() => dead.length === 1, 'the dead letter');
  await connection.close();
  expect(dead).toEqual([1]);
});

test('a second installation on the same virtual host is told so and stays away', async () => {
  await startedBroker();
  const second = createBroker(vhost.url, 'another-installation');
  second.start();
  await until(() => second.problem()?.includes('another Waybill installation'), 'the refusal');
  expect(second.state()).toBe('down');
});

test('names of our own can not be taken by a target', async () => {
  const broker = await startedBroker();
  for (const destination of [
    { to: 'queue', queue: 'waybill.other.crm' },
    { to: 'queue', queue: 'waybill.dead' },
    { to: 'exchange', exchange: 'waybill', routingKey: 'waybill.other.crm' },
  ] as const) {
    expect(() => broker.publisher(destination)).toThrow(ReservedName);
  }
});

test('nothing that is told holds the password', async () => {
  const url = new URL(vhost.url);
  url.password = 'wrong-secret';
  const broker = createBroker(url.href);
  broker.start();
  await until(() => notices.some(({ event }) => event === 'down'), 'the refusal');
  expect(broker.problem()).toContain('refuses the user');
  expect(JSON.stringify([notices, broker.where, broker.problem()])).not.toContain('wrong-secret');
  expect(() => createBroker('amqp://u:secret@host:port')).toThrow(/^(?!.*secret).*is not a URL/);
});

test('closing settles what is under way', async () => {
  const broker = await startedBroker();
  const publisher = broker.publisher(own('closing'));
  const sending = results(publisher, publications(1, 200));
  await publisher.close();
  expect(await sending).toEqual(new Array(200).fill('confirmed'));
});
