import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import type { Correct, Corrected } from '../src/billing/correction.js';
import type { Statement } from '../src/billing/statement.js';
import { type Period, periodAt, periodNamed, type Span } from '../src/billing/zone.js';
import { accountHash, channelOf } from '../src/channel/partition.js';
import { nameSchema } from '../src/channel/source.js';
import { messageId, parseMessageId } from '../src/message/id.js';
import type { Tenant } from '../src/message/tenant.js';
import { correctionsOf } from '../src/storage/corrections.js';
import { type Gap, listGaps } from '../src/storage/gaps.js';
import { Ledger } from '../src/storage/ledger.js';
import { type RebuildEvent, type RebuildWish, rebuild, rebuildGoingOn } from '../src/storage/rebuild.js';
import {
  closePeriod,
  contractsOf,
  draft,
  periodOf,
  type StoredStatement,
  statementAt,
  statementsOf,
} from '../src/storage/statements.js';
import { isKnown, liveBook, openGaps, seriesOf, usageIn } from '../src/storage/usage.js';
import { placeBefore, placeCursor } from './cursor.js';
import { cursorSchema, limitSchema, pageOf, text, timeOut, timeSchema } from './fields.js';
import { LINES_TYPE, type LinesDeps, lines } from './lines.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Reply, type Route } from './route.js';
import { statementCsv } from './statement-csv.js';

export interface UsageDeps extends LinesDeps {
  readonly pool: Pool;
  readonly correct: Correct;
  readonly now: () => number;
}

const accountParams = z.object({ account: text(512) });
const periodParams = accountParams.extend({
  period: z
    .string()
    .regex(/^\d{4}-\d\d(-\d\d)?$/, 'a period such as 2026-03')
    .meta({ example: '2026-03' }),
});
const decimalOut = z.string().meta({ description: 'A decimal, every digit', example: '12.50' });

const MOST_WINDOWS = 10_000;
const MOST_GROUPS = 1_000;
const MOST_GAPS = 100;

const usageQuery = z.strictObject({
  meter: nameSchema.optional(),
  from: timeSchema.optional().meta({ description: 'Without it the begin of the running period' }),
  to: timeSchema.optional().meta({ description: 'Without it now' }),
  window: z.enum(['hour', 'day', 'month']).optional().meta({
    description: 'An answer for each; days and months are those of the account’s time zone. Without it one for all',
  }),
  groupBy: z
    .string()
    .max(300)
    .regex(/^[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+){0,7}$/)
    .optional()
    .meta({ description: 'Dimensions, separated by commas' }),
});

const usageSchema = z.object({
  account: z.string(),
  zone: z.string(),
  items: z.array(
    z.object({
      meter: z.string(),
      aggregation: z.string(),
      unit: z.string().nullable(),
      dimensions: z.record(z.string(), z.string()),
      from: timeOut,
      to: timeOut,
      quantity: decimalOut,
      events: z.int(),
    }),
  ),
  complete: z.boolean().meta({ description: 'False while a message that may be usage of this time is not counted' }),
  gaps: z.array(z.object({ message: z.string(), reason: z.string() })),
});

const correctionBodySchema = z
  .strictObject({
    void: z.string().optional().meta({ description: 'The message that is not to count: `7-10234`' }),
    amend: z.string().optional().meta({ description: 'The message that should have said something else' }),
    set: z
      .record(
        z
          .string()
          .regex(/^(\/([^~/]|~[01])*)+$/)
          .max(256),
        text(512),
      )
      .optional()
      .meta({
        description: 'What it should have said, by JSON pointer: `{"/data/amount": "12.50"}`; numbers as texts',
      }),
    time: timeSchema.optional().meta({ description: 'When it should have said it happened' }),
    why: text(2_000),
    adjust: z.boolean().default(false).meta({
      description: 'Where the period is final: have the next statement say the difference',
    }),
  })
  .refine((body) => (body.void === undefined) !== (body.amend === undefined), 'says either `void` or `amend`')
  .refine((body) => body.amend !== undefined || (body.set === undefined && body.time === undefined), {
    path: ['set'],
    message: 'is for amending',
  })
  .refine((body) => body.amend === undefined || body.set !== undefined || body.time !== undefined, {
    path: ['set'],
    message: 'or `time`: an amendment says what changes',
  })
  .refine((body) => Object.keys(body.set ?? {}).length <= 50, { path: ['set'], message: 'at most 50 places' });

