import { RE2JS } from 're2js';
import { z } from 'zod';
import { extractSchema } from '../content/extract/definition.js';
import { schemaProblem } from '../content/schema.js';
import { isReservedName } from '../delivery/wire.js';
import { type MaybePolicy, maybeSchema } from './maybe.js';

/** Names of tenants, sources and targets: they appear in URLs, queue names and ids. */
export const nameSchema = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9-]{0,62}$/,
    'lower-case letters, digits and hyphens, at most 63, beginning with a letter or digit',
  );

const jsonPointer = z
  .string()
  .regex(/^(\/([^~/]|~[01])*)*$/, 'a JSON pointer such as /data/customer')
  .max(256);
const headerName = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'a header name');
const secrets = z
  .array(z.string().min(8).max(512))
  .min(1)
  .max(2)
  .describe('One secret, or two during a rotation: both verify.');
/** Linear in the length of the subject, whatever the pattern: senders choose subjects. */
const subjectPattern = z
  .string()
  .min(1)
  .max(500)
  .refine(isExpression, 'a regular expression in RE2 syntax, such as \\[(\\w+)\\]');

function isExpression(pattern: string): boolean {
  try {
    RE2JS.compile(pattern);
    return true;
  } catch {
    return false;
  }
}

export const mailSourceSchema = z.strictObject({
  kind: z.literal('mail'),
  addresses: z
    .array(
      z.string().regex(/^[^@\s]{0,64}@[A-Za-z0-9.-]{1,253}$/, 'an address such as orders@example.com or @example.com'),
    )
    .min(1)
    .max(1000)
    .describe(
      'What it receives for: `orders@example.com`, or `@example.com` for a whole domain. The exact address wins over its domain.',
    ),
  account: z
    .discriminatedUnion('from', [
      z.strictObject({ from: z.literal('recipient') }).describe('The address it was sent to.'),
      z.strictObject({ from: z.literal('sender') }).describe('The envelope sender.'),
      z.strictObject({ from: z.literal('header'), header: headerName.describe('Name of the header field.') }),
      z.strictObject({
        from: z.literal('subject'),
        pattern: subjectPattern.describe(
          'RE2 expression on the subject; its first capture group is the account, or the whole match where it has none.',
        ),
      }),
    ])
    .default({ from: 'recipient' })
    .describe('Whom a mail concerns.'),
  extract: extractSchema,
});

/** JSON Schema for the data of what a source takes: what does not fit is left out, and the rest goes on. */
const dataSchema = z
  .record(z.string(), z.unknown())
  .refine((schema) => JSON.stringify(schema).length <= 65_536, 'at most 64 kB')
  .refine((schema) => schemaProblem(schema) === null, {
    error: ({ input }) => `not a JSON Schema: ${schemaProblem(input as object)}`,
  })
  .optional()
  .describe(
    'JSON Schema (2020-12) of the data. Fields that do not fit are left out, each with a defect; the rest goes on at the rung `schema`.',
  );

const maybe = maybeSchema
  .optional()
  .describe(
    'What a "maybe seen" of the filters costs: see [billing](billing.md#maybe). Without it each is looked up. Needs `value`.',
  );

/** A policy goes by the value, so that its place must be named. */
function hasValueFor({
  maybe,
  value,
}: {
  readonly maybe?: MaybePolicy | undefined;
  readonly value?: unknown;
}): boolean {
  return maybe === undefined || value !== undefined;
}
const WITHOUT_VALUE = {
  path: ['maybe'],
  message: 'left out, or stand beside `value`, which says where the number is',
};

/** What joins messages of a source to one conversation. Mails have their own ids. */
const thread = z
  .string()
  .regex(/^(account|(\/([^~/]|~[01])*)+)$/, '`account`, or a JSON pointer such as /data/order')
  .max(256)
  .optional()
  .describe(
    'What joins messages to one conversation: `account`, or a JSON pointer to a key (of an event in the event itself, as in /data/order; else in the body). Without it each stands alone.',
  );

export const webhookSourceSchema = z
  .strictObject({
    kind: z.literal('webhook'),
    schema: dataSchema,
    thread,
    extract: extractSchema,
    maybe,
    verify: z
      .discriminatedUnion('scheme', [
        z.strictObject({ scheme: z.literal('standard'), secrets }).describe('Standard Webhooks signatures.'),
        z.strictObject({ scheme: z.literal('github'), secrets }).describe("GitHub's `X-Hub-Signature-256`."),
        z.strictObject({ scheme: z.literal('stripe'), secrets }).describe("Stripe's `Stripe-Signature`."),
        z
          .strictObject({
            scheme: z.literal('hmac'),
            secrets,
            header: headerName.describe('Header that holds the signature.'),
            algorithm: z.enum(['sha256', 'sha512', 'sha1']).default('sha256').describe('Hash of the HMAC.'),
            encoding: z.enum(['hex', 'base64']).default('hex').describe('How the signature is written.'),
            prefix: z.string().max(32).default('').describe('What stands before the signature, for example `sha256=`.'),
          })
          .describe('A plain HMAC over the raw body.'),
        z
          .strictObject({ scheme: z.literal('token') })
          .describe('The caller authenticates with a bearer token that may send to this source.'),
        z.strictObject({ scheme: z.literal('none') }).describe('Anyone who knows the address.'),
      ])
      .describe('How a delivery proves that it is genuine.'),
    toleranceSeconds: z.number().int().min(1).max(3600).default(300).describe('How far a signed time may be off.'),
    identity: z
      .discriminatedUnion('from', [
        z.strictObject({ from: z.literal('header'), header: headerName.describe('Name of the header field.') }),
        z.strictObject({ from: z.literal('pointer'), pointer: jsonPointer.describe('Place in the JSON body.') }),
        z.strictObject({ from: z.literal('body') }).describe('A hash of the whole body.'),
      ])
      .optional()
      .describe("What makes two deliveries the same; without it the scheme's own id, else every delivery is new."),
    account: jsonPointer
      .optional()
      .describe("JSON pointer to the account; without it, or where it finds nothing, the source's name."),
    type: z
      .discriminatedUnion('from', [
        z.strictObject({ from: z.literal('header'), header: headerName.describe('Name of the header field.') }),
        z.strictObject({ from: z.literal('pointer'), pointer: jsonPointer.describe('Place in the JSON body.') }),
      ])
      .optional()
      .describe("What names the type; GitHub's and Stripe's own are known."),
    value: jsonPointer.optional().describe('JSON pointer to the number a delivery is worth.'),
    handshakeToken: z
      .string()
      .min(1)
      .max(512)
      .optional()
      .describe("Token that Slack's and Meta's handshakes must name (Meta's `hub.verify_token`)."),
  })
  .refine(hasValueFor, WITHOUT_VALUE);

