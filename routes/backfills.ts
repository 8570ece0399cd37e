import type { Pool } from 'pg';
import { z } from 'zod';
import type { Backfills, NotEnded, NotSent } from '../src/billing/backfill.js';
import { BodyReader } from '../src/ingress/http/body.js';
import { messageId } from '../src/message/id.js';
import type { Tenant } from '../src/message/tenant.js';
import {
  type Backfill,
  backfillFigures,
  getBackfill,
  type KnownEvent,
  knownEvents,
  listBackfills,
  MOST_SENT,
  openBackfill,
} from '../src/storage/backfills.js';
import { placeBefore, placeCursor, readCursor, writeCursor } from './cursor.js';
import { type EventRoutesDeps, sendEvents } from './events.js';
import { cursorSchema, digits, limitSchema, pageOf, text, timeOut, timeSchema } from './fields.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';
import { eventResultSchema } from './sending.js';

export interface BackfillDeps {
  readonly pool: Pool;
  readonly backfills: Backfills;
  readonly now: () => number;
}

const idParams = z.object({ id: digits(1, 2_147_483_647) });
type Id = z.output<typeof idParams>;

const openSchema = z.strictObject({
  from: timeSchema.meta({ description: 'Of the first event that may be in it' }),
  to: timeSchema.meta({ description: 'Events are earlier than this' }),
  account: text(512).optional().meta({ description: 'Whose events alone it takes' }),
  why: text(2_000),
});
const adjustSchema = z.boolean().default(false).meta({
  description: 'Where it changes a final period: have the next statement say the difference',
});
const closeSchema = z.strictObject({ adjust: adjustSchema });
const revertSchema = z.strictObject({ why: text(2_000), adjust: adjustSchema });

const backfillSchema = z.object({
  id: z.int(),
  state: z.enum(['open', 'closing', 'closed', 'reverting', 'reverted']),
  from: timeOut,
  to: timeOut,
  account: z.string().nullable(),
  openedBy: z.string(),
  why: z.string(),
  openedAt: timeOut,
  closedBy: z.string().nullable(),
  closedAt: timeOut.nullable(),
  revertedBy: z.string().nullable(),
  revertedWhy: z.string().nullable(),
  revertedAt: timeOut.nullable(),
  sent: z.int().meta({ description: 'Events that were sent, repeats among them' }),
  overdue: z.boolean().meta({ description: 'Open for more than a week' }),
});

const figuresSchema = backfillSchema.extend({
  accounts: z.int(),
  read: z.int().meta({ description: 'Events that the ledger has read' }),
  counted: z.int(),
  known: z.int().meta({ description: 'Not counted: their meter had the same event already' }),
  uncountable: z.int().meta({ description: 'Not counted: a meter is for them and can not count them' }),
  unmetered: z.int().meta({ description: 'No meter is for them' }),
});

const knownSchema = z.object({
  message: z.string(),
  of: z.string().meta({ description: 'The message that was counted' }),
});

const listQuery = z.strictObject({
  account: text(512).optional(),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
});

