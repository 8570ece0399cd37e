import { z } from 'zod';
import { deliveryId, messageId } from '../src/message/id.js';
import type { Portion } from '../src/message/portion.js';
import type { DecisionEntry } from '../src/storage/decisions.js';
import type { DeliveryEntry } from '../src/storage/deliveries-read.js';
import type { MessageSummary } from '../src/storage/messages.js';
import { timeOut } from './fields.js';

/* Messages, decisions and deliveries as they are given out, wherever they are. */

export const MESSAGE_STATES = ['accepted', 'routed', 'waiting', 'snoozed', 'closed', 'parked', 'quarantined'] as const;

export const summarySchema = z.object({
  id: z.string(),
  channel: z.int(),
  sequence: z.int(),
  source: z.string(),
  kind: z.enum(['mail', 'event', 'webhook', 'amqp']),
  account: z.string(),
  type: z.string().nullable(),
  value: z.string().nullable().meta({ description: 'A number as it was written' }),
  externalId: z.string().nullable(),
  time: z.string().nullable().meta({ description: 'When it happened, as the message says' }),
  received: timeOut,
  size: z.int().meta({ description: 'Bytes as they came' }),
  state: z.enum(MESSAGE_STATES),
  version: z
    .int()
    .meta({ description: 'Of the last decision; 0 while it is not planned. Decisions name the one they saw' }),
  since: timeOut.nullable(),
  snoozedUntil: timeOut.nullable(),
  reason: z.string().nullable(),
  subject: z.string().nullable(),
  from: z.array(z.object({ name: z.string(), address: z.string() })),
  rung: z.int().nullable(),
  defects: z.int(),
});

/** A message as lists give it out. */
export function summaryEntry(one: MessageSummary): z.input<typeof summarySchema> {
  return {
    ...one,
    id: messageId(one),
    from: [...one.from],
    received: one.received.toISOString(),
    since: one.since?.toISOString() ?? null,
    snoozedUntil: one.snoozedUntil?.toISOString() ?? null,
  };
}

const portionSchema = z
  .object({ part: z.int().optional(), fields: z.array(z.string()).optional() })
  .nullable()
  .meta({
    description: 'Only this of the message: an attachment by its number, found data by its types; null for all',
  });

export const decisionSchema = z.object({
  message: z.string(),
  version: z.int(),
  action: z.string(),
  who: z.string(),
  targets: z.array(z.string()),
  portion: portionSchema,
  reason: z.string().nullable(),
  until: timeOut.nullable(),
  decidedAt: timeOut,
  holdUntil: timeOut.meta({ description: 'Not carried out before' }),
});

/** A decision as it is given out; `names` are the targets' by id. */
export function decisionEntry(one: DecisionEntry, names: ReadonlyMap<number, string>): z.infer<typeof decisionSchema> {
  return {
    message: messageId(one),
    version: one.version,
    action: one.action,
    who: one.who,
    targets: one.targets.map((id) => names.get(id) ?? String(id)),
    portion: portionOut(one.portion),
    reason: one.reason,
    until: one.until?.toISOString() ?? null,
    decidedAt: one.decidedAt.toISOString(),
    holdUntil: one.holdUntil.toISOString(),
  };
}

function portionOut(portion: Portion | null): z.infer<typeof portionSchema> {
  if (portion === null) return null;
  const { part, fields } = portion;
  return { ...(part !== undefined && { part }), ...(fields && { fields: [...fields] }) };
}

export const DELIVERY_STATES = ['pending', 'delivered', 'failed', 'cancelled'] as const;

export const deliverySchema = z.object({
  id: z.string().meta({ description: '`<epoch>.<target>.<channel>-<number>`' }),
  target: z.string(),
  message: z.string(),
  epoch: z.int(),
  channel: z.int(),
  number: z.int().meta({ description: 'Gap-free from 1 per epoch, target and channel' }),
  state: z.enum(DELIVERY_STATES),
  void: z
    .enum(['due', 'taken', 'refused'])
    .nullable()
    .meta({ description: 'Of the notice that this number carries no message' }),
  rung: z.int(),
  decision: z.string(),
  late: z.boolean(),
  replay: z.boolean(),
  portion: portionSchema,
  attempts: z.int(),
  code: z.string().nullable(),
  reason: z.string().nullable(),
  created: timeOut,
  next: timeOut.nullable().meta({ description: 'When it is tried next' }),
  settled: timeOut.nullable(),
});

/** A delivery as it is given out. */
export function deliveryEntry({
  targetId: _,
  sequence: __,
  stored: ___,
  ...one
}: DeliveryEntry): z.infer<typeof deliverySchema> {
  return {
    ...one,
    id: deliveryId(one),
    portion: portionOut(one.portion),
    created: one.created.toISOString(),
    next: one.next?.toISOString() ?? null,
    settled: one.settled?.toISOString() ?? null,
  };
}
