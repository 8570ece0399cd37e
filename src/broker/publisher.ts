import type { Channel, ConfirmChannel, Message, Options } from 'amqplib';
import type { Clock } from '../message/clock.js';
import { Confirms, type PublishResult } from './confirms.js';
import type { Link } from './link.js';

/** One message to be published: always persistent and mandatory. */
export interface Publication {
  readonly body: Uint8Array;
  /** Message id and the header `waybill-delivery` together tell it from every other one under way. */
  readonly properties: Options.Publish & { readonly messageId: string; readonly headers: PublicationHeaders };
}

export type PublicationHeaders = { readonly 'waybill-delivery': number };

/** Where a publisher's messages go, and what must exist before the first. */
export interface Route {
  readonly exchange: string;
  readonly routingKey: string;
  /** Declares what is Waybill's own; runs on every new channel. */
  readonly declare?: (channel: Channel) => Promise<void>;
}

// Reply codes of AMQP 0-9-1 that end a channel because of what was asked of it.
const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;
/** basic.publish, by class and method. */
const BASIC = 60;
const PUBLISH = 40;

/** How long messages may stay unconfirmed on a channel before it is replaced. */
const STUCK_AFTER_MS = 30_000;

/**
 * Publishes to one route over one channel, with confirms and mandatory, in the order given. Each target has its own, so
 * that a missing exchange (which ends the channel) or a queue in trouble is its own trouble alone.
 */
export class Publisher {
  private channel: ConfirmChannel | null = null;
  private opening: Promise<PublishResult | undefined> | null = null;
  private confirms = new Confirms<Publication>();
  /** Monotonic; since when the channel owes confirms nobody waits for. */
  private stuckSince: number | null = null;
  private readonly underWay = new Set<Promise<unknown>>();

  constructor(
    private readonly link: Link,
    private readonly route: Route,
    private readonly clock: Clock,
  ) {}

  /**
   * One result per message, in order; never rejects. What has no answer after `unconfirmedMs` is interrupted; and until
   * RabbitMQ has answered for that too, later calls are interrupted at once, so that nothing piles up behind it.
   */
  async publish(publications: readonly Publication[], unconfirmedMs: number): Promise<PublishResult[]> {
    const obstacle = await this.ready();
    if (obstacle) return publications.map(() => obstacle);
    const results = this.send(publications, unconfirmedMs);
    this.underWay.add(results);
    return await results.finally(() => this.underWay.delete(results));
  }

  /** Waits for what is under way, at most its own time limit, and gives the channel back. */
  async close(): Promise<void> {
    await Promise.all(this.underWay);
    this.dropChannel('closed');
  }

  /** Sees to an open channel; answers why there is none. */
  private async ready(): Promise<PublishResult | undefined> {
    if (this.link.state() !== 'up') return interrupted(this.link.problem() ?? 'RabbitMQ is away');
    if (this.isStuck()) return interrupted('earlier messages are unconfirmed');
    if (this.channel) return undefined;
    this.opening ??= this.open().finally(() => {
      this.opening = null;
    });
    return await this.opening;
  }

  private isStuck(): boolean {
    if (!this.confirms.leftOver()) {
      this.stuckSince = null;
      return false;
    }
    const now = this.clock.monotonic();
    this.stuckSince ??= now;
    if (now - this.stuckSince < STUCK_AFTER_MS) return true;
    this.dropChannel('its messages stayed unconfirmed');
    return false;
  }

  private async open(): Promise<PublishResult | undefined> {
    const connection = this.link.current();
    if (!connection) return interrupted(this.link.problem() ?? 'RabbitMQ is away');
    let channel: ConfirmChannel | undefined;
    try {
      channel = await connection.createConfirmChannel();
      this.watch(channel);
      await this.route.declare?.(channel);
    } catch (error) {
      if (channel) closeChannel(channel);
      return causeOf(error);
    }
    this.channel = channel;
    return undefined;
  }

