import { type ChannelModel, connect } from 'amqplib';
import { reconnectWait } from './backoff.js';
import { handshakeFailure, type Login } from './fitness.js';
import { gatherWrites } from './gather.js';
import type { LinkUse, Notify } from './notice.js';

/** `blocked`: RabbitMQ has raised a memory or disk alarm and reads nothing from us. */
export type LinkState = 'up' | 'down' | 'blocked';

export interface LinkSettings {
  /** `amqp://` or `amqps://`, with credentials. Never shown; `where` is. */
  readonly url: string;
  /** Seconds between heartbeats; two missed ones end the connection. */
  readonly heartbeatSeconds: number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly notify: Notify;
}

/** Most a connection may take to be made, and most a close may wait for its answer. */
const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * amqplib writes until the socket's buffer is full and goes on in a later turn of the event loop. With Node's 16 kB that
 * is a turn for every twelve messages, and turns are long while other work is done.
 */
const SOCKET_BUFFER_BYTES = 1024 * 1024;
const CONNECTING = {
  noDelay: true,
  keepAlive: true,
  timeout: CONNECT_TIMEOUT_MS,
  // Certificates are checked whatever the environment says.
  rejectUnauthorized: true,
  // `writableHighWaterMark` is not for TLS.
  highWaterMark: SOCKET_BUFFER_BYTES,
};

/**
 * One connection to RabbitMQ that is made again whenever it is lost. A broker that isn't there is no error here:
 * the link is `down` until it is.
 *
 *   connecting ──ok──► prepare ──ok──► up ◄──alarm──► blocked
 *       ▲                 │             │                │
 *       └──── waiting ◄───┴── failed ───┴───── lost ─────┘        close() ends it from anywhere
 */
export class Link {
  /** Host, port and virtual host: what may be shown. */
  readonly where: string;
  private readonly login: Login;
  private readonly url: string;
  private connection: ChannelModel | null = null;
  /** The connection that RabbitMQ has blocked; it may not be up yet. */
  private blockedOne: ChannelModel | null = null;
  private closed = false;
  private failures = 0;
  private timer: NodeJS.Timeout | undefined;
  /** The attempt to connect that is under way, or the last one. */
  private attempt: Promise<void> = Promise.resolve();
  private trouble: string | null = 'not connected yet';
  private cause: unknown = null;
  private readonly upListeners = new Set<() => void>();

  /** `prepare` runs on every new connection before it counts as up; when it fails the connection is given up again. */
  constructor(
    private readonly settings: LinkSettings,
    private readonly use: LinkUse,
    private readonly prepare: (connection: ChannelModel, login: Login) => Promise<void>,
  ) {
    const url = parseUrl(settings.url);
    this.where = `${url.host}${url.pathname}`;
    this.login = { where: this.where, user: url.username || 'guest' };
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', String(settings.heartbeatSeconds));
    this.url = url.href;
  }

  start(): void {
    this.attempt = this.connect();
  }

  /** Resolves when an attempt to connect that is under way has ended, or after `withinMs`. */
  async attempted(withinMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([this.attempt, late]);
    clearTimeout(timer);
  }

  /** What the last attempt failed with, or the connection was lost by; null while there is one. */
  failure(): unknown {
    return this.cause;
  }

  state(): LinkState {
    if (this.connection === null) return 'down';
    return this.connection === this.blockedOne ? 'blocked' : 'up';
  }

  /** Why it isn't up; null when it is. */
  problem(): string | null {
    return this.state() === 'blocked' ? 'RabbitMQ has raised a memory or disk alarm' : this.trouble;
  }

  /** The connection to open channels on; null unless up. */
  current(): ChannelModel | null {
    return this.state() === 'up' ? this.connection : null;
  }

  /** Called whenever sending becomes possible (again). Answers how to stop that. */
  onUp(listener: () => void): () => void {
    this.upListeners.add(listener);
    return () => this.upListeners.delete(listener);
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    const connection = this.connection;
    this.connection = null;
    this.trouble = 'closed';
    await this.attempt;
    if (connection) await closeConnection(connection);
  }

  private async connect(): Promise<void> {
    let connection: ChannelModel | undefined;
    try {
      connection = await this.shakeHands();
      const lost = this.watch(connection);
      await Promise.race([this.prepare(connection, this.login), lost]);
    } catch (error) {
      if (connection) await closeConnection(connection);
      this.failed(error);
      return;
    }
    if (this.closed) {
      await closeConnection(connection);
      return;
    }
    this.connection = connection;
    this.failures = 0;
    this.trouble = null;
    this.cause = null;
    this.settings.notify({ event: 'up', where: this.where, use: this.use });
    if (this.state() === 'up') this.announceUp();
  }

  private async shakeHands(): Promise<ChannelModel> {
    try {
      const connection = await connect(this.url, CONNECTING);
      gatherWrites(connection);
      return connection;
    } catch (error) {
      throw handshakeFailure(error, this.login);
    }
  }

  /** Follows a connection to its end. Answers a promise that rejects when it ends before it was up. */
  private watch(connection: ChannelModel): Promise<never> {
    let cause: unknown = new Error('connection closed');
    // 'close' follows every 'error'; without a listener an error would end the process.
    connection.on('error', (error) => {
      cause = error;
    });
    connection.on('blocked', (why) => this.setBlocked(connection, why));
    connection.on('unblocked', () => this.setUnblocked(connection));
    return new Promise((_resolve, reject) => {
      connection.on('close', (error) => {
        if (error) cause = error;
        if (this.blockedOne === connection) this.blockedOne = null;
        // Whatever it was being prepared for fails of the same, and knows more about it.
        setImmediate(reject, cause);
        if (this.connection !== connection) return;
        this.connection = null;
        this.failed(cause);
      });
    });
  }

  private setBlocked(connection: ChannelModel, why: string): void {
    this.blockedOne = connection;
    this.settings.notify({ event: 'blocked', where: this.where, use: this.use, reason: why });
  }

  private setUnblocked(connection: ChannelModel): void {
    if (this.blockedOne !== connection) return;
    this.blockedOne = null;
    this.settings.notify({ event: 'unblocked', where: this.where, use: this.use });
    if (this.connection === connection) this.announceUp();
  }

  private announceUp(): void {
    for (const listener of [...this.upListeners]) listener();
  }

  private failed(cause: unknown): void {
    if (this.closed) return;
    const reason = reasonOf(cause);
    this.failures++;
    this.cause = cause;
    this.trouble = reason;
    const retryMs = reconnectWait(this.failures, this.settings.random());
    this.settings.notify({ event: 'down', where: this.where, use: this.use, reason, retryMs });
    this.timer = setTimeout(() => this.start(), retryMs);
  }
}

/** The error of `URL` itself would carry the password. */
function parseUrl(url: string): URL {
  if (!URL.canParse(url))
    throw new Error('the address of RabbitMQ is not a URL such as amqp://user:password@host:5672/vhost');
  return new URL(url);
}

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}

/** Closes politely; a broker that doesn't answer is left to its heartbeat. */
async function closeConnection(connection: ChannelModel): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const given = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
  });
  // A connection that is closed already says so by an error: that is all that was wanted.
  await Promise.race([connection.close().catch(() => undefined), given]);
  clearTimeout(timer);
}
