import { connect, type Socket } from 'node:net';
import type { Seeded } from '../../support/seeded.js';
import { listen } from './listener.js';
import { type Stopped, Wishes } from './stopped.js';

/*
 * A proxy in front of RabbitMQ that understands enough of AMQP 0-9-1 to stop a connection at a publish: before the
 * broker has it, before it confirms it, or when it has confirmed it and the publisher does not know.
 */

/** A publish, by where it goes. */
export interface Published {
  readonly exchange: string;
  readonly routingKey: string;
}

/**
 * `asked`: the broker has not got it. `sent`: it has, and says nothing any more. `confirmed`: its confirm is held. And
 * `acking`, of a consumer: the next ack has not got to the broker.
 */
export type PublishMoment = 'asked' | 'sent' | 'confirmed' | 'acking';

export type StoppedPublish = Stopped & { readonly asked: Published };

export interface AmqpProxy {
  readonly url: string;
  /** Stops the connection of the next publish that matches, both ways. */
  stopAt(
    moment: PublishMoment,
    matches: (published: Published) => boolean,
    signal: AbortSignal,
  ): Promise<StoppedPublish>;
  cutSome(share: number, random: Seeded): number;
  cut(): Promise<void>;
  mend(): Promise<void>;
  close(): Promise<void>;
}

export async function amqpProxy(behind: string): Promise<AmqpProxy> {
  const target = new URL(behind);
  const wishes = new Wishes<Published>();
  const connections = new Set<Connection>();
  const listener = await listen((client) => {
    const server = connect(Number(target.port || '5672'), target.hostname);
    const connection = new Connection(client, server, wishes, () => connections.delete(connection));
    connections.add(connection);
  });
  const front = new URL(behind);
  front.hostname = '127.0.0.1';
  front.port = String(listener.port);
  const cut = async () => {
    await listener.close();
    for (const connection of [...connections]) connection.cut();
  };
  return {
    url: front.href,
    stopAt: (moment, matches, signal) => wishes.make(moment, matches, signal),
    cutSome(share, random) {
      const chosen = [...connections].filter(() => random.next() < share);
      for (const connection of chosen) connection.cut();
      return chosen.length;
    },
    cut,
    mend: () => listener.open(),
    close: cut,
  };
}

/** `AMQP` and the version, before the first frame. */
const PROTOCOL_HEADER = 8;
/** Kind, channel and length before a frame's content; one byte behind it. */
const FRAME_HEAD = 7;
const FRAME_END = 1;
/** Where an ack goes. */
const NOWHERE: Published = { exchange: '', routingKey: '' };
const METHOD = 1;
const CONTENT_HEADER = 2;
const BASIC = 60;
const PUBLISH = 40;
const ACK = 80;

class Connection {
  #fromClient: Buffer = Buffer.alloc(0);
  #fromServer: Buffer = Buffer.alloc(0);
  #started = false;
  /** While stopped, what would have gone on. */
  #toServer: Buffer[] | null = null;
  #toClient: Buffer[] | null = null;
  /** The publish on each channel whose content is still coming, with how many bytes of it are. */
  readonly #publishing = new Map<number, { readonly asked: Published; left: number | null }>();
  /** The last publish whose confirm is to be waited for. */
  #unconfirmed: Published | null = null;
  #cut = false;

