import { setImmediate as turn } from 'node:timers/promises';
import type { Pool, PoolClient } from 'pg';
import { wordsOf } from '../message/folded.js';
import { messageId, type Place } from '../message/id.js';
import { MOST_WORDS, READ_FOR_WORDS, type Searched, searchedText } from '../message/searched.js';
import type { Rung } from '../message/view.js';
import { arrayOf, textArray } from './array.js';
import type { FreshWords, WordsBySequence } from './fresh-words.js';
import { keepContent } from './keeping.js';
import { inTransaction } from './pool.js';

/*
 * The words of messages, for search. Accepting and planning know nothing of it: a cursor per channel follows what is
 * planned, behind, and what it met too early (parked) or has come back (reopened) is noted by a trigger and done again.
 */

/** Kinds of messages whose words are kept whether or not they ever wait for a person. */
export type SearchedKind = 'mail' | 'webhook' | 'event' | 'amqp';

/** Sequences looked at, and messages put in, together; no more once these have so many bytes to be read for words. */
const STEP = 10_000;
const AT_ONCE = 200;
const BYTES_AT_ONCE = 1_000_000;
/** Others have a turn after so many milliseconds of folding: one message of READ characters may take some more. */
const TURN_MS = 10;

/** Looks whether the words of a message are all there; `w` has its channel and sequence. */
export function hasWords(w: string, query: string): string {
  return `exists (select from search_words sw where sw.tenant = $1 and sw.channel = ${w}.channel
    and sw.sequence = ${w}.sequence and sw.words @@ ${query}::tsquery)`;
}

/** What hasWords takes: folded words, each the beginning of one in the message. They hold letters and digits only. */
export function wordsQuery(tenant: number, words: readonly string[]): string {
  return words.map((word) => `'${tenant}:${word}':*`).join(' & ');
}

/** Where the words are, at most so many places, in no order. */
export async function searchPlaces(
  pool: Pool,
  tenant: number,
  words: readonly string[],
  most: number,
): Promise<Place[]> {
  const { rows } = await pool.query<Place>(
    'select channel, sequence from search_words where tenant = $1 and words @@ $2::tsquery limit $3',
    [tenant, wordsQuery(tenant, words), most],
  );
  return rows;
}

/** Planned messages that the cursor has not come to. */
export async function searchBehind(pool: Pool, tenant: number): Promise<number> {
  const { rows } = await pool.query<{ behind: number }>(
    `select coalesce(sum(greatest(0, r.planned - coalesce(c.filled, 0))), 0)::bigint as behind
       from reader r left join search_cursor c on c.tenant = r.tenant and c.channel = r.channel where r.tenant = $1`,
    [tenant],
  );
  return rows[0]?.behind ?? 0;
}

/** Up to where each channel's messages are all in the index; channels with messages that are not are left out. */
export async function wholeUpTo(pool: Pool, tenant: number): Promise<Map<number, number>> {
  const { rows } = await pool.query<{ channel: number; filled: number }>(
    'select channel, filled from search_cursor where tenant = $1 and passed = 0',
    [tenant],
  );
  return new Map(rows.map(({ channel, filled }) => [channel, filled]));
}

/** Puts what has been planned since into the index, for so long at most. Of several processes one does it at a time. */
export async function fillSearch(
  pool: Pool,
  kinds: readonly SearchedKind[],
  fresh: FreshWords,
  enough: () => boolean,
): Promise<{ readonly more: boolean }> {
  for (const late of await lateOnes(pool)) {
    for (let left = late.sequences; left.length > 0; ) {
      if (enough()) return { more: true };
      left = await fillLate(pool, late, left, fresh);
    }
  }
  for (const { tenant, channel } of await channelsBehind(pool)) {
    for (let more = true; more; ) {
      if (enough()) return { more: true };
      more = await fillNext(pool, tenant, channel, kinds, fresh);
    }
  }
  return { more: false };
}

