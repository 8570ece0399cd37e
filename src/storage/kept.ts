import type { Pool } from 'pg';
import type { Kind } from '../message/arrival.js';
import type { StoredMessage } from '../message/message.js';
import { EMPTY_VIEW, type View } from '../message/view.js';
import type { Needs, PlainPath } from '../routing/backtest.js';
import { arrayOf } from './array.js';
import { channelEnds, lastArrivedBy } from './messages.js';
import { DUE } from './waiting.js';

/** Which of the messages that were planned are meant; nothing means all. */
export interface KeptWish {
  /** What arrived then or later. */
  readonly after?: Date | undefined;
  /** What arrived earlier. */
  readonly before?: Date | undefined;
  /** Those that wait in the inbox now. */
  readonly state?: 'waiting' | undefined;
  /** The newest, about so many. */
  readonly limit?: number | undefined;
}

export interface KeptMessage {
  readonly message: StoredMessage;
  /** Of a mail, as it was stored; null for what is read where it lies. */
  readonly view: View | null;
}

/** One whose content is so large that it is fetched when its turn comes; null where it has gone meanwhile. */
export interface LargeMessage {
  fetch(): Promise<KeptMessage | null>;
}

export interface KeptPage {
  readonly messages: readonly (KeptMessage | LargeMessage)[];
  /** Messages looked at, with those that are in no list. */
  readonly looked: number;
  /** Of these, those whose content retention or an erasure has taken. */
  readonly gone: number;
}

export interface Kept {
  /** How many will be looked at, about. */
  readonly total: number;
  readonly pages: AsyncGenerator<KeptPage>;
}

/** Bytes that a page is to have, so that neither memory nor the event loop is held by one. */
const PAGE_BYTES = 4 * 1024 * 1024;
const FIRST_ROWS = 256;
const MOST_ROWS = 2_000;
/** Contents beyond this are fetched one by one. */
const INLINE_BYTES = 64 * 1024;
/** Messages arrive in another order than they are numbered in, by less than this. */
const SLACK_MS = 600_000;

/**
 * A tenant's messages that have been planned, about the newest first, with no more of each than is needed; what is not
 * needed is empty. While a page is used the next one is fetched. A mail of which nothing could be read is left out: rules
 * were not asked of it either.
 */
export async function keptMessages(
  pool: Pool,
  tenant: { readonly id: number; readonly channels: number },
  wish: KeptWish,
  needs: Needs,
): Promise<Kept> {
  const places =
    wish.state === 'waiting' ? await waitingPlaces(pool, tenant.id) : await plannedPlaces(pool, tenant, wish);
  const limit = wish.limit ?? Number.POSITIVE_INFINITY;
  return { total: Math.min(places.total, limit), pages: pagesOf(pool, tenant.id, places, { ...wish, limit }, needs) };
}

/** Where messages are to be looked for. */
interface Places {
  readonly total: number;
  /** The next stretches, of so many messages together; empty when there are no more. */
  next(rows: number): Promise<readonly Stretch[]>;
}

/** Sequences of a channel, both ends included, in the generation they lie in; generation 0 holds nothing. */
interface Stretch {
  readonly channel: number;
  readonly generation: number;
  readonly first: number;
  readonly last: number;
}

async function* pagesOf(
  pool: Pool,
  tenant: number,
  places: Places,
  wish: KeptWish & { readonly limit: number },
  needs: Needs,
): AsyncGenerator<KeptPage> {
  let rows = FIRST_ROWS;
  let asked = 0;
  const fetch = async (): Promise<Fetched> => {
    const stretches = await places.next(Math.min(rows, wish.limit - asked));
    const page = await fetchPage(pool, tenant, stretches, wish, needs);
    asked += page.looked;
    rows = Math.min(MOST_ROWS, 2 * rows, Math.max(1, Math.floor((page.looked * PAGE_BYTES) / (page.bytes + 1))));
    return page;
  };
  let ahead = fetch();
  for (;;) {
    const page = await ahead;
    if (page.looked === 0) return;
    ahead = fetch();
    // Whoever leaves does not hear how it ended.
    ahead.catch(() => undefined);
    yield page;
  }
}

interface Fetched extends KeptPage {
  readonly bytes: number;
}