export const eventsSourceSchema = z
  .strictObject({
    kind: z.literal('events'),
    schema: dataSchema,
    thread,
    extract: extractSchema,
    maybe,
    value: jsonPointer
      .optional()
      .describe('JSON pointer within the event to the number it is worth, for example /data/amount.'),
    accepts: z
      .array(z.string().min(1).max(512))
      .max(100)
      .optional()
      .describe(
        'CloudEvents `source` values that belong to this feed (exact, or ending in `*`); without it, all that no other feed names.',
      ),
  })
  .refine(hasValueFor, WITHOUT_VALUE);

/** Of an AMQP message, where names are case-sensitive and may hold anything. */
const amqpHeader = z.string().min(1).max(255).describe('Name of the header, as its sender writes it.');
const headerOrPointer = z.discriminatedUnion('from', [
  z.strictObject({ from: z.literal('header'), header: amqpHeader }),
  z.strictObject({ from: z.literal('pointer'), pointer: jsonPointer.describe('Place in the JSON body.') }),
]);

export const amqpSourceSchema = z
  .strictObject({
    kind: z.literal('amqp'),
    schema: dataSchema,
    thread,
    extract: extractSchema,
    maybe,
    queue: z
      .string()
      .regex(/^[^\p{Cc}\p{Cs}]+$/u, 'a name without control characters')
      .refine((name) => Buffer.byteLength(name) <= 255, 'at most 255 bytes')
      .describe('The queue to consume, classic or quorum. It is yours: Waybill neither makes nor changes it.'),
    url: z
      .url({ protocol: /^amqps?$/ })
      .max(2048)
      .optional()
      .describe('A broker other than the one of `broker.url`: `amqp://user:password@host/vhost`. Secret.'),
    prefetch: z
      .number()
      .int()
      .min(1)
      .max(10_000)
      .default(1000)
      .describe('How many messages may be on their way to being stored at once.'),
    identity: z
      .discriminatedUnion('from', [
        z.strictObject({ from: z.literal('message-id') }).describe('The property `messageId`.'),
        z.strictObject({ from: z.literal('header'), header: amqpHeader }),
        z.strictObject({ from: z.literal('pointer'), pointer: jsonPointer.describe('Place in the JSON body.') }),
        z.strictObject({ from: z.literal('body') }).describe('A hash of the whole body.'),
        z
          .strictObject({ from: z.literal('none') })
          .describe('Every delivery is new: one that the broker repeats is counted again.'),
      ])
      .default({ from: 'message-id' })
      .describe('What makes two messages the same. One without it goes to the quarantine. CloudEvents have their own.'),
    account: headerOrPointer
      .optional()
      .describe("Where the account stands; without it, or where it finds nothing, the source's name."),
    value: headerOrPointer.optional().describe('Where the number stands that a message is worth.'),
  })
  .refine(({ url, queue }) => url !== undefined || !isReservedName(queue), {
    path: ['queue'],
    message: 'a name that does not begin with "waybill": those queues are Waybill\'s own',
  })
  .refine(hasValueFor, WITHOUT_VALUE);

export const sourceDefinitionSchema = z.discriminatedUnion('kind', [
  mailSourceSchema,
  webhookSourceSchema,
  eventsSourceSchema,
  amqpSourceSchema,
]);

export type MailSource = z.infer<typeof mailSourceSchema>;
export type WebhookSource = z.infer<typeof webhookSourceSchema>;
export type EventsSource = z.infer<typeof eventsSourceSchema>;
export type AmqpSource = z.infer<typeof amqpSourceSchema>;
export type SourceDefinition = z.infer<typeof sourceDefinitionSchema>;

/** A source as every process knows it. */
export interface Source<D extends SourceDefinition = SourceDefinition> {
  readonly id: number;
  readonly name: string;
  readonly tenant: import('../message/tenant.js').Tenant;
  readonly definition: D;
}

/** Finds sources; a snapshot that is replaced whole when configuration changes, so look it up anew for each message. */
export interface SourceDirectory {
  /** By address, exact before domain; the address is compared in lower case. Several tenants can't hold the same address. */
  mail(address: string): Source<MailSource> | undefined;
  webhook(tenant: string, source: string): Source<WebhookSource> | undefined;
  /** The feed of a tenant that takes events with this CloudEvents `source`. */
  events(tenant: string, cloudEventSource: string): Source<EventsSource> | undefined;
}
