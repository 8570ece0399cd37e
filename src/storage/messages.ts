import type { Pool } from 'pg';
import type { Kind } from '../message/arrival.js';
import { wordsOf } from '../message/folded.js';
import type { Place } from '../message/id.js';
import type { StoredMessage } from '../message/message.js';
import type { Address, View } from '../message/view.js';
import { arrayOf } from './array.js';
import { NewestFirst, type Stretch } from './newest.js';
import { MESSAGE_COLUMNS, type MessageRow, storedMessage } from './owner.js';
import { hasWords, searchPlaces, wholeUpTo, wordsQuery } from './search.js';

/** Where a message stands, as people see it. */
export type MessageState = 'accepted' | 'routed' | 'waiting' | 'snoozed' | 'closed' | 'parked' | 'quarantined';

/** A message as lists show it. */
export interface MessageSummary extends Place {
  readonly source: string;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly value: string | null;
  readonly externalId: string | null;
  readonly time: string | null;
  readonly received: Date;
  /** Bytes. */
  readonly size: number;
  readonly state: MessageState;
  /** Of the last decision; 0 while it isn't planned. */
  readonly version: number;
  /** When it came to stand there; null for what was simply routed. */
  readonly since: Date | null;
  readonly snoozedUntil: Date | null;
  readonly reason: string | null;
  readonly subject: string | null;
  readonly from: readonly Address[];
  readonly rung: number | null;
  readonly defects: number;
}

/** What a list is narrowed by; everything that is given must hold. */
export interface MessageFilter {
  readonly state?: MessageState | undefined;
  readonly channel?: number | undefined;
  readonly account?: string | undefined;
  /** Ids. */
  readonly source?: number | undefined;
  readonly target?: number | undefined;
  readonly type?: string | undefined;
  /** Words, or how they begin, of all that is searched; of what is not, part of account, type or external id. */
  readonly q?: string | undefined;
  readonly after?: Date | undefined;
  readonly before?: Date | undefined;
}

/** Where each channel goes on, sequences included; what is left out is finished. */
export type Positions = ReadonlyMap<number, number>;

export interface MessagePage {
  readonly messages: MessageSummary[];
  /** Empty when everything has been seen. */
  readonly next: Positions;
}

/** Arrival times within a channel follow the sequence but for what was in flight together. */
const SLACK_MS = 600_000;
/** Messages one request looks through for what a filter asks for. */
const BUDGET = 40_000;
const FILTERED_STEP = 512;

/**
 * A tenant's messages by arrival, newest first. A filter may end a page early, with `next` to go on from.
 * `channels` is those to look at, `from` where to go on.
 */
export async function listMessages(
  pool: Pool,
  tenant: number,
  channels: readonly number[],
  filter: MessageFilter,
  limit: number,
  from?: Positions,
): Promise<MessagePage> {
  const ends = await channelEnds(pool, tenant, channels);
  const few = await fewFound(pool, tenant, filter.q, ends);
  const walk = new NewestFirst<{ channel: number; position: number; at: number }>(
    {
      start: from ?? (await startOf(pool, tenant, filter, ends)),
      floor:
        filter.state === 'accepted'
          ? new Map(ends.map((end) => [end.channel, end.planned + 1]))
          : await floorOf(pool, tenant, filter, ends),
      step: few ? WHOLE : isNarrow(filter) ? FILTERED_STEP : Math.ceil(limit / Math.max(1, channels.length)) + 2,
      budget: few ? Number.POSITIVE_INFINITY : BUDGET,
    },
    (stretches) => look(pool, tenant, filter, few, stretches),
  );
  const places: Place[] = [];
  for (let found = await walk.peek(); found; found = places.length < limit ? await walk.peek() : undefined) {
    walk.take(found);
    places.push({ channel: found.channel, sequence: found.position });
  }
  return { messages: await summaries(pool, tenant, places), next: walk.positions() };
}