interface Channel {
  readonly tenant: number;
  readonly channel: number;
}

async function channelsBehind(pool: Pool): Promise<Channel[]> {
  const { rows } = await pool.query<Channel>(
    `select r.tenant, r.channel from reader r
       left join search_cursor c on c.tenant = r.tenant and c.channel = r.channel
      where r.planned > coalesce(c.filled, 0) order by r.tenant, r.channel`,
  );
  return rows;
}

interface Readable extends Place {
  readonly kind: SearchedKind;
  readonly account: string;
  readonly type: string | null;
  readonly externalId: string | null;
  readonly raw: Buffer | null;
  /** Null where its words are known; else of a mail that was read. */
  readonly view: Searched | null;
  /** The rung of its view, where its words are known. */
  readonly rung: Rung | null;
}

const OF_ITS_VIEW =
  'v.generation = m.generation and v.tenant = m.tenant and v.channel = m.channel and v.sequence = m.sequence';

// Of the view one look reads all: each `->` would read the whole of it again. One whose words are known is not read at all.
const READABLE = `m.channel, m.sequence, m.kind, m.account, m.type, m.external_id as "externalId",
  case when m.kind <> 'mail' then substr(m.raw, 1, ${READ_FOR_WORDS}) end as raw,
  (select v.rung from view v where ${OF_ITS_VIEW} and k.rung = v.rung) as rung,
  (select json_build_object('subject', b.subject, 'text', left(b.text, ${READ_FOR_WORDS}), 'from', b.from, 'to', b.to,
     'cc', b.cc, 'names', coalesce((select json_agg(part -> 'name') from json_array_elements(b.parts) part), '[]'))
   from view v cross join lateral json_to_record(v.body)
     as b(subject json, text text, "from" json, "to" json, cc json, parts json)
   where ${OF_ITS_VIEW} and v.rung is distinct from k.rung) as view`;

interface Read {
  readonly messages: readonly Readable[];
  /** How many there are, read or not. */
  readonly there: number;
}

/** In the order of their sequences, AT_ONCE at most, as far as BYTES_AT_ONCE go, and one at least. $1 is the tenant, $2 the channel. */
async function readNext(pool: Pool, which: string, values: readonly unknown[], known: WordsBySequence): Promise<Read> {
  const { rows } = await pool.query<Readable & { there: number }>(
    `select * from (
       select r.*, count(*) over () as there, sum(r.bytes) over (order by r.sequence) - r.bytes as before from (
         select l.*, coalesce(octet_length(l.raw), 0) + coalesce(octet_length(l.view::text), 0) as bytes from (
           select ${READABLE} from message m
             left join unnest($${values.length + 1}::bigint[], $${values.length + 2}::smallint[]) as k(sequence, rung)
               on k.sequence = m.sequence
            where m.generation = any (array(select id from generation where content_dropped_at is null))
              and m.tenant = $1 and m.channel = $2 and m.erased_at is null and ${which}
            order by m.sequence limit ${AT_ONCE}) l) r
     ) b where b.before < ${BYTES_AT_ONCE} order by b.sequence`,
    [...values, arrayOf([...known.keys()]), arrayOf([...known.values()].map(({ rung }) => rung))],
  );
  return { messages: rows, there: rows[0]?.there ?? 0 };
}

/** Where no source of a tenant ever brought such messages, only those that wait are looked at, and the others not fetched. */
async function mayHave(pool: Pool, tenant: number, kinds: readonly SearchedKind[]): Promise<boolean> {
  const ofSources = kinds.map((kind) => (kind === 'event' ? 'events' : kind));
  const { rows } = await pool.query('select from source where tenant = $1 and kind = any ($2::text[]) limit 1', [
    tenant,
    `{${ofSources.join(',')}}`,
  ]);
  return rows.length > 0;
}

/**
 * Answers whether the channel has more. What others write says how long folding takes, so it is done between transactions:
 * one that idles is thrown out. Whoever has come further meanwhile has put the same in.
 */
