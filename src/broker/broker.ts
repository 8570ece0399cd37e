import type { ChannelModel } from 'amqplib';
import { isReservedName } from '../delivery/wire.js';
import type { Clock } from '../message/clock.js';
import { type OnDead, readDead } from './dead.js';
import { Link, type LinkState } from './link.js';
import type { Notify } from './notice.js';
import { Publisher, type Route } from './publisher.js';
import { DEAD_QUEUE, declareShared, declareTargetQueue, EXCHANGE, targetQueue } from './topology.js';

export interface BrokerSettings {
  /** `amqp://user:password@host:5672/vhost` or `amqps://…`. Never shown: notices and problems name the host only. */
  readonly url: string;
  /** The installation's id; a broker that serves another installation is refused. */
  readonly installation: string;
  /** Seconds; two missed heartbeats end the connection. */
  readonly heartbeatSeconds: number;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly notify: Notify;
}

/** Where a target's messages go: its own queue, or what its definition names instead. */
export type Destination =
  | { readonly to: 'own'; readonly tenant: string; readonly target: string }
  | { readonly to: 'queue'; readonly queue: string }
  | { readonly to: 'exchange'; readonly exchange: string; readonly routingKey: string };

/** Names on the broker that belong to Waybill: nobody's target may name them. */
export class ReservedName extends Error {
  override readonly name = 'ReservedName';
}

/** The dead-letter queue on this virtual host carries another installation's id. */
class ForeignBroker extends Error {
  override readonly name = 'ForeignBroker';
  constructor(where: string) {
    super(
      `${where} serves another Waybill installation: give this one a virtual host of its own, ` +
        `or delete the queue ${DEAD_QUEUE} there if that installation is gone`,
    );
  }
}

/**
 * RabbitMQ as Waybill uses it: one connection to publish, and one to consume, because a broker that has raised an alarm
 * stops reading the first. Starting never fails: a broker that isn't there is connected to when it is.
 */
export class Broker {
  private readonly publishing: Link;
  private consuming: Link | null = null;

  constructor(private readonly settings: BrokerSettings) {
    this.publishing = new Link(settings, 'publishing', (connection) => this.declare(connection));
  }

  start(): void {
    this.publishing.start();
  }

  /** Whether publishing is possible now. */
  state(): LinkState {
    return this.publishing.state();
  }

  /** Why it isn't, in words for an operator; null when it is. */
  problem(): string | null {
    return this.publishing.problem();
  }

  /** Host, port and virtual host. */
  get where(): string {
    return this.publishing.where;
  }

  /** Called whenever publishing becomes possible (again). Answers how to stop that. */
  onUp(listener: () => void): () => void {
    return this.publishing.onUp(listener);
  }

  /** A channel of its own to one destination. Throws ReservedName where that would be somebody else's queue. */
  publisher(destination: Destination): Publisher {
    return new Publisher(this.publishing, route(destination), this.settings.clock);
  }

  /** Reads the dead letters of this installation's own queues from now on. Once per broker. */
  onDead(onDead: OnDead): void {
    this.consuming = new Link(this.settings, 'consuming', async (connection) => {
      await this.declare(connection);
      await readDead(connection, onDead, this.settings.notify);
    });
    this.consuming.start();
  }

  async close(): Promise<void> {
    await Promise.all([this.consuming?.close(), this.publishing.close()]);
  }

  private async declare(connection: ChannelModel): Promise<void> {
    const channel = await connection.createChannel();
    // The declaration below rejects as well; without a listener the event would end the process.
    channel.on('error', () => undefined);
    try {
      await declareShared(channel, this.settings.installation);
    } catch (error) {
      throw isMismatch(error) ? new ForeignBroker(this.where) : error;
    }
    await channel.close();
  }
}

function route(destination: Destination): Route {
  switch (destination.to) {
    case 'own': {
      const queue = targetQueue(destination.tenant, destination.target);
      return { exchange: EXCHANGE, routingKey: queue, declare: (channel) => declareTargetQueue(channel, queue) };
    }
    case 'queue':
      refuseReserved(destination.queue);
      // The default exchange: every queue is bound to it under its name.
      return { exchange: '', routingKey: destination.queue };
    case 'exchange':
      refuseReserved(destination.exchange);
      return { exchange: destination.exchange, routingKey: destination.routingKey };
    default: {
      const never: never = destination;
      return never;
    }
  }
}

/** 406 precondition-failed: what is there was declared otherwise. */
function isMismatch(error: unknown): boolean {
  return (error as { code?: unknown }).code === 406;
}

function refuseReserved(name: string): void {
  if (isReservedName(name))
    throw new ReservedName(`"${name}" belongs to Waybill itself: leave it out, or name one of your own`);
}