/** As many as are looked up one by one. */
const FEW = 2_000;
/** Of a channel, at once. */
const WHOLE = Number.MAX_SAFE_INTEGER;
const MOST_WORDS_ASKED = 8;

/** What the index of words has for a search: all there is up to where each channel is filled. */
interface FewFound {
  readonly places: readonly Place[];
  readonly filled: ReadonlyMap<number, number>;
}

/** Null where the index does not know it all but for the newest, or knows too many: then messages are walked along. */
async function fewFound(
  pool: Pool,
  tenant: number,
  q: string | undefined,
  ends: readonly ChannelEnd[],
): Promise<FewFound | null> {
  const words = q === undefined ? [] : wordsOf(q, MOST_WORDS_ASKED);
  if (words.length === 0) return null;
  const filled = await wholeUpTo(pool, tenant);
  if (ends.some(({ channel, last }) => last - (filled.get(channel) ?? 0) > MOST_IN_STRETCH)) return null;
  const places = await searchPlaces(pool, tenant, words, FEW + 1);
  return places.length > FEW ? null : { places, filled };
}

function isNarrow({ state, account, source, target, type, q }: MessageFilter): boolean {
  return [state, account, source, target, type, q].some((one) => one !== undefined);
}

/** How far a channel has come. */
export interface ChannelEnd {
  readonly channel: number;
  readonly last: number;
  readonly planned: number;
}

export async function channelEnds(pool: Pool, tenant: number, channels: readonly number[]): Promise<ChannelEnd[]> {
  const { rows } = await pool.query<ChannelEnd>(
    `select c.channel, c.last_sequence as last, coalesce(r.planned, 0) as planned
       from channel c left join reader r on r.tenant = c.tenant and r.channel = c.channel
      where c.tenant = $1 and c.channel = any($2::smallint[])`,
    [tenant, arrayOf(channels)],
  );
  return rows;
}

async function startOf(
  pool: Pool,
  tenant: number,
  filter: MessageFilter,
  ends: readonly ChannelEnd[],
): Promise<Map<number, number>> {
  if (filter.before === undefined) return new Map(ends.map(({ channel, last }) => [channel, last]));
  return lastArrivedBy(pool, tenant, new Date(filter.before.getTime() + SLACK_MS), ends);
}

async function floorOf(
  pool: Pool,
  tenant: number,
  filter: MessageFilter,
  ends: readonly ChannelEnd[],
): Promise<Map<number, number>> {
  if (filter.after === undefined) return new Map();
  const before = await lastArrivedBy(pool, tenant, new Date(filter.after.getTime() - SLACK_MS), ends);
  return new Map([...before].map(([channel, last]) => [channel, last + 1]));
}

/** By halving, in all channels at once: the last sequence of each that had arrived by then. What retention has dropped had. */
export async function lastArrivedBy(
  pool: Pool,
  tenant: number,
  at: Date,
  ends: readonly ChannelEnd[],
): Promise<Map<number, number>> {
  const open = new Map(ends.map(({ channel, last }) => [channel, { low: 0, high: last }]));
  for (;;) {
    const probes = [...open].filter(([, { low, high }]) => low < high);
    if (probes.length === 0) return new Map([...open].map(([channel, { low }]) => [channel, low]));
    const middles = probes.map(([, { low, high }]) => Math.ceil((low + high) / 2));
    const { rows } = await pool.query<{ channel: number; later: boolean }>(
      `select w.channel, coalesce(m.arrived_at > $4, false) as later
         from unnest($2::smallint[], $3::bigint[]) as w(channel, sequence)
         left join message m on m.generation = generation_of($1, w.channel, w.sequence) and m.tenant = $1
           and m.channel = w.channel and m.sequence = w.sequence`,
      [tenant, arrayOf(probes.map(([channel]) => channel)), arrayOf(middles), at],
    );
    for (const { channel, later } of rows) {
      const range = open.get(channel);
      if (!range) continue;
      const middle = Math.ceil((range.low + range.high) / 2);
      if (later) range.high = middle - 1;
      else range.low = middle;
    }
  }
}