async function fillNext(
  pool: Pool,
  tenant: number,
  channel: number,
  kinds: readonly SearchedKind[],
  fresh: FreshWords,
): Promise<boolean> {
  const cursor = await pool.query<{ filled: number; planned: number }>(
    `select coalesce(c.filled, 0) as filled, r.planned from reader r left join search_cursor c using (tenant, channel)
      where r.tenant = $1 and r.channel = $2`,
    [tenant, channel],
  );
  const { filled = 0, planned = 0 } = cursor.rows[0] ?? {};
  const to = Math.min(planned, filled + STEP);
  const known = fresh.of(tenant, channel);
  const standing = `st.tenant = $1 and st.channel = $2 and st.state = 'waiting'`;
  const { messages, there } = (await mayHave(pool, tenant, kinds))
    ? await readNext(
        pool,
        `m.sequence > $3 and m.sequence <= $4 and (m.kind = any ($5::text[])
           or exists (select from standing st where ${standing} and st.sequence = m.sequence))`,
        [tenant, channel, filled, to, `{${kinds.join(',')}}`],
        known,
      )
    : await readNext(
        pool,
        `m.sequence = any (array(select st.sequence from standing st where ${standing} and st.sequence > $3
           and st.sequence <= $4))`,
        [tenant, channel, filled, to],
        known,
      );
  const whole = there < AT_ONCE && messages.length === there;
  const last = whole ? to : (messages.at(-1)?.sequence ?? to);
  const words = await wordsOfEach(tenant, messages, known);
  await inTransaction(pool, async (client) => {
    await keepContent(client);
    await client.query('insert into search_cursor (tenant, channel) values ($1, $2) on conflict do nothing', [
      tenant,
      channel,
    ]);
    const { rowCount } = await client.query(
      `update search_cursor set filled = $4, passed = case when $5 then $4 else passed end
        where tenant = $1 and channel = $2 and filled = $3`,
      [tenant, channel, filled, last, last - filled > messages.length],
    );
    // What is there by now was read later.
    if (rowCount === 1) await putIn(client, tenant, messages, words, 'nothing');
  });
  fresh.dropUpTo(tenant, channel, last);
  return last < planned;
}

/** Looked up together to be read again. */
const LATE_AT_ONCE = 500;

interface Late extends Channel {
  readonly sequences: number[];
}

/** Those that can be read by now, of what came too early or came back. */
async function lateOnes(pool: Pool): Promise<Late[]> {
  const { rows } = await pool.query<Late>(
    `select tenant, channel, array_agg(sequence order by sequence) as sequences
       from (select tenant, channel, sequence from search_late limit ${LATE_AT_ONCE}) l group by tenant, channel`,
  );
  return rows;
}

/** Answers which are left. */
async function fillLate(
  pool: Pool,
  { tenant, channel }: Channel,
  sequences: readonly number[],
  fresh: FreshWords,
): Promise<number[]> {
  const known = fresh.of(tenant, channel);
  const { messages, there } = await readNext(
    pool,
    'm.sequence = any ($3::bigint[])',
    [tenant, channel, arrayOf(sequences)],
    known,
  );
  const whole = there < AT_ONCE && messages.length === there;
  const last = whole ? Number.POSITIVE_INFINITY : (messages.at(-1)?.sequence ?? Number.POSITIVE_INFINITY);
  const words = await wordsOfEach(tenant, messages, known);
  await inTransaction(pool, async (client) => {
    await keepContent(client);
    await client.query('delete from search_late where tenant = $1 and channel = $2 and sequence = any ($3::bigint[])', [
      tenant,
      channel,
      arrayOf(sequences.filter((sequence) => sequence <= last)),
    ]);
    await putIn(client, tenant, messages, words, 'update set words = excluded.words');
  });
  const [done, left] = [sequences.filter((each) => each <= last), sequences.filter((each) => each > last)];
  fresh.drop(tenant, channel, done);
  return left;
}

