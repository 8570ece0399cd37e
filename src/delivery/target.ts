import { z } from 'zod';
import { nameSchema } from '../channel/source.js';
import { foundTypeSchema } from '../content/extract/definition.js';
import { fieldClash, isFieldPath, MOST_FIELDS } from './fields.js';
import { isReservedName } from './wire.js';

const body = z
  .enum(['message', 'raw', 'data'])
  .default('message')
  .describe('What it gets: the canonical message, the raw bytes as they came, or the data alone.');
const order = z
  .enum(['channel', 'none'])
  .describe('`channel`: later ones line up behind a pending one of the same channel. `none`: each on its own.');
const lineUp = order.default('channel').describe(order.description ?? '');
const eachOnItsOwn = order.default('none').describe(order.description ?? '');
const inlineParts = z
  .boolean()
  .default(false)
  .describe('Whether the canonical message holds the content of parts up to 64 kB each, instead of links alone.');
const fieldPath = z
  .string()
  .refine(isFieldPath, 'names joined by dots, such as total.gross: letters, digits, hyphens and underscores');
const fields = z
  .record(foundTypeSchema, fieldPath)
  .superRefine((map, context) => {
    const clash = fieldClash(map);
    if (clash) context.addIssue({ code: 'custom', path: [clash.type], message: clash.why });
    if (Object.keys(map).length > MOST_FIELDS)
      context.addIssue({ code: 'custom', message: `a map of at most ${MOST_FIELDS} types` });
  })
  .optional()
  .describe(
    'The types of found data it knows, each with its own name for it: `order-number: orderId`, `amount: total.gross`. With them its bodies carry `fields`, and `data` is these alone.',
  );
const automatic = z
  .strictObject({
    threshold: z
      .number()
      .multipleOf(0.01)
      .min(0.01)
      .max(0.99)
      .describe('The probability that must be exceeded, in hundredths; equal is not exceeded.'),
    decisions: z
      .int()
      .min(10)
      .max(10_000)
      .default(20)
      .describe('How many decisions must have been learnt from before anything is sent by probability.'),
  })
  .optional()
  .describe(
    'It also gets what no rule matches and people would probably send it, by what they decided before. Without this it never does.',
  );
const threads = z
  .enum(['changes'])
  .optional()
  .describe(
    '`changes`: of a message in a conversation it gets only what is new to it: the types of found data that were updated, as a portion; where none was, all of it, or nothing where it says the same again. Without it, whole messages.',
  );
const mailAddress = z.string().regex(/^[^@\s<>]{1,64}@[A-Za-z0-9.-]{1,253}$/, 'an address');

/** A name on the broker that is not one of Waybill's own, which lead to other tenants' queues. */
const brokerName = z
  .string()
  .min(1)
  .max(255)
  .refine((name) => !isReservedName(name), 'a name that does not begin with "waybill"');

export const queueTargetSchema = z.strictObject({
  kind: z.literal('queue'),
  body,
  inlineParts,
  fields,
  threads,
  order: lineUp,
  automatic,
  exchange: brokerName
    .optional()
    .describe(
      "An existing exchange instead of Waybill's own, which is `waybill` with the queue `waybill.<tenant>.<target>`.",
    ),
  routingKey: z.string().max(255).optional().describe('Routing key for `exchange`.'),
  queue: brokerName.optional().describe("An existing queue instead of Waybill's own."),
});

export const pullTargetSchema = z.strictObject({
  kind: z.literal('pull'),
  body,
  inlineParts,
  fields,
  threads,
  order: lineUp,
  automatic,
  leaseSeconds: z
    .number()
    .int()
    .min(1)
    .max(43_200)
    .default(60)
    .describe('How long a consumer may hold what it pulled before it is given out again.'),
});

export const webhookTargetSchema = z.strictObject({
  kind: z.literal('webhook'),
  body,
  inlineParts,
  fields,
  threads,
  order: eachOnItsOwn,
  automatic,
  url: z
    .url({ protocol: /^https?$/ })
    .max(2048)
    .describe('Where deliveries are posted.'),
  secrets: z
    .array(z.string().min(8).max(512))
    .max(2)
    .default([])
    .describe(
      'Standard Webhooks secrets (`whsec_…`): one signs, during a rotation both do. Without one nothing is signed.',
    ),
  headers: z
    .record(z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'a header name'), z.string().max(2048))
    .default({})
    .describe('Header fields sent with each delivery, by name.'),
  timeoutSeconds: z.number().min(0.1).max(60).default(15).describe('How long one try may take.'),
  concurrency: z.number().int().min(1).max(64).default(8).describe('How many deliveries may be under way at once.'),
  allowPrivateAddresses: z
    .boolean()
    .default(false)
    .describe(
      'Private, loopback and link-local addresses are refused unless this is true, whatever a name resolves to.',
    ),
});

export const emailTargetSchema = z.strictObject({
  kind: z.literal('email'),
  body: z
    .enum(['forward', 'message', 'data'])
    .default('forward')
    .describe(
      '`forward`: the mail itself, with its own headers. `message`, `data`: a new mail with the body attached.',
    ),
  inlineParts,
  fields,
  threads,
  order: eachOnItsOwn,
  automatic,
  to: z.array(mailAddress).min(1).max(50).describe('Who gets it.'),
  from: mailAddress.describe('Envelope sender, and From of new mails.'),
  server: z
    .string()
    .regex(/^smtps?:\/\/\S+$/, 'smtp://host:port or smtps://host:port')
    .max(1024)
    .describe('`smtp://user:password@host:port` or `smtps://…`.'),
  connections: z.number().int().min(1).max(32).default(4).describe('How many connections are kept open at most.'),
  timeoutSeconds: z.number().min(0.1).max(300).default(30).describe('How long one try may take.'),
});

export const targetDefinitionSchema = z.discriminatedUnion('kind', [
  queueTargetSchema,
  pullTargetSchema,
  webhookTargetSchema,
  emailTargetSchema,
]);

export type QueueTarget = z.infer<typeof queueTargetSchema>;
export type PullTarget = z.infer<typeof pullTargetSchema>;
export type WebhookTarget = z.infer<typeof webhookTargetSchema>;
export type EmailTarget = z.infer<typeof emailTargetSchema>;
export type TargetDefinition = z.infer<typeof targetDefinitionSchema>;
export const targetNameSchema = nameSchema;

/** A target as every process knows it. */
export interface Target<D extends TargetDefinition = TargetDefinition> {
  readonly id: number;
  readonly name: string;
  readonly tenant: import('../message/tenant.js').Tenant;
  readonly definition: D;
  /** Paused: by whom and why; null when it runs. */
  readonly paused: { readonly by: string; readonly code: string; readonly reason: string } | null;
}
