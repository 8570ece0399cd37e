import type { Pool, PoolClient } from 'pg';
import type { Aggregation, MeterDefinition } from '../billing/definitions.js';
import type { Found, OpenGap, Series } from '../billing/statement.js';
import type { Span } from '../billing/zone.js';
import { grouped } from '../message/grouped.js';
import type { Tenant } from '../message/tenant.js';
import { arrayOf, textArray } from './array.js';

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

/** Gives each channel of a book the mark by which it is held; one without could not be. */
export async function makeMarks(db: Db, tenant: Pick<Tenant, 'id' | 'channels'>, book: number): Promise<void> {
  await db.query(
    `insert into ledger_mark (tenant, book, channel) select $1, $2, generate_series(0, $3 - 1)
     on conflict do nothing`,
    [tenant.id, book, tenant.channels],
  );
}

/** Whether anything is known of an account: usage, or a subscription. */
export async function isKnown(db: Db, tenant: number, account: string): Promise<boolean> {
  const { rows } = await db.query(
    `select from usage_series where tenant = $1 and account = $2 union all select from billing_definition
     where tenant = $1 and kind = 'subscription' and removed_at is null and definition->>'account' = $2 limit 1`,
    [tenant, account],
  );
  return rows.length > 0;
}

export interface StoredSeries extends Series {
  readonly account: string;
  readonly channel: number;
}

/** All series of an account, or of one of its meters. */
export async function seriesOf(
  db: Db,
  tenant: number,
  account: string,
  meter: string | null,
): Promise<readonly StoredSeries[]> {
  return (await seriesOfEach(db, tenant, [account], meter)).get(account) ?? [];
}

/** By account; those without are not in it. */
export async function seriesOfEach(
  db: Db,
  tenant: number,
  accounts: readonly string[],
  meter: string | null,
): Promise<ReadonlyMap<string, readonly StoredSeries[]>> {
  const { rows } = await db.query<{
    id: number;
    account: string;
    name: string;
    definition: MeterDefinition;
    dimensions: string;
    channel: number;
  }>(
    `select s.id, s.account, d.name, d.definition, s.dimensions, s.channel from usage_series s
     join billing_definition d on d.tenant = s.tenant and d.id = s.meter
     where s.tenant = $1 and s.account = any ($2::text[]) and ($3::text is null or d.name = $3)
     order by d.name, s.dimensions`,
    [tenant, textArray(accounts), meter],
  );
  const series = rows.map(({ id, account, name, definition, dimensions, channel }) => ({
    id,
    account,
    channel,
    meter: name,
    aggregation: definition.aggregation,
    unit: definition.unit ?? null,
    dimensions: JSON.parse(dimensions) as Record<string, string>,
  }));
  return grouped(series, ({ account }) => account);
}

/** One question: what do these series come to together in this time? */
export interface Question extends Span {
  readonly series: readonly number[];
  readonly aggregation: Aggregation;
}

interface Answer {
  readonly n: number;
  readonly quantity: string;
  readonly events: number;
  readonly ranges: [number, number][] | null;
}

const HOUR = 3_600_000;
const NOTHING: Found = { quantity: '0', events: 0, ranges: [] };

export interface UsagePlace {
  readonly tenant: number;
  readonly book: number;
  readonly channel: number;
}

/** Answers in the order of the questions. */
export async function usage(db: Db, of: UsagePlace, questions: readonly Question[]): Promise<Found[]> {
  const found: Found[] = [];
  for (const question of questions) found.push(...(await usageIn(db, of, question, [question], { ranges: true })));
  return found;
}

/**
 * What series come to together in each of several times, in one statement. What it rests on is asked for by itself: it takes
 * half of the time, and statements alone say it.
 */
export async function usageIn(
  db: Db,
  { channel, ...place }: UsagePlace,
  { series, aggregation }: Pick<Question, 'series' | 'aggregation'>,
  spans: readonly Span[],
  { ranges: wanted }: { readonly ranges: boolean } = { ranges: false },
): Promise<Found[]> {
  const found = spans.map(() => NOTHING);
  for (const { n, quantity, events, ranges } of await ask(db, place, aggregation, [{ series, spans }], wanted)) {
    const rests = (ranges ?? []).map(([first, last]) => ({ channel, from: first, to: last }));
    found[n - 1] = { quantity, events, ranges: rests };
  }
  return found;
}

/** Series that come to something together, and the times that are asked for. */
export interface Group {
  readonly series: readonly number[];
  readonly spans: readonly Span[];
}

/** The same of several groups, of any channels, in one statement. Answers in the order of the groups and their times. */
export async function usageOfEach(
  db: Db,
  place: Omit<UsagePlace, 'channel'>,
  aggregation: Aggregation,
  groups: readonly Group[],
): Promise<Pick<Found, 'quantity' | 'events'>[][]> {
  const answers = new Map((await ask(db, place, aggregation, groups, false)).map((answer) => [answer.n, answer]));
  let n = 0;
  return groups.map(({ spans }) => spans.map(() => answers.get(++n) ?? NOTHING));
}

async function ask(
  db: Db,
  { tenant, book }: Omit<UsagePlace, 'channel'>,
  aggregation: Aggregation,
  groups: readonly Group[],
  ranges: boolean,
): Promise<Answer[]> {
  const series = groups.flatMap((group, g) => group.series.map((id) => ({ id, g })));
  const windows = groups.flatMap(({ spans }, g) =>
    spans.map(({ from, to }) => {
      const firstHour = Math.min(Math.ceil(from / HOUR) * HOUR, to);
      return { g, edges: [from, firstHour, Math.max(Math.floor(to / HOUR) * HOUR, firstHour), to] as const };
    }),
  );
  const column = (i: 0 | 1 | 2 | 3) => textArray(windows.map(({ edges }) => new Date(edges[i]).toISOString()));
  const { rows } = await db.query<Answer>({
    ...statementFor(aggregation, ranges, windows.length),
    values: [
      ...[tenant, book, arrayOf(series.map(({ id }) => id)), arrayOf(series.map(({ g }) => g))],
      ...[column(0), column(1), column(2), column(3), arrayOf(windows.map(({ g }) => g))],
    ],
  });
  return rows;
}

