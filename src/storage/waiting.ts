import type { Pool } from 'pg';
import type { Place } from '../message/id.js';
import type { StoredMessage } from '../message/message.js';
import type { View } from '../message/view.js';
import { arrayOf } from './array.js';
import type { InboxMark } from './inbox.js';
import { MESSAGE_COLUMNS, type MessageRow, storedMessage } from './owner.js';

/** A message that waits for a person, with what rules look at. */
export interface WaitingMessage {
  /** Of a mail without its bytes: rules ask its view. */
  readonly message: StoredMessage;
  readonly source: string;
  /** Null where none is kept. */
  readonly view: View | null;
  /** Of its last decision. */
  readonly version: number;
}

export interface WaitingPage {
  /** Without those whose content is gone or was erased. */
  readonly messages: readonly WaitingMessage[];
  /** How many wait on this page. */
  readonly looked: number;
  /** Null when that was the last page. */
  readonly next: InboxMark | null;
}

/** A page ends when so many bytes have been read. */
const MOST_BYTES = 16 * 1024 * 1024;

/** Since when a message has needed somebody, as it is indexed. */
export const DUE = 'coalesce(snoozed_until, since)';

/** What waits for a person, snoozed left out, newest first, with its content. */
export async function listWaiting(
  pool: Pool,
  tenant: number,
  limit: number,
  before: InboxMark | null,
): Promise<WaitingPage> {
  const { rows: marks } = await pool.query<InboxMark>(
    `select to_char(${DUE} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as since, channel, sequence
       from standing where tenant = $1 and state = 'waiting' and ${DUE} <= now()
        and ($3::timestamptz is null or (${DUE}, channel, sequence) < ($3::timestamptz, $4::smallint, $5::bigint))
      order by ${DUE} desc, channel desc, sequence desc limit $2`,
    [tenant, limit + 1, before?.since ?? null, before?.channel ?? null, before?.sequence ?? null],
  );
  const page = marks.slice(0, limit);
  const { messages, read } = await readWaiting(pool, tenant, page);
  const more = read < marks.length ? page[read - 1] : undefined;
  return { messages, looked: read, next: more ?? null };
}

/** Messages by their places, in that order, with their content; `read` of the places, as far as MOST_BYTES go. */
export async function readWaiting(
  pool: Pool,
  tenant: number,
  places: readonly Place[],
): Promise<{ readonly messages: readonly WaitingMessage[]; readonly read: number }> {
  const rows = await contentsOf(pool, tenant, places);
  const last = rows.at(-1);
  const read = last && rows.length < last.there ? last.place : places.length;
  return { messages: rows.filter(({ erased }) => !erased).map(waitingMessage), read };
}

interface Row extends MessageRow {
  /** From 1. */
  place: number;
  /** Of all places how many have a row, returned or not. */
  there: number;
  source_name: string;
  version: number;
  body: View | null;
}

/** In their order, as far as MOST_BYTES go, and one at least. */
async function contentsOf(pool: Pool, tenant: number, places: readonly Place[]): Promise<Row[]> {
  const { rows } = await pool.query<Row>(
    `select ${MESSAGE_COLUMNS}, m.place, m.there, m.source_name, m.version, m.body from (
       select b.*, sum(b.bytes) over (order by b.place) - b.bytes as before, count(*) over () as there from (
         select a.tenant, a.channel, a.sequence, a.source, a.kind, a.account, a.type, a.external_id, a.value, a.event_time,
           a.arrived_at, a.peer, a.meta, a.sha256, a.erased_at, w.place, s.name as source_name, st.version, v.body,
           case when a.kind = 'mail' then ''::bytea else a.raw end as raw,
           case when a.kind = 'mail' then 0 else length(a.raw) end + coalesce(pg_column_size(v.body), 0) as bytes
         from unnest($2::smallint[], $3::bigint[]) with ordinality as w(channel, sequence, place)
         join message a on a.generation = generation_of($1, w.channel, w.sequence) and a.tenant = $1
           and a.channel = w.channel and a.sequence = w.sequence
         join source s on s.tenant = a.tenant and s.id = a.source
         join standing st on st.tenant = a.tenant and st.channel = a.channel and st.sequence = a.sequence
         left join view v on v.generation = a.generation and v.tenant = a.tenant and v.channel = a.channel
           and v.sequence = a.sequence) b
     ) m where m.before < $4 order by m.place`,
    [
      tenant,
      arrayOf(places.map(({ channel }) => channel)),
      arrayOf(places.map(({ sequence }) => sequence)),
      MOST_BYTES,
    ],
  );
  return rows;
}

function waitingMessage(row: Row): WaitingMessage {
  return { message: storedMessage(row), source: row.source_name, view: row.body, version: row.version };
}