const correctionSchema = z.object({
  id: z.string().meta({ description: 'The message that it is: it can be corrected itself' }),
  again: z.boolean().meta({ description: 'The same was asked before; nothing has changed' }),
});

const gapSchema = z.object({
  message: z.string(),
  reason: z.enum(['parked', 'quarantined', 'partial', 'missing']),
  account: z.string().nullable(),
  time: timeOut.nullable(),
  since: timeOut,
  asked: z.int(),
  askedAt: timeOut.nullable(),
});

const storedStatementSchema = z.object({
  state: z.enum(['draft', 'final']),
  hash: z.string().nullable().meta({ description: 'SHA-256 of the statement as text' }),
  madeAt: timeOut.nullable(),
  madeBy: z.string().nullable(),
  sent: z.string().nullable().meta({ description: 'The message that takes it to its target' }),
  statement: z.looseObject({}),
});

const NDJSON_CSV = 'text/csv';

/** Usage, statements and corrections of accounts, and the gaps of the ledger. */
export function usageRoutes(deps: UsageDeps): Route[] {
  const { pool, now } = deps;
  return [
    {
      method: 'get',
      path: '/v1/accounts/:account/usage',
      permission: 'billing.read',
      summary: 'What an account has used',
      params: accountParams,
      query: usageQuery,
      replies: { 200: { description: 'The usage, by meter, group and time', schema: usageSchema } },
      handler: ({
        principal,
        params,
        query,
      }: ApiRequest<z.output<typeof accountParams>, z.output<typeof usageQuery>>) =>
        usageReply(deps, caller(principal).tenant, params.account, query),
    },
    {
      method: 'post',
      path: '/v1/accounts/:account/corrections',
      permission: 'billing.correct',
      summary: 'Void an event or amend it: a message of its own in the account’s channel, which the ledger counts by',
      params: accountParams,
      body: 'json',
      bodySchema: correctionBodySchema,
      replies: {
        200: { description: 'Asked before', schema: correctionSchema },
        202: { description: 'Sequenced; counted as soon as the ledger has come to it', schema: correctionSchema },
        404: { description: 'No such message' },
        409: { description: 'Its period is final (`period_final`), or it has been corrected (`corrected_already`)' },
        410: { description: 'Its content is gone' },
      },
      handler: async ({
        principal,
        params: { account },
        body,
      }: ApiRequest<z.output<typeof accountParams>, unknown, z.output<typeof correctionBodySchema>>) => {
        const { tenant, who } = caller(principal);
        const named = body.void ?? body.amend ?? '';
        const target = parseMessageId(named);
        if (!target) throw new Problem(422, 'invalid_body', `"${named}" is not the id of a message, such as 7-10234.`);
        const corrected = await deps.correct(tenant, {
          account,
          action: body.void === undefined ? 'amend' : 'void',
          target,
          who,
          why: body.why,
          set: new Map(Object.entries(body.set ?? {})),
          time: body.time?.toISOString() ?? null,
          adjust: body.adjust,
        });
        if (corrected.result !== 'ok') throw correctionProblem(named, corrected);
        const { correction, again } = corrected;
        return { status: again ? 200 : 202, body: { id: messageId(correction), again } };
      },
    },
    {
      method: 'get',
      path: '/v1/accounts/:account/corrections',
      permission: 'billing.read',
      summary: 'Corrections of an account that the ledger has taken, the newest first; at most 200',
      params: accountParams,
      replies: {
        200: {
          description: 'The corrections',
          schema: z.object({
            items: z.array(
              z.object({
                id: z.string(),
                action: z.enum(['void', 'amend']),
                of: z.string(),
                who: z.string(),
                why: z.string(),
                at: timeOut,
              }),
            ),
          }),
        },
      },
      handler: async ({ principal, params: { account } }: ApiRequest<z.output<typeof accountParams>>) => {
        const { tenant } = caller(principal);
        await checkKnown(pool, tenant, account);
        const taken = await correctionsOf(pool, tenant.id, account, 200);
        const items = taken.map(({ channel, sequence, action, target, who, why, at }) => ({
          id: messageId({ channel, sequence }),
          action,
          of: messageId({ channel, sequence: target }),
          who,
          why,
          at: at.toISOString(),
        }));
        return { status: 200, body: { items } };
      },
    },
    {
      method: 'get',
      path: '/v1/accounts/:account/statements',
      permission: 'billing.read',
      summary: 'The final statements of an account, the newest first (at most 60), and a draft of the running period',
      params: accountParams,
      replies: {
        200: { description: 'The statements', schema: z.object({ items: z.array(storedStatementSchema) }) },
      },
      handler: async ({ principal, params: { account } }: ApiRequest<z.output<typeof accountParams>>) => {
        const { tenant } = caller(principal);
        await checkKnown(pool, tenant, account);
        const period = periodOf(await contractsOf(pool, tenant.id, account), now());
        const final = await statementsOf(pool, tenant.id, account, 60);
        const items = [draftEntry(await draft(pool, tenant, account, period)), ...final.map(finalEntry)];
        return { status: 200, body: { items } };
      },
    },
    {
      method: 'get',
      path: '/v1/accounts/:account/statements/:period',
      permission: 'billing.read',
      summary: 'One statement: final, or a draft as things stand; with `Accept: text/csv` its lines',
      params: periodParams,
      replies: { 200: { description: 'The statement', schema: storedStatementSchema } },
      handler: async ({ principal, params, headers }: ApiRequest<z.output<typeof periodParams>>) => {
        const { tenant } = caller(principal);
        const found = await oneStatement(pool, tenant, params.account, params.period);
        if (!headers.accept?.includes(NDJSON_CSV)) return { status: 200, body: found };
        return csvReply(found.statement as unknown as Statement);
      },
    },
    {
      method: 'post',
      path: '/v1/accounts/:account/statements/:period/close',
      permission: 'billing.correct',
      summary: 'Make a statement final now, without waiting for its grace time or for gaps to heal',
      params: periodParams,
      body: 'json',
      bodySchema: z.strictObject({
        incomplete: z.boolean().default(false).meta({ description: 'Also while gaps are open' }),
      }),
      replies: {
        200: { description: 'Final', schema: storedStatementSchema },
        409: { description: 'Not yet (`not_ended`, `incomplete`, `behind`, `out_of_order`), or no subscription' },
      },
      handler: async ({
        principal,
        params: { account, period },
        body,
      }: ApiRequest<z.output<typeof periodParams>, unknown, { incomplete: boolean }>) => {
        await closeNamed(deps, caller(principal), account, period, body.incomplete);
        return { status: 200, body: await oneStatement(pool, caller(principal).tenant, account, period) };
      },
    },
    {
      method: 'get',
      path: '/v1/ledger/gaps',
      permission: 'billing.read',
      summary: 'Messages that may be usage and are not counted, by channel and sequence',
      query: z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() }),
      replies: { 200: { description: 'The gaps', schema: pageOf(gapSchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, { limit: number; cursor?: string }>) => {
        const { tenant } = caller(principal);
        const gaps = await listGaps(pool, tenant.id, placeBefore('gaps', query.cursor), query.limit);
        return { status: 200, body: { items: gaps.map(gapEntry), next: placeCursor('gaps', gaps, query.limit) } };
      },
    },
    {
      method: 'post',
      path: '/v1/ledger/rebuild',
      permission: 'billing.write',
      summary: 'Make the ledger anew from sequence 1, compare it with the one in force, and put it in its place',
      body: 'json',
      bodySchema: z.strictObject({
        acceptDifferences: z.boolean().default(false).meta({ description: 'Put it in its place whatever differs' }),
      }),
      replies: {
        200: {
          description: 'Lines while it goes on; the last one is the result. Without it, it was cut off: ask again',
          type: LINES_TYPE,
          schema: rebuildEventSchema,
        },
        429: { description: 'One is going on already' },
      },
      handler: (request: ApiRequest<unknown, unknown, { acceptDifferences: boolean }>) => {
        const { tenant, who } = caller(request.principal);
        const { acceptDifferences } = request.body;
        return lines(deps, request, told(pool, tenant, { who, acceptDifferences }));
      },
    },
    {
      method: 'post',
      path: '/v1/ledger/gaps/ask',
      permission: 'billing.correct',
      summary: 'Ask the channels again for messages that are not counted',
      body: 'json',
      bodySchema: z.strictObject({ messages: z.array(z.string().max(24)).min(1).max(1_000) }),
      replies: {
        200: {
          description: 'How many were counted now',
          schema: z.object({
            healed: z.int(),
            busy: z.boolean().meta({ description: 'The ledger was at a channel: ask again' }),
          }),
        },
      },
      handler: async ({ principal, body }: ApiRequest<unknown, unknown, { messages: string[] }>) => ({
        status: 200,
        body: await askAgain(pool, caller(principal).tenant, body.messages),
      }),
    },
  ];
}

