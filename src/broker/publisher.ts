import type { Channel, ConfirmChannel, Message } from 'amqplib';
import type { Clock } from '../message/clock.js';
import { closeChannel } from './channel.js';
import { Confirms, type PublishResult } from './confirms.js';
import type { Link } from './link.js';

/** One message to be published: always persistent and mandatory. */
export interface Publication {
  readonly body: Uint8Array;
  /** Message id and the header `waybill-delivery` together tell it from every other one under way. */
  readonly properties: {
    readonly messageId: string;
    readonly type?: string | undefined;
    /** Seconds since 1970. */
    readonly timestamp: number;
    readonly contentType: string;
    readonly appId: string;
    readonly deliveryMode: 2;
    readonly headers: { readonly 'waybill-delivery': number };
  };
}

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

/** How often to look whether a broker that was away is back. */
const RESTING_MS = 1_000;

/**
 * Publishes to one route over one channel, with confirms and mandatory, in the order given. Each target has its own, so
 * that a missing exchange (which ends the channel) or a queue in trouble is its own trouble alone.
 */
export class Publisher {
  private open: OpenChannel | null = null;
  private opening: Promise<PublishResult | undefined> | null = null;
  /** Monotonic; since when the channel owes confirms nobody waits for. */
  private stuckSince: number | null = null;
  private closed = false;
  private readonly underWay = new Set<Promise<unknown>>();
  private readonly stopListening: () => void;

  constructor(
    private readonly link: Link,
    private readonly route: Route,
    private readonly clock: Clock,
  ) {
    // Ahead of the first message: consumers find their queue, and it need not wait for that.
    this.stopListening = link.onUp(() => void this.ready());
    if (link.state() === 'up') void this.ready();
  }

  /**
   * One result per message, in order; never rejects. What has no answer after `unconfirmedMs` is interrupted; and until
   * RabbitMQ has answered for that too, later calls are interrupted at once, so that nothing piles up behind it.
   */
  async publish(publications: readonly Publication[], unconfirmedMs: number): Promise<PublishResult[]> {
    const attempt = this.attempt(publications, unconfirmedMs);
    this.underWay.add(attempt);
    return await attempt.finally(() => this.underWay.delete(attempt));
  }

  /** Milliseconds for which publishing makes no sense; 0 when it does. The broker's `onUp` may come sooner. */
  resting(): number {
    return this.link.state() !== 'up' || this.open?.confirms.leftOver() ? RESTING_MS : 0;
  }

  /** Waits for what is under way, at most its own time limit, and gives the channel back. */
  async close(): Promise<void> {
    this.closed = true;
    this.stopListening();
    await Promise.all([this.opening, ...this.underWay]);
    this.drop('closed');
  }

  private async attempt(publications: readonly Publication[], unconfirmedMs: number): Promise<PublishResult[]> {
    const obstacle = await within(unconfirmedMs, this.ready());
    return obstacle ? publications.map(() => obstacle) : await this.send(publications, unconfirmedMs);
  }

  /** Sees to an open channel; answers why there is none. */
  private async ready(): Promise<PublishResult | undefined> {
    if (this.closed) return interrupted('closed');
    if (this.link.state() !== 'up') return interrupted(this.link.problem() ?? 'RabbitMQ is away');
    if (this.isStuck()) return interrupted('earlier messages are unconfirmed');
    if (this.open) return undefined;
    this.opening ??= this.openChannel().finally(() => {
      this.opening = null;
    });
    return await this.opening;
  }

  private isStuck(): boolean {
    if (!this.open?.confirms.leftOver()) {
      this.stuckSince = null;
      return false;
    }
    const now = this.clock.monotonic();
    this.stuckSince ??= now;
    if (now - this.stuckSince < STUCK_AFTER_MS) return true;
    this.drop('its messages stayed unconfirmed');
    return false;
  }

  private async openChannel(): Promise<PublishResult | undefined> {
    const connection = this.link.current();
    if (!connection) return interrupted(this.link.problem() ?? 'RabbitMQ is away');
    let channel: ConfirmChannel | undefined;
    try {
      channel = await connection.createConfirmChannel();
      const open = this.watch(channel);
      await this.route.declare?.(channel);
      this.open = open;
      return undefined;
    } catch (error) {
      if (channel) closeChannel(channel);
      return causeOf(error);
    }
  }

