import { setTimeout as pause } from 'node:timers/promises';
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';

const AGAIN_MS = 50;

/** An application that puts messages into a queue of its own, each until the broker has confirmed it. */
export class Publisher {
  #open: Promise<{ readonly connection: ChannelModel; readonly channel: ConfirmChannel }> | null = null;
  #ended = false;

  constructor(
    private readonly url: string,
    private readonly queue: string,
  ) {}

  /** Resolves when it is confirmed; it may be in the queue several times then. Rejects when the publisher is closed. */
  async publish(messageId: string, body: string): Promise<void> {
    while (!this.#ended) {
      if (await this.#try(messageId, body).catch(() => false)) return;
      await pause(AGAIN_MS);
    }
    throw new Error('the publisher is closed');
  }

  async close(): Promise<void> {
    this.#ended = true;
    const open = await this.#open?.catch(() => null);
    await open?.connection.close().catch(() => undefined);
  }

  async #try(messageId: string, body: string): Promise<boolean> {
    this.#open ??= this.#connect();
    const opening = this.#open;
    const forget = () => {
      if (this.#open === opening) this.#open = null;
    };
    const { channel } = await opening.catch((error: unknown) => {
      forget();
      throw error;
    });
    return new Promise((resolve) => {
      const lost = () => {
        forget();
        resolve(false);
      };
      channel.once('close', lost);
      const options = { messageId, persistent: true, contentType: 'application/json' };
      try {
        channel.sendToQueue(this.queue, Buffer.from(body), options, (error) => {
          channel.off('close', lost);
          resolve(error === null || error === undefined);
        });
      } catch {
        lost();
      }
    });
  }

  async #connect() {
    const connection = await connect(this.url);
    connection.on('error', () => undefined);
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => undefined);
    channel.setMaxListeners(0);
    await channel.assertQueue(this.queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    return { connection, channel };
  }
}