/** Has the ledger look again at messages that it has not counted; `busy`: it was at one of their channels. */
export async function askAgain(
  pool: Pool,
  tenant: Tenant,
  messages: readonly string[],
): Promise<{ readonly healed: number; readonly busy: boolean }> {
  const ledger = new Ledger({ pool });
  const channels = new Map<number, number[]>();
  for (const id of messages) {
    const place = parseMessageId(id);
    if (!place || place.channel >= tenant.channels)
      throw new Problem(422, 'invalid_body', `"${id}" is not the id of a message, such as 7-10234.`);
    channels.set(place.channel, [...(channels.get(place.channel) ?? []), place.sequence]);
  }
  const book = await liveBook(pool, tenant.id);
  let healed = 0;
  let busy = false;
  for (const [channel, sequences] of channels) {
    const asked = await ledger.ask({ tenant: tenant.id, book, channel }, sequences);
    healed += asked?.healed ?? 0;
    busy ||= asked === null;
  }
  return { healed, busy };
}

/** Makes a statement final before its grace time is over. Throws Problem 409 where that can't be. */
export async function closeNamed(
  { pool, now }: Pick<UsageDeps, 'pool' | 'now'>,
  { tenant, who }: Principal,
  account: string,
  name: string,
  incomplete: boolean,
): Promise<void> {
  const period = await namedPeriod(pool, tenant, account, name);
  const closed = await closePeriod(pool, tenant, account, period, { who, now: now(), graceMs: 0, incomplete });
  switch (closed.result) {
    case 'final':
    case 'already':
      return;
    case 'not_ended':
      throw new Problem(409, 'not_ended', `The period ${name} has not ended.`);
    case 'not_subscribed':
      throw new Problem(409, 'not_subscribed', 'The account has no subscription, and so no statements.');
    case 'out_of_order':
      throw new Problem(409, 'out_of_order', `The period ${closed.period} comes first: it is not final.`);
    case 'behind':
      throw new Problem(409, 'behind', 'The ledger has not counted all that came in this period; try again soon.');
    case 'incomplete': {
      const detail = 'Gaps are open: wait until they heal, or say `"incomplete": true`.';
      throw new Problem(409, 'incomplete', detail, { gaps: closed.statement.gaps.map(messageId) });
    }
    default: {
      const never: never = closed;
      throw new Error(`no such result: ${String(never)}`);
    }
  }
}

