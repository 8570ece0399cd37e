/**
 * smtp-server, with what its options can't say. The package reads commands, upgrades to TLS and keeps the order of
 * replies; changed here, each in one method, are: how data is unstuffed, RFC 3463 codes of our own, trust by network
 * rather than by single address, AUTH offered only where it may be used, and bounds on commands and time.
 */
import type { Socket } from 'node:net';
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js';
import { type Options, type Session, SMTPServer } from 'smtp-server/lib/smtp-server.js';
import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js';
import type { MailSource, Source } from '../../channel/source.js';
import { type MailAddress, NOBODY } from './address.js';
import { DotReader } from './dots.js';
import type { Within } from './network.js';
import { type RefusalCode, Refused } from './refusals.js';

/** Commands without a completed mail. Far above what a sender needs that names every recipient it may and more. */
const MAX_COMMANDS = 10_000;
/** Our texts begin with their status, `4.7.1 Too many …`; the package would put one of its own before it. */
const HAS_STATUS = /^[245]\.\d{1,3}\.\d{1,3} /;
/** Jokes of old mailers, and a command that would let a peer choose its own address. */
const NEVER = ['WIZ', 'SHELL', 'KILL', 'XFORWARD'];

/** What the server leaves to its owner. */
interface ServerRules {
  readonly trustsProxy: Within;
  readonly trustsXclient: Within;
  /** Whether logging in is possible at all. */
  readonly offersLogin: boolean;
  readonly offersTls: boolean;
  mayLogIn(session: Session): boolean;
  readonly transactionMs: number;
  /** Told of refusals that the protocol itself leads to. */
  onRefused(code: RefusalCode, connection: MailConnection): void;
}

export class MailConnection extends SMTPConnection {
  /** The address it was let in under, the name its limits go by, and whether it is one of that peer's connections. */
  remote = '';
  peer = '';
  counted = false;
  sender: MailAddress = NOBODY;
  readonly recipients = new Map<string, Source<MailSource>>();
  /** From DATA to its reply: what `close` waits for. */
  receiving = false;
  /** The mail is in and being stored: the time it takes is ours. */
  storing = false;
  readonly #rules: ServerRules;
  readonly #deadline: NodeJS.Timeout;
  #commands = 0;
  #open = true;

  constructor(server: MailServer, socket: Socket, options?: object | null) {
    super(server, socket, options);
    this.#rules = server.rules;
    this.#deadline = setTimeout(() => this.#late(), server.rules.transactionMs).unref();
  }

  /** Answers with a refusal; one of 421 ends the connection too. */
  refuse(code: RefusalCode): void {
    const refusal = new Refused(code);
    this.#rules.onRefused(code, this);
    this.send(refusal.responseCode, refusal.message);
  }

  /** A mail has been answered: its sender starts anew. */
  mailDone(): void {
    this.receiving = false;
    this.recipients.clear();
    this.#commands = 0;
    // A timer that was cleared must not be refreshed: Node would run it without its function.
    if (this.#open) this.#deadline.refresh();
  }

  closed(): void {
    this.#open = false;
    clearTimeout(this.#deadline);
  }

  #late(): void {
    if (this.storing) this.#deadline.refresh();
    else this.refuse('too_slow');
  }

  override send(code: number, text?: string | string[] | null, context?: string | false): void {
    if (context === 'MESSAGE_TOO_BIG') this.#rules.onRefused('too_large', this);
    // Sent away for what it did: the package names the command then, and gives no status to EHLO's.
    const sentAway = code === 421 && typeof context === 'string';
    const worded = sentAway && typeof text === 'string' ? `4.7.0 ${text}` : text;
    const hasStatus = typeof worded === 'string' && HAS_STATUS.test(worded);
    if (code === 220) this._socket.uncork();
    else this.#gather();
    super.send(code, worded, hasStatus ? false : context);
  }

  /**
   * Replies to commands that came together go out together (RFC 2920 3.2): one write instead of three for a sender that
   * pipelines. Not so the 220 to STARTTLS, which must be out, and all before it, when the socket becomes TLS's.
   */
  #gather(): void {
    const socket = this._socket;
    if (socket.writableCorked > 0) return;
    socket.cork();
    process.nextTick(() => socket.uncork());
  }