/** Events of the past: they are sent to a backfill, count when it is closed, and are taken back when it is reverted. */
export function backfillRoutes({ pool, backfills, now }: BackfillDeps): Route[] {
  const shown = async (tenant: Tenant, id: number): Promise<z.input<typeof figuresSchema>> => {
    const found = await getBackfill(pool, tenant.id, id);
    if (!found) throw notFound('backfill');
    return { ...entry(found), ...(await backfillFigures(pool, tenant.id, id)) };
  };
  return [
    {
      method: 'get',
      path: '/v1/backfills',
      permission: 'billing.read',
      summary: 'Backfills, the newest first',
      query: listQuery,
      replies: { 200: { description: 'The backfills', schema: pageOf(backfillSchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.output<typeof listQuery>>) => {
        const { account = null, limit, cursor } = query;
        const { backfills, next } = await backfillPage(pool, caller(principal).tenant, account, cursor, limit);
        return { status: 200, body: { items: backfills.map(entry), next } };
      },
    },
    {
      method: 'post',
      path: '/v1/backfills',
      permission: 'billing.correct',
      summary: 'Open a backfill: what is sent to it counts when it is closed, however old it is',
      body: 'json',
      bodySchema: openSchema,
      replies: {
        201: { description: 'Open', schema: figuresSchema },
        409: { description: 'Too many are open (`too_many`)' },
      },
      handler: async ({ principal, body }: ApiRequest<unknown, unknown, z.output<typeof openSchema>>) => {
        const { tenant, who } = caller(principal);
        const { account = null, why } = body;
        const [from, to] = [body.from.getTime(), body.to.getTime()];
        if (from >= to) throw new Problem(422, 'invalid_body', '`to` must be after `from`.');
        if (to > now())
          throw new Problem(422, 'invalid_body', '`to` must not be in the future: send such events as they come.');
        const opened = await openBackfill(pool, tenant, { from, to, account }, { who, why });
        if (opened.result === 'too_many') {
          const detail = `${opened.most} backfills are open, which is as many as there may be; close or revert one.`;
          throw new Problem(409, 'too_many', detail);
        }
        return { status: 201, body: await shown(tenant, opened.backfill.id) };
      },
    },
    {
      method: 'get',
      path: '/v1/backfills/:id',
      permission: 'billing.read',
      summary: 'One backfill, and what became of its events',
      params: idParams,
      replies: { 200: { description: 'The backfill', schema: figuresSchema } },
      handler: async ({ principal, params: { id } }: ApiRequest<Id>) => ({
        status: 200,
        body: await shown(caller(principal).tenant, id),
      }),
    },
    {
      method: 'get',
      path: '/v1/backfills/:id/known',
      permission: 'billing.read',
      summary: 'Events of a backfill that are not counted, because their meter had the same event already',
      params: idParams,
      query: z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() }),
      replies: { 200: { description: 'The events', schema: pageOf(knownSchema) } },
      handler: async ({ principal, params: { id }, query }: ApiRequest<Id, { limit: number; cursor?: string }>) => {
        const { tenant } = caller(principal);
        if (!(await getBackfill(pool, tenant.id, id))) throw notFound('backfill');
        const { known, next } = await knownPage(pool, tenant, id, query.cursor, query.limit);
        const items = known.map(({ channel, sequence, of }) => ({
          message: messageId({ channel, sequence }),
          of: messageId({ channel, sequence: of }),
        }));
        return { status: 200, body: { items, next } };
      },
    },
    {
      method: 'post',
      path: '/v1/backfills/:id/close',
      permission: 'billing.correct',
      summary: 'Close a backfill: its events count',
      params: idParams,
      body: 'json',
      bodySchema: closeSchema,
      replies: {
        200: { description: 'Closed; counted as soon as the ledger has come to it', schema: figuresSchema },
        409: {
          description:
            'A period is final (`period_final`), an id is another account’s (`identity_conflict`), the ledger has not read all of it (`behind`), or it was reverted (`backfill_reverted`)',
        },
      },
      handler: async ({ principal, params: { id }, body }: ApiRequest<Id, unknown, z.output<typeof closeSchema>>) => {
        const { tenant, who } = caller(principal);
        const ended = await backfills.end(tenant, id, { action: 'close', who, why: '', adjust: body.adjust });
        if (ended.result !== 'ok') throw endProblem(id, ended);
        return { status: 200, body: await shown(tenant, id) };
      },
    },
    {
      method: 'post',
      path: '/v1/backfills/:id/revert',
      permission: 'billing.correct',
      summary: 'Take a backfill back, also after it was closed: none of its events count',
      params: idParams,
      body: 'json',
      bodySchema: revertSchema,
      replies: {
        200: { description: 'Reverted; taken back as soon as the ledger has come to it', schema: figuresSchema },
        409: { description: 'A period is final (`period_final`)' },
      },
      handler: async ({ principal, params: { id }, body }: ApiRequest<Id, unknown, z.output<typeof revertSchema>>) => {
        const { tenant, who } = caller(principal);
        const ended = await backfills.end(tenant, id, { action: 'revert', who, ...body });
        if (ended.result !== 'ok') throw endProblem(id, ended);
        return { status: 200, body: await shown(tenant, id) };
      },
    },
  ];
}

