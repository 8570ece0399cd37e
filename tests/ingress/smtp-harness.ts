import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import type { MailSource, Source, SourceDirectory } from '../../src/channel/source.js';
import type { SmtpSettings } from '../../src/ingress/smtp/settings.js';
import { type SmtpDeps, type SmtpIngress, startSmtp } from '../../src/ingress/smtp/smtp.js';
import type { Arrival } from '../../src/message/arrival.js';
import type { Refusal } from '../../src/message/refusal.js';
import type { Tenant } from '../../src/message/tenant.js';
import type { Verdict } from '../../src/message/verdict.js';
import { realClock } from '../support/clock.js';
import { silent } from '../support/log.js';

const SETTINGS: SmtpSettings = {
  host: '127.0.0.1',
  port: 0,
  hostname: 'mail.example.com',
  tls: null,
  loopbackLogin: false,
  maxMessageBytes: 1_000_000,
  maxBufferedBytes: 100_000_000,
  maxFanOutBytes: 100_000_000,
  maxRecipients: 100,
  maxConnections: 100,
  maxConnectionsPerPeer: 50,
  messagesPerMinute: null,
  recipientsPerMinute: null,
  idleMs: 10_000,
  transactionMs: 20_000,
  drainMs: 2_000,
  trusted: { proxies: [], xclient: [] },
};

// A throw-away key for tests, good for nothing else.
const pem = (name: string): string => readFileSync(new URL(`../fixtures/smtp/${name}.pem`, import.meta.url), 'utf8');
export const CERTIFICATE = { key: pem('key'), cert: pem('cert') };

export const DEFAULT: Tenant = { id: 1, name: 'default', channels: 16 };
export const OTHER: Tenant = { id: 2, name: 'other', channels: 16 };

let lastSource = 0;
export function mailSource(
  addresses: string[],
  account: MailSource['account'] = { from: 'recipient' },
  tenant: Tenant = DEFAULT,
): Source<MailSource> {
  const id = ++lastSource;
  return { id, name: `mail-${id}`, tenant, definition: { kind: 'mail', addresses, account } };
}

/** Sources by address, exact before domain, as the real directory finds them. */
function directory(sources: readonly Source<MailSource>[]): SourceDirectory {
  const holder = (address: string): Source<MailSource> | undefined =>
    sources.find((source) => source.definition.addresses.includes(address));
  return {
    mail: (address) => holder(address) ?? holder(address.slice(address.lastIndexOf('@'))),
    webhook: () => undefined,
    events: () => undefined,
  };
}

export interface Started {
  readonly ingress: SmtpIngress;
  readonly port: number;
  /** What accept() was called with, one entry a call. */
  readonly calls: (readonly Arrival[])[];
  readonly refusals: Refusal[];
}

export const everybody = [mailSource(['@example.com'])];

/** A server that sequences everything as 7-1, 7-2 … unless the test says otherwise. It is closed when the test ends. */
export async function start(
  settings: Partial<SmtpSettings> = {},
  deps: Partial<Omit<SmtpDeps, 'settings'>> & { sourceList?: readonly Source<MailSource>[] } = {},
): Promise<Started> {
  const { sourceList = everybody, ...rest } = deps;
  const calls: (readonly Arrival[])[] = [];
  const refusals: Refusal[] = [];
  let sequence = 0;
  const accept = rest.accept ?? (async (arrivals) => arrivals.map(() => sequenced(++sequence)));
  const ingress = await startSmtp({
    settings: { ...SETTINGS, ...settings },
    refuse: (refusal) => refusals.push(refusal),
    sources: () => directory(sourceList),
    postmaster: () => undefined,
    clock: realClock,
    log: silent,
    ...rest,
    accept: (arrivals) => {
      calls.push(arrivals);
      return accept(arrivals);
    },
  });
  onTestFinished(() => ingress.close());
  return { ingress, port: ingress.address.port, calls, refusals };
}

export function sequenced(sequence: number): Verdict {
  return { verdict: 'sequenced', channel: 7, sequence };
}

/** An SMTP client that sends exactly what it is told to. It is gone when the test ends. */
export class Wire {
  #input = '';
  #ended = false;

  private constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => {
      this.#input += chunk.toString('latin1');
      socket.emit('progress');
    });
    socket.on('close', () => {
      this.#ended = true;
      socket.emit('progress');
    });
    // Resets are what some tests are about; they see the close.
    socket.on('error', () => {});
  }

  /** Connected, and nothing read yet. */
  static async to(port: number, host = '127.0.0.1'): Promise<Wire> {
    const wire = new Wire(connect({ port, host, noDelay: true, allowHalfOpen: false }));
    onTestFinished(() => {
      wire.socket.destroy();
    });
    await once(wire.socket, 'connect');
    return wire;
  }

  /** Greeted and past EHLO. */
  static async greeted(port: number, host?: string): Promise<Wire> {
    const wire = await Wire.to(port, host);
    await wire.reply();
    await wire.ask('EHLO client.example.net');
    return wire;
  }

  write(data: string | Buffer): void {
    this.socket.write(typeof data === 'string' ? Buffer.from(data) : data);
  }

  /** The next whole reply, its lines joined by line feeds. Rejects when the connection closes before it. */
  async reply(): Promise<string> {
    for (;;) {
      const whole = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r\n/.exec(this.#input);
      if (whole) {
        this.#input = this.#input.slice(whole[0].length);
        return whole[0].trimEnd().replaceAll('\r\n', '\n');
      }
      if (this.#ended) throw new Error(`the connection closed instead of a reply; unread: ${this.#input}`);
      await once(this.socket, 'progress');
    }
  }

  async ask(command: string): Promise<string> {
    this.write(`${command}\r\n`);
    return this.reply();
  }

  /** Envelope and DATA, up to the 354. */
  async envelope(from: string, ...to: string[]): Promise<void> {
    await this.ask(`MAIL FROM:<${from}>`);
    for (const recipient of to) await this.ask(`RCPT TO:<${recipient}>`);
    await this.ask('DATA');
  }

  /** Sends a body as a correct sender does (dots put in, end added) and returns the reply. */
  async body(raw: Buffer): Promise<string> {
    this.write(Buffer.concat([stuffed(raw), Buffer.from('.\r\n')]));
    return this.reply();
  }

  async closed(): Promise<void> {
    while (!this.#ended) await once(this.socket, 'progress');
  }

  get isClosed(): boolean {
    return this.#ended;
  }

  /** STARTTLS on the same connection; the wire goes on inside. */
  async secured(): Promise<Wire> {
    await this.ask('STARTTLS');
    return this.handshake();
  }

  async handshake(): Promise<Wire> {
    this.socket.removeAllListeners('data');
    const secure: TLSSocket = connectTls({ socket: this.socket, rejectUnauthorized: false });
    const wire = new Wire(secure);
    onTestFinished(() => {
      secure.destroy();
    });
    await once(secure, 'secureConnect');
    return wire;
  }
}

/** RFC 5321 4.5.2: a dot is put before one that begins a line, and lines end in CR LF only. */
export function stuffed(raw: Buffer): Buffer {
  const lines = raw.toString('latin1').split('\r\n');
  return Buffer.from(lines.map((line) => (line.startsWith('.') ? `.${line}` : line)).join('\r\n'), 'latin1');
}
