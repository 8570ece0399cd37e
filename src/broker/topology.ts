import type { Channel, ConfirmChannel } from 'amqplib';

/** Waybill's own exchange; every queue of its own is bound to it under the queue's name. */
export const EXCHANGE = 'waybill';
/** Where RabbitMQ puts what a target's consumer rejected, or returned too often. */
export const DEAD_QUEUE = 'waybill.dead';

/** `waybill.<tenant>.<target>`; neither name holds a dot. */
export function targetQueue(tenant: string, target: string): string {
  return `waybill.${tenant}.${target}`;
}

/** Tenant and target of one of Waybill's own queues; undefined for any other. */
export function parseTargetQueue(queue: string): { tenant: string; target: string } | undefined {
  const match = /^waybill\.([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})$/.exec(queue);
  return match?.[1] && match[2] ? { tenant: match[1], target: match[2] } : undefined;
}

/**
 * RabbitMQ compares a queue's dead-letter arguments whenever it is declared, and nothing is ever dead-lettered out of
 * this queue: so its dead-letter key holds the installation's id, and a second installation on the same virtual host is
 * refused here (406) instead of taking the first one's dead letters.
 */
export async function declareDead(channel: Channel, installation: string): Promise<void> {
  await channel.assertQueue(DEAD_QUEUE, {
    durable: true,
    arguments: {
      'x-queue-type': 'quorum',
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': `${DEAD_QUEUE}.${installation}`,
    },
  });
}

export async function declareExchange(channel: Channel): Promise<void> {
  await channel.assertExchange(EXCHANGE, 'direct', { durable: true });
}

/** Names no queue, and is bound for a moment only. */
const NOBODY = 'waybill.nobody';

/** Whether queues may be bound to the exchange: rejects when they may not. */
export async function mayBind(channel: Channel): Promise<void> {
  await channel.bindQueue(DEAD_QUEUE, EXCHANGE, NOBODY);
  await channel.unbindQueue(DEAD_QUEUE, EXCHANGE, NOBODY);
}

/** Whether the exchange may be published to: rejects when it may not. The message reaches nobody. */
export async function mayPublish(channel: ConfirmChannel): Promise<void> {
  channel.publish(EXCHANGE, NOBODY, Buffer.alloc(0));
  await channel.waitForConfirms();
}

/**
 * A target's own queue. `x-delivery-limit` is left to the broker: RabbitMQ 4 gives up after 20 returns by itself, 3.x
 * never does unless a policy says so, and on 3.10 there is no value that means "never". Either way what is given up
 * arrives in the dead-letter queue. At-least-once dead-lettering needs reject-publish.
 */
export async function declareTargetQueue(channel: Channel, queue: string): Promise<void> {
  await channel.assertQueue(queue, {
    durable: true,
    arguments: {
      'x-queue-type': 'quorum',
      'x-overflow': 'reject-publish',
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': DEAD_QUEUE,
      'x-dead-letter-strategy': 'at-least-once',
    },
  });
  await channel.bindQueue(queue, EXCHANGE, queue);
}
