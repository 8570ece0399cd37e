import { Agent } from 'node:http';
import { connect, consume } from '../consumer.mjs';
import { batch, post } from '../events.mjs';
import { abreast, atLeast, compared, inTurn, median, PAIRS, perSecond, tenths } from '../measure.mjs';
import { QUEUE, startStack } from '../stack.mjs';
import { insert } from './batch-accept.mjs';

const PER_REQUEST = 1000;
const ABREAST = 8;
const PREFETCH = 2000;
/** Bytes of a canonical message made from one of the events. */
const BODY_BYTES = 900;

/**
 * Events in over HTTP until the target's consumer has acknowledged them from its quorum queue. The limit is the two
 * parts in series: a bare publish-confirm-consume-acknowledge, and the bare insert of the rows.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: true });
  const pool = stack.pool();
  const connection = await connect(stack.amqp);
  try {
    const consumer = await consumerOf(stack, connection);
    const requests = Math.ceil(40 * scale);
    const costs = [];
    // A process that has just started is slow until its code is compiled.
    await carry([stack], consumer, requests);
    const figures = await inTurn(
      PAIRS,
      async () => {
        const before = stack.cpuMs();
        const figure = await carry([stack], consumer, requests);
        costs.push((stack.cpuMs() - before) / requests);
        return figure;
      },
      async () => {
        const relayed = await relay(connection, requests * PER_REQUEST);
        const inserted = await insert(pool, requests);
        return 1 / (1 / relayed + 1 / inserted);
      },
    );
    if (consumer.repeats() > 0) throw new Error(`${consumer.repeats()} deliveries came twice although nothing failed`);
    const found = compared(figures);
    return {
      row: "accepted → target's consumer has acked, through RabbitMQ quorum queues",
      unit: 'events/s',
      ...found,
      limitIs: 'bare relay and bare insert in series',
      goals: [atLeast('ratio', found.ratio, 0.9)],
      also: { nodeMicrosPerEvent: tenths(median(costs)), rssMB: Math.round(stack.rssMB()) },
    };
  } finally {
    await connection.close();
    await stack.stop();
  }
}

/** The consumer of the target's queue, which is there at once. Warm: one event has come through. */
export async function consumerOf(stack, connection) {
  const consumer = await consume(connection, QUEUE);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const first = consumer.more(1);
  await post(`${stack.http}/v1/events`, agent, batch(1), 'application/x-ndjson');
  await first;
  agent.destroy();
  return consumer;
}

/** Events a second from the first request until the consumer has acknowledged all; requests go to all `doors` in turn. */
export async function carry(doors, consumer, requests) {
  const agent = new Agent({ keepAlive: true, maxSockets: ABREAST });
  const bodies = Array.from({ length: requests }, () => batch(PER_REQUEST));
  const arrived = consumer.more(requests * PER_REQUEST);
  const begun = performance.now();
  await abreast(
    ABREAST,
    bodies.map(
      (body, i) => () => post(`${doors[i % doors.length].http}/v1/events`, agent, body, 'application/x-ndjson'),
    ),
  );
  await arrived;
  const took = performance.now() - begun;
  agent.destroy();
  return perSecond(requests * PER_REQUEST, took);
}

let queues = 0;

/** As broker/topology.ts declares a target's queue; the dead letters go nowhere. */
const QUEUE_ARGUMENTS = {
  'x-queue-type': 'quorum',
  'x-overflow': 'reject-publish',
  'x-dead-letter-exchange': '',
  'x-dead-letter-routing-key': 'bench-dead',
  'x-dead-letter-strategy': 'at-least-once',
};

/** As delivery/wire.ts makes them. */
const PROPERTIES = {
  persistent: true,
  mandatory: true,
  type: 'usage.recorded',
  timestamp: 1700000000,
  contentType: 'application/vnd.waybill.message+json',
  appId: 'waybill',
  headers: {
    'waybill-tenant': 'default',
    'waybill-channel': 7,
    'waybill-sequence': 10234,
    'waybill-delivery': 10234,
    'waybill-epoch': 1700000000,
    'waybill-account': 'account-1234',
    'waybill-source': 'feed',
    'waybill-rung': 0,
    'waybill-defects': '',
    'waybill-decision': 'rules 1: usage',
    'waybill-late': false,
    'waybill-replay': false,
  },
};

/**
 * The broker alone: messages with the properties and headers of the contract, persistent, mandatory, confirmed, to a
 * quorum queue as a target's is, consumed and acknowledged. (Twelve headers instead of three cost RabbitMQ a third.)
 */
export async function relay(connection, count) {
  const publishing = await connection.createConfirmChannel();
  const consuming = await connection.createChannel();
  const queue = `bench-${queues++}`;
  await consuming.assertQueue(queue, { durable: true, arguments: QUEUE_ARGUMENTS });
  await consuming.prefetch(PREFETCH);
  const body = Buffer.alloc(BODY_BYTES, 'x');
  let got = 0;
  let finish;
  const done = new Promise((resolve) => {
    finish = resolve;
  });
  await consuming.consume(queue, (message) => {
    // The queue's own end.
    if (message === null) return;
    consuming.ack(message);
    if (++got === count) finish();
  });
  const begun = performance.now();
  let unconfirmed = 0;
  let room = () => undefined;
  for (let i = 0; i < count; i++) {
    unconfirmed++;
    publishing.publish('', queue, body, { ...PROPERTIES, messageId: `default:1700000000:7-${i}` }, () => {
      unconfirmed--;
      if (unconfirmed < 1000) room();
    });
    if (unconfirmed >= 2000) {
      await new Promise((resolve) => {
        room = resolve;
      });
    }
  }
  await done;
  const took = performance.now() - begun;
  await consuming.deleteQueue(queue);
  await publishing.close();
  await consuming.close();
  return perSecond(count, took);
}
