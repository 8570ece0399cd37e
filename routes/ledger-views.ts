import type { Pool } from 'pg';
import { z } from 'zod';
import { AGGREGATIONS } from '../src/billing/definitions.js';
import { Exact } from '../src/billing/exact.js';
import type { Contract, Series } from '../src/billing/statement.js';
import { type Period, periodAt, type Span } from '../src/billing/zone.js';
import { accountHash, channelOf } from '../src/channel/partition.js';
import { nameSchema } from '../src/channel/source.js';
import { messageId, type Place } from '../src/message/id.js';
import type { Tenant } from '../src/message/tenant.js';
import { wasGiven } from '../src/storage/messages.js';
import { contractsOf, contractsOfEach, periodOf } from '../src/storage/statements.js';
import { liveBook, seriesOf, seriesOfEach, type UsagePlace, usageOfEach, withOpenGaps } from '../src/storage/usage.js';
import {
  accountsAfter,
  entriesOf,
  type MessageUsage,
  problemsAfter,
  type UsageEntry,
  unmeteredAfter,
  usageOfMessage,
} from '../src/storage/usage-views.js';
import { readCursor, writeCursor } from './cursor.js';
import { cursorSchema, digits, limitSchema, messageParams, pageOf, text, timeOut, timeSchema } from './fields.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';
import { checkKnown, type UsageDeps } from './usage.js';

const accountParams = z.object({ account: text(512) });

/** An account that may have a thousand series is told so much of in a list. */
const METERS_LISTED = 5;

const accountsQuery = z.strictObject({
  prefix: text(512).optional().meta({ description: 'How the account begins' }),
  limit: digits(1, 50).default(20),
  cursor: cursorSchema.optional(),
});

const quantityOut = z.string().meta({ description: 'A decimal, every digit', example: '12.50' });

const accountSchema = z.object({
  account: z.string(),
  period: z.object({ name: z.string(), zone: z.string(), from: timeOut, to: timeOut }),
  usage: z
    .array(
      z.object({
        meter: z.string(),
        unit: z.string().nullable(),
        quantity: quantityOut,
        events: z.int(),
        before: quantityOut.meta({ description: 'After as much time of the period before' }),
      }),
    )
    .meta({ description: `Of the running period; the first ${METERS_LISTED} meters` }),
  moreMeters: z.int(),
  complete: z.boolean(),
});

const eventsQuery = z.strictObject({
  meter: nameSchema.optional(),
  from: timeSchema.optional().meta({ description: 'Without it the begin of the running period' }),
  to: timeSchema.optional().meta({ description: 'Without it now' }),
  where: z
    .union([z.string().max(200), z.array(z.string().max(200)).max(8)])
    .transform((value) => [value].flat())
    .optional()
    .meta({ description: '`region=eu`: only with this value; `region`: only without one. May be given several times' }),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
});

const ENTRY_STATES = ['counted', 'corrected', 'superseded', 'held'] as const;
const STATES: Readonly<Record<UsageEntry['state'], (typeof ENTRY_STATES)[number]>> = {
  c: 'counted',
  v: 'corrected',
  n: 'superseded',
  h: 'held',
};

const entrySchema = z.object({
  message: z.string(),
  meter: z.string(),
  unit: z.string().nullable(),
  dimensions: z.record(z.string(), z.string()),
  time: z.string().meta({ description: 'RFC 3339, to the microsecond' }),
  arrived: timeOut,
  value: quantityOut.nullable(),
  state: z.enum(ENTRY_STATES).meta({
    description:
      '`corrected`: a correction names it. `superseded`: an amendment that was not the first. `held`: its period was final',
  }),
  correctedBy: z.string().nullable(),
  amends: z.string().nullable(),
});

const messageUsageSchema = z.object({
  message: z.string(),
  verdict: z.enum([
    'counted',
    'not_counted',
    'problem',
    'gap',
    'correction',
    'unmetered',
    'not_seen',
    'nothing_metered',
  ]),
  entries: z.array(entrySchema),
  problems: z.array(z.object({ meter: z.string(), code: z.string() })),
  gap: z.string().nullable(),
  corrections: z.array(
    z.object({ id: z.string(), action: z.enum(['void', 'amend']), who: z.string(), why: z.string() }),
  ),
});

