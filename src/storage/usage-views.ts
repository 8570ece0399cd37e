import type { Pool } from 'pg';
import type { MeterDefinition } from '../billing/definitions.js';
import type { GapReason } from '../billing/mark.js';
import type { Span } from '../billing/zone.js';
import type { Place } from '../message/id.js';
import { arrayOf } from './array.js';
import type { UsagePlace } from './usage.js';

/* What people look at of the ledger: accounts, the events behind a number, and what was not counted. */

/** Accounts looked at for a page of those whose names begin with something. */
const MOST_WALKED = 1_000;

/** Accounts with usage or a subscription by name, from one on. A page may be short and still have a `next`. */
export async function accountsAfter(
  pool: Pool,
  tenant: number,
  { prefix, after, limit }: { readonly prefix: string; readonly after: string; readonly limit: number },
): Promise<{ readonly accounts: string[]; readonly next: string | null }> {
  const most = prefix === '' ? limit : MOST_WALKED;
  const { rows } = await pool.query<{ account: string; hit: boolean }>(
    // From name to name along the indexes: an account may have thousands of rows there. Where capitals come first, all with
    // one beginning stand together; elsewhere others may stand between them.
    `with recursive walk(account, n) as (
       select least((select min(account) from usage_series where tenant = $1 and account > $2 and account >= $3),
         (select min(definition->>'account') from billing_definition where tenant = $1 and kind = 'subscription'
           and removed_at is null and definition->>'account' > $2 and definition->>'account' >= $3)), 1
       union all
       select least((select min(account) from usage_series where tenant = $1 and account > w.account),
         (select min(definition->>'account') from billing_definition where tenant = $1 and kind = 'subscription'
           and removed_at is null and definition->>'account' > w.account)), n + 1
       from walk w where n < $4 and w.account is not null and (starts_with(w.account, $3) or 'B' > 'a')
     )
     select account, starts_with(account, $3) as hit from walk where account is not null order by n`,
    [tenant, after, prefix, most],
  );
  const hits = rows.filter(({ hit }) => hit).map(({ account }) => account);
  const accounts = hits.slice(0, limit);
  const full = accounts.length === limit;
  const next = full ? accounts.at(-1) : rows.length === most ? rows.at(-1)?.account : undefined;
  return { accounts, next: next ?? null };
}

/** How an entry of the journal stands: see `usage_entry`. */
export type EntryState = 'c' | 'v' | 'n' | 'h';

/** One event as one meter has counted it, or not. */
export interface UsageEntry extends Place {
  readonly series: number;
  readonly meter: string;
  readonly unit: string | null;
  readonly account: string;
  readonly dimensions: Readonly<Record<string, string>>;
  /** RFC 3339, to the microsecond. */
  readonly at: string;
  readonly arrivedAt: Date;
  /** A decimal; null of what is only counted, or told apart. */
  readonly value: string | null;
  readonly state: EntryState;
  /** The first correction that names it, and what it amends itself: sequences of its channel. */
  readonly correctedBy: number | null;
  readonly amends: number | null;
}

interface EntryRow extends Omit<UsageEntry, 'dimensions' | 'unit'> {
  readonly dimensions: string;
  readonly definition: MeterDefinition;
}

function entryOf({ dimensions, definition, ...row }: EntryRow): UsageEntry {
  return { ...row, unit: definition.unit ?? null, dimensions: JSON.parse(dimensions) as Record<string, string> };
}

/** Of `e`, an entry. */
const ENTRY = `e.channel, e.sequence, e.series, d.name as meter, d.definition, s.account, s.dimensions,
  to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, e.arrived_at as "arrivedAt",
  trim_scale(e.value)::text as value, e.state,
  (select min(c.sequence) from ledger_correction c where c.tenant = e.tenant and c.book = e.book
    and c.channel = e.channel and c.target = e.sequence) as "correctedBy",
  (select c.target from ledger_correction c where c.tenant = e.tenant and c.book = e.book and c.channel = e.channel
    and c.sequence = e.sequence) as amends`;
