import type { IncomingHttpHeaders } from 'node:http';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { type DeliveryKey, parseMessageId } from '../src/message/id.js';
import {
  attemptsOf,
  type DeliveryEntry,
  type DeliveryMark,
  deliveriesOfMessage,
  findDelivery,
  listDeliveries,
} from '../src/storage/deliveries-read.js';
import { idsByName } from '../src/storage/names.js';
import { positionsSchema, readCursor, writeCursor, writePositions } from './cursor.js';
import { type DecisionDeps, type DecisionMade, decideAbout, decisionReply } from './decisions.js';
import { DELIVERY_STATES, decisionSchema, deliveryEntry, deliverySchema } from './entries.js';
import { cursorSchema, deliveryParams, limitSchema, pageOf, text, timeOut, timeSchema } from './fields.js';
import { caller, notFound, unknownName } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';

const attemptSchema = z.object({
  attempt: z.int(),
  what: z.enum(['message', 'void']),
  started: timeOut,
  tookMs: z.int(),
  result: z.enum(['delivered', 'retry', 'refused', 'pause', 'interrupted']),
  code: z.string().nullable(),
  reason: z.string().nullable(),
  answer: z.string().nullable().meta({ description: 'What the target said, at most 2 kB' }),
});

const listQuery = z.strictObject({
  state: z.enum(DELIVERY_STATES).optional(),
  target: text(63).optional(),
  message: text(40)
    .optional()
    .meta({ description: 'All of one message; nothing else may be asked with it', example: '7-10234' }),
  after: timeSchema.optional(),
  before: timeSchema.optional(),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
});
export type DeliveryQuery = z.infer<typeof listQuery>;

export function deliveryRoutes(deps: DecisionDeps): Route[] {
  const { pool } = deps;
  return [
    {
      method: 'get',
      path: '/v1/deliveries',
      permission: 'deliveries.read',
      summary: 'Deliveries, newest first',
      query: listQuery,
      replies: {
        200: { description: 'A page', schema: pageOf(deliverySchema) },
        422: { description: 'No such target' },
      },
      handler: async ({ principal, query }: ApiRequest<unknown, DeliveryQuery>) => {
        const { deliveries, next } = await deliveryPage(pool, caller(principal), query);
        return { status: 200, body: { items: deliveries.map(deliveryEntry), next } };
      },
    },
    {
      method: 'get',
      path: '/v1/deliveries/:id/attempts',
      permission: 'deliveries.read',
      summary: 'One delivery and its tries; one that went out at once and was confirmed has none written down',
      params: deliveryParams,
      replies: {
        200: {
          description: 'The tries',
          schema: z.object({ delivery: deliverySchema, items: z.array(attemptSchema) }),
        },
      },
      handler: async ({ principal, params }: ApiRequest<{ id: DeliveryKey }>) => {
        const delivery = await deliveryNamed(pool, caller(principal).tenant.id, params.id);
        const attempts = await attemptsOf(pool, caller(principal).tenant.id, delivery);
        return { status: 200, body: { delivery: deliveryEntry(delivery), items: attempts } };
      },
    },
    {
      method: 'post',
      path: '/v1/deliveries/:id/retry',
      permission: 'deliveries.retry',
      summary: 'Send the message to this target again, under a new number',
      params: deliveryParams,
      replies: {
        202: { description: 'Will be sent', schema: decisionSchema },
        409: { description: 'It is still being tried, or the target was removed' },
        410: { description: 'The content is gone' },
      },
      handler: async ({ principal, params, headers }: ApiRequest<{ id: DeliveryKey }>) =>
        decisionReply(await retryDelivery(deps, caller(principal), params.id, headers)),
    },
  ];
}

/** Has the message of a delivery sent to its target again. Throws Problem: 404, 409, 410. */
export async function retryDelivery(
  deps: DecisionDeps,
  by: Principal,
  key: DeliveryKey,
  headers: IncomingHttpHeaders,
): Promise<DecisionMade> {
  const delivery = await retryable(deps.pool, by.tenant.id, key);
  const place = { channel: delivery.channel, sequence: delivery.sequence };
  const { target, portion } = delivery;
  const wish = { action: 'replay' as const, version: null, targets: [target], portion, reason: 'retried' };
  return decideAbout(deps, by, place, wish, headers);
}

/** One delivery by its name. Throws Problem: 404. */
export async function deliveryNamed(pool: Pool, tenant: number, key: DeliveryKey): Promise<DeliveryEntry> {
  const delivery = await findDelivery(pool, tenant, key);
  if (!delivery) throw notFound('delivery');
  return delivery;
}

async function retryable(pool: Pool, tenant: number, key: DeliveryKey): Promise<DeliveryEntry> {
  const delivery = await deliveryNamed(pool, tenant, key);
  if (delivery.state === 'pending') {
    throw new Problem(409, 'still_pending', 'It is still being tried; its next try is under `next`.', {
      next: delivery.next?.toISOString() ?? null,
    });
  }
  const present = await idsByName(pool, tenant, 'target', 'present');
  if (!present.has(delivery.target))
    throw new Problem(409, 'target_removed', `The target "${delivery.target}" was removed.`);
  return delivery;
}

/** A page of deliveries, as `GET /v1/deliveries` gives it. Throws Problem for names and cursors that are none. */
export async function deliveryPage(
  pool: Pool,
  { tenant }: Principal,
  query: DeliveryQuery,
): Promise<{ readonly deliveries: readonly DeliveryEntry[]; readonly next: string | null }> {
  const { state, target, after, before, limit, cursor } = query;
  if (query.message !== undefined) return ofMessage(pool, tenant.id, query.message);
  const ids = await idsByName(pool, tenant.id, 'target', 'all');
  const id = target === undefined ? undefined : ids.get(target);
  if (target !== undefined && id === undefined) throw unknownName('target', target, [...ids.keys()]);
  const mark = cursor === undefined ? null : readCursor('deliveries', cursor, markSchema);
  const page = await listDeliveries(pool, tenant.id, { state, target: id, after, before }, limit, mark);
  return { deliveries: page.deliveries, next: page.next && writeCursor('deliveries', markOut(page.next)) };
}

async function ofMessage(pool: Pool, tenant: number, id: string) {
  const place = parseMessageId(id);
  return { deliveries: place ? (await deliveriesOfMessage(pool, tenant, place)).toReversed() : [], next: null };
}

const integer = z.int().min(0);
const markSchema = z.discriminatedUnion('by', [
  z.object({
    by: z.literal('plans'),
    positions: positionsSchema,
    within: z.object({ channel: integer, offset: integer }).nullable(),
  }),
  z.object({
    by: z.literal('rows'),
    created: z.iso.datetime(),
    target: integer,
    channel: integer,
    epoch: integer,
    number: integer,
  }),
]);

function markOut(mark: DeliveryMark): unknown {
  return mark.by === 'rows' ? mark : { ...mark, positions: writePositions(mark.positions) };
}