/** What people look at of the ledger: each is on a page, too. */
export function ledgerViewRoutes(deps: UsageDeps): Route[] {
  const { pool, now } = deps;
  return [
    {
      method: 'get',
      path: '/v1/accounts',
      permission: 'billing.read',
      summary: 'Accounts with usage or a subscription, by name, and what they use in the running period',
      query: accountsQuery,
      replies: { 200: { description: 'The accounts', schema: pageOf(accountSchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.output<typeof accountsQuery>>) => {
        const { tenant } = caller(principal);
        const { accounts, next } = await accountPage(deps, tenant, query);
        const items = accounts.map(({ account, period, usage, moreMeters, complete }) => ({
          account,
          period: { name: period.name, zone: period.zone, ...times(period) },
          usage: usage.map(({ meter, unit, quantity, events, before }) => ({ meter, unit, quantity, events, before })),
          moreMeters,
          complete,
        }));
        return { status: 200, body: { items, next } };
      },
    },
    {
      method: 'get',
      path: '/v1/accounts/:account/events',
      permission: 'billing.read',
      summary: 'The events behind an account’s usage of a time, the latest first',
      params: accountParams,
      query: eventsQuery,
      replies: { 200: { description: 'The events', schema: pageOf(entrySchema) } },
      handler: async ({
        principal,
        params: { account },
        query,
      }: ApiRequest<z.output<typeof accountParams>, z.output<typeof eventsQuery>>) => {
        const { tenant } = caller(principal);
        await checkKnown(pool, tenant, account);
        const { meter, where = [], limit, cursor } = query;
        const from = query.from?.getTime() ?? periodOf(await contractsOf(pool, tenant.id, account), now()).from;
        const wish = { meter, where, limit, cursor, from, to: query.to?.getTime() ?? now() };
        const { entries, next } = await eventPage(pool, tenant, account, wish);
        return { status: 200, body: { items: entries.map(entryOut), next } };
      },
    },
    {
      method: 'get',
      path: '/v1/messages/:id/usage',
      permission: 'billing.read',
      summary: 'What the ledger made of a message: which meters counted it, or why none did',
      params: messageParams,
      replies: { 200: { description: 'Its usage', schema: messageUsageSchema } },
      handler: async ({ principal, params: { id } }: ApiRequest<{ id: Place }>) => {
        const { tenant } = caller(principal);
        if (!(await wasGiven(pool, tenant.id, id))) throw notFound('message');
        const usage = await usageAt(pool, tenant, id);
        const { entries, problems, gap, corrections } = usage;
        return {
          status: 200,
          body: {
            message: messageId(id),
            verdict: verdictOf(usage),
            entries: entries.map(entryOut),
            problems,
            gap,
            corrections: corrections.map(({ sequence, action, who, why }) => ({
              id: messageId({ channel: id.channel, sequence }),
              action,
              who,
              why,
            })),
          },
        };
      },
    },
    {
      method: 'get',
      path: '/v1/ledger/problems',
      permission: 'billing.read',
      summary: 'Events that a meter is for and could not count, by channel and sequence',
      query: z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() }),
      replies: {
        200: {
          description: 'The events',
          schema: pageOf(
            z.object({
              message: z.string(),
              meter: z.string(),
              code: z.string(),
              account: z.string(),
              time: timeOut,
            }),
          ),
        },
      },
      handler: async ({ principal, query }: ApiRequest<unknown, { limit: number; cursor?: string }>) => {
        const { problems, next } = await problemPage(pool, caller(principal).tenant, query.cursor, query.limit);
        const items = problems.map(({ meter, code, account, at, ...place }) => ({
          message: messageId(place),
          meter,
          code,
          account,
          time: at.toISOString(),
        }));
        return { status: 200, body: { items, next } };
      },
    },
    {
      method: 'get',
      path: '/v1/ledger/unmetered',
      permission: 'billing.read',
      summary: 'Types of events that no meter is for, and how many came',
      query: z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() }),
      replies: {
        200: {
          description: 'The types',
          schema: pageOf(
            z.object({
              type: z.string().meta({ description: 'Empty where they name none' }),
              events: z.int(),
              firstDay: z.string(),
              lastDay: z.string(),
              latest: z.string().meta({ description: 'One of the latest messages' }),
            }),
          ),
        },
      },
      handler: async ({ principal, query }: ApiRequest<unknown, { limit: number; cursor?: string }>) => {
        const { types, next } = await unmeteredPage(pool, caller(principal).tenant, query.cursor, query.limit);
        const items = types.map(({ channel, sequence, ...one }) => ({
          ...one,
          latest: messageId({ channel, sequence }),
        }));
        return { status: 200, body: { items, next } };
      },
    },
  ];
}

