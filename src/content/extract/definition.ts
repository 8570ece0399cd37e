import { RE2JS } from 're2js';
import { z } from 'zod';

/** The types everybody means the same by. Others are the user's own. */
export const KNOWN_TYPES = ['phone', 'email', 'address', 'amount', 'date', 'order-number', 'name'] as const;

/** What a source's definition may ask for. */
const MOST_EXTRACTORS = 32;
const MOST_LABELS = 100;
const MOST_PATTERN = 500;
/** Instructions of a compiled expression: its time is in proportion to them and to the text. */
const MOST_PROGRAM = 1_000;

export const foundTypeSchema = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, 'a type such as order-number: lower-case letters, digits and hyphens');

const type = foundTypeSchema.describe(
  'What it is: `phone`, `email`, `address`, `amount`, `date`, `order-number`, `name`, or a name of your own.',
);
const pointer = z
  .string()
  .regex(/^(\/([^~/]|~[01])*)*$/, 'a JSON pointer such as /data/order/id')
  .max(256);
const decimal = z
  .enum(['.', ','])
  .optional()
  .describe('Of amounts: the decimal sign there. Without it `1.234` could be two amounts, and is left as written.');

const expression = z
  .string()
  .min(1)
  .max(MOST_PATTERN)
  .refine(
    (pattern) => programSize(pattern) !== null,
    'a regular expression in RE2 syntax with a capture group, such as Order (\\d+)',
  )
  .refine(
    (pattern) => (programSize(pattern) ?? 0) <= MOST_PROGRAM,
    'a smaller expression: its repetitions are too many',
  );

function programSize(pattern: string): number | null {
  try {
    const compiled = RE2JS.compile(pattern);
    return compiled.groupCount() > 0 ? compiled.programSize() : null;
  } catch {
    return null;
  }
}

const extractorSchema = z.discriminatedUnion('from', [
  z.strictObject({
    from: z.literal('pointer'),
    type,
    pointer: pointer.describe(
      'Place in the JSON: of an event in the event itself, as in /data/order/id; of all else in its body. A list means each of its values.',
    ),
    currency: pointer.optional().describe('Of amounts: where their currency stands.'),
  }),
  z.strictObject({
    from: z.literal('header'),
    type,
    header: z
      .string()
      .regex(/^[!-9;-~]{1,64}$/, 'a header name')
      .describe('Name of the header field of a mail, a webhook or an AMQP message.'),
    decimal,
  }),
  z.strictObject({
    from: z.literal('expression'),
    type,
    pattern: expression.describe('RE2 expression; its first capture group is the value.'),
    in: z
      .array(z.enum(['subject', 'text']))
      .min(1)
      .max(2)
      .default(['subject', 'text'])
      .describe('Where it is looked for.'),
    decimal,
  }),
  z
    .strictObject({
      from: z.literal('lines'),
      labels: z
        .record(z.string().min(1).max(60), foundTypeSchema)
        .refine((labels) => Object.keys(labels).length <= MOST_LABELS, `a map of at most ${MOST_LABELS} labels`)
        .default({})
        .describe('More labels and the types of what stands after them, such as `Kundennr: customer-number`.'),
      decimal,
    })
    .describe('Lines `label: value` of the text, by the usual English and German labels.'),
  z.strictObject({ from: z.literal('calendar') }).describe('Dates, places and people of the calendars in a mail.'),
]);
export type ExtractorDefinition = z.infer<typeof extractorSchema>;

/** What a source looks for in its messages; nothing, where it does not say. */
export const extractSchema = z
  .array(extractorSchema)
  .max(MOST_EXTRACTORS)
  .optional()
  .describe('Structured data to be found in its messages, for `found.<type>` in rules and the `fields` of targets.');
