import { type ChannelModel, type ConsumeMessage, connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../../../src/broker/broker.js';
import { type QueueTarget, queueTargetSchema, type Target } from '../../../src/delivery/target.js';
import { createQueueSender, type QueueBroker, type QueuePublisher } from '../../../src/delivery/targets/queue.js';
import type { Sender } from '../../../src/message/delivery.js';
import { type Relay, startRelay } from '../../broker/relay.js';
import { type Behaviour, type Outcome, type Received, targetConformance } from '../../conformance/target.js';
import { realClock } from '../../support/clock.js';
import { freshVhost, type Vhost } from '../../support/rabbitmq.js';
import { until } from '../../support/until.js';
import { outgoing } from '../sample.js';

function target(changes: Partial<QueueTarget> = {}, name = 'crm'): Target<QueueTarget> {
  return {
    id: 1,
    name,
    tenant: { id: 1, name: 'acme', channels: 16 },
    paused: null,
    definition: { kind: 'queue', body: 'message', inlineParts: false, order: 'channel', ...changes },
  };
}

async function startBroker(url: string): Promise<Broker> {
  const broker = new Broker({
    url,
    installation: '6f2c7a54-52d8-4b0e-9f67-5a0c61f2a0b1',
    heartbeatSeconds: 5,
    clock: realClock,
    random: () => 0,
    notify: () => undefined,
  });
  broker.start();
  await until(() => broker.state() === 'up', 'the broker to be up');
  return broker;
}

/** A queue that is full: what goes there is really refused by RabbitMQ. */
async function fillQueue(connection: ChannelModel, queue: string): Promise<void> {
  const channel = await connection.createConfirmChannel();
  const full = { 'x-queue-type': 'quorum', 'x-max-length': 1, 'x-overflow': 'reject-publish' };
  await channel.assertQueue(queue, { durable: true, arguments: full });
  const refused = () =>
    new Promise<boolean>((resolve) => {
      channel.sendToQueue(queue, Buffer.from('filling'), {}, (error) => resolve(error !== null));
    });
  await until(refused, 'the queue to be full');
  await channel.close();
}

/** Sends what is to fail to a full queue instead, and puts RabbitMQ's answers together again. */
function failing(broker: Broker, fails: () => ReadonlySet<number> | undefined): QueueBroker {
  return {
    publisher(destination) {
      const real = broker.publisher(destination);
      const full = broker.publisher({ to: 'queue', queue: 'full' });
      const publisher: QueuePublisher = {
        async publish(publications, unconfirmedMs) {
          const chosen = publications.map(
            ({ properties }) => fails()?.has(properties.headers['waybill-delivery']) === true,
          );
          const [good, bad] = await Promise.all([
            real.publish(
              publications.filter((_, i) => !chosen[i]),
              unconfirmedMs,
            ),
            full.publish(
              publications.filter((_, i) => chosen[i]),
              unconfirmedMs,
            ),
          ]);
          const [goods, bads] = [good.values(), bad.values()];
          return chosen.map((isBad) => (isBad ? bads : goods).next().value as (typeof good)[number]);
        },
        resting: () => real.resting(),
        close: async () => void (await Promise.all([real.close(), full.close()])),
      };
      return publisher;
    },
  };
}

targetConformance('queue', { notices: true }, async () => {
  let behaviour: Behaviour = {};
  const taken: Received[] = [];
  const vhost = await freshVhost();
  const { hostname, port } = new URL(vhost.url);
  const relay = await startRelay(hostname, Number(port));
  const url = new URL(vhost.url);
  url.hostname = '127.0.0.1';
  url.port = String(relay.port);
  const broker = await startBroker(url.href);
  const connection = await connect(vhost.url);
  await fillQueue(connection, 'full');
  const sender = createQueueSender(target(), { broker: failing(broker, () => behaviour.fails), unconfirmedMs: 5_000 });
  const dead = new Set<number>();
  broker.onDead(async ({ number }) => void dead.add(number));
  const queue = () => vhost.api('GET', `/queues/${vhost.vhost}/waybill.acme.crm`).catch(() => undefined);
  await until(queue, 'the queue to be declared');
  const consumer = await connection.createChannel();
  await consumer.consume('waybill.acme.crm', (message) => {
    if (!message) return;
    if (behaviour.refuses?.has(Number(message.properties.headers?.['waybill-delivery']))) {
      consumer.reject(message, false);
      return;
    }
    taken.push(received(message));
    consumer.ack(message);
  });

  /** A refusal comes later, by way of the dead letters. */
  const outcomeOf = async (number: number): Promise<Outcome> => {
    const known = () => dead.has(number) || taken.some((one) => one.number === number);
    await until(known, `the consumer to answer for ${number}`);
    return dead.has(number) ? 'refused' : 'taken';
  };

  const underWay = new Set<Promise<unknown>>();
  let closing = false;
  return {
    taken,
    deliver(batch) {
      const delivering = (async () => {
        const hangs = batch.some(({ number }) => behaviour.hangs?.has(number));
        if (hangs) relay.stall();
        // A channel that owes confirms takes nothing before they are in: asked again, as its owner would.
        const results = await until(async () => {
          const answers = await sender.send(batch);
          return (hangs || closing || answers.some(({ result }) => result !== 'interrupted')) && answers;
        }, 'the channel to be free');
        relay.flow();
        return await Promise.all(
          results.map(({ result }, i) => (result === 'delivered' ? outcomeOf(batch[i]?.number as number) : 'again')),
        );
      })();
      underWay.add(delivering);
      return delivering;
    },
    behave(next) {
      behaviour = next;
    },
    async close() {
      closing = true;
      await sender.close();
      await Promise.all(underWay);
      await broker.close();
      await connection.close();
      await relay.close();
      await vhost.drop();
    },
  };
});

function received({ properties, content }: ConsumeMessage): Received {
  const headers = properties.headers ?? {};
  return {
    id: `${properties.messageId} ${headers['waybill-channel']}-${headers['waybill-delivery']}`,
    channel: Number(headers['waybill-channel']),
    number: Number(headers['waybill-delivery']),
    type: properties.type ?? null,
    fields: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])),
    contentType: properties.contentType,
    body: content,
  };
}

