import { z } from 'zod';
import { nameSchema } from '../channel/source.js';
import { isPlainDecimal } from './exact.js';
import { isZone } from './zone.js';

/** JSON pointers begin at the event: `/data/amount`, `/subject`, an extension `/region`; of what is no event only `/data` is there. */
const pointer = z
  .string()
  .regex(/^(\/([^~/]|~[01])*)+$/, 'a JSON pointer such as /data/amount')
  .max(256);
const decimal = z.string().refine(isPlainDecimal, 'a decimal in quotes, such as "0.002": at most 40 digits, 20 places');
const amount = decimal.refine((text) => !text.startsWith('-'), 'must not be negative');
const label = z
  .string()
  .regex(/^[\p{L}\p{N} %/_.*-]{1,32}$/u, 'letters, digits, spaces and any of % / _ . * -, at most 32');
const dimensionName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_-]{0,31}$/, 'a name such as region');
const dimensionValue = z.string().min(1).max(128);

export const AGGREGATIONS = ['count', 'sum', 'max', 'min', 'last', 'unique'] as const;
export type Aggregation = (typeof AGGREGATIONS)[number];

export const meterSchema = z
  .strictObject({
    type: z.string().min(1).max(512).describe('The events it counts, by type; `*` stands for any run of characters.'),
    source: nameSchema.optional().describe('Only what came by this source.'),
    aggregation: z.enum(AGGREGATIONS).describe('What a period comes to.'),
    value: pointer.optional().describe('Where the value stands, as a JSON pointer into the event: `/data/amount`.'),
    unit: label.optional().describe('What is counted: GB, call, seat.'),
    unitFrom: pointer
      .optional()
      .describe('Where the event names its unit; one that names another is not counted (`unit_wrong`).'),
    dimensions: z
      .record(dimensionName, pointer)
      .refine((map) => Object.keys(map).length <= 8, 'at most 8 dimensions')
      .prefault({})
      .describe('What to tell usage apart by, at most 8: a name, and where its value stands.'),
    filter: z
      .record(pointer, z.union([z.string().max(512), z.array(z.string().max(512)).min(1).max(100)]))
      .refine((map) => Object.keys(map).length <= 16, 'at most 16 conditions')
      .prefault({})
      .describe('Only events with one of these values at each of these places.'),
    late: z
      .enum(['adjust', 'quarantine'])
      .default('adjust')
      .describe(
        'What becomes of an event of a period that is final: a line in the next statement, or held for a person.',
      ),
  })
  .superRefine((meter, context) => {
    const counts = meter.aggregation === 'count';
    if (counts && meter.value !== undefined)
      context.addIssue({ code: 'custom', path: ['value'], message: 'a count looks at no value; leave it out' });
    if (!counts && meter.value === undefined)
      context.addIssue({ code: 'custom', path: ['value'], message: `"${meter.aggregation}" needs to know where` });
    if (meter.unitFrom !== undefined && meter.unit === undefined)
      context.addIssue({ code: 'custom', path: ['unit'], message: 'must be said, to compare with' });
  });
export type MeterDefinition = z.output<typeof meterSchema>;

const tier = z.strictObject({
  upTo: amount
    .nullable()
    .default(null)
    .describe('The last quantity that belongs to it; null, or nothing, for the last tier.'),
  price: amount.describe('Of each unit in it.'),
  flat: amount.optional().describe('Once, where anything falls into it.'),
});
const tiers = z
  .array(tier)
  .min(1)
  .max(50)
  .describe('What is below the first bound, between it and the next one, and so on.')
  .superRefine((all, context) => {
    all.forEach(({ upTo }, i) => {
      const before = i === 0 ? '0' : (all[i - 1]?.upTo ?? null);
      const last = i === all.length - 1;
      if (last !== (upTo === null))
        context.addIssue({ code: 'custom', path: [i, 'upTo'], message: 'is null in the last tier, and there alone' });
      else if (upTo !== null && before !== null && !isBelow(before, upTo))
        context.addIssue({ code: 'custom', path: [i, 'upTo'], message: `must be more than ${before}` });
    });
  });

/** Compares two plain decimals that are not negative. */
function isBelow(a: string, b: string): boolean {
  const [wholeA = '', fractionA = ''] = a.split('.');
  const [wholeB = '', fractionB = ''] = b.split('.');
  const places = Math.max(fractionA.length, fractionB.length);
  return BigInt(wholeA + fractionA.padEnd(places, '0')) < BigInt(wholeB + fractionB.padEnd(places, '0'));
}

const metered = {
  meter: nameSchema.describe('Whose usage it prices.'),
  where: z
    .record(dimensionName, dimensionValue)
    .optional()
    .describe('Only usage with these values; the first price that fits a usage takes it.'),
  per: z.array(dimensionName).max(8).optional().describe('A line, with tiers of its own, for each value of these.'),
  free: amount.optional().describe('So much of it costs nothing.'),
};