async function fetchPage(
  pool: Pool,
  tenant: number,
  stretches: readonly Stretch[],
  wish: KeptWish,
  needs: Needs,
): Promise<Fetched> {
  const looked = stretches.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  const stored = stretches.filter(({ generation }) => generation > 0);
  if (stored.length === 0) return { messages: [], looked, gone: looked, bytes: 0 };
  const { rows } = await pool.query<KeptRow>({
    text: pageSql(wish, needs),
    values: [
      tenant,
      arrayOf(stored.map(({ channel }) => channel)),
      arrayOf(stored.map(({ generation }) => generation)),
      arrayOf(stored.map(({ first }) => first)),
      arrayOf(stored.map(({ last }) => last)),
    ],
  });
  const messages: (KeptMessage | LargeMessage)[] = [];
  let bytes = 0;
  let gone = looked - rows.length;
  for (const row of rows) {
    bytes += row.whole ? ROW_BYTES + row.size : ROW_BYTES;
    if (row.erased) gone++;
    else if (!isWithin(row, wish)) continue;
    else if (!row.whole) messages.push({ fetch: () => fetchLarge(pool, tenant, row, needs) });
    else if (row.kind !== 'mail' || row.body !== null) messages.push(keptMessage(tenant, row, row, needs));
  }
  return { messages, looked, gone, bytes };
}

/** A row's bytes beside its content, about. */
const ROW_BYTES = 200;

interface Content {
  readonly raw: Buffer | null;
  readonly body: View | null;
}

interface KeptRow extends Content {
  readonly channel: number;
  readonly generation: number;
  readonly sequence: number;
  readonly kind: Kind;
  readonly erased: boolean;
  /** Nothing of its content is too large to come along. */
  readonly whole: boolean;
  /** Bytes of its content, about. */
  readonly size: number;
  readonly source?: number;
  readonly account?: string;
  readonly type?: string | null;
  readonly value?: string | null;
  readonly time?: string | null;
  readonly received?: Date;
  readonly peer?: string;
  readonly externalId?: string | null;
  readonly meta?: string | null;
}

const COLUMNS: Readonly<Record<PlainPath, string>> = {
  source: 'm.source',
  account: 'm.account',
  type: 'm.type',
  value: 'm.value',
  time: `to_char(m.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`,
  received: 'm.arrived_at',
  peer: 'm.peer',
  externalId: 'm.external_id',
};

/**
 * One statement a page, along the primary key of each partition; the limit keeps the planner from joining whole partitions
 * instead. A mail's view is looked for in any case: whether there is one says whether it was read.
 */
function pageSql({ after, before }: KeptWish, needs: Needs): string {
  const plain = new Set(needs.plain);
  if (after !== undefined || before !== undefined) plain.add('received');
  // A schema is of a source, and so is what an event's content comes to.
  if (needs.raw === 'content') plain.add('source');
  const columns = [...plain].map((path) => `${COLUMNS[path]} as "${path}"`);
  if (needs.meta) columns.push('m.meta::text as meta');
  const { raw, body, size } = contentSql(needs);
  return `select m.channel, m.generation, m.sequence, m.kind, m.erased_at is not null as erased,
      ${[...columns, `c.size <= ${INLINE_BYTES} as whole`, 'c.size'].join(', ')},
      case when c.size <= ${INLINE_BYTES} then ${raw} end as raw, case when c.size <= ${INLINE_BYTES} then ${body} end as body
    from unnest($2::smallint[], $3::int[], $4::bigint[], $5::bigint[]) as w(channel, generation, first, last)
    cross join lateral (select * from message where generation = w.generation and tenant = $1 and channel = w.channel
      and sequence between w.first and w.last order by sequence desc limit greatest(w.last - w.first + 1, 0)) m
    cross join lateral (select ${size} as size) c`;
}

/** What of a message's content is needed, as SQL, and how large that is. */
function contentSql({ raw, view }: Needs): { readonly raw: string; readonly body: string; readonly size: string } {
  const of = `from view v where v.generation = m.generation and v.tenant = $1 and v.channel = m.channel
    and v.sequence = m.sequence`;
  const ofEvents = {
    no: 'false',
    attributes: `m.kind = 'event' and m.meta is null`,
    content: `m.kind <> 'mail'`,
  }[raw];
  return {
    raw: `case when ${ofEvents} then m.raw end`,
    body: `case when m.kind = 'mail' then (select ${view ? 'v.body' : `'{}'::json`} ${of}) end`,
    size: `case when ${ofEvents} then octet_length(m.raw)
      when m.kind = 'mail' then ${view ? `coalesce((select pg_column_size(v.body) ${of}), 0)` : '0'} else 0 end`,
  };
}

async function fetchLarge(pool: Pool, tenant: number, row: KeptRow, needs: Needs): Promise<KeptMessage | null> {
  const { raw, body } = contentSql(needs);
  const { rows } = await pool.query<Content>(
    `select ${raw} as raw, ${body} as body from message m
      where m.generation = $2 and m.tenant = $1 and m.channel = $3 and m.sequence = $4 and m.erased_at is null`,
    [tenant, row.generation, row.channel, row.sequence],
  );
  return rows[0] ? keptMessage(tenant, row, rows[0], needs) : null;
}

function isWithin({ received }: KeptRow, { after, before }: KeptWish): boolean {
  if (received === undefined) return true;
  return (after === undefined || received >= after) && (before === undefined || received < before);
}