/** An account that has used nothing and subscribed to nothing is one that there isn't. */
export async function checkKnown(pool: Pool, tenant: Tenant, account: string): Promise<void> {
  if (!(await isKnown(pool, tenant.id, account)))
    throw notFound('account: it has used nothing, and has no subscription');
}

async function* told(pool: Pool, tenant: Tenant, wish: RebuildWish): AsyncGenerator<RebuildEvent> {
  if (yield* rebuild(pool, tenant, wish)) return;
  const other = await rebuildGoingOn(pool, tenant.id);
  const by = other ? `, since ${other.since.toISOString()}, asked for by ${other.who}` : '';
  const detail = `The ledger is being made anew already${by}: wait for its end.`;
  throw new Problem(429, 'rebuild_running', detail, {}, { 'retry-after': '30' });
}

const rebuildEventSchema = z.discriminatedUnion('event', [
  z.object({ event: z.literal('progress'), done: z.int(), total: z.int() }),
  z.object({
    event: z.literal('difference'),
    account: z.string(),
    meter: z.string(),
    hours: z.int().meta({ description: 'How many hours came to something else' }),
    eventsBefore: z.int(),
    eventsAfter: z.int(),
  }),
  z.object({
    event: z.literal('result'),
    ok: z.boolean().meta({ description: 'Nothing differed' }),
    swapped: z.boolean().meta({ description: 'The new ledger is in force' }),
    messages: z.int(),
    differences: z.int().meta({ description: 'Accounts and meters that differ; the first hundred are told' }),
  }),
]);