const OF_SERIES = `join usage_series s on s.tenant = e.tenant and s.id = e.series
  join billing_definition d on d.tenant = s.tenant and d.id = s.meter`;

export interface EntriesWish extends Span {
  readonly series: readonly number[];
  /** Only these sequences, both included. */
  readonly first: number;
  readonly last: number;
  /** The last one that is known already. */
  readonly before: { readonly at: string; readonly sequence: number; readonly series: number } | null;
  readonly limit: number;
}

/** The events of a time that some series come from, the latest first. */
export async function entriesOf(
  pool: Pool,
  { tenant, book }: UsagePlace,
  { series, from, to, first, last, before, limit }: EntriesWish,
): Promise<UsageEntry[]> {
  const { rows } = await pool.query<EntryRow>(
    `select ${ENTRY} from (
       select x.* from unnest($3::bigint[]) as w(id) cross join lateral (
         select * from usage_entry where tenant = $1 and book = $2 and series = w.id and at >= $4 and at < $5
           and sequence between $6 and $7
           and ($8::timestamptz is null or (at, sequence, series) < ($8::timestamptz, $9::bigint, $10::bigint))
         order by at desc, sequence desc limit $11) x
       order by x.at desc, x.sequence desc, x.series desc limit $11) e ${OF_SERIES}
     order by e.at desc, e.sequence desc, e.series desc`,
    [
      tenant,
      book,
      arrayOf(series),
      new Date(from),
      new Date(to),
      first,
      last,
      before?.at ?? null,
      before?.sequence ?? null,
      before?.series ?? null,
      limit,
    ],
  );
  return rows.map(entryOf);
}

/** Which of some series a time has most events of: about, by whole hours. */
export async function busiestSeries(
  pool: Pool,
  { tenant, book }: UsagePlace,
  series: readonly number[],
  { from, to }: Span,
): Promise<Map<number, number>> {
  const { rows } = await pool.query<{ series: number; events: number }>(
    `select series, sum(events)::bigint as events from usage_cell where tenant = $1 and book = $2
       and series = any ($3::bigint[]) and hour >= date_trunc('hour', $4::timestamptz) and hour < $5 group by series`,
    [tenant, book, arrayOf(series), new Date(from), new Date(to)],
  );
  return new Map(rows.map((row) => [row.series, row.events]));
}

/** All that the live ledger says of one message. */
export interface MessageUsage {
  readonly entries: readonly UsageEntry[];
  readonly problems: readonly { readonly meter: string; readonly code: string }[];
  readonly gap: GapReason | null;
  /** Whether the ledger has come to it. */
  readonly seen: boolean;
  /** Corrections that name it, the first one first. */
  readonly corrections: readonly {
    readonly sequence: number;
    readonly action: 'void' | 'amend';
    readonly who: string;
    readonly why: string;
  }[];
  /** What it says of another message, where it is a correction. */
  readonly corrects: { readonly action: 'void' | 'amend'; readonly target: number } | null;
  /** Whether anything is metered here at all. */
  readonly metered: boolean;
}

/** Of a message that was corrected again and again. */
const CORRECTIONS_TOLD = 20;

export async function usageOfMessage(
  pool: Pool,
  { tenant, book, channel }: UsagePlace,
  sequence: number,
): Promise<MessageUsage> {
  const at = [tenant, book, channel, sequence];
  const here = 'tenant = $1 and book = $2 and channel = $3';
  const [entries, problems, gap, mark, corrections, corrects, metered] = await Promise.all([
    pool.query<EntryRow>(
      `select ${ENTRY} from usage_entry e ${OF_SERIES} where e.tenant = $1 and e.book = $2 and e.channel = $3
         and e.sequence = $4 order by d.name, e.series`,
      at,
    ),
    pool.query<{ meter: string; code: string }>(
      `select d.name as meter, p.code from usage_problem p join billing_definition d on d.tenant = p.tenant and d.id = p.meter
       where p.tenant = $1 and p.book = $2 and p.channel = $3 and p.sequence = $4 order by d.name`,
      at,
    ),
    pool.query<{ reason: GapReason }>(`select reason from ledger_gap where ${here} and sequence = $4`, at),
    pool.query(`select from ledger_mark where ${here} and through >= $4`, at),
    pool.query<MessageUsage['corrections'][number]>(
      `select sequence, action, who, why from ledger_correction where ${here} and target = $4
       order by sequence limit ${CORRECTIONS_TOLD}`,
      at,
    ),
    pool.query<{ action: 'void' | 'amend'; target: number }>(
      `select action, target from ledger_correction where ${here} and sequence = $4`,
      at,
    ),
    pool.query("select from billing_definition where tenant = $1 and kind = 'meter' limit 1", [tenant]),
  ]);
  return {
    entries: entries.rows.map(entryOf),
    problems: problems.rows,
    gap: gap.rows[0]?.reason ?? null,
    seen: mark.rows.length > 0,
    corrections: corrections.rows,
    corrects: corrects.rows[0] ?? null,
    metered: metered.rows.length > 0,
  };
}