/** The states that have a row of their own; routed messages mostly have none, accepted ones never. */
const STANDING_STATES: Readonly<Record<MessageState, string | null>> = {
  accepted: null,
  routed: null,
  waiting: `st.state = 'waiting' and (st.snoozed_until is null or st.snoozed_until <= now())`,
  snoozed: `st.state = 'waiting' and st.snoozed_until > now()`,
  closed: `st.state = 'closed'`,
  parked: `st.state = 'parked'`,
  quarantined: `st.state = 'quarantined'`,
};

async function look(
  pool: Pool,
  tenant: number,
  filter: MessageFilter,
  few: FewFound | null,
  stretches: readonly Stretch[],
) {
  if (!few) return lookAlong(pool, tenant, filter, null, stretches);
  const unfilled = stretches
    .map((one) => ({ ...one, from: Math.max(one.from, (few.filled.get(one.channel) ?? 0) + 1) }))
    .filter(({ from, to }) => from <= to);
  const found = await lookAlong(pool, tenant, filter, few.places, stretches);
  return [...found, ...(await lookAlong(pool, tenant, filter, null, unfilled))];
}

/** Along all messages of some stretches, or only along some. */
async function lookAlong(
  pool: Pool,
  tenant: number,
  filter: MessageFilter,
  only: readonly Place[] | null,
  stretches: readonly Stretch[],
) {
  if (stretches.length === 0) return [];
  const values: unknown[] = [
    tenant,
    arrayOf(stretches.map(({ channel }) => channel)),
    arrayOf(stretches.map(({ from }) => from)),
    arrayOf(stretches.map(({ to }) => to)),
  ];
  const { rows } = await pool.query<{ channel: number; position: number; arrived_at: Date }>(
    lookSql(tenant, filter, only, values),
    values,
  );
  return rows.map(({ channel, position, arrived_at }) => ({ channel, position, at: arrived_at.getTime() }));
}

/**
 * The limits inside keep each stretch a walk along the primary key of one partition, whatever the planner knows of
 * the tables by then. Values that the filter brings are added to `values`.
 */
function lookSql(tenant: number, filter: MessageFilter, only: readonly Place[] | null, values: unknown[]): string {
  const also = (value: unknown): string => `$${values.push(value)}`;
  const on: string[] = ['true'];
  if (filter.account !== undefined) on.push(`m.account = ${also(filter.account)}`);
  if (filter.source !== undefined) on.push(`m.source = ${also(filter.source)}`);
  if (filter.type !== undefined) on.push(`m.type = ${also(filter.type)}`);
  if (filter.after !== undefined) on.push(`m.arrived_at >= ${also(filter.after)}`);
  if (filter.before !== undefined) on.push(`m.arrived_at < ${also(filter.before)}`);
  if (filter.q !== undefined) {
    const pattern = also(`%${filter.q.replace(/[\\%_]/g, '\\$&')}%`);
    const words = wordsOf(filter.q, MOST_WORDS_ASKED);
    on.push(words.length === 0 ? containing(pattern) : found(also(wordsQuery(tenant, words)), pattern));
  }
  if (filter.target !== undefined) on.push(goingTo(also(filter.target)));
  const standing = filter.state === undefined ? null : STANDING_STATES[filter.state];
  if (filter.state === 'routed') on.push(routed('m'));
  if (only) {
    if (standing !== null) on.push(standsAs(standing));
    const places = [
      arrayOf(only.map(({ channel }) => channel)),
      arrayOf(only.map(({ sequence }) => sequence)),
    ] as const;
    return alongPlaces(also(places[0]), also(places[1]), on);
  }
  return standing === null ? alongMessages(on) : alongStandings(standing, on);
}