  private watch(channel: ConfirmChannel): void {
    let failure: unknown = new Error('the connection was lost');
    // 'close' follows; without a listener an error would end the process.
    channel.on('error', (error) => {
      failure = error;
    });
    channel.on('close', () => this.onClose(channel, failure));
    channel.on('return', (message) => this.confirms.returned((publication) => isIt(publication, message)));
    channel.on('ack', ({ deliveryTag, multiple }) => this.confirms.confirmed(deliveryTag, multiple, 'ack'));
    channel.on('nack', ({ deliveryTag, multiple }) => this.confirms.confirmed(deliveryTag, multiple, 'nack'));
  }

  private send(publications: readonly Publication[], unconfirmedMs: number): Promise<PublishResult[]> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.confirms.abandon(batch, interrupted('unconfirmed')), unconfirmedMs);
      const batch = this.confirms.begin(publications, (results) => {
        clearTimeout(timer);
        resolve(results);
      });
      this.write(publications);
    });
  }

  private write(publications: readonly Publication[]): void {
    const { channel } = this;
    if (!channel) return this.endBatches(new Error('the channel was lost'));
    try {
      for (const publication of publications) this.writeOne(channel, publication);
    } catch (error) {
      this.dropChannel(error instanceof Error ? error.message : 'the channel was lost');
    }
  }

  private writeOne(channel: ConfirmChannel, { body, properties }: Publication): void {
    const content = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const options = { ...properties, persistent: true, mandatory: true };
    channel.publish(this.route.exchange, this.route.routingKey, content, options);
  }

  private onClose(channel: ConfirmChannel, failure: unknown): void {
    if (this.channel !== channel) return;
    this.channel = null;
    this.endBatches(failure);
  }

  private dropChannel(reason: string): void {
    const { channel } = this;
    this.channel = null;
    if (channel) closeChannel(channel);
    this.endBatches(new Error(reason));
  }

  private endBatches(failure: unknown): void {
    const tooLarge = isTooLarge(failure) ? largest(this.confirms.open()) : undefined;
    const others = tooLarge ? interrupted('another message was too large') : causeOf(failure);
    this.confirms.end((publication) =>
      publication === tooLarge ? { result: 'refused', reason: 'larger than RabbitMQ takes' } : others,
    );
  }
}

/** Nobody waits for the answer: RabbitMQ routes what it has read before, and the rest is sent again. */
function closeChannel(channel: Channel): void {
  // A channel that is closed already says so by throwing or rejecting: that is all that was wanted.
  void (async () => channel.close())().catch(() => undefined);
}

function isIt(publication: Publication, message: Message): boolean {
  const { messageId, headers } = message.properties;
  const { properties } = publication;
  return messageId === properties.messageId && headers?.['waybill-delivery'] === properties.headers['waybill-delivery'];
}

/** RabbitMQ checks nothing else about a message as we publish it, so this code on basic.publish is its size limit. */
function isTooLarge(failure: unknown): boolean {
  const { code, classId, methodId } = failure as { code?: unknown; classId?: unknown; methodId?: unknown };
  return code === PRECONDITION_FAILED && classId === BASIC && methodId === PUBLISH;
}

/** It doesn't say which message it was; if any was beyond the limit, the largest was. */
function largest(publications: readonly Publication[]): Publication | undefined {
  return publications.reduce<Publication | undefined>(
    (most, publication) => (most && most.body.length >= publication.body.length ? most : publication),
    undefined,
  );
}

function causeOf(failure: unknown): PublishResult {
  const reason = failure instanceof Error ? failure.message : 'the channel was lost';
  switch ((failure as { code?: unknown }).code) {
    case ACCESS_REFUSED:
    case NOT_FOUND:
    case PRECONDITION_FAILED:
      return { result: 'unusable', reason };
    default:
      return interrupted(reason);
  }
}

function interrupted(reason: string): PublishResult {
  return { result: 'interrupted', reason };
}
