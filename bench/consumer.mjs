import amqp from 'amqplib';
import { until } from './measure.mjs';

const PREFETCH = 2000;

/**
 * Reads a queue once it is there, acknowledges each message, and counts the distinct ones: by default by the number of
 * their delivery, as docs/consumer.md says.
 */
export async function consume(connection, queue, keyOf = deliveryKey) {
  await queueIsThere(connection, queue);
  const channel = await connection.createChannel();
  await channel.prefetch(PREFETCH);
  const seen = new Set();
  let all = 0;
  let wanted = Number.POSITIVE_INFINITY;
  let reached = () => undefined;
  await channel.consume(queue, (message) => {
    if (message === null) return;
    all++;
    seen.add(keyOf(message));
    channel.ack(message);
    if (seen.size >= wanted) reached();
  });
  return {
    seen: () => seen.size,
    repeats: () => all - seen.size,
    /** Resolves when so many more distinct ones have come than have come by now. */
    more(count) {
      wanted = seen.size + count;
      return new Promise((resolve) => {
        reached = resolve;
      });
    },
    /** Resolves when so many distinct ones have come in all. */
    async total(count) {
      if (seen.size < count) await this.more(count - seen.size);
    },
  };
}

function deliveryKey({ properties: { headers } }) {
  return `${headers['waybill-channel']}-${headers['waybill-delivery']}`;
}

async function queueIsThere(connection, queue) {
  await until(
    async () => {
      const channel = await connection.createChannel();
      channel.on('error', () => undefined);
      try {
        await channel.checkQueue(queue);
        await channel.close();
        return true;
      } catch {
        return false;
      }
    },
    `the queue ${queue}`,
    100,
  );
}

/** A connection whose end is no error: a broker may be stopped before it is closed. */
export async function connect(url) {
  const connection = await amqp.connect(url);
  connection.on('error', () => undefined);
  return connection;
}
