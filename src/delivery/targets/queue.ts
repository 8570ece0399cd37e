import type { Outgoing, Sender, SendResult } from '../../message/delivery.js';
import type { QueueTarget, Target } from '../target.js';
import { type AmqpProperties, amqpProperties, isReservedName } from '../wire.js';
import { inLines } from './lines.js';

/** What this adapter needs of RabbitMQ. */
export interface QueueBroker {
  publisher(destination: QueueDestination): QueuePublisher;
}

export interface QueuePublisher {
  /** One result per message, in order; never rejects. */
  publish(publications: readonly QueuePublication[], unconfirmedMs: number): Promise<QueueAnswer[]>;
  /** Milliseconds for which publishing makes no sense; 0 when it does. */
  resting(): number;
  close(): Promise<void>;
}

export type QueueDestination =
  | { readonly to: 'own'; readonly tenant: string; readonly target: string }
  | { readonly to: 'queue'; readonly queue: string }
  | { readonly to: 'exchange'; readonly exchange: string; readonly routingKey: string };

export interface QueuePublication {
  readonly body: Uint8Array;
  readonly properties: AmqpProperties;
}

export type QueueAnswer =
  | { readonly result: 'confirmed' }
  | { readonly result: 'nacked' }
  | { readonly result: 'returned' }
  | { readonly result: 'refused'; readonly reason: string }
  | { readonly result: 'unusable'; readonly reason: string }
  | { readonly result: 'interrupted'; readonly reason: string };

export interface QueueSenderDeps {
  readonly broker: QueueBroker;
  /** How long to wait for confirms before a delivery counts as unsent. */
  readonly unconfirmedMs: number;
}

/** Publishes to RabbitMQ, persistent, mandatory and confirmed, everything of a call at once. */
export function createQueueSender(target: Target<QueueTarget>, deps: QueueSenderDeps): Sender {
  if (namesOurs(target.definition)) return NOT_THEIRS;
  const publisher = deps.broker.publisher(destinationOf(target));
  return {
    async send(batch) {
      const answers = await publisher.publish(batch.map(publicationOf), deps.unconfirmedMs);
      return inLines(batch, answers.map(resultOf));
    },
    resting: () => publisher.resting(),
    close: () => publisher.close(),
  };
}

/** Definitions are checked where they are made; one that came otherwise must not reach another tenant's queue either. */
function namesOurs({ exchange, queue }: QueueTarget): boolean {
  return isReservedName(exchange ?? queue ?? '');
}

const NOT_THEIRS: Sender = {
  send: async (batch) =>
    inLines(
      batch,
      batch.map(() => RESERVED),
    ),
  close: async () => undefined,
};

function destinationOf(target: Target<QueueTarget>): QueueDestination {
  const { exchange, routingKey, queue } = target.definition;
  if (exchange !== undefined) return { to: 'exchange', exchange, routingKey: routingKey ?? '' };
  if (queue !== undefined) return { to: 'queue', queue };
  return { to: 'own', tenant: target.tenant.name, target: target.name };
}

function publicationOf(outgoing: Outgoing): QueuePublication {
  return { body: outgoing.body, properties: amqpProperties(outgoing) };
}

const RESERVED: SendResult = {
  result: 'pause',
  code: 'name_reserved',
  reason: "the exchange or queue it names is Waybill's own",
};
const DELIVERED: SendResult = { result: 'delivered', answer: null };
const FULL: SendResult = {
  result: 'retry',
  code: 'queue_full',
  reason: 'RabbitMQ did not take it: the queue is full or in trouble',
};
const UNROUTABLE: SendResult = {
  result: 'pause',
  code: 'unroutable',
  reason: 'no queue is bound to where this target sends',
};

function resultOf(answer: QueueAnswer): SendResult {
  switch (answer.result) {
    case 'confirmed':
      return DELIVERED;
    case 'nacked':
      return FULL;
    case 'returned':
      return UNROUTABLE;
    case 'refused':
      return { result: 'refused', code: 'too_large', reason: answer.reason };
    case 'unusable':
      return { result: 'pause', code: 'queue_unusable', reason: answer.reason };
    case 'interrupted':
      return answer;
    default: {
      const never: never = answer;
      return never;
    }
  }
}
