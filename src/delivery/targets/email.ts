import { createTransport } from 'nodemailer';
import type { Clock } from '../../message/clock.js';
import type { Outgoing, Sender, SendResult } from '../../message/delivery.js';
import { messageId } from '../../message/id.js';
import type { EmailTarget, Target } from '../target.js';
import { headerFields, wireType } from '../wire.js';
import {
  type Forwarder,
  foldedValue,
  forwardedMail,
  LOOP_FIELD,
  loopToken,
  mailMessageId,
  type NotForwarded,
} from './forward.js';
import { createOneByOne } from './one-by-one.js';

export interface EmailSenderDeps {
  readonly clock: Clock;
  /** Our host name, for EHLO and the fields we add. */
  readonly host: string;
  /** The installation's id, part of the loop control. */
  readonly installation: string;
}

/** A server that keeps sending something, but never an answer, is given up after so many of its time limits. */
const PATIENCE = 5;

/** Hands mails to the target's server, over connections that are kept. */
export function createEmailSender(target: Target<EmailTarget>, deps: EmailSenderDeps): Sender {
  const { definition } = target;
  const transport = createTransport(transportOptions(definition, deps.host));
  // Each mail's own failure comes with its promise; without a listener the same would end the process.
  transport.on('error', () => undefined);
  const by: Forwarder = { host: deps.host, loopToken: loopToken(deps.installation, target.tenant.name, target.name) };
  return createOneByOne({
    clock: deps.clock,
    width: definition.connections,
    whom: 'the server',
    prepare(outgoing) {
      if (outgoing.what === 'void') return NO_NOTICES;
      const mail = composed(outgoing, definition, by, deps.clock.now());
      if (typeof mail === 'string') return NOT_FORWARDED[mail];
      return () => trySend(() => transport.sendMail({ ...mail, signal: patience(definition) }));
    },
    isTrouble: (result) => result.result === 'retry' && result.code in SERVER_TROUBLE,
    end: () => transport.close(),
  });
}

const NO_NOTICES: SendResult = {
  result: 'refused',
  code: 'no_notices',
  reason: 'mail targets get no notices of void numbers',
};
const NOT_FORWARDED: Readonly<Record<NotForwarded, SendResult>> = {
  loop: { result: 'refused', code: 'loop', reason: 'this mail has been through this target before' },
  header_too_large: { result: 'refused', code: 'header_too_large', reason: 'its header is too large to be checked' },
};

function patience(definition: EmailTarget): AbortSignal {
  return AbortSignal.timeout(definition.timeoutSeconds * 1000 * PATIENCE);
}