async function usageReply(
  { pool, now }: UsageDeps,
  tenant: Tenant,
  account: string,
  query: z.output<typeof usageQuery>,
): Promise<Reply> {
  await checkKnown(pool, tenant, account);
  const contracts = await contractsOf(pool, tenant.id, account);
  const whole = {
    from: query.from?.getTime() ?? periodOf(contracts, now()).from,
    to: query.to?.getTime() ?? now(),
  };
  if (whole.from >= whole.to) throw new Problem(400, 'invalid_query', '`to` must be after `from`.');
  const zone = contracts[0]?.subscription.zone ?? 'UTC';
  const spans = windowsOf(whole, query.window, zone);
  const series = await seriesOf(pool, tenant.id, account, query.meter ?? null);
  const names = query.groupBy?.split(',') ?? [];
  const groups = new Map<
    string,
    { like: (typeof series)[number]; dimensions: Record<string, string>; ids: number[] }
  >();
  for (const one of series) {
    const dimensions = Object.fromEntries(
      names.flatMap((name) => (name in one.dimensions ? [[name, one.dimensions[name] ?? '']] : [])),
    );
    const key = JSON.stringify([one.meter, dimensions]);
    const known = groups.get(key);
    if (known) known.ids.push(one.id);
    else groups.set(key, { like: one, dimensions, ids: [one.id] });
  }
  if (groups.size * spans.length > MOST_WINDOWS || groups.size > MOST_GROUPS) {
    const detail = `That is more than ${MOST_WINDOWS} answers: ask for a shorter time, a longer window or fewer groups.`;
    throw new Problem(400, 'too_much_asked', detail);
  }
  const channel = series[0]?.channel ?? channelOf(accountHash(account), tenant.channels);
  const place = { tenant: tenant.id, book: await liveBook(pool, tenant.id), channel };
  const items = [];
  for (const { like, dimensions, ids } of groups.values()) {
    const found = await usageIn(pool, place, { series: ids, aggregation: like.aggregation }, spans);
    for (const [i, { quantity, events }] of found.entries()) {
      const span = spans[i];
      if (events === 0 || !span) continue;
      const { meter, aggregation, unit } = like;
      items.push({ meter, aggregation, unit, dimensions, ...times(span), quantity, events });
    }
  }
  const gaps = await openGaps(pool, place, account, whole, MOST_GAPS);
  return {
    status: 200,
    body: {
      account,
      zone,
      items,
      complete: gaps.length === 0,
      gaps: gaps.map((gap) => ({ message: messageId(gap), reason: gap.reason })),
    },
  };
}