function times({ from, to }: Span) {
  return { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
}

function entryOut(entry: UsageEntry): z.input<typeof entrySchema> {
  const { channel, meter, unit, dimensions, at, arrivedAt, value, state, correctedBy, amends } = entry;
  const inChannel = (sequence: number | null) => (sequence === null ? null : messageId({ channel, sequence }));
  return {
    message: messageId(entry),
    meter,
    unit,
    dimensions,
    time: at,
    arrived: arrivedAt.toISOString(),
    value,
    state: STATES[state],
    correctedBy: inChannel(correctedBy),
    amends: inChannel(amends),
  };
}

/** Where an account's usage stands. */
export async function placeOf(
  pool: Pool,
  tenant: Tenant,
  account: string,
  series: readonly { readonly channel: number }[],
): Promise<UsagePlace> {
  const channel = channelIn(tenant, account, series);
  return { tenant: tenant.id, book: await liveBook(pool, tenant.id), channel };
}

function channelIn(tenant: Tenant, account: string, series: readonly { readonly channel: number }[]): number {
  return series[0]?.channel ?? channelOf(accountHash(account), tenant.channels);
}

/** What a meter comes to in the running period, and came to after as much of the one before. */
export interface PeriodUsage {
  readonly meter: string;
  readonly unit: string | null;
  readonly quantity: string;
  readonly events: number;
  readonly before: string;
}

export interface AccountUsage {
  readonly account: string;
  readonly contracts: readonly Contract[];
  readonly period: Period;
  readonly usage: readonly PeriodUsage[];
  readonly moreMeters: number;
  readonly complete: boolean;
}

/** An account's running period in short. */
export async function accountUsage(
  deps: Pick<UsageDeps, 'pool' | 'now'>,
  tenant: Tenant,
  account: string,
  most: number,
): Promise<AccountUsage> {
  return (await accountUsages(deps, tenant, [account], most))[0] as AccountUsage;
}

/** The same of many accounts, in their order: the database is asked as often as for one. */
async function accountUsages(
  { pool, now }: Pick<UsageDeps, 'pool' | 'now'>,
  tenant: Tenant,
  accounts: readonly string[],
  most: number,
): Promise<AccountUsage[]> {
  const contracts = await contractsOfEach(pool, tenant.id, accounts);
  const series = await seriesOfEach(pool, tenant.id, accounts, null);
  const place = { tenant: tenant.id, book: await liveBook(pool, tenant.id) };
  const at = now();
  const asked = accounts.map((account) => {
    const own = contracts.get(account) ?? [];
    const period = periodOf(own, at);
    const meters = byMeter(series.get(account) ?? []);
    const listed = [...meters.values()].slice(0, most);
    return { account, contracts: own, period, spans: soFarAndBefore(period, at), meters, listed };
  });
  const found = new Map<Metered, readonly { readonly quantity: string; readonly events: number }[]>();
  for (const aggregation of AGGREGATIONS) {
    const groups = asked.flatMap(({ listed, spans }) =>
      listed.filter(({ like }) => like.aggregation === aggregation).map((one) => ({ one, series: one.ids, spans })),
    );
    if (groups.length === 0) continue;
    const answers = await usageOfEach(pool, place, aggregation, groups);
    for (const [i, { one }] of groups.entries()) found.set(one, answers[i] ?? []);
  }
  const times = asked.map(({ account, period: { from, to } }) => {
    return { account, channel: channelIn(tenant, account, series.get(account) ?? []), from, to };
  });
  const incomplete = await withOpenGaps(pool, place, times);
  return asked.map(({ account, contracts, period, meters, listed }) => ({
    account,
    contracts,
    period,
    usage: listed.map((one) => {
      const [current, last] = found.get(one) ?? [];
      const { meter, unit } = one.like;
      return {
        ...{ meter, unit, quantity: current?.quantity ?? '0', events: current?.events ?? 0 },
        before: last?.quantity ?? '0',
      };
    }),
    moreMeters: meters.size - listed.length,
    complete: !incomplete.has(account),
  }));
}

/** What has passed of a period, and as much of the one before. */
function soFarAndBefore(period: Period, now: number): readonly Span[] {
  const previous = periodAt(period.from - 1, period.kind, period.zone);
  const then = Math.min(previous.from + (now - period.from), previous.to);
  return [
    { from: period.from, to: now },
    { from: previous.from, to: then },
  ];
}

/** A meter of an account, and its series. */
interface Metered {
  readonly like: Series;
  readonly ids: number[];
}

function byMeter(series: readonly Series[]): Map<string, Metered> {
  const meters = new Map<string, Metered>();
  for (const one of series) {
    const known = meters.get(one.meter);
    if (known) known.ids.push(one.id);
    else meters.set(one.meter, { like: one, ids: [one.id] });
  }
  return meters;
}

export async function accountPage(
  deps: Pick<UsageDeps, 'pool' | 'now'>,
  tenant: Tenant,
  {
    prefix = '',
    limit,
    cursor,
  }: { readonly prefix?: string | undefined; readonly limit: number; readonly cursor?: string | undefined },
): Promise<{ readonly accounts: readonly AccountUsage[]; readonly next: string | null }> {
  const after = cursor === undefined ? '' : readCursor('accounts', cursor, text(512));
  const found = await accountsAfter(deps.pool, tenant.id, { prefix, after, limit });
  const accounts = await accountUsages(deps, tenant, found.accounts, METERS_LISTED);
  return { accounts, next: found.next === null ? null : writeCursor('accounts', found.next) };
}

/** Whether usage has the values that are asked for: `region=eu` that one, `region` none. */
function fitsWhere(dimensions: Readonly<Record<string, string>>, where: readonly string[]): boolean {
  return where.every((one) => {
    const at = one.indexOf('=');
    return at < 0 ? !(one in dimensions) : dimensions[one.slice(0, at)] === one.slice(at + 1);
  });
}

export interface EventsWish extends Span {
  readonly meter?: string | undefined;
  readonly where: readonly string[];
  readonly limit: number;
  readonly cursor?: string | undefined;
  /** Only these sequences, both included. */
  readonly sequences?: { readonly first: number; readonly last: number } | undefined;
}

const eventPlace = z.strictObject({ at: z.iso.datetime(), sequence: z.int().min(0), series: z.int() });

export async function eventPage(
  pool: Pool,
  tenant: Tenant,
  account: string,
  { meter, where, from, to, limit, cursor, sequences }: EventsWish,
): Promise<{ readonly entries: readonly UsageEntry[]; readonly next: string | null }> {
  if (from >= to) throw new Problem(400, 'invalid_query', '`to` must be after `from`.');
  const before = cursor === undefined ? null : readCursor('usage-events', cursor, eventPlace);
  const all = await seriesOf(pool, tenant.id, account, meter ?? null);
  const place = await placeOf(pool, tenant, account, all);
  const series = all.filter(({ dimensions }) => fitsWhere(dimensions, where)).map(({ id }) => id);
  const { first = 0, last = Number.MAX_SAFE_INTEGER } = sequences ?? {};
  const entries = await entriesOf(pool, place, { series, from, to, first, last, before, limit });
  const end = entries.length === limit ? entries.at(-1) : undefined;
  const next = end ? writeCursor('usage-events', { at: end.at, sequence: end.sequence, series: end.series }) : null;
  return { entries, next };
}

export async function usageAt(pool: Pool, tenant: Tenant, { channel, sequence }: Place): Promise<MessageUsage> {
  return usageOfMessage(pool, { tenant: tenant.id, book: await liveBook(pool, tenant.id), channel }, sequence);
}

/** The whole of it in a word. */
export function verdictOf(usage: MessageUsage): z.output<typeof messageUsageSchema>['verdict'] {
  const { entries, problems, gap, corrects, seen, metered } = usage;
  if (entries.some(({ state }) => state === 'c')) return 'counted';
  if (entries.length > 0) return 'not_counted';
  if (problems.length > 0) return 'problem';
  if (gap !== null) return 'gap';
  if (corrects !== null) return 'correction';
  if (!metered) return 'nothing_metered';
  return seen ? 'unmetered' : 'not_seen';
}

const problemPlace = z.strictObject({ channel: z.int(), sequence: z.int(), meterId: z.int() });

export async function problemPage(pool: Pool, tenant: Tenant, cursor: string | undefined, limit: number) {
  const after =
    cursor === undefined
      ? { channel: -1, sequence: 0, meterId: 0 }
      : readCursor('usage-problems', cursor, problemPlace);
  const book = await liveBook(pool, tenant.id);
  const problems = await problemsAfter(pool, { tenant: tenant.id, book }, after, limit);
  const last = problems.length === limit ? problems.at(-1) : undefined;
  const { channel = 0, sequence = 0, meterId = 0 } = last ?? {};
  return { problems, next: last ? writeCursor('usage-problems', { channel, sequence, meterId }) : null };
}

export async function unmeteredPage(pool: Pool, tenant: Tenant, cursor: string | undefined, limit: number) {
  const after = cursor === undefined ? null : readCursor('unmetered', cursor, z.string().max(512));
  const book = await liveBook(pool, tenant.id);
  const types = await unmeteredAfter(pool, { tenant: tenant.id, book }, tenant.channels, after, limit);
  const last = types.length === limit ? types.at(-1) : undefined;
  return { types, next: last ? writeCursor('unmetered', last.type) : null };
}

/** How much more or less, in words: `+12.5 %`. */
export function changeOf(quantity: string, before: string): string | null {
  const [now, then] = [new Exact(quantity), new Exact(before)];
  if (then.isZero()) return now.isZero() ? null : 'new';
  const percent = now.minus(then).div(then.abs()).times(100).toDecimalPlaces(1);
  if (percent.isZero()) return 'the same';
  return `${percent.isNegative() ? '−' : '+'}${percent.abs().toNumber().toLocaleString('en')} %`;
}