export const priceSchema = z.discriminatedUnion('model', [
  z.strictObject({ model: z.literal('per_unit'), ...metered, price: decimal.describe('Of each unit.') }),
  z
    .strictObject({ model: z.literal('graduated'), ...metered, tiers })
    .describe('Each unit at the price of the tier it falls into.'),
  z
    .strictObject({ model: z.literal('volume'), ...metered, tiers })
    .describe('All units at the price of the tier the last one falls into.'),
  z
    .strictObject({
      model: z.literal('flat'),
      name: label.describe('What statements call it.'),
      amount: decimal.describe('Of a whole period.'),
    })
    .describe('A fee for the period.'),
]);
export type Price = z.output<typeof priceSchema>;
export type MeteredPrice = Exclude<Price, { model: 'flat' }>;

const date = z
  .string()
  .regex(/^(19[7-9]\d|2\d{3})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/, 'a date such as 2026-01-31')
  .refine(isDate, 'no such day');

function isDate(text: string): boolean {
  const at = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(text);
}

const ROUNDINGS = ['half_even', 'half_up', 'up', 'down'] as const;

export const rateCardSchema = z
  .strictObject({
    currency: z
      .string()
      .regex(/^[A-Z]{3}$/, 'three capitals, such as EUR')
      .describe('Of all its prices: three capitals.'),
    rounding: z
      .strictObject({
        digits: z.int().min(0).max(12).default(2).describe('Places after the point.'),
        mode: z.enum(ROUNDINGS).default('half_even').describe('What becomes of half a unit, or of any part of one.'),
      })
      .prefault({})
      .describe('How each line is rounded, once; the total is the sum of the lines.'),
    versions: z
      .array(
        z.strictObject({
          from: date.describe('A date, in the zone of the subscription.'),
          prices: z.array(priceSchema).max(500).describe('Usage goes to the first that fits it.'),
        }),
      )
      .min(1)
      .max(200)
      .describe('Prices by the day they hold from, the first day first.'),
  })
  .superRefine(({ versions }, context) => {
    versions.forEach(({ from }, i) => {
      const before = versions[i - 1];
      if (before && before.from >= from)
        context.addIssue({ code: 'custom', path: ['versions', i, 'from'], message: `must be after ${before.from}` });
    });
  });
export type RateCard = z.output<typeof rateCardSchema>;

export const subscriptionSchema = z
  .strictObject({
    account: z.string().min(1).max(512).describe('Whose it is. Two of one account may not overlap.'),
    rateCard: nameSchema.describe('What its usage costs.'),
    currency: z
      .string()
      .regex(/^[A-Z]{3}$/, 'three capitals, such as EUR')
      .describe('That of its rate card, and of all its subscriptions.'),
    zone: z
      .string()
      .refine(isZone, 'a time zone such as Europe/Berlin')
      .default('UTC')
      .describe('The time zone that its days and months are of.'),
    period: z.enum(['month', 'day']).default('month').describe('What a statement is of.'),
    from: date.describe('First day, in its zone.'),
    until: date.optional().describe('The first day that is not part of it any more.'),
    graceHours: z
      .int()
      .min(0)
      .max(24 * 60)
      .default(24)
      .describe('How long a period stays open after its end.'),
    target: nameSchema.optional().describe('The target that gets each final statement, and notices of thresholds.'),
    thresholds: z
      .array(
        z.strictObject({
          meter: nameSchema.describe('Whose usage is looked at.'),
          of: amount
            .refine((text) => !/^[0.]+$/.test(text), 'must be more than 0')
            .describe('The quantity that is 100 %.'),
          percent: z.array(z.int().min(1).max(1000)).min(1).max(10).describe('At how much of it to say so.'),
        }),
      )
      .max(50)
      .default([])
      .describe('When to say that much of something has been used.'),
  })
  .refine(({ from, until }) => until === undefined || from < until, {
    path: ['until'],
    message: 'must be after its first day',
  });
export type Subscription = z.output<typeof subscriptionSchema>;

export const BILLING_KINDS = ['meter', 'rate-card', 'subscription'] as const;
export type BillingKind = (typeof BILLING_KINDS)[number];
export type BillingDefinition = MeterDefinition | RateCard | Subscription;

/** Two subscriptions of one account that hold on the same day. */
export function overlapping(
  a: Pick<Subscription, 'account' | 'from' | 'until'>,
  b: Pick<Subscription, 'account' | 'from' | 'until'>,
): boolean {
  return (
    a.account === b.account &&
    (b.until === undefined || a.from < b.until) &&
    (a.until === undefined || b.from < a.until)
  );
}