function times({ from, to }: Span) {
  return { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
}

const HOUR = 3_600_000;

/** The windows of a time, those at its ends cut to it. */
export function windowsOf({ from, to }: Span, window: 'hour' | 'day' | 'month' | undefined, zone: string): Span[] {
  if (window === undefined) return [{ from, to }];
  const spans: Span[] = [];
  for (let at = from; at < to; ) {
    const end = window === 'hour' ? (Math.floor(at / HOUR) + 1) * HOUR : periodAt(at, window, zone).to;
    spans.push({ from: at, to: Math.min(end, to) });
    at = end;
    if (spans.length > MOST_WINDOWS) {
      const detail = `That is more than ${MOST_WINDOWS} answers: ask for a shorter time or a longer window.`;
      throw new Problem(400, 'too_much_asked', detail);
    }
  }
  return spans;
}

async function namedPeriod(pool: Pool, tenant: Tenant, account: string, name: string): Promise<Period> {
  await checkKnown(pool, tenant, account);
  const { period = 'month', zone = 'UTC' } = (await contractsOf(pool, tenant.id, account))[0]?.subscription ?? {};
  const found = periodNamed(name, period, zone);
  if (!found) throw notFound(`period: the account's are a ${period} each`);
  return found;
}

export async function oneStatement(
  pool: Pool,
  tenant: Tenant,
  account: string,
  name: string,
): Promise<z.input<typeof storedStatementSchema>> {
  const period = await namedPeriod(pool, tenant, account, name);
  const stored = await statementAt(pool, tenant.id, account, period.from);
  return stored ? finalEntry(stored) : draftEntry(await draft(pool, tenant, account, period));
}

function draftEntry(statement: Statement): z.input<typeof storedStatementSchema> {
  return { state: 'draft', hash: null, madeAt: null, madeBy: null, sent: null, statement: { ...statement } };
}

function finalEntry({ body, hash, madeAt, madeBy, sent }: StoredStatement): z.input<typeof storedStatementSchema> {
  const statement = JSON.parse(body) as Record<string, unknown>;
  return { state: 'final', hash, madeAt: madeAt.toISOString(), madeBy, sent, statement };
}

function gapEntry(gap: Gap): z.input<typeof gapSchema> {
  return {
    message: messageId(gap),
    reason: gap.reason,
    account: gap.account,
    time: gap.at?.toISOString() ?? null,
    since: gap.since.toISOString(),
    asked: gap.asked,
    askedAt: gap.askedAt?.toISOString() ?? null,
  };
}

function csvReply(statement: Statement): Reply {
  return { status: 200, type: 'text/csv; charset=utf-8', body: statementCsv(statement) };
}

export function correctionProblem(named: string, not: Exclude<Corrected, { result: 'ok' }>): Problem {
  switch (not.result) {
    case 'unknown':
      return new Problem(404, 'event_unknown', `There is no message ${named}.`);
    case 'other_account':
      return new Problem(404, 'event_unknown', `The message ${named} is not one of this account.`);
    case 'not_usage':
      return new Problem(
        422,
        'not_usage',
        `The message ${named} is one of the ledger's own; only amendments can be corrected.`,
      );
    case 'gone':
      return new Problem(410, 'content_gone', `The content of ${named} is gone: it can not be amended.`);
    case 'not_settable':
      return new Problem(422, 'not_settable', `One of the places is not in an object of the message ${named}.`);
    case 'not_countable':
      return new Problem(
        422,
        'not_countable',
        `The meter "${not.meter}" could not count it like that: ${not.code.replaceAll('_', ' ')}. Say another value.`,
        { meter: not.meter, reason: not.code },
      );
    case 'corrected_already':
      return new Problem(
        409,
        'corrected_already',
        `The message ${named} was corrected by ${messageId(not.by)}: correct that, where it is an amendment.`,
        { by: messageId(not.by) },
      );
    case 'period_final':
      return new Problem(
        409,
        'period_final',
        `The statement of ${not.period} is final. Say \`"adjust": true\` to have the next one say the difference.`,
        { period: not.period },
      );
    default: {
      const never: never = not;
      return never;
    }
  }
}