describe('where it goes', () => {
  let vhost: Vhost;
  let broker: Broker;
  let connection: ChannelModel;
  let relay: Relay;
  beforeAll(async () => {
    vhost = await freshVhost();
    const { hostname, port } = new URL(vhost.url);
    relay = await startRelay(hostname, Number(port));
    broker = await startBroker(vhost.url);
    connection = await connect(vhost.url);
  });
  afterAll(async () => {
    await broker.close();
    await connection.close();
    await relay.close();
    await vhost.drop();
  });

  async function sending(changes: Partial<QueueTarget>, use: (sender: Sender) => Promise<void>): Promise<void> {
    const sender = createQueueSender(target(changes, 'own'), { broker, unconfirmedMs: 5_000 });
    try {
      await use(sender);
    } finally {
      await sender.close();
    }
  }

  async function get(queue: string): Promise<ConsumeMessage | false> {
    const channel = await connection.createChannel();
    const message = await channel.get(queue, { noAck: true });
    await channel.close();
    return message as ConsumeMessage | false;
  }

  test('by default to a queue of its own, as the contract says', async () => {
    await sending({}, async (sender) => {
      expect(await sender.send([outgoing(5)])).toEqual([{ result: 'delivered', answer: null }]);
    });
    const message = await get('waybill.acme.own');
    expect(message).toMatchObject({
      fields: { exchange: 'waybill', routingKey: 'waybill.acme.own' },
      properties: {
        messageId: 'acme:1767225600:7-10005',
        type: 'com.example.invoice.created',
        timestamp: Date.UTC(2026, 0, 1, 12) / 1000,
        contentType: 'application/vnd.waybill.message+json',
        appId: 'waybill',
        deliveryMode: 2,
        headers: { 'waybill-sequence': 10_005, 'waybill-epoch': 1_767_225_600, 'waybill-late': false },
      },
    });
  });

  test('to an existing queue or exchange instead', async () => {
    const channel = await connection.createChannel();
    await channel.assertQueue('theirs', { durable: true });
    await channel.assertExchange('topics', 'topic', { durable: true });
    await channel.bindQueue('theirs', 'topics', 'mail.*');
    await channel.close();
    await sending({ queue: 'theirs' }, async (sender) => {
      expect(await sender.send([outgoing(1)])).toEqual([{ result: 'delivered', answer: null }]);
    });
    expect(await get('theirs')).toMatchObject({ fields: { exchange: '' } });
    await sending({ exchange: 'topics', routingKey: 'mail.in' }, async (sender) => {
      expect(await sender.send([outgoing(2)])).toEqual([{ result: 'delivered', answer: null }]);
    });
    expect(await get('theirs')).toMatchObject({ fields: { exchange: 'topics', routingKey: 'mail.in' } });
    await sending({ exchange: 'topics', routingKey: 'nobody' }, async (sender) => {
      expect(await sender.send([outgoing(3), outgoing(4), outgoing(5, { channel: 8 })])).toMatchObject([
        { result: 'pause', code: 'unroutable' },
        { result: 'interrupted' },
        { result: 'pause', code: 'unroutable' },
      ]);
    });
    await sending({ exchange: 'missing' }, async (sender) => {
      expect(await sender.send([outgoing(6)])).toMatchObject([{ result: 'pause', code: 'queue_unusable' }]);
    });
  });

  test("never to another target's queue", async () => {
    const names = [
      { queue: 'waybill.other.crm' },
      { queue: 'waybill.dead' },
      { exchange: 'waybill', routingKey: 'waybill.other.crm' },
    ];
    for (const changes of names) {
      expect(queueTargetSchema.safeParse({ kind: 'queue', ...changes }).success).toBe(false);
      await sending(changes, async (sender) => {
        expect(await sender.send([outgoing(1)])).toMatchObject([{ result: 'pause', code: 'name_reserved' }]);
      });
    }
    expect(queueTargetSchema.safeParse({ kind: 'queue', queue: 'waybills' }).success).toBe(true);
  });

  test('nowhere while RabbitMQ is away, and that costs no try', async () => {
    await relay.cut();
    const url = new URL(vhost.url);
    url.hostname = '127.0.0.1';
    url.port = String(relay.port);
    const away = new Broker({
      url: url.href,
      installation: 'i',
      heartbeatSeconds: 5,
      clock: realClock,
      random: () => 0,
      notify: () => undefined,
    });
    away.start();
    const sender = createQueueSender(target(), { broker: away, unconfirmedMs: 1_000 });
    expect(sender.resting?.()).toBe(1_000);
    expect(await sender.send([outgoing(1)])).toMatchObject([{ result: 'interrupted' }]);
    await sender.close();
    await away.close();
  });
});
