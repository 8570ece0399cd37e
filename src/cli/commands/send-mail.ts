import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { createTransport } from 'nodemailer';
import { readClientFile } from '../client-file.js';
import type { Context } from '../context.js';
import { Failed, UsageError } from '../failure.js';
import { readInput, wholeOf } from '../input.js';
import { plain } from '../io.js';
import { hostAndPort, list } from '../options.js';
import { sampleMail } from '../samples.js';

interface Options {
  readonly from: string;
  readonly to?: string[];
  readonly smtp?: Server;
  readonly user?: string;
  readonly insecure?: true;
}

interface Server {
  readonly host: string;
  readonly port: number;
}

const DEFAULT_SERVER = '127.0.0.1:2525';
const DEFAULT_RECIPIENT = 'invoices@example.com';

export function addSendMail(send: Command, context: Context): void {
  send
    .command('mail')
    .description('send a mail over SMTP, byte for byte; without a file, a sample invoice')
    .argument('[file]', 'the mail with its header (RFC 5322); - is stdin')
    .option('--to <address>', `recipient, several times or with commas; ${DEFAULT_RECIPIENT} without it`, list)
    .option('--from <address>', 'sender of the envelope; "" is the null sender', 'sender@example.net')
    .option(
      '--smtp <host:port>',
      `where to; without it WAYBILL_SMTP, the Waybill started here, or ${DEFAULT_SERVER}`,
      hostAndPort,
    )
    .option('--user <name>', 'log in, with WAYBILL_TOKEN as the password')
    .option('--insecure', "don't check the server's certificate")
    .action((file: string | undefined, options: Options) => sendMail(context, file, options));
}

async function sendMail(context: Context, file: string | undefined, options: Options): Promise<void> {
  const to = options.to ?? [DEFAULT_RECIPIENT];
  const now = new Date(context.io.clock.now());
  const raw =
    file === undefined
      ? Buffer.from(sampleMail(randomUUID(), options.from, to, now))
      : await wholeOf(readInput(context.io, file));
  const sent = await submit(context, options, to, raw);
  await context.out.show(JSON.stringify(sent), () => report(sent));
  if (sent.refused.length > 0) {
    throw new Failed('recipients_refused', `${sent.refused.length} of ${to.length} recipients were refused.`);
  }
}

interface Sent {
  readonly accepted: readonly string[];
  readonly refused: readonly { readonly recipient: string; readonly answer: string }[];
  /** What the server said to the mail, with its ids: `250 2.0.0 Ok: queued as 7-10234`. */
  readonly answer: string;
}

/** A server that is up answers each command in a few seconds. */
const TIMEOUT_MS = 60_000;

async function submit(context: Context, options: Options, to: readonly string[], raw: Buffer): Promise<Sent> {
  const { host, port } = options.smtp ?? serverOf(context);
  const transport = createTransport({
    host,
    port,
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    tls: { rejectUnauthorized: !options.insecure },
    ...(options.user !== undefined && { auth: { user: options.user, pass: password(context) } }),
  });
  try {
    const info = await transport.sendMail({ envelope: { from: options.from, to: [...to] }, raw });
    return { accepted: info.accepted.map(addressOf), refused: refusalsOf(info.rejectedErrors), answer: info.response };
  } catch (error) {
    throw explained(error, `${host}:${port}`);
  } finally {
    transport.close();
  }
}

function serverOf({ io }: Context): Server {
  if (!io.env.WAYBILL_SMTP) return hostAndPort(readClientFile(io)?.smtp ?? DEFAULT_SERVER);
  try {
    return hostAndPort(io.env.WAYBILL_SMTP);
  } catch (error) {
    throw new UsageError(`WAYBILL_SMTP: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function password({ io }: Context): string {
  if (io.env.WAYBILL_TOKEN) return io.env.WAYBILL_TOKEN;
  throw new UsageError('--user logs in with WAYBILL_TOKEN as the password: set it');
}

interface SmtpError extends Error {
  readonly code?: string;
  readonly response?: string;
  readonly recipient?: string;
  readonly rejectedErrors?: readonly Error[];
}

function addressOf(address: string | { readonly address: string }): string {
  return typeof address === 'string' ? address : address.address;
}

function refusalsOf(errors: readonly Error[] | undefined): Sent['refused'] {
  return (errors ?? []).map((error: SmtpError) => ({
    recipient: error.recipient ?? '',
    answer: error.response ?? error.message,
  }));
}

function explained(error: unknown, server: string): unknown {
  if (!(error instanceof Error)) return error;
  const { code, response, message, rejectedErrors } = error as SmtpError;
  const details = refusalsOf(rejectedErrors).map(refusalLine);
  if (response !== undefined) return new Failed('mail_refused', `${server} refused the mail: ${response}`, details);
  const hint =
    code === 'ESOCKET' || code === 'ECONNECTION' ? ' Is Waybill running there? See WAYBILL_SMTP and --smtp.' : '';
  return new Failed('unreachable', `The mail could not be given to ${server}: ${message}.${hint}`);
}

function report({ accepted, refused, answer }: Sent): string[] {
  return [`${accepted.join(', ')}: ${plain(answer)}`, ...refused.map(refusalLine)];
}

function refusalLine({ recipient, answer }: Sent['refused'][number]): string {
  return `${recipient} refused: ${plain(answer)}`;
}
