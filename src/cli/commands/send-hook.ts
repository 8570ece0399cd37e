import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { Context } from '../context.js';
import type { Result } from '../events.js';
import { Failed, UsageError } from '../failure.js';
import { readInput, wholeOf } from '../input.js';
import { plain } from '../io.js';
import { sampleHook } from '../samples.js';
import { deliveryHeaders, type Scheme } from '../sign.js';
import { verdictLine } from './send-event.js';

interface Options {
  readonly source: string;
  readonly tenant: string;
  readonly secret?: string;
  readonly secretFile?: string;
  readonly scheme?: Scheme['scheme'];
  readonly header?: string;
  readonly algorithm: 'sha256' | 'sha512' | 'sha1';
  readonly encoding: 'hex' | 'base64';
  readonly prefix: string;
  readonly id?: string;
  readonly contentType: string;
}

export function addSendHook(send: Command, context: Context): void {
  send
    .command('hook')
    .description("deliver a webhook, signed as its source expects; without a file, a sample web shop's order")
    .argument('[file]', 'where the body is; - is stdin')
    .option('--source <name>', 'the webhook source', 'shop')
    .option('--tenant <name>', 'whose source it is', 'default')
    .option('--secret <secret>', 'what to sign with; others on this machine can see it while the command runs')
    .option('--secret-file <file>', 'the file that holds what to sign with')
    .addOption(
      new Option('--scheme <scheme>', "how to sign; without it, as the source's definition says").choices([
        'standard',
        'github',
        'stripe',
        'hmac',
        'token',
        'none',
      ]),
    )
    .option('--header <name>', 'of scheme hmac: the header with the signature')
    .addOption(
      new Option('--algorithm <name>', 'of scheme hmac').choices(['sha256', 'sha512', 'sha1']).default('sha256'),
    )
    .addOption(new Option('--encoding <name>', 'of scheme hmac').choices(['hex', 'base64']).default('hex'))
    .option('--prefix <text>', 'of scheme hmac: what stands before the signature', '')
    .option('--id <id>', 'id of the delivery; a new one without it')
    .option('--content-type <type>', 'media type of the body', 'application/json')
    .action((file: string | undefined, options: Options) => sendHook(context, file, options));
}

async function sendHook(context: Context, file: string | undefined, options: Options): Promise<void> {
  const secret = readSecret(options);
  const scheme = await schemeOf(context, options, secret);
  const id = options.id ?? `sample-${randomUUID()}`;
  const body = file === undefined ? Buffer.from(sampleHook(id)) : await wholeOf(readInput(context.io, file));
  const path = `/v1/hooks/${encodeURIComponent(options.tenant)}/${encodeURIComponent(options.source)}`;
  const answer = await context.client().call<Omit<Result, 'index'>>(path, {
    method: 'POST',
    body: { bytes: body, type: options.contentType },
    headers: deliveryHeaders(scheme, secret, { id, sentAt: new Date(context.io.clock.now()), body }),
    withToken: scheme.scheme === 'token',
    accept: [422],
  });
  await context.out.show(answer.text, () => [plain(verdictLine(answer.body))]);
  if (answer.status === 422) throw new Failed('hook_refused', 'The webhook is not in.');
}

function readSecret({ secret, secretFile }: Options): string | undefined {
  if (secretFile === undefined) return secret;
  if (secret !== undefined) throw new UsageError('give either --secret or --secret-file');
  try {
    return readFileSync(secretFile, 'utf8').replace(/\r?\n$/, '');
  } catch {
    throw new Failed('input_unreadable', `${secretFile} can't be read.`);
  }
}

async function schemeOf(context: Context, options: Options, secret: string | undefined): Promise<Scheme> {
  if (options.scheme === 'hmac') return hmacScheme(options);
  if (options.scheme !== undefined) return { scheme: options.scheme };
  // Without a secret there is nothing to sign: the token may be all that the source asks for.
  return secret === undefined ? { scheme: 'token' } : schemeOfSource(context, options.source);
}

function hmacScheme({ header, algorithm, encoding, prefix }: Options): Scheme {
  if (header === undefined) throw new UsageError('--scheme hmac needs --header: the header with the signature');
  return { scheme: 'hmac', header, algorithm, encoding, prefix };
}

async function schemeOfSource(context: Context, source: string): Promise<Scheme> {
  const { body } = await context
    .client()
    .call<{ kind: string; definition: { verify?: Scheme } }>(`/v1/sources/${encodeURIComponent(source)}`);
  if (body.definition.verify) return body.definition.verify;
  throw new Failed('not_a_webhook', `The source "${source}" is of kind ${body.kind}, not a webhook.`);
}