function transportOptions(definition: EmailTarget, host: string) {
  const server = new URL(definition.server);
  const secure = server.protocol === 'smtps:';
  const timeoutMs = definition.timeoutSeconds * 1000;
  return {
    pool: true as const,
    host: server.hostname.replace(/^\[|\]$/g, ''),
    port: server.port === '' ? (secure ? 465 : 25) : Number(server.port),
    secure,
    ...(server.username !== '' && {
      auth: { user: decodeURIComponent(server.username), pass: decodeURIComponent(server.password) },
    }),
    name: host,
    maxConnections: definition.connections,
    // One more connection for a mail whose kept one had been closed; the schedule sees to the rest.
    maxRequeues: 1,
    dnsTimeout: timeoutMs,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    // Whatever the environment says about certificates.
    tls: { rejectUnauthorized: true },
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}

/** A mail goes on as it is, anything else as a new mail, and so does a portion of a mail. */
function composed(outgoing: Outgoing, definition: EmailTarget, by: Forwarder, now: number) {
  if (definition.body !== 'forward' || !outgoing.mail || outgoing.only) return newMail(outgoing, definition, by);
  const raw = forwardedMail(outgoing, outgoing.mail.raw, by, now);
  if (typeof raw === 'string') return raw;
  return { envelope: { ...envelope(outgoing.mail.sender, definition), use8BitMime: true }, raw };
}

/** What came with the null sender goes on with it, so that nothing it causes is ever answered. */
function newMail(outgoing: Outgoing, definition: EmailTarget, by: Forwarder) {
  const id = messageId(outgoing);
  const fields = [...headerFields(outgoing), [LOOP_FIELD, by.loopToken], ['Auto-Submitted', 'auto-generated']] as const;
  return {
    envelope: envelope(outgoing.mail?.sender === '' ? '' : definition.from, definition),
    from: definition.from,
    to: definition.to,
    subject: `Waybill ${id}${outgoing.type === null ? '' : `: ${oneLine(outgoing.type)}`}`,
    date: new Date(outgoing.receivedAt),
    messageId: `<${mailMessageId(outgoing, definition.from.slice(definition.from.lastIndexOf('@') + 1))}>`,
    headers: fields.map(([key, value]) => ({ key, value: { prepared: true, value: foldedValue(value) } })),
    text: summary(outgoing),
    attachments: [
      { filename: attachmentName(outgoing), contentType: outgoing.contentType, content: bufferOf(outgoing.body) },
    ],
  };
}

function envelope(from: string, definition: EmailTarget) {
  return { from: from === '' ? '' : { name: '', address: from }, to: definition.to };
}

function attachmentName(outgoing: Outgoing): string {
  const name = fileName(outgoing.only?.name ?? '');
  if (name !== '') return name;
  const extension = /json/.test(outgoing.contentType) ? 'json' : outgoing.mail && !outgoing.only ? 'eml' : 'bin';
  return `${messageId(outgoing)}.${extension}`;
}

/** A name that its sender chose, without the folders and signs that mean something where a file is saved. */
function fileName(name: string): string {
  const plain = oneLine(name)
    .toWellFormed()
    .replace(/[\\/:*?"<>|]+/g, '_');
  return plain
    .replace(/^[.\s]+/, '')
    .slice(0, LONGEST_NAME)
    .trim();
}

const LONGEST_NAME = 150;

/** What a reader wants to know without opening the attachment. */
function summary(outgoing: Outgoing): string {
  const lines: (readonly [string, string | null])[] = [
    ['Message', messageId(outgoing)],
    ['Tenant', outgoing.tenant],
    ['Source', outgoing.source],
    ['Account', outgoing.account],
    ['Type', wireType(outgoing)],
    ['Received', new Date(outgoing.receivedAt).toISOString()],
    ['Decided by', outgoing.decision],
    ['Portion', outgoing.only?.text ?? null],
    ['Defects', outgoing.defects.length === 0 ? null : [...new Set(outgoing.defects)].join(', ')],
  ];
  const told = lines.flatMap(([name, value]) => (value === null ? [] : [`${name}: ${oneLine(value)}`]));
  const attached = outgoing.only ? 'That portion of the message' : 'The message itself';
  return `${told.join('\n')}\n\n${attached} is attached.\n`;
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ');
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** What nodemailer says of an attempt that succeeded, and of one that failed. */
interface Sent {
  readonly response: string;
  readonly rejected: readonly unknown[];
  readonly rejectedErrors?: readonly Error[] | undefined;
}
interface SmtpFailure extends Error {
  readonly code?: string;
  readonly responseCode?: number;
  readonly response?: string;
  readonly command?: string;
}

async function trySend(attempt: () => Promise<Sent>): Promise<SendResult> {
  try {
    return { result: 'delivered', answer: answerOf(await attempt()) };
  } catch (error) {
    return failureResult(error as SmtpFailure);
  }
}

/** Some recipients may have been refused while others took it: it can't be sent again for those alone, so it is told. */
function answerOf(sent: Sent): string {
  const refused = (sent.rejectedErrors ?? []).map((error) => error.message);
  return cut([sent.response, ...refused].join('\n'));
}

/** Most of an answer that is kept, characters. */
const KEPT = 2_048;

function cut(text: string): string {
  return text.replaceAll('\0', '').slice(0, KEPT);
}

/** Codes of failures that say something about the server rather than about the mail. */
const SERVER_TROUBLE: Readonly<Record<string, true>> = { network: true, timeout: true };

/** The server wants a login, or another one (RFC 4954); it takes no mail at all (RFC 7504). */
const PAUSING: ReadonlySet<number> = new Set([521, 530, 534, 535, 538]);
/** Commands before a mail's own: what is refused there is refused to every mail. */
const SESSION = /^(?:CONN|EHLO|HELO|STARTTLS|AUTH)/;
/** "Bad sequence": the session was at fault, not the mail. */
const BAD_SEQUENCE = 503;

function failureResult(error: SmtpFailure): SendResult {
  const { responseCode } = error;
  const told = { reason: cut(error.message), ...(error.response !== undefined && { answer: cut(error.response) }) };
  if (responseCode === undefined) return unansweredResult(error, told.reason);
  const code = `smtp_${responseCode}`;
  if (responseCode >= 500 && responseCode !== BAD_SEQUENCE) {
    const wholeTarget = PAUSING.has(responseCode) || SESSION.test(error.command ?? '');
    return { result: wholeTarget ? 'pause' : 'refused', code, ...told };
  }
  return { result: 'retry', code, ...told };
}

/** nodemailer's own codes, where the server said nothing. */
function unansweredResult(error: SmtpFailure, reason: string): SendResult {
  switch (error.code) {
    case 'EAUTH':
    case 'ENOAUTH':
      return { result: 'pause', code: 'smtp_auth', reason };
    case 'EENVELOPE':
    case 'EMESSAGE':
      return { result: 'refused', code: error.code === 'EENVELOPE' ? 'envelope_invalid' : 'too_large', reason };
    case 'ETIMEDOUT':
    case 'EABORT':
      return { result: 'retry', code: 'timeout', reason };
    default:
      return { result: 'retry', code: 'network', reason };
  }
}