/** Of one message after another: what several arrays have in common is their length, and these have many. */
async function wordsOfEach(tenant: number, messages: readonly Readable[], known: WordsBySequence): Promise<string[]> {
  const all: string[] = [];
  let began = performance.now();
  for (const message of messages) {
    const ofView = message.rung === null ? undefined : known.get(message.sequence)?.words;
    const words = `${wordsOf(textOf(message), MOST_WORDS).join(' ')} ${ofView ?? ''}`.trim();
    all.push(`${tenant}:${words.replaceAll(' ', ` ${tenant}:`)}`);
    if (performance.now() - began < TURN_MS) continue;
    await turn();
    began = performance.now();
  }
  return all;
}

/** What was erased or dropped since it was read stays out; the caller keeps the rest. */
async function putIn(
  client: PoolClient,
  tenant: number,
  messages: readonly Place[],
  words: readonly string[],
  again: 'nothing' | 'update set words = excluded.words',
): Promise<void> {
  if (messages.length === 0) return;
  await client.query(
    `insert into search_words (tenant, channel, sequence, words)
       select $1, i.channel, i.sequence, array_to_tsvector(string_to_array(i.words, ' '))
       from unnest($2::smallint[], $3::bigint[], $4::text[]) as i(channel, sequence, words)
       join message m on m.generation = generation_of($1, i.channel, i.sequence) and m.tenant = $1
         and m.channel = i.channel and m.sequence = i.sequence and m.erased_at is null
       join generation g on g.id = m.generation and g.content_dropped_at is null
     on conflict (tenant, channel, sequence) do ${again}`,
    [
      tenant,
      arrayOf(messages.map(({ channel }) => channel)),
      arrayOf(messages.map(({ sequence }) => sequence)),
      textArray(words),
    ],
  );
}

function textOf({ kind, account, type, externalId, raw, view, ...place }: Readable): string {
  const ofContent = kind === 'mail' ? view && searchedText(view) : raw?.toString('utf8');
  return [messageId(place), account, type, externalId, ofContent].filter((text) => text != null).join('\n');
}

/** Rows dropped in one statement. */
const DROPPED_AT_ONCE = 5_000;

/** Drops the words of a channel's messages up to one, but for those that are kept longer. */
export async function dropWords(
  pool: Pool,
  { tenant, channel }: Channel,
  through: number,
  stopping: AbortSignal,
): Promise<void> {
  for (let dropped = DROPPED_AT_ONCE; dropped === DROPPED_AT_ONCE && !stopping.aborted; ) {
    const { rowCount } = await pool.query(
      `delete from search_words where tenant = $1 and channel = $2 and sequence in (
         select sequence from search_words w where w.tenant = $1 and w.channel = $2 and w.sequence <= $3
           and generation_of($1, $2::smallint, w.sequence) = 0 limit ${DROPPED_AT_ONCE})`,
      [tenant, channel, through],
    );
    dropped = rowCount ?? 0;
  }
}

/** Characters of a text that a list may show a hit of. */
const SHOWN = 20_000;

/** The beginnings of the texts of some mails, by id; what has none is left out. */
export async function textsOf(pool: Pool, tenant: number, places: readonly Place[]): Promise<Map<string, string>> {
  const { rows } = await pool.query<Place & { text: string }>(
    `select w.channel, w.sequence, left(v.body ->> 'text', ${SHOWN}) as text
       from unnest($2::smallint[], $3::bigint[]) as w(channel, sequence)
       join view v on v.generation = generation_of($1, w.channel, w.sequence) and v.tenant = $1
         and v.channel = w.channel and v.sequence = w.sequence
      where v.body ->> 'text' is not null`,
    [tenant, arrayOf(places.map(({ channel }) => channel)), arrayOf(places.map(({ sequence }) => sequence))],
  );
  return new Map(rows.map(({ text, ...place }) => [messageId(place), text]));
}
