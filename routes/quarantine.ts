import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { quarantineId } from '../src/message/id.js';
import {
  CAUSES,
  findQuarantined,
  listQuarantine,
  type QuarantineEntry,
  quarantinedBytes,
} from '../src/storage/quarantine.js';
import { readCursor, writeCursor } from './cursor.js';
import { cursorSchema, limitSchema, pageOf, quarantineParams, text, timeOut, timeSchema } from './fields.js';
import { json, rawReply } from './messages.js';
import { caller, contentErased, notFound } from './problem.js';
import { decide, decideAll, type QuarantineDeps, release } from './quarantine-decide.js';
import {
  attemptsOf,
  contentAttemptEntry,
  contentAttemptSchema,
  rungInfoSchema,
  rungInPath,
  rungSchema,
  rungsOf,
  rungViewEntry,
  rungViewSchema,
  viewOn,
} from './quarantine-views.js';
import type { ApiRequest, Route } from './route.js';

export type { QuarantineDeps } from './quarantine-decide.js';

export const entrySchema = z.object({
  id: z.string().meta({ description: '`q-12`' }),
  cause: z.enum(CAUSES),
  state: z.enum(['held', 'released', 'discarded']),
  reason: z.string().nullable().meta({ description: 'What can’t be read, where the cause is `undecodable`' }),
  of: z.string().nullable().meta({ description: 'The message it contradicts; of a poison one, itself' }),
  crash: z
    .string()
    .nullable()
    .meta({ description: 'Of a poison mail: its likes, which fail as it does, have the same' }),
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
export function quarantineEntry({ number, ...one }: QuarantineEntry): z.input<typeof entrySchema> {
  return { ...one, id: quarantineId(number), received: one.received.toISOString(), lastAt: one.lastAt.toISOString() };
}

const entryDetailSchema = entrySchema.extend({
  rungs: z.array(rungInfoSchema).meta({ description: 'On which it can be read again, from the top' }),
});

/** SHA-256 as hex. */
export const crashSchema = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .meta({ description: '`crash` of an entry' });

const listQuery = z.strictObject({
  state: z.enum(['held', 'released', 'discarded']).default('held'),
  cause: z.enum(CAUSES).optional(),
  crash: crashSchema.optional(),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
});
export type QuarantineQuery = z.infer<typeof listQuery>;

const reasonSchema = text(2000).optional().meta({ description: 'Kept with the audit' });
const requeueBody = z.strictObject({ rung: rungSchema.optional(), reason: reasonSchema });
const delayBody = requeueBody.extend({ until: timeSchema });
const discardBody = z.strictObject({ reason: reasonSchema });
const bulkBody = z.discriminatedUnion('action', [
  requeueBody.extend({ action: z.literal('requeue'), crash: crashSchema }),
  delayBody.extend({ action: z.literal('delay'), crash: crashSchema }),
  discardBody.extend({ action: z.literal('discard'), crash: crashSchema }),
  z.strictObject({ action: z.literal('release'), crash: crashSchema }),
]);

const doneSchema = z.object({ id: z.string(), state: z.enum(['released', 'discarded']) });
const releasedSchema = doneSchema.extend({ message: z.string() });
const conflict = { description: 'It is no longer held (`decision_changed`), or that can’t be done with its cause' };
const erased = { description: 'Its account was erased (`content_erased`)' };

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
      replies: { 200: { description: 'The entry', schema: entryDetailSchema } },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        const entry = await findQuarantined(pool, caller(principal).tenant.id, params.id);
        if (!entry) throw notFound('entry of the quarantine');
        const rungs = rungsOf(deps, entry.kind).map(({ number, ...one }) => ({ rung: number, ...one }));
        return { status: 200, body: { ...quarantineEntry(entry), rungs } };
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
        410: erased,
      },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        const found = await quarantinedBytes(pool, caller(principal).tenant.id, params.id);
        if (!found) throw notFound('entry of the quarantine');
        if (found.erased) throw contentErased();
        return rawReply(found.kind === 'mail', found.raw, quarantineId(params.id));
      },
    },
    {
      method: 'get',
      path: '/v1/quarantine/:id/attempts',
      permission: 'quarantine.read',
      summary: 'The latest tries of reading a poison message; of other entries there are none',
      params: quarantineParams,
      replies: { 200: { description: 'The tries', schema: z.object({ items: z.array(contentAttemptSchema) }) } },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        const attempts = await attemptsOf(deps, caller(principal), params.id);
        return { status: 200, body: { items: attempts.map(contentAttemptEntry) } };
      },
    },
    {
      method: 'get',
      path: '/v1/quarantine/:id/views/:rung',
      permission: 'quarantine.read',
      summary: 'What a rung makes of it, read now in a process of its own; one at a time (429 `view_running`)',
      params: quarantineParams.extend({ rung: rungInPath }),
      replies: { 200: { description: 'The view, or why there is none', schema: rungViewSchema }, 410: erased },
      handler: async ({ principal, params }: ApiRequest<{ id: number; rung: string }>) => {
        const wanted = /^\d/.test(params.rung) ? Number(params.rung) : params.rung;
        return json(rungViewEntry(await viewOn(deps, caller(principal), params.id, wanted)));
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/release',
      permission: 'quarantine.decide',
      summary:
        'Let it go on as it is: a conflict or an expired one as a message of its own, poison with its envelope alone',
      params: quarantineParams,
      replies: {
        200: { description: 'Sequenced', schema: releasedSchema },
        202: { description: 'Poison: it goes on', schema: releasedSchema },
        409: conflict,
      },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        const { message, how } = await release(deps, caller(principal), params.id);
        const status = how === 'sequenced' ? 200 : 202;
        return { status, body: { id: quarantineId(params.id), state: 'released', message } };
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/requeue',
      permission: 'quarantine.decide',
      summary: 'Read a poison message once more, on a rung or from the top, whatever became of its likes',
      params: quarantineParams,
      body: 'json',
      bodySchema: requeueBody,
      replies: { 202: { description: 'Will be tried', schema: doneSchema }, 409: conflict },
      handler: async ({
        principal,
        params,
        body,
      }: ApiRequest<{ id: number }, unknown, z.infer<typeof requeueBody>>) => {
        await decide(deps, caller(principal), params.id, { action: 'requeue', ...body });
        return { status: 202, body: { id: quarantineId(params.id), state: 'released' } };
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/delay',
      permission: 'quarantine.decide',
      summary: 'Read a poison message once more, later',
      params: quarantineParams,
      body: 'json',
      bodySchema: delayBody,
      replies: { 202: { description: 'Will be tried', schema: doneSchema }, 409: conflict },
      handler: async ({ principal, params, body }: ApiRequest<{ id: number }, unknown, z.infer<typeof delayBody>>) => {
        await decide(deps, caller(principal), params.id, { action: 'delay', ...body });
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
        await decide(deps, caller(principal), params.id, { action: 'discard', ...body });
        return { status: 200, body: { id: quarantineId(params.id), state: 'discarded' } };
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/bulk',
      permission: 'quarantine.decide',
      summary: 'Decide about all held entries of one crash hash; asked again it does what is left',
      body: 'json',
      bodySchema: bulkBody,
      replies: {
        200: {
          description: 'Done; skipped are those that somebody else decided about meanwhile',
          schema: z.object({ done: z.int(), skipped: z.int() }),
        },
      },
      handler: async ({ principal, body }: ApiRequest<unknown, unknown, z.infer<typeof bulkBody>>) => {
        const { crash, ...asked } = body;
        return { status: 200, body: await decideAll(deps, caller(principal), crash, asked) };
      },
    },
  ];
}

/** A page of the quarantine, as `GET /v1/quarantine` gives it. */
export async function quarantinePage(pool: Pool, { tenant }: Principal, { limit, cursor, ...filter }: QuarantineQuery) {
  const below = cursor === undefined ? null : readCursor('quarantine', cursor, z.int());
  const { entries, next } = await listQuarantine(pool, tenant.id, filter, limit, below);
  return { entries, next: next === null ? null : writeCursor('quarantine', next) };
}