  constructor(
    private readonly client: Socket,
    private readonly server: Socket,
    private readonly wishes: Wishes<Published>,
    private readonly onEnd: () => void,
  ) {
    client.on('data', (bytes: Buffer) => this.#readClient(bytes));
    server.on('data', (bytes: Buffer) => this.#readServer(bytes));
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
    }
    client.on('close', () => {
      if (!this.#toServer) this.cut();
    });
    server.on('close', () => this.cut());
  }

  cut(): void {
    if (this.#cut) return;
    this.#cut = true;
    this.client.destroy();
    this.server.destroy();
    this.onEnd();
  }

  #readClient(bytes: Buffer): void {
    this.#fromClient = Buffer.concat([this.#fromClient, bytes]);
    if (!this.#started) {
      if (this.#fromClient.length < PROTOCOL_HEADER) return;
      this.server.write(this.#fromClient.subarray(0, PROTOCOL_HEADER));
      this.#fromClient = this.#fromClient.subarray(PROTOCOL_HEADER);
      this.#started = true;
    }
    const [frames, rest] = framesOf(this.#fromClient);
    this.#fromClient = rest;
    let passed: Buffer[] = [];
    for (const frame of frames) {
      const begun = this.#publishBegun(frame) ?? (isMethod(frame, BASIC, ACK) ? NOWHERE : null);
      const moment = begun === NOWHERE ? 'acking' : 'asked';
      const wish = begun && this.#toServer === null ? this.wishes.take([moment], begun) : undefined;
      if (begun && wish) {
        // What came before it goes on.
        this.server.write(Buffer.concat(passed));
        passed = [];
        this.#stop(begun, wish);
      }
      if (this.#toServer) this.#toServer.push(frame);
      else passed.push(frame);
      const whole = this.#publishEnded(frame);
      if (!whole || this.#toServer) continue;
      this.#unconfirmed = whole;
      const sent = this.wishes.take(['sent'], whole);
      if (!sent) continue;
      this.server.write(Buffer.concat(passed));
      passed = [];
      this.#stop(whole, sent);
    }
    if (passed.length > 0) this.server.write(Buffer.concat(passed));
  }

  #readServer(bytes: Buffer): void {
    this.#fromServer = Buffer.concat([this.#fromServer, bytes]);
    const [frames, rest] = framesOf(this.#fromServer);
    this.#fromServer = rest;
    const passed: Buffer[] = [];
    for (const frame of frames) {
      const isConfirm = this.#toClient === null && this.#unconfirmed !== null && isMethod(frame, BASIC, ACK);
      const wish = isConfirm ? this.wishes.take(['confirmed'], this.#unconfirmed as Published) : undefined;
      if (wish) this.#stop(this.#unconfirmed as Published, wish);
      if (this.#toClient) this.#toClient.push(frame);
      else passed.push(frame);
    }
    if (passed.length > 0 && !this.client.destroyed) this.client.write(Buffer.concat(passed));
  }

  #publishBegun(frame: Buffer): Published | null {
    if (!isMethod(frame, BASIC, PUBLISH)) return null;
    const exchangeAt = FRAME_HEAD + 6;
    const exchangeLength = frame[exchangeAt] as number;
    const keyAt = exchangeAt + 1 + exchangeLength;
    const asked = {
      exchange: frame.toString('utf8', exchangeAt + 1, keyAt),
      routingKey: frame.toString('utf8', keyAt + 1, keyAt + 1 + (frame[keyAt] as number)),
    };
    this.#publishing.set(frame.readUInt16BE(1), { asked, left: null });
    return asked;
  }

  /** The publish that is whole with this frame. */
  #publishEnded(frame: Buffer): Published | null {
    const channel = frame.readUInt16BE(1);
    const publishing = this.#publishing.get(channel);
    if (!publishing || frame[0] === METHOD) return null;
    if (frame[0] === CONTENT_HEADER) publishing.left = Number(frame.readBigUInt64BE(FRAME_HEAD + 4));
    else publishing.left = (publishing.left ?? 0) - (frame.length - FRAME_HEAD - FRAME_END);
    if (publishing.left > 0) return null;
    this.#publishing.delete(channel);
    return publishing.asked;
  }

  #stop(asked: Published, wish: { reached(stopped: StoppedPublish): void }): void {
    this.#toServer = [];
    this.#toClient = [];
    wish.reached({ asked, pass: () => this.#goOn(), cut: () => this.cut() });
  }

  #goOn(): void {
    const [toServer, toClient] = [this.#toServer, this.#toClient];
    if (!toServer || !toClient) return;
    this.#toServer = null;
    this.#toClient = null;
    if (this.client.destroyed) {
      // What a dead publisher had written still arrives.
      this.server.end(Buffer.concat(toServer));
      return;
    }
    this.server.write(Buffer.concat(toServer));
    this.client.write(Buffer.concat(toClient));
  }
}

function isMethod(frame: Buffer, ofClass: number, method: number): boolean {
  return (
    frame[0] === METHOD && frame.readUInt16BE(FRAME_HEAD) === ofClass && frame.readUInt16BE(FRAME_HEAD + 2) === method
  );
}

/** Whole frames, and what is left of the next one. */
function framesOf(bytes: Buffer): [frames: Buffer[], rest: Buffer] {
  const frames: Buffer[] = [];
  let at = 0;
  while (bytes.length - at >= FRAME_HEAD) {
    const end = at + FRAME_HEAD + bytes.readUInt32BE(at + 3) + FRAME_END;
    if (end > bytes.length) break;
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return [frames, bytes.subarray(at)];
}