const NO_BYTES = Buffer.alloc(0);

function keptMessage(tenant: number, row: KeptRow, { raw, body }: Content, needs: Needs): KeptMessage {
  const message: StoredMessage = {
    tenant,
    channel: row.channel,
    sequence: row.sequence,
    source: row.source ?? 0,
    kind: row.kind,
    account: row.account ?? '',
    type: row.type ?? null,
    externalId: row.externalId ?? null,
    value: row.value ?? null,
    eventTime: row.time ?? null,
    arrivedAt: row.received?.getTime() ?? 0,
    peer: row.peer ?? '',
    meta: row.meta ?? null,
    sha256: NO_BYTES,
    raw: raw ?? NO_BYTES,
  };
  return { message, view: needs.view || body === null ? body : EMPTY_VIEW };
}

/** All channels from their newest ends on, each by its share, so that they come to their beginnings together. */
async function plannedPlaces(
  pool: Pool,
  tenant: { readonly id: number; readonly channels: number },
  { after, before }: KeptWish,
): Promise<Places> {
  const channels = Array.from({ length: tenant.channels }, (_, n) => n);
  const ends = await channelEnds(pool, tenant.id, channels);
  const by = (date: Date | undefined, slackMs: number) =>
    date === undefined ? null : lastArrivedBy(pool, tenant.id, new Date(date.getTime() + slackMs), ends);
  const newest = await by(before, SLACK_MS);
  const tooOld = await by(after, -SLACK_MS);
  const spans = await spansOf(pool, tenant.id);
  const rests = ends.map(({ channel, planned }) => {
    const last = Math.min(planned, newest?.get(channel) ?? planned);
    return new Rest(channel, (tooOld?.get(channel) ?? 0) + 1, last, spans.get(channel) ?? []);
  });
  const left = () => rests.reduce((sum, rest) => sum + rest.length, 0);
  return {
    total: left(),
    next: async (rows) => {
      const share = Math.min(1, rows / Math.max(1, left()));
      let open = rows;
      return rests.flatMap((rest) => {
        const count = Math.min(open, Math.ceil(rest.length * share));
        open -= count;
        return rest.take(count);
      });
    },
  };
}

interface Span {
  readonly first: number;
  readonly generation: number;
}

async function spansOf(pool: Pool, tenant: number): Promise<Map<number, Span[]>> {
  const { rows } = await pool.query<{ channel: number; spans: [number, number][] }>(
    `select channel, json_agg(json_build_array(first_sequence, generation) order by first_sequence) as spans
       from span where tenant = $1 group by channel`,
    [tenant],
  );
  return new Map(
    rows.map(({ channel, spans }) => [channel, spans.map(([first, generation]) => ({ first, generation }))]),
  );
}

/** What of a channel has not been taken yet. */
class Rest {
  constructor(
    private readonly channel: number,
    private readonly first: number,
    private last: number,
    /** Ascending; used up from their end. */
    private readonly spans: Span[],
  ) {}

  get length(): number {
    return Math.max(0, this.last - this.first + 1);
  }

  /** The newest ones. */
  take(count: number): Stretch[] {
    const taken: Stretch[] = [];
    const until = Math.max(this.first, this.last - count + 1);
    while (this.last >= until) {
      const span = this.spans.at(-1);
      if (span && span.first > this.last) {
        this.spans.pop();
        continue;
      }
      const first = Math.max(until, span?.first ?? until);
      taken.push({ channel: this.channel, generation: span?.generation ?? 0, first, last: this.last });
      this.last = first - 1;
    }
    return taken;
  }
}

/** What waits in the inbox, what has waited least first. */
async function waitingPlaces(pool: Pool, tenant: number): Promise<Places> {
  const waits = `tenant = $1 and state = 'waiting' and ${DUE} <= now()`;
  const { rows } = await pool.query<{ total: number }>(`select count(*) as total from standing where ${waits}`, [
    tenant,
  ]);
  let mark: { since: string; channel: number; sequence: number } | undefined;
  return {
    total: rows[0]?.total ?? 0,
    next: async (limit) => {
      const { rows } = await pool.query<{
        since: string;
        channel: number;
        sequence: number;
        generation: number | null;
      }>(
        `select to_char(${DUE} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as since, channel, sequence,
            generation_of($1, channel, sequence) as generation
           from standing where ${waits}
            and ($2::timestamptz is null or (${DUE}, channel, sequence) < ($2::timestamptz, $3::smallint, $4::bigint))
          order by ${DUE} desc, channel desc, sequence desc limit $5`,
        [tenant, mark?.since ?? null, mark?.channel ?? null, mark?.sequence ?? null, limit],
      );
      mark = rows.at(-1);
      return rows.map(({ channel, sequence, generation }) => ({
        channel,
        generation: generation ?? 0,
        first: sequence,
        last: sequence,
      }));
    },
  };
}