/** An event that a meter is for and could not count. */
export interface UsageProblem extends Place {
  readonly meterId: number;
  readonly meter: string;
  readonly code: string;
  readonly account: string;
  readonly at: Date;
}

/** By channel and sequence, after a place. */
export async function problemsAfter(
  pool: Pool,
  { tenant, book }: Omit<UsagePlace, 'channel'>,
  after: Place & { readonly meterId: number },
  limit: number,
): Promise<UsageProblem[]> {
  const { rows } = await pool.query<UsageProblem>(
    `select p.channel, p.sequence, p.meter as "meterId", d.name as meter, p.code, p.account, p.at from usage_problem p
     join billing_definition d on d.tenant = p.tenant and d.id = p.meter
     where p.tenant = $1 and p.book = $2 and (p.channel, p.sequence, p.meter) > ($3, $4, $5)
     order by p.channel, p.sequence, p.meter limit $6`,
    [tenant, book, after.channel, after.sequence, after.meterId, limit],
  );
  return rows;
}

/** Events of a type that no meter is for. */
export interface Unmetered {
  /** Empty where they name none. */
  readonly type: string;
  readonly events: number;
  /** Days of arrival: `2026-03-29`. */
  readonly firstDay: string;
  readonly lastDay: string;
  /** One of the latest. */
  readonly channel: number;
  readonly sequence: number;
}

/** By type, after one; null from the first. */
export async function unmeteredAfter(
  pool: Pool,
  { tenant, book }: Omit<UsagePlace, 'channel'>,
  channels: number,
  after: string | null,
  limit: number,
): Promise<Unmetered[]> {
  const { rows } = await pool.query<Unmetered>(
    `with channels as (select generate_series(0, $3::int - 1)::smallint as channel), types as (
       select distinct t.type from channels c cross join lateral (
         select distinct type from usage_unmetered u where u.tenant = $1 and u.book = $2 and u.channel = c.channel
           and ($4::text is null or u.type > $4) order by type limit $5) t
       order by t.type limit $5)
     select t.type, sum(u.events)::bigint as events, min(u.day)::text as "firstDay", max(u.day)::text as "lastDay",
       (array_agg(u.channel order by u.day desc, u.channel))[1] as channel,
       (array_agg(u.sequence order by u.day desc, u.channel))[1] as sequence
     from types t cross join channels c join usage_unmetered u on u.tenant = $1 and u.book = $2 and u.channel = c.channel
       and u.type = t.type
     group by t.type order by t.type`,
    [tenant, book, channels, after, limit],
  );
  return rows;
}

/** A threshold that an account has passed in a period. */
export interface PassedThreshold {
  readonly meter: string;
  readonly percent: number;
  readonly at: Date;
}

export async function thresholdsPassed(
  pool: Pool,
  tenant: number,
  account: string,
  periodFrom: number,
): Promise<PassedThreshold[]> {
  const { rows } = await pool.query<PassedThreshold>(
    'select meter, percent, at from usage_notice where tenant = $1 and account = $2 and period_from = $3 order by meter, percent',
    [tenant, account, new Date(periodFrom)],
  );
  return rows;
}
