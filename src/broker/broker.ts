import { isReservedName } from '../delivery/wire.js';
import type { Clock } from '../message/clock.js';
import { type OnDead, readDead } from './dead.js';
import { BrokerUnfit, makeFit } from './fitness.js';
import { Link, type LinkState } from './link.js';
import type { Notify } from './notice.js';
import { Publisher, type Route } from './publisher.js';
import { declareTargetQueue, EXCHANGE, targetQueue } from './topology.js';

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

/**
 * RabbitMQ as Waybill uses it: one connection to publish, and one to consume, because a broker that has raised an alarm
 * stops reading the first. A broker that isn't there is connected to when it is.
 */
export class Broker {
  private readonly publishing: Link;
  private consuming: Link | null = null;

  constructor(private readonly settings: BrokerSettings) {
    this.publishing = new Link(settings, 'publishing', (connection, login) =>
      makeFit(connection, 'publishing', settings.installation, login),
    );
  }

  start(): void {
    this.publishing.start();
  }

  /**
   * Resolves when the first attempt to connect has ended, or after `withinMs`, whether it was successful or not. Rejects
   * with BrokerUnfit when the broker is there and can't serve this installation: somebody must do something about it.
   */
  async settled(withinMs: number): Promise<void> {
    await this.publishing.attempted(withinMs);
    const failure = this.publishing.failure();
    if (failure instanceof BrokerUnfit) throw failure;
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
    this.consuming = new Link(this.settings, 'consuming', async (connection, login) => {
      await makeFit(connection, 'consuming', this.settings.installation, login);
      await readDead(connection, onDead, this.settings.notify);
    });
    this.consuming.start();
  }

  async close(): Promise<void> {
    await Promise.all([this.consuming?.close(), this.publishing.close()]);
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

function refuseReserved(name: string): void {
  if (isReservedName(name))
    throw new ReservedName(`"${name}" belongs to Waybill itself: leave it out, or name one of your own`);
}