  /** Each channel has confirms of its own, since its tags begin anew: a late one of a channel that was dropped goes nowhere. */
  private watch(channel: ConfirmChannel): OpenChannel {
    const confirms = new Confirms<Publication>();
    let failure: unknown = new Error('the connection was lost');
    // 'close' follows; without a listener an error would end the process.
    channel.on('error', (error) => {
      failure = error;
    });
    channel.on('close', () => {
      if (this.open?.channel === channel) this.open = null;
      endBatches(confirms, failure);
    });
    channel.on('return', (message) => confirms.returned((publication) => isIt(publication, message)));
    channel.on('ack', ({ deliveryTag, multiple }) => confirms.confirmed(deliveryTag, multiple, 'ack'));
    channel.on('nack', ({ deliveryTag, multiple }) => confirms.confirmed(deliveryTag, multiple, 'nack'));
    return { channel, confirms };
  }

  private async send(publications: readonly Publication[], unconfirmedMs: number): Promise<PublishResult[]> {
    const { open } = this;
    if (!open) return publications.map(() => interrupted('the channel was lost'));
    return await new Promise((resolve) => {
      const timer = setTimeout(() => open.confirms.abandon(batch, interrupted('unconfirmed')), unconfirmedMs);
      const batch = open.confirms.begin(publications, (results) => {
        clearTimeout(timer);
        this.makeWay(open, results);
        resolve(results);
      });
      this.write(open.channel, publications);
    });
  }

  /**
   * RabbitMQ 3.10 refuses everything on a channel that found a quorum queue full until the queue has room under its limit;
   * when the limit is lifted instead, for ever. A channel on which nothing was taken makes way for a new one.
   */
  private makeWay(open: OpenChannel, results: readonly PublishResult[]): void {
    const refused = results.length > 0 && results.every(({ result }) => result === 'nacked');
    if (refused && this.open === open && open.confirms.open().length === 0) this.drop('its queue took nothing');
  }

  private write(channel: ConfirmChannel, publications: readonly Publication[]): void {
    const { exchange, routingKey } = this.route;
    const fields = { exchange, routingKey, mandatory: true, immediate: false, ticket: 0 };
    try {
      for (const { body, properties } of publications) {
        const content = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
        (channel as Channel as DirectChannel).sendMessage(fields, properties, content);
      }
    } catch (error) {
      this.drop(error instanceof Error ? error.message : 'the channel was lost');
    }
  }

  private drop(reason: string): void {
    const { open } = this;
    this.open = null;
    if (!open) return;
    closeChannel(open.channel);
    endBatches(open.confirms, new Error(reason));
  }
}

/**
 * What amqplib's own `publish` ends in, one step down. That step makes every message's headers the prototype of another
 * object, which costs more than all encoding together: without it publishing takes half the time.
 */
interface DirectChannel extends Channel {
  sendMessage(fields: object, properties: object, content: Buffer): boolean;
}

interface OpenChannel {
  readonly channel: ConfirmChannel;
  readonly confirms: Confirms<Publication>;
}

/** The channel is gone: what it hadn't confirmed is interrupted, unless the failure tells more. */
function endBatches(confirms: Confirms<Publication>, failure: unknown): void {
  const tooLarge = isTooLarge(failure) ? largest(confirms.open()) : undefined;
  const others = tooLarge ? interrupted('another message was too large') : causeOf(failure);
  confirms.end((publication) =>
    publication === tooLarge ? { result: 'refused', reason: 'larger than RabbitMQ takes' } : others,
  );
}

/** A broker that is there but says nothing doesn't open channels either; the opening goes on meanwhile. */
async function within(ms: number, opening: Promise<PublishResult | undefined>): Promise<PublishResult | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<PublishResult>((resolve) => {
    timer = setTimeout(() => resolve(interrupted('RabbitMQ does not answer')), ms);
  });
  const obstacle = await Promise.race([opening, late]);
  clearTimeout(timer);
  return obstacle;
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
