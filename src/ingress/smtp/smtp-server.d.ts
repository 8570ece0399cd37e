/**
 * What Waybill uses of smtp-server 3.21.6, and nothing more. The package ships no types for ES modules, and the
 * published @types lag behind it. Members with an underscore are the package's own business: `server.ts` says why
 * each is needed, and the tests of smuggling, dots and TLS fail when one of them goes.
 */
declare module 'smtp-server/lib/smtp-server.js' {
  import type { EventEmitter } from 'node:events';
  import type { Server, Socket } from 'node:net';
  import type { PassThrough } from 'node:stream';
  import type { SMTPConnection } from 'smtp-server/lib/smtp-connection.js';

  export interface Address {
    readonly address: string;
    /** ESMTP parameters by upper-case name; `true` where one has no value; false where there are none. */
    readonly args: false | Readonly<Record<string, string | true>>;
  }

  /** One object for the whole connection; its members change as the connection goes on. */
  export interface Session {
    readonly id: string;
    readonly secure: boolean;
    readonly remoteAddress: string;
    readonly hostNameAppearsAs: string | false;
    readonly tlsOptions: false | { readonly name: string; readonly standardName?: string; readonly version: string };
    /** What `onAuth` answered as user. */
    readonly user?: unknown;
    readonly envelope: { readonly mailFrom: Address | false; readonly smtpUtf8: boolean };
    /** Commands this session has not; in place of the server's own list. */
    disabledCommands?: string[];
  }

  export interface Authentication {
    readonly method: string;
    readonly username: string;
    readonly password: string | null;
    /** PLAIN only: on whose behalf, and who. */
    readonly authzid?: string;
    readonly authcid?: string;
  }

  /** An error's `responseCode` is the SMTP code of the reply, its message the text. */
  export type Done = (error?: Error | null) => void;

  export interface Options {
    name?: string;
    size?: number;
    key?: string | Buffer;
    cert?: string | Buffer;
    minVersion?: 'TLSv1.2' | 'TLSv1.3';
    authMethods?: string[];
    authOptional?: boolean;
    allowInsecureAuth?: boolean;
    disabledCommands?: string[];
    hideENHANCEDSTATUSCODES?: boolean;
    disableReverseLookup?: boolean;
    heloResponse?: string;
    logger?: false;
    socketTimeout?: number;
    closeTimeout?: number;
    onConnect?(session: Session, done: Done): void;
    onAuth?(
      auth: Authentication,
      session: Session,
      done: (error?: Error | null, response?: { user?: unknown }) => void,
    ): void;
    onMailFrom?(address: Address, session: Session, done: Done): void;
    onRcptTo?(address: Address, session: Session, done: Done): void;
    onData?(stream: PassThrough, session: Session, done: (error: Error | null, text?: string) => void): void;
    onClose?(session: Session): void;
  }

  export class SMTPServer extends EventEmitter {
    constructor(options: Options);
    readonly server: Server;
    readonly connections: Set<SMTPConnection>;
    connect(socket: Socket, options?: object | null): void;
    close(closed: () => void): void;
    _expectsProxyHeader(socket: Socket): boolean;
  }
}

declare module 'smtp-server/lib/smtp-connection.js' {
  import type { EventEmitter } from 'node:events';
  import type { Socket } from 'node:net';
  import type { Session, SMTPServer } from 'smtp-server/lib/smtp-server.js';
  import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js';

  export class SMTPConnection extends EventEmitter {
    constructor(server: SMTPServer, socket: Socket, options?: object | null);
    readonly session: Session;
    init(): void;
    send(code: number, text?: string | string[] | null, context?: string | false): void;
    close(): void;
    handler_EHLO(command: Buffer, done: () => void): void;
    handler_AUTH(command: Buffer, done: () => void): void;
    _onCommand(command: Buffer, done?: () => void): void;
    _createParser(): SMTPStream;
    _proxyCommandAllowed(command: string, option: string): boolean;
    /** The TLS socket once there is one. */
    readonly _socket: Socket;
    readonly _originalRemoteAddress: string;
    readonly _xClient: ReadonlyMap<string, unknown>;
  }
}

declare module 'smtp-server/lib/smtp-stream.js' {
  import type { PassThrough, Writable } from 'node:stream';

  export class SMTPStream extends Writable {
    startDataMode(maxBytes?: number): PassThrough;
    continue(): void;
    /** What to do once the reply to a mail is out; true when the reply came first. */
    _continueCallback: (() => void) | boolean;
    _dataStream: PassThrough | null;
    _countDataBytes(count: number): void;
    _feedDataStream(chunk: Buffer, done: (error?: Error | null) => void): void;
    _endDataMode(last: Buffer | false, rest: Buffer, done: (error?: Error | null) => void): void;
  }
}
