import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { messageId, type Place, quarantineId } from '../src/message/id.js';
import type { Tenant } from '../src/message/tenant.js';
import { writeAudit } from '../src/storage/audit.js';
import {
  CAUSES,
  discard,
  findQuarantined,
  listQuarantine,
  type QuarantineEntry,
  type QuarantineNotDone,
  quarantinedBytes,
  releasable,
  requeue,
} from '../src/storage/quarantine.js';
import { readCursor, writeCursor } from './cursor.js';
import { cursorSchema, limitSchema, pageOf, quarantineParams, text, timeOut, timeSchema } from './fields.js';
import { rawReply } from './messages.js';
import type { Notices } from './notices.js';
import { caller, contentErased, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export interface QuarantineDeps {
  readonly pool: Pool;
  readonly notices: Notices;
  readonly wake: (tenant: number, channel: number) => void;
  readonly now: () => number;
  /**
   * Sequences what an entry holds that is not poison, as a new message of its channel, and marks the entry released,
   * in one transaction. `not_held`: somebody was faster. Rejects with Busy or Unavailable.
   */
  readonly release: (tenant: Tenant, number: number, who: string) => Promise<Place | 'not_held'>;
}

const entrySchema = z.object({
  id: z.string().meta({ description: '`q-12`' }),
  cause: z.enum(CAUSES),
  state: z.enum(['held', 'released', 'discarded']),
  reason: z.string().nullable().meta({ description: 'What can’t be read, where the cause is `undecodable`' }),
  of: z.string().nullable().meta({ description: 'The message it contradicts; of a poison one, itself' }),
  source: z.string(),
  kind: z.enum(['mail', 'event', 'webhook', 'amqp']),
  account: z.string(),
  type: z.string().nullable(),
  externalId: z.string().nullable(),
  value: z.string().nullable(),
  time: z.string().nullable(),
  received: timeOut,
  peer: z.string(),
  count: z.int().meta({ description: 'How often the same came' }),
  lastAt: timeOut,
  size: z.int(),
});

/** An entry as it is given out. */
function quarantineEntry({ number, ...one }: QuarantineEntry): z.input<typeof entrySchema> {
  return { ...one, id: quarantineId(number), received: one.received.toISOString(), lastAt: one.lastAt.toISOString() };
}

const listQuery = z.strictObject({
  state: z.enum(['held', 'released', 'discarded']).default('held'),
  cause: z.enum(CAUSES).optional(),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
});
export type QuarantineQuery = z.infer<typeof listQuery>;

const discardBody = z.strictObject({ reason: text(2000).optional() });
const delayBody = z.strictObject({ until: timeSchema });
const LONGEST_DELAY_MS = 30 * 24 * 3_600_000;

const doneSchema = z.object({ id: z.string(), state: z.enum(['released', 'discarded']) });
const conflict = { description: 'It is no longer held (`decision_changed`), or that can’t be done with its cause' };

export function quarantineRoutes(deps: QuarantineDeps): Route[] {
  const { pool } = deps;
  return [
    {
      method: 'get',
      path: '/v1/quarantine',
      permission: 'quarantine.read',
      summary: 'What was taken out of the stream, newest first',
      query: listQuery,
      replies: { 200: { description: 'A page', schema: pageOf(entrySchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, QuarantineQuery>) => {
        const { entries, next } = await quarantinePage(pool, caller(principal), query);
        return { status: 200, body: { items: entries.map(quarantineEntry), next } };
      },
    },
    {
      method: 'get',
      path: '/v1/quarantine/:id',
      permission: 'quarantine.read',
      summary: 'One entry',
      params: quarantineParams,
      replies: { 200: { description: 'The entry', schema: entrySchema } },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        const entry = await findQuarantined(pool, caller(principal).tenant.id, params.id);
        if (!entry) throw notFound('entry of the quarantine');
        return { status: 200, body: quarantineEntry(entry) };
      },
    },
    {
      method: 'get',
      path: '/v1/quarantine/:id/raw',
      permission: 'quarantine.read',
      summary: 'Its bytes, as they came',
      params: quarantineParams,
      replies: {
        200: { description: 'The bytes', type: 'application/octet-stream' },
        410: { description: 'Its account was erased (`content_erased`)' },
      },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        const found = await quarantinedBytes(pool, caller(principal).tenant.id, params.id);
        if (!found) throw notFound('entry of the quarantine');
        if (found.erased) throw contentErased();
        return rawReply(found.kind === 'mail', found.raw, quarantineId(params.id));
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/release',
      permission: 'quarantine.decide',
      summary: 'Let a conflict or an expired one into its channel after all, as a message of its own',
      params: quarantineParams,
      replies: { 200: { description: 'Sequenced', schema: doneSchema.extend({ message: z.string() }) }, 409: conflict },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        const place = await release(deps, caller(principal), params.id);
        return { status: 200, body: { id: quarantineId(params.id), state: 'released', message: messageId(place) } };
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/requeue',
      permission: 'quarantine.decide',
      summary: 'Try to read a poison message once more',
      params: quarantineParams,
      replies: { 202: { description: 'Will be tried', schema: doneSchema }, 409: conflict },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        await tryAgain(deps, caller(principal), params.id, null);
        return { status: 202, body: { id: quarantineId(params.id), state: 'released' } };
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/delay',
      permission: 'quarantine.decide',
      summary: 'Try to read a poison message once more, later',
      params: quarantineParams,
      body: 'json',
      bodySchema: delayBody,
      replies: { 202: { description: 'Will be tried', schema: doneSchema }, 409: conflict },
      handler: async ({ principal, params, body }: ApiRequest<{ id: number }, unknown, z.infer<typeof delayBody>>) => {
        const now = deps.now();
        if (body.until.getTime() <= now || body.until.getTime() > now + LONGEST_DELAY_MS) {
          throw new Problem(422, 'until_invalid', '`until` must be in the future, and within 30 days.');
        }
        await tryAgain(deps, caller(principal), params.id, body.until);
        return { status: 202, body: { id: quarantineId(params.id), state: 'released' } };
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/discard',
      permission: 'quarantine.decide',
      summary: 'It is not wanted',
      params: quarantineParams,
      body: 'json',
      bodySchema: discardBody,
      replies: { 200: { description: 'Discarded', schema: doneSchema }, 409: conflict },
      handler: async ({
        principal,
        params,
        body,
      }: ApiRequest<{ id: number }, unknown, z.infer<typeof discardBody>>) => {
        await throwAway(deps, caller(principal), params.id, body.reason ?? null);
        return { status: 200, body: { id: quarantineId(params.id), state: 'discarded' } };
      },
    },
  ];
}

/** A page of the quarantine, as `GET /v1/quarantine` gives it. */
export async function quarantinePage(
  pool: Pool,
  { tenant }: Principal,
  { state, cause, limit, cursor }: QuarantineQuery,
) {
  const below = cursor === undefined ? null : readCursor('quarantine', cursor, z.int());
  const { entries, next } = await listQuarantine(pool, tenant.id, { state, cause }, limit, below);
  return { entries, next: next === null ? null : writeCursor('quarantine', next) };
}

/** Lets an entry into its channel. Throws Problem: 404, 409. */
export async function release(deps: QuarantineDeps, { tenant, who }: Principal, number: number): Promise<Place> {
  const not = await releasable(deps.pool, tenant.id, number);
  if (not) throw notDone(not, 'requeue or delay');
  const place = await deps.release(tenant, number, who);
  if (place === 'not_held') throw changed('released or discarded');
  await audited(deps, tenant.id, who, 'quarantine.release', number);
  deps.notices.publish(tenant.id, [messageId(place)]);
  return place;
}

/** Has a poison message read again. Throws Problem: 404, 409. */
export async function tryAgain(
  deps: QuarantineDeps,
  { tenant, who }: Principal,
  number: number,
  from: Date | null,
): Promise<void> {
  const done = await requeue(deps.pool, tenant.id, number, from);
  if (done.result !== 'done') throw notDone(done, 'release');
  await audited(deps, tenant.id, who, from ? 'quarantine.delay' : 'quarantine.requeue', number);
  if (done.channel !== null) deps.wake(tenant.id, done.channel);
}

/** Throws an entry away. Throws Problem: 404, 409. */
export async function throwAway(
  deps: QuarantineDeps,
  { tenant, who }: Principal,
  number: number,
  reason: string | null,
): Promise<void> {
  const done = await discard(deps.pool, tenant.id, number, who, reason);
  if (done.result !== 'done') throw notDone(done, 'release');
  await audited(deps, tenant.id, who, 'quarantine.discard', number);
}

function audited({ pool }: QuarantineDeps, tenant: number, who: string, action: string, number: number): Promise<void> {
  return writeAudit(pool, { tenant, who, action, object: quarantineId(number) });
}

/** `instead`: what can be done with an entry of the other causes. */
function notDone(not: QuarantineNotDone, instead: string): Problem {
  switch (not.result) {
    case 'unknown':
      return notFound('entry of the quarantine');
    case 'changed':
      return changed(not.state);
    case 'being_released':
      return new Problem(
        409,
        'being_released',
        'Not done: its release has begun, and it may be a message by now. Release it again: that tells, and sends nothing twice.',
      );
    case 'wrong_cause':
      return new Problem(409, 'wrong_cause', `That can't be done with a ${not.cause} entry: ${instead} it.`, {
        cause: not.cause,
      });
    default: {
      const never: never = not;
      return never;
    }
  }
}

function changed(state: string): Problem {
  return new Problem(409, 'decision_changed', `Not done: somebody was faster, and it is ${state} by now.`, { state });
}
