import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import {
  FINDING_CODES,
  type Finding,
  judge,
  type Surroundings,
  type TargetCondition,
  verdictOn,
} from '../src/overview/judge.js';
import {
  boundsOf,
  LAST_DAY,
  LAST_HOUR,
  levelsOf,
  rateNow,
  ratesOf,
  type Sample,
  type Series,
  type Stretch,
} from '../src/overview/series.js';
import { type ChannelEntry, listChannels } from '../src/storage/channels-read.js';
import { listTargets, type StoredTarget } from '../src/storage/definitions.js';
import { oldestWaiting } from '../src/storage/inbox.js';
import { countInbox } from '../src/storage/inbox-counts.js';
import { newPoison, targetLags, unownedChannels } from '../src/storage/overview.js';
import { lagSince, samplesSince } from '../src/storage/samples.js';
import { targetHealth } from '../src/storage/target-health.js';
import { type MaybeEntry, maybeEntries } from '../src/storage/unseen-read.js';
import { type ChannelDeps, type FilterState, filterSchema, maybeEntriesSchema, maybeEntryOf } from './channels.js';
import { timeOut } from './fields.js';
import { caller } from './problem.js';
import type { Route } from './route.js';
import { sourcesWithHealth } from './sources.js';

export interface OverviewDeps extends ChannelDeps {
  /** What this process sees around it. */
  readonly surroundings: (tenant: number) => Surroundings;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** What is counted a second. */
export const FLOWS = ['accepted', 'sequenced', 'routed', 'delivered'] as const;
export type Flow = (typeof FLOWS)[number];

/** One target's lag. */
export interface TargetOverview {
  readonly name: string;
  readonly paused: StoredTarget['paused'];
  /** Why what is tried next was not taken before; null where it was not tried. */
  readonly trouble: string | null;
  readonly waiting: number;
  /** There may be more than was counted. */
  readonly more: boolean;
  readonly oldest: Date | null;
  readonly lastTaken: Date | null;
  /** What waited, minute by minute, over the last hour. */
  readonly lastHour: Series;
}

export interface Overview {
  readonly at: Date;
  readonly findings: readonly Finding[];
  /** Messages a second, over the last minute; null where nobody counted. */
  readonly rates: Readonly<Record<Flow, number | null>>;
  readonly channels: readonly ChannelEntry[];
  /** Null without the permission to see them. */
  readonly targets: readonly TargetOverview[] | null;
  readonly inbox: { readonly waiting: number; readonly oldest: Date | null } | null;
  readonly filters: readonly FilterState[];
  /** Null without the permission to see sources. */
  readonly maybe: readonly MaybeEntry[] | null;
  readonly samples: { readonly hour: readonly Sample[]; readonly day: readonly Sample[] };
}

/** Everything that tells how a tenant is doing, as far as the caller may see it. */
export async function overviewOf(deps: OverviewDeps, by: Principal): Promise<Overview> {
  const { pool } = deps;
  const tenant = by.tenant.id;
  const now = deps.now();
  const [hour, day] = await Promise.all([
    samplesOf(pool, tenant, LAST_HOUR, now),
    samplesOf(pool, tenant, LAST_DAY, now),
  ]);
  const [channels, unowned, targets, inbox, sources, poison, filters, maybe] = await Promise.all([
    listChannels(pool, tenant),
    unownedChannels(pool, tenant),
    by.permissions.has('targets.read') ? targetsNow(pool, tenant, hour, now) : null,
    by.permissions.has('messages.read') ? inboxNow(pool, tenant) : null,
    by.permissions.has('sources.read') ? sourcesWithHealth(pool, by) : [],
    by.permissions.has('quarantine.read') ? newPoison(pool, tenant, new Date(now - DAY)) : [],
    deps.filters(),
    by.permissions.has('sources.read') ? maybeEntries(pool, tenant) : null,
  ]);
  const findings = judge({
    now,
    channels: {
      unowned,
      unread: channels.reduce((sum, one) => sum + one.lastSequence - one.readUpTo, 0),
      unreadBefore: levelsOf(hour, LAST_HOUR, now, (one) => one.sequenced - one.routed).at(-1 - 5) ?? null,
    },
    targets: (targets ?? []).map(conditionOf),
    sources: sources
      .filter(({ health }) => health?.state === 'failing')
      .map(({ name, health }) => ({ name, reason: health?.reason ?? null })),
    inbox: inbox && { oldest: inbox.oldest?.getTime() ?? null },
    filters,
    unseen: oldestOf(maybe ?? []),
    newPoison: poison,
    surroundings: deps.surroundings(tenant),
    sampledAt: hour.at(-1)?.at ?? day.at(-1)?.at ?? null,
  });
  return {
    at: new Date(now),
    findings,
    rates: {
      accepted: rateNow(hour, now, ({ accepted }) => accepted),
      sequenced: rateNow(hour, now, ({ sequenced }) => sequenced),
      routed: rateNow(hour, now, ({ routed }) => routed),
      delivered: rateNow(hour, now, ({ delivered }) => delivered),
    },
    channels,
    targets,
    inbox,
    filters,
    maybe,
    samples: { hour, day },
  };
}

/** When the oldest came that nobody has looked up. */
function oldestOf(maybe: readonly MaybeEntry[]): number | null {
  const times = maybe.flatMap(({ oldest }) => oldest?.getTime() ?? []);
  return times.length === 0 ? null : Math.min(...times);
}

function samplesOf(pool: Pool, tenant: number, stretch: Stretch, now: number): Promise<Sample[]> {
  const [first = now] = boundsOf(stretch, now);
  return samplesSince(pool, tenant, stretch.apart, first - stretch.apart);
}

async function targetsNow(pool: Pool, tenant: number, hour: readonly Sample[], now: number): Promise<TargetOverview[]> {
  const [targets, lags, history] = await Promise.all([
    listTargets(pool, tenant),
    targetLags(pool, tenant),
    lagSince(pool, tenant, now - HOUR - 2 * MINUTE),
  ]);
  const troubles = await targetHealth(pool, tenant, [...lags.keys()]);
  return targets.map(({ id, name, paused, lastTakenAt }) => {
    const lag = lags.get(id);
    const trouble = troubles.get(id);
    const past = new Map(history.filter((one) => one.target === id).map(({ slot, waiting }) => [slot, waiting]));
    return {
      name,
      paused,
      trouble: trouble && trouble.attempts > 0 ? [trouble.code, trouble.reason].filter(Boolean).join(': ') : null,
      waiting: lag?.waiting ?? 0,
      more: lag?.more ?? false,
      oldest: lag?.oldest ?? null,
      lastTaken: lastTakenAt,
      lastHour: levelsOf(hour, LAST_HOUR, now, ({ slot }) => past.get(slot) ?? 0),
    };
  });
}

function conditionOf({ name, paused, trouble, waiting, oldest, lastHour }: TargetOverview): TargetCondition {
  // The last point is of the last full minute.
  const [five, ten] = [lastHour.at(-1 - 5) ?? null, lastHour.at(-1 - 10) ?? null];
  return {
    name,
    paused: paused && { by: paused.by, reason: paused.reason, since: paused.since.getTime() },
    trouble,
    waiting,
    oldest: oldest?.getTime() ?? null,
    before: five === null || ten === null ? null : { five, ten },
  };
}

async function inboxNow(pool: Pool, tenant: number): Promise<Overview['inbox']> {
  const [waiting, oldest] = await Promise.all([countInbox(pool, tenant), oldestWaiting(pool, tenant)]);
  return { waiting, oldest };
}

const findingSchema = z.object({
  code: z.enum(FINDING_CODES),
  severity: z.enum(['bad', 'warn']).meta({
    description: '`bad`: messages stand still or will be refused; `warn`: somebody should look',
  }),
  sentence: z.string(),
  href: z.string().meta({ description: 'The page behind it' }),
});

const pointsSchema = z.array(z.number().nullable());
const seriesSchema = z
  .object({
    from: timeOut.meta({ description: 'When the first point begins' }),
    step: z.int().meta({ description: 'Seconds a point' }),
    accepted: pointsSchema,
    sequenced: pointsSchema,
    routed: pointsSchema,
    delivered: pointsSchema,
    inbox: pointsSchema.nullable().meta({ description: 'Null without `messages.read`' }),
    waiting: pointsSchema.nullable().meta({ description: 'For targets; null without `targets.read`' }),
  })
  .meta({
    description: 'Oldest first; null where nobody counted. Flows a second, the others as they stood at its end',
  });

const rateSchema = z.number().nullable();

const overviewSchema = z.object({
  at: timeOut,
  verdict: z.string().meta({ description: 'A sentence; `All is well.` when there are no findings' }),
  findings: z.array(findingSchema).meta({ description: 'What is not well, the worst first' }),
  rates: z
    .object({ accepted: rateSchema, sequenced: rateSchema, routed: rateSchema, delivered: rateSchema })
    .meta({ description: 'A second, over the last minute; null where nobody counted' }),
  totals: z.object({
    sequenced: z.int(),
    unread: z.int().meta({ description: 'Sequenced and not planned yet' }),
    parked: z.int(),
    duplicates: z.int(),
    conflicts: z.int(),
    expired: z.int(),
  }),
  targets: z
    .array(
      z.object({
        name: z.string(),
        paused: z.boolean(),
        waiting: z.int(),
        more: z.boolean().meta({ description: 'There may be more than was counted' }),
        oldest: timeOut.nullable(),
        lastTaken: timeOut.nullable(),
      }),
    )
    .nullable()
    .meta({ description: 'Lag by target; null without `targets.read`' }),
  inbox: z
    .object({ waiting: z.int(), oldest: timeOut.nullable() })
    .nullable()
    .meta({ description: 'Null without `messages.read`' }),
  filters: z.array(filterSchema).meta({ description: 'Of the process that answers' }),
  maybe: maybeEntriesSchema,
  series: z.object({ hour: seriesSchema, day: seriesSchema }),
});

export function overviewRoutes(deps: OverviewDeps): Route[] {
  return [
    {
      method: 'get',
      path: '/v1/overview',
      permission: 'channels.read',
      summary: 'Whether all is well, what flows and what waits, now and over the last hour and day',
      replies: { 200: { description: 'The overview', schema: overviewSchema } },
      handler: async ({ principal }) => ({ status: 200, body: entryOf(await overviewOf(deps, caller(principal))) }),
    },
  ];
}

function entryOf(overview: Overview): z.input<typeof overviewSchema> {
  const { at, findings, rates, channels, targets, inbox, filters, maybe, samples } = overview;
  return {
    at: at.toISOString(),
    verdict: verdictOn(findings),
    findings: [...findings],
    rates,
    totals: totalsOf(channels),
    targets:
      targets?.map(({ name, paused, waiting, more, oldest, lastTaken }) => ({
        name,
        paused: paused !== null,
        waiting,
        more,
        oldest: oldest?.toISOString() ?? null,
        lastTaken: lastTaken?.toISOString() ?? null,
      })) ?? null,
    inbox: inbox && { ...inbox, oldest: inbox.oldest?.toISOString() ?? null },
    filters: filters.map(({ openedAt, sealedAt, ...rest }) => ({
      ...rest,
      openedAt: openedAt.toISOString(),
      sealedAt: sealedAt?.toISOString() ?? null,
    })),
    maybe: maybe?.map(maybeEntryOf) ?? null,
    series: { hour: seriesOf(overview, samples.hour, LAST_HOUR), day: seriesOf(overview, samples.day, LAST_DAY) },
  };
}

export function totalsOf(channels: readonly ChannelEntry[]) {
  const sum = (of: (one: ChannelEntry) => number) => channels.reduce((total, one) => total + of(one), 0);
  return {
    sequenced: sum((one) => one.lastSequence),
    unread: sum((one) => one.lastSequence - one.readUpTo),
    parked: sum((one) => one.parked),
    duplicates: sum((one) => one.duplicates),
    conflicts: sum((one) => one.conflicts),
    expired: sum((one) => one.expired),
  };
}

function seriesOf(
  { at, inbox, targets }: Overview,
  samples: readonly Sample[],
  stretch: Stretch,
): z.input<typeof seriesSchema> {
  const now = at.getTime();
  const [from = now] = boundsOf(stretch, now);
  return {
    from: new Date(from).toISOString(),
    step: stretch.step / 1000,
    accepted: [...ratesOf(samples, stretch, now, (one) => one.accepted)],
    sequenced: [...ratesOf(samples, stretch, now, (one) => one.sequenced)],
    routed: [...ratesOf(samples, stretch, now, (one) => one.routed)],
    delivered: [...ratesOf(samples, stretch, now, (one) => one.delivered)],
    inbox: inbox && [...levelsOf(samples, stretch, now, (one) => one.inbox)],
    waiting: targets && [...levelsOf(samples, stretch, now, (one) => one.waiting)],
  };
}
