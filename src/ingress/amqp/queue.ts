import { createHash } from 'node:crypto';
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';

/** The queue can't be consumed as things stand. Its sentence says what to do; trying again later makes sense. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/** Another consumer has the queue. */
export class Taken extends Error {
  override readonly name = 'Taken';
}

/** A queue that is being consumed by a channel of its own. */
export interface Consumption {
  /** Resolves with a sentence when the broker has ended it, or the connection is gone. */
  readonly ended: Promise<string>;
  /** Resolves when nothing can be acked any more. */
  readonly closed: Promise<void>;
  /** Of this message and all before it. */
  ack(last: ConsumeMessage): void;
  /** No more messages come after this; those that came can still be acked. */
  cancel(): Promise<void>;
  /** What is not acked goes back into the queue, in its place. */
  close(): Promise<void>;
}

/** Most a broker may take to answer that a channel is closed. */
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * Consumes a queue that is there already, as its only consumer of all Waybill's processes. Rejects with Refused, Taken,
 * or what the connection failed with.
 */
export async function consume(
  connection: ChannelModel,
  queue: string,
  prefetch: number,
  onMessage: (message: ConsumeMessage) => void,
): Promise<Consumption> {
  const channel = await connection.createChannel();
  const { ended, closed } = endOf(channel);
  try {
    await refuseOthers(channel, queue);
    await channel.prefetch(prefetch);
    const { consumerTag } = await open(channel, queue, onMessage);
    return {
      ended,
      closed,
      ack: (last) => ignoringClosed(() => channel.ack(last, true)),
      cancel: () => within(() => channel.cancel(consumerTag)),
      close: () => within(() => channel.close()),
    };
  } catch (error) {
    await within(() => channel.close());
    throw error;
  }
}

function endOf(channel: Channel): Pick<Consumption, 'ended' | 'closed'> {
  let reason = 'The connection to the broker was lost.';
  // 'close' follows every 'error'; without a listener an error would end the process.
  channel.on('error', (error) => {
    reason = `The broker ended it: ${error.message}`;
  });
  channel.on('cancel', () => {
    reason = 'The broker ended it: the queue was deleted, or has moved.';
  });
  const ended = new Promise<string>((resolve) => {
    for (const event of ['close', 'cancel']) channel.on(event, () => resolve(reason));
  });
  const closed = new Promise<void>((resolve) => {
    channel.on('close', resolve);
  });
  return { ended, closed };
}

/**
 * An exclusive consumer would do for classic queues; quorum queues of RabbitMQ 3.10 take a second one all the same. So
 * who consumes holds an exclusive queue named after it, which the broker deletes with the channel, or the connection.
 * Whether there is a consumer is asked first, because asking leaves no errors in the broker's log; and again, since the
 * last one's messages are back in their places only when it is gone.
 */
async function refuseOthers(channel: Channel, queue: string): Promise<void> {
  const mark = markOf(queue);
  await refuseConsumed(channel, queue);
  await asking(
    {
      403: `The broker's user may not configure "${mark}", the queue by which processes agree on who consumes: give it that right.`,
      405: new Taken(),
    },
    () => channel.assertQueue(mark, { exclusive: true, autoDelete: true, durable: false }),
  );
  await asking({ 403: `The broker's user may not read "${mark}": give it that right.` }, () =>
    channel.consume(mark, () => undefined, { noAck: true }),
  );
  await refuseConsumed(channel, queue);
}

async function refuseConsumed(channel: Channel, queue: string): Promise<void> {
  const { consumerCount } = await asking(
    {
      403: `The broker's user may not see the queue "${queue}": give it the right to read it.`,
      404: `There is no queue "${queue}" on the broker: make it, or correct the source. Waybill makes none.`,
      405: `The queue "${queue}" is exclusive to another connection.`,
    },
    () => channel.checkQueue(queue),
  );
  if (consumerCount > 0) throw new Taken();
}

function open(channel: Channel, queue: string, onMessage: (message: ConsumeMessage) => void) {
  return asking(
    {
      403: `The broker's user may not read the queue "${queue}": give it that right.`,
      406: `The queue "${queue}" can not be consumed: it must be a classic or a quorum queue, no stream.`,
    },
    () =>
      channel.consume(
        queue,
        // No message: the consumption was ended by the broker, which the event 'cancel' tells too.
        (message) => message && onMessage(message),
        // As without it, but streams don't know priorities: they refuse it, and keep what is acked.
        { priority: 0 },
      ),
  );
}

/** Asks the broker something; an answer of a known code becomes what that means. */
async function asking<T>(
  meanings: Readonly<Record<number, string | Error>>,
  question: () => PromiseLike<T>,
): Promise<T> {
  try {
    return await question();
  } catch (error) {
    const meaning = meanings[(error as { code?: number }).code ?? 0];
    if (meaning === undefined) throw error;
    throw typeof meaning === 'string' ? new Refused(meaning, { cause: error }) : meaning;
  }
}

/** `waybill.consuming.<queue>`; a name too long for that is hashed. */
function markOf(queue: string): string {
  const name = Buffer.byteLength(queue) <= 200 ? queue : createHash('sha256').update(queue).digest('hex');
  return `waybill.consuming.${name}`;
}

/** The channel may be gone by now: then what it had comes again on the next one. */
function ignoringClosed(act: () => void): void {
  try {
    act();
  } catch {
    // Closed already, see above.
  }
}

/** Waits for the broker's answer, but not for ever; a channel that is gone needs none. */
async function within(act: () => PromiseLike<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const given = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
  });
  const done = (async () => act())().catch(() => undefined);
  await Promise.race([done, given]);
  clearTimeout(timer);
}