/** `POST /v1/backfills/{id}/events`: like `POST /v1/events`, but of the past. */
export function backfillEventsRoute(deps: EventRoutesDeps & { readonly backfills: Backfills }): Route {
  const bodies = new BodyReader(deps.limits, 'gzip');
  return {
    method: 'post',
    path: '/v1/backfills/:id/events',
    permission: 'billing.correct',
    summary: 'Send events to an open backfill, as to /v1/events; they count when it is closed, and go to no target',
    params: idParams,
    body: 'raw',
    replies: {
      202: { description: 'Sequenced; of a batch, all sequenced or duplicate', schema: resultsSchema },
      200: { description: 'A duplicate of an event that is in the backfill', schema: resultsSchema },
      409: { description: 'Its id is taken in the backfill by other content, or it is not open (`backfill_not_open`)' },
      422: {
        description: 'Rejected; of a batch, at least one is in conflict or rejected, and the others are in',
        schema: resultsSchema,
      },
    },
    handler: (request: ApiRequest<Id>) => {
      const { tenant } = caller(request.principal);
      const { id } = request.params;
      const accept: EventRoutesDeps['accept'] = async (arrivals) => {
        const sent = await deps.backfills.send(tenant, id, arrivals);
        if (sent.result !== 'ok') throw sendProblem(id, sent.result);
        return sent.verdicts;
      };
      return sendEvents({ ...deps, accept }, bodies, request);
    },
  };
}

/** The newest first; `next` is the cursor of the next page. */
export async function backfillPage(
  pool: Pool,
  tenant: Tenant,
  account: string | null,
  cursor: string | undefined,
  limit: number,
): Promise<{ readonly backfills: readonly Backfill[]; readonly next: string | null }> {
  const before = cursor === undefined ? 2_147_483_647 : readCursor('backfills', cursor, z.int());
  const backfills = await listBackfills(pool, tenant.id, { before, account, limit });
  const last = backfills.length === limit ? backfills.at(-1) : undefined;
  return { backfills, next: last ? writeCursor('backfills', last.id) : null };
}

/** By channel and sequence. */
export async function knownPage(
  pool: Pool,
  tenant: Tenant,
  id: number,
  cursor: string | undefined,
  limit: number,
): Promise<{ readonly known: readonly KnownEvent[]; readonly next: string | null }> {
  const known = await knownEvents(pool, tenant.id, id, placeBefore('known', cursor), limit);
  return { known, next: placeCursor('known', known, limit) };
}

const resultsSchema = z.object({ results: z.array(eventResultSchema) });

function entry(backfill: Backfill): z.input<typeof backfillSchema> {
  const { from, to, openedAt, closedAt, revertedAt } = backfill;
  return {
    ...backfill,
    from: from.toISOString(),
    to: to.toISOString(),
    openedAt: openedAt.toISOString(),
    closedAt: closedAt?.toISOString() ?? null,
    revertedAt: revertedAt?.toISOString() ?? null,
  };
}

function sendProblem(id: number, not: NotSent): Problem {
  switch (not) {
    case 'not_found':
      return notFound('backfill');
    case 'not_open':
      return new Problem(409, 'backfill_not_open', `The backfill ${id} is not open any more: open another one.`);
    case 'too_many_events':
      return new Problem(409, 'too_many', `A backfill takes ${MOST_SENT} events: close it and open another one.`);
    default: {
      const never: never = not;
      return never;
    }
  }
}

export function endProblem(id: number, not: NotEnded): Problem {
  switch (not.result) {
    case 'not_found':
      return notFound('backfill');
    case 'state':
      return new Problem(409, 'backfill_reverted', `The backfill ${id} was reverted: open another one.`);
    case 'behind': {
      const detail = 'The ledger has not read all that was sent to it; try again soon.';
      return new Problem(409, 'behind', detail, {}, { 'retry-after': '5' });
    }
    case 'changed':
      return new Problem(409, 'changed', 'More of its events have come since: look at what will count now.');
    case 'conflict': {
      const conflicts = not.conflicts.map(({ message, of }) => ({ message: messageId(message), of: messageId(of) }));
      const detail =
        'Events of it have the source and id of events that were counted for another account. Void those of the backfill, ' +
        'and send them under ids of their own where they are usage all the same.';
      return new Problem(409, 'identity_conflict', detail, { conflicts });
    }
    case 'period_final': {
      const { account, period } = not;
      const detail = `The statement of ${account} for ${period} is final. Say \`"adjust": true\` to have the next one say the difference.`;
      return new Problem(409, 'period_final', detail, { account, period });
    }
    default: {
      const never: never = not;
      return never;
    }
  }
}
