import type { Pool, PoolClient } from 'pg';
import type { Aggregation, MeterDefinition } from '../billing/definitions.js';
import type { Found, OpenGap, Series } from '../billing/statement.js';
import type { Span } from '../billing/zone.js';
import { arrayOf } from './array.js';

/*
 * Questions to the ledger. Whole hours come from cells, what sticks out at both ends from the journal; so the answer is the
 * same as from the journal alone, to the last digit.
 */

type Db = Pool | PoolClient;

/** The ledger that answers. */
export async function liveBook(db: Db, tenant: number): Promise<number> {
  const { rows } = await db.query<{ live: number }>('select live from ledger where tenant = $1', [tenant]);
  return rows[0]?.live ?? 1;
}

/** All series of an account, or of one of its meters. */
export async function seriesOf(
  db: Db,
  tenant: number,
  account: string,
  meter: string | null,
): Promise<(Series & { readonly channel: number })[]> {
  const { rows } = await db.query<{
    id: number;
    name: string;
    definition: MeterDefinition;
    dimensions: string;
    channel: number;
  }>(
    `select s.id, d.name, d.definition, s.dimensions, s.channel from usage_series s
     join billing_definition d on d.tenant = s.tenant and d.id = s.meter
     where s.tenant = $1 and s.account = $2 and ($3::text is null or d.name = $3) order by d.name, s.dimensions`,
    [tenant, account, meter],
  );
  return rows.map(({ id, name, definition, dimensions, channel }) => ({
    id,
    channel,
    meter: name,
    aggregation: definition.aggregation,
    unit: definition.unit ?? null,
    dimensions: JSON.parse(dimensions) as Record<string, string>,
  }));
}

/** One question: what do these series come to together in this time? */
export interface Question extends Span {
  readonly series: readonly number[];
  readonly aggregation: Aggregation;
}

interface Answer {
  readonly quantity: string;
  readonly events: number;
  readonly ranges: [number, number][] | null;
}

const HOUR = 3_600_000;

/** Answers in the order of the questions, each in one statement. */
export async function usage(
  db: Db,
  of: { readonly tenant: number; readonly book: number; readonly channel: number },
  questions: readonly Question[],
): Promise<Found[]> {
  const found: Found[] = [];
  for (const question of questions) found.push(await usageOf(db, of, question));
  return found;
}

async function usageOf(
  db: Db,
  { tenant, book, channel }: { readonly tenant: number; readonly book: number; readonly channel: number },
  { series, aggregation, from, to }: Question,
): Promise<Found> {
  const firstHour = Math.min(Math.ceil(from / HOUR) * HOUR, to);
  const lastHour = Math.max(Math.floor(to / HOUR) * HOUR, firstHour);
  const { rows } = await db.query<Answer>({
    name: `usage_${aggregation}`,
    text: QUESTIONS[aggregation],
    values: [tenant, book, arrayOf(series), new Date(from), new Date(firstHour), new Date(lastHour), new Date(to)],
  });
  const [row] = rows;
  return {
    quantity: row?.quantity ?? '0',
    events: row?.events ?? 0,
    ranges: (row?.ranges ?? []).map(([first, last]) => ({ channel, from: first, to: last })),
  };
}

/** `p`: parts of the answer, a row each: what a cell or an entry says. $3: series; $4 to $7: from, whole hours between, to. */
const PARTS = `with s as materialized (select unnest($3::bigint[]) as id), p as materialized (
    select c.events, c.value, c.at, c.sequence, c.first_sequence as first, c.last_sequence as last, null::bytea as member
      from s cross join lateral (select * from usage_cell where tenant = $1 and book = $2 and series = s.id
        and hour >= $5 and hour < $6) c
    union all
    select 1, e.value, e.at, e.sequence, e.sequence, e.sequence, e.member
      from s cross join lateral (select * from usage_entry where tenant = $1 and book = $2 and series = s.id
        and state = 'c' and ((at >= $4 and at < $5) or (at >= $6 and at < $7))) e
  ), r as (
    select json_agg(json_build_array(lower(x), upper(x) - 1) order by lower(x)) as ranges
    from unnest((select range_agg(int8range(first, last, '[]')) from p)) x
  )`;

const REST = `coalesce(sum(events), 0)::bigint as events, (select ranges from r) as ranges from p`;

const QUESTIONS: Readonly<Record<Aggregation, string>> = {
  count: `${PARTS} select coalesce(sum(events), 0)::text as quantity, ${REST}`,
  sum: `${PARTS} select trim_scale(coalesce(sum(value), 0))::text as quantity, ${REST}`,
  max: `${PARTS} select trim_scale(coalesce(max(value), 0))::text as quantity, ${REST}`,
  min: `${PARTS} select trim_scale(coalesce(min(value), 0))::text as quantity, ${REST}`,
  last: `${PARTS} select trim_scale(coalesce((array_agg(value order by at desc, sequence desc))[1], 0))::text as quantity,
    ${REST}`,
  unique: `${PARTS} select (select count(*) from (
      select m.member from s cross join lateral (select member from usage_member where tenant = $1 and book = $2
        and series = s.id and hour >= $5 and hour < $6) m
      union select member from p where member is not null) u)::text as quantity, ${REST}`,
};

/** The same from the journal alone: for tests, and for who doubts. */
export async function usageFromJournal(
  db: Db,
  { tenant, book, channel }: { readonly tenant: number; readonly book: number; readonly channel: number },
  { series, aggregation, from, to }: Question,
): Promise<Found> {
  const values = [tenant, book, arrayOf(series), new Date(from), new Date(to)];
  const quantity: Readonly<Record<Aggregation, string>> = {
    count: 'count(*)',
    sum: 'trim_scale(coalesce(sum(value), 0))',
    max: 'trim_scale(coalesce(max(value), 0))',
    min: 'trim_scale(coalesce(min(value), 0))',
    last: 'trim_scale(coalesce((array_agg(value order by at desc, sequence desc))[1], 0))',
    unique: 'count(distinct member)',
  };
  const { rows } = await db.query<{ quantity: string; events: number }>(
    `select (${quantity[aggregation]})::text as quantity, count(*) as events from usage_entry where tenant = $1 and book = $2
       and series = any ($3::bigint[]) and at >= $4 and at < $5 and state = 'c'`,
    values,
  );
  return { quantity: rows[0]?.quantity ?? '0', events: rows[0]?.events ?? 0, ranges: [{ channel, from: 0, to: 0 }] };
}

/** What is open of a channel and may concern an account's usage of a time; what nothing is known of concerns everybody. */
export async function openGaps(
  db: Db,
  { tenant, book, channel }: { readonly tenant: number; readonly book: number; readonly channel: number },
  account: string,
  { from, to }: Span,
  most: number,
): Promise<OpenGap[]> {
  const { rows } = await db.query<OpenGap>(
    `select channel, sequence, reason from ledger_gap where tenant = $1 and book = $2 and channel = $3
       and (account = $4 or account is null) and (at is null or (at >= $5 and at < $6)) order by sequence limit $7`,
    [tenant, book, channel, account, new Date(from), new Date(to), most],
  );
  return rows;
}
