import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Channel, type ChannelModel, connect, type Options } from 'amqplib';
import { onTestFinished } from 'vitest';
import { openReading } from '../../src/broker/reading.js';
import { Room } from '../../src/channel/room.js';
import { type AmqpSource, amqpSourceSchema, type Source } from '../../src/channel/source.js';
import type { Undecodable } from '../../src/channel/undecodable.js';
import { type AmqpDeps, type AmqpIngress, startAmqp } from '../../src/ingress/amqp/amqp.js';
import { createInTurns } from '../../src/ingress/events/turns.js';
import type { Arrival } from '../../src/message/arrival.js';
import type { Verdict } from '../../src/message/verdict.js';
import { realClock } from '../support/clock.js';

export const TENANT = { id: 7, name: 'acme', channels: 16 };

/** A source of tenant acme, as every process knows it. */
export function sourceOf(definition: Partial<AmqpSource> & { queue: string }, id = 3): Source<AmqpSource> {
  return { id, name: 'orders', tenant: TENANT, definition: amqpSourceSchema.parse({ kind: 'amqp', ...definition }) };
}

/** What a process stored. Verdicts and failures are the test's to choose. */
export interface Stored {
  readonly arrivals: Arrival[];
  readonly undecodable: Undecodable[];
  /** Bodies as text, in order. */
  bodies(): string[];
}

export interface Queues extends Stored {
  readonly ingress: AmqpIngress;
  /** The state of the first source, and its reason. */
  standing(): { state: string; reason?: string };
  close(): Promise<void>;
}

/** Consumes the sources as a process does, into memory; stopped when the test has ended. */
export function consumeAll(
  url: string,
  sources: () => readonly Source<AmqpSource>[],
  own: Partial<AmqpDeps> = {},
  stored: Stored = emptyStore(),
): Queues {
  const ingress = startAmqp({
    sources,
    open: (source) =>
      openReading({
        url: source.definition.url ?? url,
        heartbeatSeconds: 5,
        random: Math.random,
        notify: () => undefined,
      }),
    accept: async (arrivals) => {
      stored.arrivals.push(...arrivals);
      return sequenced(arrivals.length);
    },
    quarantine: async (entries) => {
      stored.undecodable.push(...entries);
    },
    storing: async () => true,
    room: new Room(64 * 1024 * 1024),
    maxBytes: 1024 * 1024,
    maxEvents: 100,
    inTurns: createInTurns(() => nextTurn()),
    randomBytes,
    nextTurn: () => nextTurn(),
    clock: realClock,
    wait: () => 20,
    random: () => 0,
    drainMs: 5_000,
    report: () => undefined,
    ...own,
  });
  const close = () => ingress.close();
  onTestFinished(close);
  return { ...stored, ingress, standing: () => ingress.standings()[0]?.standing ?? { state: 'gone' }, close };
}

export function emptyStore(): Stored {
  const arrivals: Arrival[] = [];
  return { arrivals, undecodable: [], bodies: () => arrivals.map(({ raw }) => Buffer.from(raw).toString()) };
}

export function sequenced(count: number): Verdict[] {
  return Array.from({ length: count }, (_, i) => ({ verdict: 'sequenced', channel: 0, sequence: i + 1 }));
}

export interface Publisher {
  readonly connection: ChannelModel;
  readonly channel: Channel;
  /** Publishes to a queue; the message's id is its body unless told otherwise. */
  send(queue: string, bodies: readonly string[], properties?: Options.Publish): Promise<void>;
  /** Messages of a queue that nobody has in hand. */
  ready(queue: string): Promise<number>;
  /** How many consume a queue. */
  consumers(queue: string): Promise<number>;
}

/** The user's own programs: declares, publishes and counts; closed when the test has ended. */
export async function publisher(url: string): Promise<Publisher> {
  const connection = await connect(url);
  connection.on('error', () => undefined);
  onTestFinished(async () => {
    await connection.close().catch(() => undefined);
  });
  const channel = await connection.createConfirmChannel();
  channel.on('error', () => undefined);
  return {
    connection,
    channel,
    async send(queue, bodies, properties = {}) {
      for (const body of bodies) {
        channel.sendToQueue(queue, Buffer.from(body), { messageId: body, ...properties });
      }
      await channel.waitForConfirms();
    },
    async ready(queue) {
      return (await channel.checkQueue(queue)).messageCount;
    },
    async consumers(queue) {
      return (await channel.checkQueue(queue)).consumerCount;
    },
  };
}

/**
 * A publish as raw frames, with a header table of these bytes: what a client of another making can send, and amqplib
 * can't.
 */
export async function sendRaw(url: string, queue: string, table: Buffer, body: string): Promise<void> {
  const connection = await connect(url);
  connection.on('error', () => undefined);
  const channel = (await connection.createChannel()) as Channel & { ch: number };
  const { stream } = connection.connection as unknown as { stream: NodeJS.WritableStream };
  const name = Buffer.from(queue);
  const method = Buffer.concat([Buffer.from([0, 60, 0, 40, 0, 0, 0, name.length]), name, Buffer.from([0])]);
  const header = Buffer.alloc(18);
  header.writeUInt16BE(60, 0);
  header.writeUInt32BE(Buffer.byteLength(body), 8);
  // Headers and nothing else.
  header.writeUInt16BE(0x2000, 12);
  header.writeUInt32BE(table.length, 14);
  for (const [type, payload] of [
    [1, method],
    [2, Buffer.concat([header, table])],
    [3, Buffer.from(body)],
  ] as const) {
    stream.write(frame(type, channel.ch, payload));
  }
  // An answer to this comes after the message is in.
  await channel.checkQueue(queue);
  await connection.close();
}

function frame(type: number, channel: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(7);
  head.writeUInt8(type, 0);
  head.writeUInt16BE(channel, 1);
  head.writeUInt32BE(payload.length, 3);
  return Buffer.concat([head, payload, Buffer.from([0xce])]);
}

/** A table in a table in a table. */
export function nestedTable(depth: number): Buffer {
  const entry = 7;
  const bytes = Buffer.alloc(depth * entry);
  for (let level = 0; level < depth; level++) {
    const at = level * entry;
    bytes.writeUInt8(1, at);
    bytes.write('aF', at + 1);
    bytes.writeUInt32BE(bytes.length - at - entry, at + 3);
  }
  return bytes;
}