const STRETCHES = 'unnest($2::smallint[], $3::bigint[], $4::bigint[]) as w(channel, first, last)';
const MOST_IN_STRETCH = 4096;

function alongMessages(on: readonly string[]): string {
  return `select m.channel, m.sequence as position, m.arrived_at from ${STRETCHES}
    cross join lateral (
      select s.generation, s.first_sequence,
        lead(s.first_sequence, 1, 9007199254740991) over (order by s.first_sequence) - 1 as last_sequence
      from span s where s.tenant = $1 and s.channel = w.channel) s
    cross join lateral (
      select m.* from message m
      where m.generation = s.generation and m.tenant = $1 and m.channel = w.channel
        and m.sequence between greatest(w.first, s.first_sequence) and least(w.last, s.last_sequence)
      order by m.sequence desc limit ${MOST_IN_STRETCH}) m
    where s.first_sequence <= w.last and s.last_sequence >= w.first and ${on.join(' and ')}`;
}

function alongStandings(standing: string, on: readonly string[]): string {
  return `select m.channel, m.sequence as position, m.arrived_at from ${STRETCHES}
    cross join lateral (
      select st.sequence from standing st
      where st.tenant = $1 and st.channel = w.channel and st.sequence between w.first and w.last and ${standing}
      order by st.sequence desc limit ${MOST_IN_STRETCH}) st
    cross join lateral (
      select m.* from message m
      where m.generation = generation_of($1, w.channel, st.sequence) and m.tenant = $1 and m.channel = w.channel
        and m.sequence = st.sequence limit 1) m
    where ${on.join(' and ')}`;
}

function alongPlaces(channels: string, sequences: string, on: readonly string[]): string {
  return `select m.channel, m.sequence as position, m.arrived_at from ${STRETCHES}
    join unnest(${channels}::smallint[], ${sequences}::bigint[]) as p(channel, sequence)
      on p.channel = w.channel and p.sequence between w.first and w.last
    cross join lateral (
      select m.* from message m
      where m.generation = generation_of($1, w.channel, p.sequence) and m.tenant = $1 and m.channel = w.channel
        and m.sequence = p.sequence limit 1) m
    where ${on.join(' and ')}`;
}

function standsAs(standing: string): string {
  return `exists (select from standing st where st.tenant = $1 and st.channel = m.channel and st.sequence = m.sequence
    and ${standing})`;
}

function routed(m: string): string {
  return `exists (select from reader r where r.tenant = $1 and r.channel = ${m}.channel and r.planned >= ${m}.sequence)
    and not exists (select from standing st where st.tenant = $1 and st.channel = ${m}.channel
      and st.sequence = ${m}.sequence and st.state <> 'routed')`;
}

/** By its words where they are known; other messages by what their envelope says. */
function found(words: string, pattern: string): string {
  return `(${hasWords('m', words)} or (not exists (select from search_words k where k.tenant = $1
    and k.channel = m.channel and k.sequence = m.sequence) and ${containing(pattern)}))`;
}

function containing(pattern: string): string {
  return `(m.account ilike ${pattern} or m.type ilike ${pattern} or m.external_id ilike ${pattern}
    or exists (select from view v where v.generation = m.generation and v.tenant = m.tenant and v.channel = m.channel
      and v.sequence = m.sequence and v.body ->> 'subject' ilike ${pattern}))`;
}

/** In the plan that its channel's stream has for it, or in one that was made for it later. */
function goingTo(target: string): string {
  const inRuns = `exists (select from json_array_elements(p.runs) run
      where (run ->> 's')::bigint <= m.sequence and (run ->> 's')::bigint + (run ->> 'n')::bigint > m.sequence
        and exists (select from json_array_elements(run -> 't') t where (t ->> 0)::int = ${target}::int))`;
  return `(exists (select from (select * from plan p where p.tenant = $1 and p.channel = m.channel and p.kind = 'stream'
        and p.first_sequence <= m.sequence order by p.first_sequence desc limit 1) p
      where ${target}::int = any(p.targets) and ${inRuns})
    or exists (select from plan p where p.tenant = $1 and p.channel = m.channel and p.kind = 'extra'
      and p.first_sequence <= m.sequence and p.last_sequence >= m.sequence
      and ${target}::int = any(p.targets) and ${inRuns}))`;
}