/**
 * `p`: parts of the answers, a row each: what a cell or an entry says. $3, $4: series and their groups; $5 to $9: from, whole
 * hours between, to, and whose time it is. `offset 0` has each time and series looked up by itself; else all of them may be
 * read for each of a hundred times.
 */
const PARTS = `with s as materialized (select * from unnest($3::bigint[], $4::int[]) as s(id, g)), w as materialized (
    select * from unnest($5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::int[])
      with ordinality as w(f, a, b, t, g, n)
  ), p as (
    select w.n, c.events, c.value, c.at, c.sequence, c.first_sequence as first, c.last_sequence as last
      from w join s using (g) cross join lateral (select * from usage_cell where tenant = $1 and book = $2 and series = s.id
        and hour >= w.a and hour < w.b offset 0) c
    union all
    select w.n, 1, e.value, e.at, e.sequence, e.sequence, e.sequence
      from w join s using (g) cross join lateral (select * from usage_entry where tenant = $1 and book = $2 and series = s.id
        and state = 'c' and at >= w.f and at < w.a offset 0) e where w.f < w.a
    union all
    select w.n, 1, e.value, e.at, e.sequence, e.sequence, e.sequence
      from w join s using (g) cross join lateral (select * from usage_entry where tenant = $1 and book = $2 and series = s.id
        and state = 'c' and at >= w.b and at < w.t offset 0) e where w.b < w.t
  )`;

function answers(quantity: string): (ranges: boolean) => string {
  const answer = `select n, (${quantity})::text as quantity, sum(events)::bigint as events`;
  return (ranges) =>
    ranges
      ? `, q as (${answer}, range_agg(int8range(first, last, '[]')) as rests from p group by n)
        select n, quantity, events,
          (select json_agg(json_build_array(lower(x), upper(x) - 1) order by lower(x)) from unnest(rests) x) as ranges from q`
      : ` ${answer}, null as ranges from p group by n`;
}

/**
 * Those told apart in each of the times, looked up time by time: among all of a year's days at once each would be looked for in one
 * large table of hashes. In long times the same ones come again and again, and each series tells its own apart first.
 */
const members = (times: 'few' | 'many') => `(select count(distinct m.member) from (
      select c.member from s cross join lateral (select ${times === 'few' ? 'distinct ' : ''}member from usage_member
        where tenant = $1 and book = $2 and series = s.id and hour >= w.a and hour < w.b offset 0) c where s.g = w.g
      union all select e.member from s cross join lateral (select member from usage_entry where tenant = $1 and book = $2
        and series = s.id and state = 'c' and at >= w.f and at < w.a and w.f < w.a offset 0) e where s.g = w.g
      union all select e.member from s cross join lateral (select member from usage_entry where tenant = $1 and book = $2
        and series = s.id and state = 'c' and at >= w.b and at < w.t and w.b < w.t offset 0) e where s.g = w.g) m)`;

/** More times than this are short ones. */
const FEW = 31;

const QUANTITIES: Readonly<Record<Exclude<Aggregation, 'unique'>, string>> = {
  count: 'sum(events)',
  sum: 'trim_scale(sum(value))',
  max: 'trim_scale(max(value))',
  min: 'trim_scale(min(value))',
  last: 'trim_scale((array_agg(value order by at desc, sequence desc))[1])',
};

function statementFor(aggregation: Aggregation, ranges: boolean, times: number): { name: string; text: string } {
  const which = ranges ? '_ranges' : '';
  if (aggregation !== 'unique')
    return { name: `usage_${aggregation}${which}`, text: `${PARTS}${answers(QUANTITIES[aggregation])(ranges)}` };
  const how = times > FEW ? 'many' : 'few';
  return {
    name: `usage_unique_${how}${which}`,
    text: `${PARTS}${answers(`(select ${members(how)} from w where w.n = p.n)`)(ranges)}`,
  };
}

/** The same from the journal alone: for tests, and for who doubts. */
export async function usageFromJournal(
  db: Db,
  { tenant, book, channel }: UsagePlace,
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
  { tenant, book, channel }: UsagePlace,
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

/** Of these accounts, those of whose time something may be missing. */
export async function withOpenGaps(
  db: Db,
  { tenant, book }: Omit<UsagePlace, 'channel'>,
  asked: readonly (Span & { readonly account: string; readonly channel: number })[],
): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ account: string }>(
    `select i.account from unnest($3::text[], $4::smallint[], $5::timestamptz[], $6::timestamptz[])
       as i(account, channel, f, t)
     where exists (select from ledger_gap g where g.tenant = $1 and g.book = $2 and g.channel = i.channel
       and (g.account = i.account or g.account is null) and (g.at is null or (g.at >= i.f and g.at < i.t)))`,
    [
      ...[tenant, book, textArray(asked.map(({ account }) => account)), arrayOf(asked.map(({ channel }) => channel))],
      textArray(asked.map(({ from }) => new Date(from).toISOString())),
      textArray(asked.map(({ to }) => new Date(to).toISOString())),
    ],
  );
  return new Set(rows.map(({ account }) => account));
}
