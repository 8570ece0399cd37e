import type { AddressInfo } from 'node:net';
import type { PassThrough } from 'node:stream';
import type { Logger } from 'pino';
import type { Address, Authentication, Session } from 'smtp-server/lib/smtp-server.js';
import { Room } from '../../channel/room.js';
import type { MailSource, Source, SourceDirectory } from '../../channel/source.js';
import type { Clock } from '../../message/clock.js';
import type { Refuse } from '../../message/refusal.js';
import { type Accept, Busy, Unavailable, type Verdict } from '../../message/verdict.js';
import type { Group } from './account.js';
import { folded, isPostmaster, type MailAddress, mailAddress, NOBODY, written } from './address.js';
import { answerTo } from './answer.js';
import { arrivalsOf, groupsOf, type Login, type Mail } from './arrivals.js';
import { hashesOf } from './hashes.js';
import { loopback, peerOf, within } from './network.js';
import { Peers } from './peers.js';
import { type Received, receive } from './receive.js';
import { REFUSALS, type RefusalCode, Refused } from './refusals.js';
import { type MailConnection, MailServer } from './server.js';
import type { SmtpSettings } from './settings.js';
import { clean } from './text.js';

/** Room beyond `maxConnections` for connections that are told why they can't stay. What comes beyond that is just closed. */
const CONNECTIONS_BEING_REFUSED = 100;
/** Of each string that goes with a refusal, in bytes. */
const MAX_NOTE = 256;

export interface SmtpDeps {
  readonly settings: SmtpSettings;
  readonly accept: Accept;
  readonly refuse: Refuse;
  /** Asked anew for every recipient. */
  readonly sources: () => SourceDirectory;
  /**
   * Where mail to postmaster goes that no source names (RFC 5321 4.5.1): a source with an address in `domain`;
   * for a bare `postmaster` (null) the configured source, else the first mail source of tenant `default`.
   * Undefined when the domain is none of ours.
   */
  readonly postmaster: (domain: string | null) => Source<MailSource> | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Application tokens. Null for wrong credentials; rejects when they can't be checked just now. Without it there is no AUTH. */
  readonly verifyLogin?: (user: string, password: string) => Promise<Login | null>;
}

export interface SmtpIngress {
  readonly address: { readonly host: string; readonly port: number };
  stats(): { readonly connections: number; readonly bufferedBytes: number };
  /** Takes no more connections, lets mails under way end (at most `drainMs`), then closes all. */
  close(): Promise<void>;
}

/** Listens for mail. Rejects when the address can't be had (`EADDRINUSE`, `EACCES` …) or a setting is no network. */
export async function startSmtp(deps: SmtpDeps): Promise<SmtpIngress> {
  const ingress = new Ingress(deps);
  const address = await ingress.listen();
  return { address, stats: () => ingress.stats(), close: () => ingress.close() };
}

class Ingress {
  readonly #deps: SmtpDeps;
  readonly #peers: Peers;
  readonly #memory: Room;
  readonly #trustsXclient: (address: string) => boolean;
  readonly #server: MailServer;
  #closing = false;