const STATE = `case when m.sequence > r.planned then 'accepted' when st.state is null then 'routed'
  when st.state = 'waiting' and st.snoozed_until > now() then 'snoozed' else st.state end`;

/** Messages by their places, in that order, as lists show them; what retention has dropped is left out. */
export async function summaries(pool: Pool, tenant: number, places: readonly Place[]): Promise<MessageSummary[]> {
  if (places.length === 0) return [];
  const { rows } = await pool.query<MessageSummary>(
    `select m.channel, m.sequence, s.name as source, m.kind, m.account, m.type, m.value, m.external_id as "externalId",
        to_char(m.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time, m.arrived_at as received,
        octet_length(m.raw) as size, ${STATE} as state,
        case when m.sequence > r.planned then 0 else coalesce(st.version, 1) end as version, st.since,
        st.snoozed_until as "snoozedUntil", st.reason, v.body ->> 'subject' as subject,
        coalesce(v.body -> 'from', '[]') as "from", v.rung, coalesce(json_array_length(v.body -> 'defects'), 0) as defects
       from unnest($2::smallint[], $3::bigint[]) with ordinality as w(channel, sequence, ord)
       join message m on m.generation = generation_of($1, w.channel, w.sequence) and m.tenant = $1
         and m.channel = w.channel and m.sequence = w.sequence
       join source s on s.tenant = m.tenant and s.id = m.source
       join reader r on r.tenant = m.tenant and r.channel = m.channel
       left join standing st on st.tenant = m.tenant and st.channel = m.channel and st.sequence = m.sequence
       left join view v on v.generation = m.generation and v.tenant = m.tenant and v.channel = m.channel
         and v.sequence = m.sequence
      order by w.ord`,
    [tenant, arrayOf(places.map(({ channel }) => channel)), arrayOf(places.map(({ sequence }) => sequence))],
  );
  return rows;
}

export async function summary(pool: Pool, tenant: number, place: Place): Promise<MessageSummary | undefined> {
  return (await summaries(pool, tenant, [place]))[0];
}

/**
 * A message with its bytes and, where one is kept, its view. `gone`: it was there, and retention has dropped it; `erased`: a
 * person had its account erased.
 */
export async function findMessage(
  pool: Pool,
  tenant: number,
  { channel, sequence }: Place,
): Promise<{ readonly message: StoredMessage; readonly view: View | null } | 'gone' | 'erased' | undefined> {
  const { rows } = await pool.query<MessageRow & { body: View | null }>(
    `select ${MESSAGE_COLUMNS}, v.body from message m
       left join view v on v.generation = m.generation and v.tenant = m.tenant and v.channel = m.channel
         and v.sequence = m.sequence
      where m.generation = generation_of($1, $2::smallint, $3) and m.tenant = $1 and m.channel = $2 and m.sequence = $3`,
    [tenant, channel, sequence],
  );
  const row = rows[0];
  if (!row) return (await wasGiven(pool, tenant, { channel, sequence })) ? 'gone' : undefined;
  if (row.erased) return 'erased';
  const { body, ...message } = row;
  return { message: storedMessage(message), view: body };
}

/** Whether a channel ever gave this sequence. */
export async function wasGiven(pool: Pool, tenant: number, { channel, sequence }: Place): Promise<boolean> {
  const { rows } = await pool.query('select from channel where tenant = $1 and channel = $2 and last_sequence >= $3', [
    tenant,
    channel,
    sequence,
  ]);
  return rows.length > 0;
}