  override _onCommand(command: Buffer, done?: () => void): void {
    this.#commands++;
    if (this.#commands > MAX_COMMANDS) this.refuse('too_many_commands');
    else super._onCommand(command, done);
  }

  override handler_EHLO(command: Buffer, done: () => void): void {
    const hidden = this.#rules.offersLogin && !this.#rules.mayLogIn(this.session);
    if (hidden) this.session.disabledCommands = [...disabledCommands(this.#rules), 'AUTH'];
    super.handler_EHLO(command, done);
    delete this.session.disabledCommands;
  }

  override handler_AUTH(command: Buffer, done: () => void): void {
    if (this.#rules.mayLogIn(this.session)) {
      super.handler_AUTH(command, done);
    } else {
      this.refuse('login_needs_tls');
      done();
    }
  }

  override _proxyCommandAllowed(command: string): boolean {
    // A client that a proxy has named must not name another one.
    const named = this._xClient.has('ADDR');
    return command === 'XCLIENT' && !named && this.#rules.trustsXclient(this._originalRemoteAddress);
  }

  /** Called by the package's constructor, so before any member of this class is there. */
  override _createParser(): SMTPStream {
    return readExactly(super._createParser());
  }
}

export class MailServer extends SMTPServer {
  readonly #connections = new WeakMap<Session, MailConnection>();

  constructor(
    options: Options,
    readonly rules: ServerRules,
  ) {
    super({ ...options, disabledCommands: disabledCommands(rules) });
  }

  /** The connection of a session that one of the package's handlers is called with. */
  connectionOf(session: Session): MailConnection {
    const connection = this.#connections.get(session);
    if (!connection) throw new Error('a session without its connection');
    return connection;
  }

  /** Every connection there is. */
  open(): MailConnection[] {
    return [...this.connections].filter((connection) => connection instanceof MailConnection);
  }

  override connect(socket: Socket, options?: object | null): void {
    const connection = new MailConnection(this, socket, options);
    this.#connections.set(connection.session, connection);
    this.connections.add(connection);
    connection.on('error', (error) => this.emit('error', error));
    connection.init();
  }

  override _expectsProxyHeader(socket: Socket): boolean {
    return this.rules.trustsProxy(socket.remoteAddress);
  }
}

function disabledCommands(rules: ServerRules): string[] {
  return [...NEVER, ...(rules.offersLogin ? [] : ['AUTH']), ...(rules.offersTls ? [] : ['STARTTLS'])];
}

/**
 * The package removes a dot after a bare LF too, which no sender put there, and copies every chunk; both end with our
 * own reader. Everything around it (streams, back-pressure, what follows the data) stays the package's.
 */
function readExactly(parser: SMTPStream): SMTPStream {
  const startDataMode = parser.startDataMode.bind(parser);
  let reader = new DotReader();
  parser.startDataMode = (maxBytes) => {
    reader = new DotReader();
    return startDataMode(maxBytes);
  };
  // The package forgets what to do next when the next mail, pipelined, ends while it is still going on from the last.
  parser.continue = () => {
    const next = parser._continueCallback;
    parser._continueCallback = typeof next !== 'function';
    if (typeof next === 'function') next();
  };
  parser._feedDataStream = (chunk, done) => {
    const { content, rest } = reader.read(chunk);
    parser._countDataBytes(content.length);
    if (rest) return parser._endDataMode(content, rest, done);
    const stream = parser._dataStream;
    if (content.length === 0 || !stream?.writable || stream.write(content)) return done();
    const goOn = (): void => {
      stream.off('drain', goOn);
      stream.off('close', goOn);
      done();
    };
    // A stream that is destroyed never drains.
    stream.on('drain', goOn);
    stream.on('close', goOn);
  };
  return parser;
}
