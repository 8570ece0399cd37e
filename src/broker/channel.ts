import type { Channel } from 'amqplib';

/** Nobody waits for the answer: RabbitMQ routes what it has read before, and whatever is open is sent again. */
export function closeChannel(channel: Channel): void {
  // A channel that is closed already says so by throwing or rejecting: that is all that was wanted.
  void (async () => channel.close())().catch(() => undefined);
}
