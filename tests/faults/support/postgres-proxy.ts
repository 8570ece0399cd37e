import { connect, type Socket } from 'node:net';
import type { Seeded } from '../../support/seeded.js';
import { listen } from './listener.js';
import { type Stopped, Wishes } from './stopped.js';

/*
 * A proxy in front of PostgreSQL that understands enough of its protocol (version 3) to stop a connection at a named
 * request: before the server has it, while the server works on it, or when the answer is there and the client has not got it.
 */

/** One request: a statement with its parameters, up to the Sync or Query that ends it. */
export interface Asked {
  readonly sql: string;
  /** Parameters as text; those sent in binary are null, and so is NULL. */
  readonly values: readonly (string | null)[];
  /** Statements of the same connection since its last BEGIN, this one not among them; empty outside of a transaction. */
  readonly transaction: readonly string[];
}

/**
 * `asked`: the server has not got it. `sent`: the server has it, and its answer is held. `answered`: the answer is
 * complete, so a statement outside of a transaction, and a COMMIT, have taken effect.
 */
export type Moment = 'asked' | 'sent' | 'answered';

export type StoppedRequest = Stopped & { readonly asked: Asked };

export interface PostgresProxy {
  /** The database's URL by way of the proxy. */
  readonly url: string;
  /** Stops the next request that matches. While it is stopped its connection to the server stays, even when the client dies. */
  stopAt(moment: Moment, matches: (asked: Asked) => boolean, signal: AbortSignal): Promise<StoppedRequest>;
  /** Breaks about this share of the connections. */
  cutSome(share: number, random: Seeded): number;
  /** Breaks all connections and takes no new ones. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  close(): Promise<void>;
}

/** `behind`: a URL with a Unix socket (`?host=/directory`) or a host and port. */
export async function postgresProxy(behind: string): Promise<PostgresProxy> {
  const target = new URL(behind);
  const directory = target.searchParams.get('host');
  const wishes = new Wishes<Asked>();
  const connections = new Set<Connection>();
  const listener = await listen((client) => {
    const server = directory
      ? connect(`${directory}/.s.PGSQL.${target.port || '5432'}`)
      : connect(Number(target.port || '5432'), target.hostname);
    const connection = new Connection(client, server, wishes, () => connections.delete(connection));
    connections.add(connection);
  });
  const front = new URL(behind);
  front.searchParams.delete('host');
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

/** What the server still has to answer, oldest first. */
interface Open {
  /** Present while the answer is held. */
  held: { readonly answer: Buffer[]; isWhole: boolean; readonly reached: (() => void) | null } | null;
}

const HEADER = 5;

class Connection {
  #fromClient = Buffer.alloc(0);
  #fromServer = Buffer.alloc(0);
  #started = false;
  /** Messages of the request that is being read. */
  #request: Buffer[] = [];
  #sql = '';
  #values: (string | null)[] = [];
  readonly #prepared = new Map<string, string>();
  #transaction: string[] | null = null;
  readonly #open: Open[] = [];
  /** A request that is stopped before the server. */
  #stopped = false;
  #cut = false;

  constructor(
    private readonly client: Socket,
    private readonly server: Socket,
    private readonly wishes: Wishes<Asked>,
    private readonly onEnd: () => void,
  ) {
    client.setNoDelay(true);
    client.on('data', (bytes: Buffer) => this.#readClient(bytes));
    server.on('data', (bytes: Buffer) => this.#readServer(bytes));
    for (const socket of [client, server]) socket.on('error', () => undefined);
    client.on('close', () => {
      if (!this.#isStopped()) this.cut();
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

  #isStopped(): boolean {
    return this.#stopped || this.#open.some((open) => open.held !== null);
  }

  #readClient(bytes: Buffer): void {
    this.#fromClient = joined(this.#fromClient, bytes);
    if (!this.#started) {
      if (this.#fromClient.length < 4 || this.#fromClient.length < this.#fromClient.readInt32BE(0)) return;
      const length = this.#fromClient.readInt32BE(0);
      this.server.write(this.#fromClient.subarray(0, length));
      this.#fromClient = this.#fromClient.subarray(length);
      this.#started = true;
      // The answer to the start ends with ReadyForQuery, too.
      this.#open.push({ held: null });
    }
    for (let message = this.#nextClient(); message; message = this.#nextClient()) this.#take(message);
  }

  #nextClient(): Buffer | undefined {
    const message = first(this.#fromClient);
    if (message) this.#fromClient = this.#fromClient.subarray(message.length);
    return message;
  }

  #take(message: Buffer): void {
    switch (String.fromCharCode(message[0] as number)) {
      case 'P': {
        const [name, at] = text(message, HEADER);
        const [sql] = text(message, at);
        this.#prepared.set(name, sql);
        this.#request.push(message);
        return;
      }
      case 'B': {
        const { statement, values } = bound(message);
        this.#sql = this.#prepared.get(statement) ?? '';
        this.#values = values;
        this.#request.push(message);
        return;
      }
      case 'D':
      case 'E':
      case 'C':
      case 'H':
        this.#request.push(message);
        return;
      case 'Q':
        this.#sql = text(message, HEADER)[0];
        this.#values = [];
        this.#request.push(message);
        this.#ask();
        return;
      case 'S':
        this.#request.push(message);
        this.#ask();
        return;
      default:
        this.server.write(message);
    }
  }

  /** A request is complete. */
  #ask(): void {
    const request = Buffer.concat(this.#request);
    this.#request = [];
    const asked: Asked = { sql: this.#sql, values: this.#values, transaction: this.#transaction ?? [] };
    const word = /^\s*(\w+)/.exec(asked.sql)?.[1]?.toLowerCase();
    if (word === 'begin') this.#transaction = [];
    else if (word === 'commit' || word === 'rollback') this.#transaction = null;
    else this.#transaction = this.#transaction && [...this.#transaction, asked.sql];
    const wish = this.wishes.take(['asked', 'sent', 'answered'], asked);
    if (wish?.moment === 'asked') {
      this.#stopped = true;
      wish.reached({ asked, cut: () => this.cut(), pass: () => this.#goOn(() => this.#send(request, asked, null)) });
      return;
    }
    this.#send(request, asked, wish ?? null);
  }

  #goOn(send: () => void): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    send();
  }

  #send(
    request: Buffer,
    asked: Asked,
    wish: { readonly moment: string; reached(stopped: StoppedRequest): void } | null,
  ): void {
    const open: Open = { held: null };
    this.#open.push(open);
    if (wish) {
      const reached = () => wish.reached({ asked, cut: () => this.cut(), pass: () => this.#letGo(open) });
      open.held = { answer: [], isWhole: false, reached: wish.moment === 'answered' ? reached : null };
      this.server.write(request);
      if (wish.moment === 'sent') reached();
      return;
    }
    this.server.write(request);
  }

  #letGo(open: Open): void {
    const { held } = open;
    if (!held) return;
    open.held = null;
    if (held.isWhole) this.#open.shift();
    if (this.client.destroyed) this.cut();
    else this.client.write(Buffer.concat(held.answer));
  }

  #readServer(bytes: Buffer): void {
    this.#fromServer = joined(this.#fromServer, bytes);
    const passed: Buffer[] = [];
    for (let message = first(this.#fromServer); message; message = first(this.#fromServer)) {
      this.#fromServer = this.#fromServer.subarray(message.length);
      const isReady = message[0] === 0x5a;
      const open = this.#open[0];
      if (open?.held) {
        open.held.answer.push(message);
        if (!isReady) continue;
        open.held.isWhole = true;
        open.held.reached?.();
        continue;
      }
      passed.push(message);
      if (isReady) this.#open.shift();
    }
    if (!this.client.destroyed) this.client.write(Buffer.concat(passed));
    // Nobody is there for the answer, and it is over.
    else if (this.#open.length === 0) this.cut();
  }
}

function joined(before: Buffer, bytes: Buffer): Buffer<ArrayBuffer> {
  return (before.length === 0 ? bytes : Buffer.concat([before, bytes])) as Buffer<ArrayBuffer>;
}

/** The first whole message: a byte that tells its kind, and its length without that byte. */
function first(bytes: Buffer): Buffer | undefined {
  if (bytes.length < HEADER) return undefined;
  const length = bytes.readInt32BE(1) + 1;
  return bytes.length < length ? undefined : bytes.subarray(0, length);
}

/** A text that ends with NUL, and where the next field begins. */
function text(message: Buffer, at: number): [text: string, next: number] {
  const end = message.indexOf(0, at);
  return [message.toString('utf8', at, end), end + 1];
}

function bound(message: Buffer): { statement: string; values: (string | null)[] } {
  const [, afterPortal] = text(message, HEADER);
  const [statement, afterStatement] = text(message, afterPortal);
  let at = afterStatement;
  const count = message.readInt16BE(at);
  at += 2;
  const formats = Array.from({ length: count }, (_, i) => message.readInt16BE(at + 2 * i));
  at += 2 * count;
  const parameters = message.readInt16BE(at);
  at += 2;
  const values: (string | null)[] = [];
  for (let i = 0; i < parameters; i++) {
    const length = message.readInt32BE(at);
    at += 4;
    const format = (count === 1 ? formats[0] : formats[i]) ?? 0;
    values.push(length < 0 || format === 1 ? null : message.toString('utf8', at, at + length));
    at += Math.max(0, length);
  }
  return { statement, values };
}
