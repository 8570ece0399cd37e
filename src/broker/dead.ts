import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { VOID_TYPE } from '../delivery/wire.js';
import type { Notify } from './notice.js';
import { DEAD_QUEUE, parseTargetQueue } from './topology.js';

/** A delivery that RabbitMQ gave up: its consumer rejected it, or returned it too often. */
export interface DeadDelivery {
  readonly tenant: string;
  readonly target: string;
  readonly epoch: number;
  readonly channel: number;
  readonly number: number;
  /** A void notice can be rejected, too. */
  readonly what: 'message' | 'void';
  /** As RabbitMQ calls it: `rejected`, `delivery_limit`; `expired` and `maxlen` only where a policy says so. */
  readonly cause: string;
}

/** Takes note of it durably; only then is it taken off the queue. When it rejects, the letter comes again. */
export type OnDead = (dead: DeadDelivery) => Promise<void>;

/** How many letters may be under way at once: each comes with its whole body. */
const PREFETCH = 8;
/** Before a letter that could not be noted comes again, so that a database that is away isn't asked all the time. */
const DEFER_MS = 1_000;

/** Reads the dead-letter queue until its connection ends; ends the connection itself when it can't read any more. */
export async function readDead(connection: ChannelModel, onDead: OnDead, notify: Notify): Promise<void> {
  const channel = await connection.createChannel();
  const giveUp = () => attempt(() => void connection.close().catch(() => undefined));
  // Without a listener the error would end the process; 'close' follows it.
  channel.on('error', () => undefined);
  channel.on('close', giveUp);
  await channel.prefetch(PREFETCH);
  // No message means that RabbitMQ has cancelled the consumer: somebody deleted the queue.
  await channel.consume(DEAD_QUEUE, (message) => {
    if (message) void take(channel, message, onDead, notify);
    else giveUp();
  });
}

async function take(channel: Channel, message: ConsumeMessage, onDead: OnDead, notify: Notify): Promise<void> {
  const dead = parseDead(message);
  if (!dead) {
    const { messageId } = message.properties;
    notify({ event: 'dead_unknown', messageId: typeof messageId === 'string' ? messageId : null });
    attempt(() => channel.ack(message));
    return;
  }
  try {
    await onDead(dead);
    attempt(() => channel.ack(message));
  } catch (error) {
    notify({ event: 'dead_deferred', reason: error instanceof Error ? error.message : String(error) });
    setTimeout(() => attempt(() => channel.nack(message, false, true)), DEFER_MS).unref();
  }
}

/** The channel may be gone by now: then the letter comes again on the next one. */
function attempt(act: () => void): void {
  try {
    act();
  } catch {
    // Closed already, see above.
  }
}

/** Reads what the delivery was from the headers it went out with and the queue it died in. */
function parseDead(message: ConsumeMessage): DeadDelivery | undefined {
  const headers = message.properties.headers ?? {};
  const death = headers['x-death']?.[0];
  const queue = parseTargetQueue(String(death?.queue));
  const [epoch, channel, number] = [headers['waybill-epoch'], headers['waybill-channel'], headers['waybill-delivery']];
  if (!queue || !isCount(epoch) || !isCount(channel) || !isCount(number)) return undefined;
  const what = message.properties.type === VOID_TYPE ? 'void' : 'message';
  return { ...queue, epoch, channel, number, what, cause: String(death?.reason) };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