  constructor(deps: SmtpDeps) {
    const { settings } = deps;
    this.#deps = deps;
    this.#peers = new Peers(settings, deps.clock);
    this.#memory = new Room(settings.maxBufferedBytes);
    this.#trustsXclient = within(settings.trusted.xclient);
    this.#server = new MailServer(
      {
        name: settings.hostname,
        size: settings.maxMessageBytes,
        ...(settings.tls ? { ...settings.tls, minVersion: 'TLSv1.2' } : {}),
        authMethods: ['PLAIN', 'LOGIN'],
        authOptional: true,
        // Decided by `mayLogIn`.
        allowInsecureAuth: true,
        hideENHANCEDSTATUSCODES: false,
        disableReverseLookup: true,
        heloResponse: '%s',
        logger: false,
        socketTimeout: settings.idleMs,
        closeTimeout: Math.max(1, settings.drainMs),
        onConnect: (session, done) => this.#decided(session, done, (connection) => this.#admit(connection)),
        onAuth: (auth, session, done) => void this.#logIn(auth, this.#server.connectionOf(session), done),
        onMailFrom: (address, session, done) =>
          this.#decided(session, done, (connection) => this.#beginMail(connection, address)),
        onRcptTo: (address, session, done) =>
          this.#decided(session, done, (connection) => this.#addRecipient(connection, address), address.address),
        onData: (stream, session, done) => void this.#takeMail(stream, this.#server.connectionOf(session), done),
        onClose: (session) => this.#left(this.#server.connectionOf(session)),
      },
      {
        trustsProxy: within(settings.trusted.proxies),
        trustsXclient: within(settings.trusted.xclient),
        offersLogin: deps.verifyLogin !== undefined && (settings.tls !== null || settings.loopbackLogin),
        offersTls: settings.tls !== null,
        mayLogIn: (session) => session.secure || (settings.loopbackLogin && loopback(session.remoteAddress)),
        transactionMs: settings.transactionMs,
        onRefused: (code, connection) => this.#note(code, connection),
      },
    );
    this.#server.server.maxConnections = settings.maxConnections + CONNECTIONS_BEING_REFUSED;
    // Resets, broken TLS and the like: the peer's doing, and the end of its connection only.
    this.#server.on('error', (error: NodeJS.ErrnoException) => {
      deps.log.debug({ code: error.code, reason: error.message }, 'SMTP connection failed');
    });
  }

  listen(): Promise<{ host: string; port: number }> {
    const { server } = this.#server;
    const { host, port } = this.#deps.settings;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject);
        const address = server.address() as AddressInfo;
        resolve({ host: address.address, port: address.port });
      });
    });
  }

  stats(): { connections: number; bufferedBytes: number } {
    return { connections: this.#server.connections.size, bufferedBytes: this.#memory.used };
  }

  close(): Promise<void> {
    this.#closing = true;
    return new Promise((resolve) => {
      this.#server.close(resolve);
      for (const connection of this.#server.open()) if (!connection.receiving) connection.refuse('closing');
    });
  }

  /** Passes a decision on to the package: undefined lets the peer go on. */
  #decided(
    session: Session,
    done: (error?: Error) => void,
    decide: (connection: MailConnection) => RefusalCode | undefined,
    recipient?: string,
  ): void {
    const connection = this.#server.connectionOf(session);
    const code = decide(connection);
    if (code !== undefined) this.#note(code, connection, recipient);
    done(code === undefined ? undefined : new Refused(code));
  }

  #admit(connection: MailConnection): RefusalCode | undefined {
    if (this.#server.connections.size > this.#deps.settings.maxConnections) return 'too_many_connections';
    return this.#enter(connection);
  }

  /** Counts the connection for its peer. A trusted mail server brings the connections of many and isn't counted itself. */
  #enter(connection: MailConnection): RefusalCode | undefined {
    connection.remote = connection.session.remoteAddress;
    connection.peer = peerOf(connection.remote);
    if (this.#trustsXclient(connection.remote)) return undefined;
    if (!this.#peers.enter(connection.peer)) return 'too_many_connections_of_peer';
    connection.counted = true;
    return undefined;
  }

  #leave(connection: MailConnection): void {
    if (connection.counted) this.#peers.leave(connection.peer);
    connection.counted = false;
  }

  #left(connection: MailConnection): void {
    connection.closed();
    this.#leave(connection);
  }

  async #logIn(
    auth: Authentication,
    connection: MailConnection,
    done: (error?: Error | null, response?: { user?: Login }) => void,
  ): Promise<void> {
    // A mail server may name its client's address, not who it is: that takes a password. No answer lets the session go on.
    if (auth.method === 'XCLIENT') {
      done();
      return;
    }
    const login = await this.#verified(auth, peerOf(connection.session.remoteAddress));
    if (typeof login === 'string') {
      this.#note(login, connection);
      done(new Refused(login));
    } else {
      done(null, { user: login });
    }
  }

  /** Never rejects. */
  async #verified(auth: Authentication, peer: string): Promise<Login | RefusalCode> {
    if (!this.#peers.mayTryLogin(peer)) return 'too_many_failed_logins';
    // Nobody acts on behalf of somebody else (RFC 4616's authzid).
    if (auth.authzid && auth.authcid && auth.authzid !== auth.authcid) return 'login_failed';
    try {
      const login = await this.#deps.verifyLogin?.(auth.username, auth.password ?? '');
      if (!login) return 'login_failed';
      this.#peers.loggedIn(peer);
      return login;
    } catch (error) {
      this.#peers.loggedIn(peer);
      this.#deps.log.warn({ err: error }, 'login could not be checked');
      return 'login_unavailable';
    }
  }

  #beginMail(connection: MailConnection, { address, args }: Address): RefusalCode | undefined {
    connection.recipients.clear();
    connection.sender = NOBODY;
    // XCLIENT has made it another peer's connection.
    if (connection.remote !== connection.session.remoteAddress) {
      this.#leave(connection);
      const refusal = this.#enter(connection);
      if (refusal !== undefined) return refusal;
    }
    if (!this.#peers.mayBeginMail(connection.peer)) return 'messages_rate';
    const sender = mailAddress(address);
    if (sender === undefined) return 'sender_invalid';
    if (declaredSize(args) > this.#memory.free) return 'buffers_full';
    connection.sender = sender;
    return undefined;
  }

  #addRecipient(connection: MailConnection, { address }: Address): RefusalCode | undefined {
    const { settings } = this.#deps;
    if (!this.#peers.mayNameRecipient(connection.peer)) return 'recipients_rate';
    const recipient = mailAddress(address);
    if (recipient === undefined) return 'recipient_invalid';
    const name = folded(recipient);
    const source = this.#sourceOf(name, recipient);
    if (source === undefined) return 'recipient_unknown';
    const { recipients } = connection;
    if (recipients.has(name)) return undefined;
    if (recipients.size >= settings.maxRecipients) return 'too_many_recipients';
    const { mailFrom } = connection.session.envelope;
    const size = mailFrom ? declaredSize(mailFrom.args) : 0;
    if (recipients.size === 0 && !this.#memory.fits(source.tenant.id, size)) return 'buffers_full';
    if (recipients.size > 0 && (recipients.size + 1) * size > settings.maxFanOutBytes) return 'too_many_recipients';
    recipients.set(name, source);
    return undefined;
  }

  #sourceOf(name: string, recipient: MailAddress): Source<MailSource> | undefined {
    const named = this.#deps.sources().mail(name);
    if (named !== undefined || !isPostmaster(recipient)) return named;
    return this.#deps.postmaster(recipient.domain === '' ? null : recipient.domain);
  }

  /** One DATA: receive, group, hash, accept, and only then answer. Never rejects. */
  async #takeMail(
    stream: PassThrough,
    connection: MailConnection,
    done: (error: Error | null, text?: string) => void,
  ): Promise<void> {
    connection.receiving = true;
    const limits = {
      maxBytes: this.#deps.settings.maxMessageBytes,
      memory: this.#memory,
      tenant: payerOf(connection),
    };
    const received = await receive(stream, limits, (code) => {
      connection.refuse(code);
      connection.close();
    });
    const answer = await this.#answered(received, connection);
    // Before the answer: with it the next pipelined mail begins.
    connection.mailDone();
    if (answer === undefined) return;
    if (answer instanceof Refused) done(answer);
    else done(null, answer);
    if (this.#closing && !connection.receiving) connection.refuse('closing');
  }

  /** The reply to what was received; undefined where nobody is left to hear it. */
  async #answered(received: Received, connection: MailConnection): Promise<string | Refused | undefined> {
    switch (received.end) {
      case 'whole': {
        const answer = await this.#store(mailOf(connection, received.raw, this.#deps.clock.now()), connection);
        received.release();
        return answer;
      }
      case 'refused':
        return this.#refused(received.code, connection);
      case 'lost':
        this.#deps.log.debug({ remote: connection.remote }, 'connection lost before the mail was whole');
        return undefined;
      default: {
        const never: never = received;
        return never;
      }
    }
  }

  /** Makes the mail durable. What comes back is the reply: the text of a 250, or the refusal. Never rejects. */
  async #store(mail: Mail, connection: MailConnection): Promise<string | Refused> {
    const { accept, clock, log, settings } = this.#deps;
    const started = clock.monotonic();
    connection.storing = true;
    try {
      const { groups, messageId } = groupsOf(mail);
      const fanOut = groups.length * mail.raw.length;
      if (fanOut > settings.maxFanOutBytes) return this.#refused('too_large_for_recipients', connection);
      const hashes = hashesOf(mail.raw);
      const known = hashes instanceof Promise ? await hashes : hashes;
      const verdicts = await accept(arrivalsOf(mail, groups, messageId, known));
      this.#noteRejected(verdicts, groups, connection);
      const answer = answerTo(verdicts);
      const outcome = answer instanceof Refused ? answer.code : answer;
      const ms = Math.round(clock.monotonic() - started);
      log.info({ remote: mail.remote, bytes: mail.raw.length, recipients: mail.recipients.size, outcome, ms }, 'mail');
      return answer;
    } catch (error) {
      if (error instanceof Busy) return this.#refused('busy', connection);
      if (!(error instanceof Unavailable)) log.error({ err: error }, 'mail could not be stored');
      return this.#refused('unavailable', connection);
    } finally {
      connection.storing = false;
    }
  }

  #refused(code: RefusalCode, connection: MailConnection): Refused {
    this.#note(code, connection);
    return new Refused(code);
  }

  /** SMTP has one answer for all recipients: those that could not be stored beside others are found here. */
  #noteRejected(verdicts: readonly Verdict[], groups: readonly Group[], connection: MailConnection): void {
    verdicts.forEach((verdict, i) => {
      const group = groups[i];
      if (verdict.verdict !== 'rejected' || group === undefined) return;
      this.#deps.refuse({
        tenant: group.source.tenant.id,
        ingress: 'smtp',
        peer: connection.remote,
        envelope: envelopeNote(connection, group.recipients.join(' ')),
        code: verdict.code,
        why: verdict.reason,
      });
    });
  }

  /** Notes a refusal, for every tenant whose recipients it concerns. Our own closing down refuses no mail. */
  #note(code: RefusalCode, connection: MailConnection, recipient?: string): void {
    if (code === 'closing') return;
    const known = code === 'recipient_unknown' ? [] : [...connection.recipients.values()];
    const tenants = new Set<number | null>(known.map((source) => source.tenant.id));
    for (const tenant of tenants.size > 0 ? tenants : [null]) {
      this.#deps.refuse({
        tenant,
        ingress: 'smtp',
        peer: connection.remote,
        envelope: envelopeNote(connection, recipient ?? [...connection.recipients.keys()].join(' ')),
        code,
        why: REFUSALS[code][2],
      });
    }
  }
}

/** Whose share of the memory a mail takes. One for several tenants is in memory once, and the first named pays for it. */
function payerOf(connection: MailConnection): number {
  const [first] = connection.recipients.values();
  return first?.tenant.id ?? NO_TENANT;
}

const NO_TENANT = 0;

function declaredSize(args: Address['args']): number {
  const size = args ? args.SIZE : undefined;
  return typeof size === 'string' ? Number(size) : 0;
}

function mailOf(connection: MailConnection, raw: Buffer, arrivedAt: number): Mail {
  const { session } = connection;
  const { tlsOptions } = session;
  return {
    sender: connection.sender,
    recipients: connection.recipients,
    raw,
    arrivedAt,
    helo: clean(session.hostNameAppearsAs || '', MAX_NOTE),
    remote: session.remoteAddress,
    tls: tlsOptions ? { cipher: tlsOptions.standardName ?? tlsOptions.name, version: tlsOptions.version } : null,
    login: (session.user as Login | undefined) || null,
    smtputf8: session.envelope.smtpUtf8,
  };
}

function envelopeNote(connection: MailConnection, to: string): Record<string, string> {
  return {
    helo: clean(connection.session.hostNameAppearsAs || '', MAX_NOTE),
    from: clean(written(connection.sender), MAX_NOTE),
    to: clean(to, MAX_NOTE),
  };
}
