import type { Pool } from 'pg';
import type { Place } from '../message/id.js';
import { arrayOf } from './array.js';
import { NO_CHANNEL } from './claims.js';
import { NEEDS, type Need } from './inbox-counts.js';
import { type MessageSummary, summaries } from './messages.js';
import { entriesByNumber, type QuarantineEntry } from './quarantine.js';
import { hasWords, searchPlaces, wordsQuery } from './search.js';

/** Where a list goes on: the time with microseconds, channel (-1 for an entry of the quarantine) and sequence or number. */
export interface InboxMark extends Place {
  readonly since: string;
}

/** One thing that needs a person. */
export type InboxItem =
  | { readonly need: 'unrouted'; readonly since: Date; readonly message: MessageSummary; readonly entry: null }
  | {
      readonly need: Exclude<Need, 'unrouted'>;
      readonly since: Date;
      readonly message: null;
      readonly entry: QuarantineEntry;
    };

export interface InboxFilter {
  readonly which: 'waiting' | 'snoozed';
  /** What comes first; the newest where nothing is said. */
  readonly first?: 'newest' | 'oldest' | undefined;
  /** Undefined: all of them. */
  readonly needs?: readonly Need[] | undefined;
  /** Id. */
  readonly source?: number | undefined;
  readonly account?: string | undefined;
  /** Whose claim it has, or that it has none. */
  readonly claim?: { readonly who: string } | 'none' | undefined;
  /** Words, folded; all must be there, or begin a word that is. */
  readonly words?: readonly string[] | undefined;
  /** Only what began to wait by then, as a mark's time. */
  readonly asOf?: string | undefined;
}

export interface InboxPage<T> {
  readonly items: readonly T[];
  /** Null when that was the last page. A filter may end a page early. */
  readonly next: InboxMark | null;
}

/** Something in the list, by its place alone. */
export interface InboxPlace extends InboxMark {
  readonly need: Need;
  /** Of a message: its last decision's. */
  readonly version: number;
}

/** Looked at together, at first and at most, and in all for one page, where a filter asks for what no index knows. */
const FIRST_WINDOW = 64;
const WINDOW = 2_000;
const BUDGET = 10_000;

/** What needs a person, by when it began to. `snoozed` gives messages whose time has not come instead. */
export async function listInbox(
  pool: Pool,
  tenant: number,
  filter: InboxFilter,
  limit: number,
  before: InboxMark | null,
): Promise<InboxPage<InboxItem>> {
  const page = await inboxPlaces(pool, tenant, filter, limit, before);
  return { items: await itemsOf(pool, tenant, page.items), next: page.next };
}

/** The same without what each is. */
export async function inboxPlaces(
  pool: Pool,
  tenant: number,
  filter: InboxFilter,
  limit: number,
  before: InboxMark | null,
): Promise<InboxPage<InboxPlace>> {
  const among = await amongWhich(pool, tenant, filter);
  const narrow = isNarrow(filter);
  let size = narrow ? Math.max(FIRST_WINDOW, limit + 1) : limit + 1;
  const found: InboxPlace[] = [];
  let mark = before;
  for (let looked = 0; looked < BUDGET; looked += size) {
    const candidates = await nextPlaces(pool, tenant, filter, among, size, mark);
    found.push(...(narrow ? await matching(pool, tenant, filter, candidates) : candidates));
    const last = candidates.at(-1);
    const ended = last === undefined || candidates.length < size;
    if (found.length > limit) return { items: found.slice(0, limit), next: markOf(found[limit - 1]) };
    if (ended) return { items: found, next: null };
    mark = markOf(last);
    size = Math.max(size, Math.min(size * 4, WINDOW));
  }
  return { items: found, next: mark };
}

function markOf(candidate: InboxPlace | undefined): InboxMark | null {
  if (!candidate) return null;
  const { since, channel, sequence } = candidate;
  return { since, channel, sequence };
}

function isNarrow({ source, account, claim, words }: InboxFilter): boolean {
  return source !== undefined || account !== undefined || claim !== undefined || (words?.length ?? 0) > 0;
}

/** Messages found by an index that knows the filter, where they are few; null: all that wait are looked through. */
async function amongWhich(pool: Pool, tenant: number, { words, claim }: InboxFilter): Promise<readonly Place[] | null> {
  if (typeof claim === 'object') return claimedBy(pool, tenant, claim.who);
  if (words === undefined || words.length === 0) return null;
  const found = await searchPlaces(pool, tenant, words, WINDOW + 1);
  return found.length > WINDOW ? null : found;
}

async function claimedBy(pool: Pool, tenant: number, who: string): Promise<Place[]> {
  const { rows } = await pool.query<Place>(
    `select channel, sequence from claim where tenant = $1 and who = $2 and until > now() limit ${WINDOW}`,
    [tenant, who],
  );
  return rows;
}

const DUE = 'coalesce(st.snoozed_until, st.since)';
const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as since`;

/** The next in the order of the list, by what two indexes know: messages and entries, merged. */
async function nextPlaces(
  pool: Pool,
  tenant: number,
  { which, first = 'newest', needs = NEEDS, asOf }: InboxFilter,
  among: readonly Place[] | null,
  size: number,
  before: InboxMark | null,
): Promise<InboxPlace[]> {
  const values: unknown[] = [tenant, size];
  const also = (value: unknown): string => `$${values.push(value)}`;
  const [order, beyond] = first === 'newest' ? ['desc', '<'] : ['asc', '>'];
  const wanted = `${also(`{${needs.join(',')}}`)}::text[]`;
  const ofMessage = [
    `st.tenant = $1 and st.state = 'waiting' and 'unrouted' = any (${wanted})`,
    `${DUE} ${which === 'waiting' ? '<=' : '>'} now()`,
  ];
  const ofEntry = [`q.tenant = $1 and q.state = 'held' and q.cause = any (${wanted}) and ${which === 'waiting'}`];
  if (before) {
    const [since, channel, sequence] = [also(before.since), also(before.channel), also(before.sequence)];
    const mark = `(${since}::timestamptz, ${channel}::smallint, ${sequence}::bigint)`;
    ofMessage.push(`(${DUE}, st.channel, st.sequence) ${beyond} ${mark}`);
    ofEntry.push(
      `(q.since, ${NO_CHANNEL}::smallint, q.number) ${beyond} ${mark} and q.since ${beyond}= ${since}::timestamptz`,
    );
  }
  if (asOf !== undefined) {
    const at = `${also(asOf)}::timestamptz`;
    ofMessage.push(`${DUE} <= ${at}`);
    ofEntry.push(`q.since <= ${at}`);
  }
  const from =
    among === null
      ? 'standing st'
      : `unnest(${also(arrayOf(among.map(({ channel }) => channel)))}::smallint[],
          ${also(arrayOf(among.map(({ sequence }) => sequence)))}::bigint[]) as f(channel, sequence)
        join standing st using (channel, sequence)`;
  const messages = `select 'unrouted' as need, ${DUE} as due, st.channel, st.sequence, st.version from ${from}
    where ${ofMessage.join(' and ')} order by ${DUE} ${order}, st.channel ${order}, st.sequence ${order} limit $2`;
  const entries = `select q.cause as need, q.since as due, ${NO_CHANNEL}::smallint as channel, q.number as sequence, 0 as version
    from quarantine q where ${ofEntry.join(' and ')} order by q.since ${order}, q.number ${order} limit $2`;
  const { rows } = await pool.query<InboxPlace>(
    `select need, ${TIME('due')}, channel, sequence, version from ((${messages}) union all (${entries})) c
      order by due ${order}, channel ${order}, sequence ${order} limit $2`,
    values,
  );
  return rows;
}

/** Those of some candidates that a filter lets through, in their order. */
async function matching(
  pool: Pool,
  tenant: number,
  { source, account, claim, words }: InboxFilter,
  candidates: readonly InboxPlace[],
): Promise<InboxPlace[]> {
  const values: unknown[] = [
    tenant,
    arrayOf(candidates.map(({ channel }) => channel)),
    arrayOf(candidates.map(({ sequence }) => sequence)),
  ];
  const also = (value: unknown): string => `$${values.push(value)}`;
  const ofMessage: string[] = [];
  const ofEntry: string[] = [];
  if (source !== undefined) {
    const id = also(source);
    ofMessage.push(`m.source = ${id}`);
    ofEntry.push(`q.source = ${id}`);
  }
  if (account !== undefined) {
    const name = also(account);
    ofMessage.push(`m.account = ${name}`);
    ofEntry.push(`q.account = ${name}`);
  }
  const other: string[] = [];
  const claimed: string[] = [];
  if (claim !== undefined) {
    const live = `select from claim k where k.tenant = $1 and k.channel = w.channel and k.sequence = w.sequence and k.until > now()`;
    claimed.push(claim === 'none' ? `not exists (${live})` : `exists (${live} and k.who = ${also(claim.who)})`);
  }
  if (words !== undefined && words.length > 0) {
    other.push(hasWords('w', also(wordsQuery(tenant, words))));
    ofEntry.push(...words.map((word) => entryHas(also(`%${word}%`))));
  }
  const messageSql =
    ofMessage.length === 0
      ? 'true'
      : `exists (select from message m
    where m.generation = generation_of($1, w.channel, w.sequence) and m.tenant = $1 and m.channel = w.channel
      and m.sequence = w.sequence and ${ofMessage.join(' and ')})`;
  const entrySql = [
    ...claimed,
    ...(ofEntry.length === 0
      ? []
      : [
          `exists (select from quarantine q where q.tenant = $1 and q.number = w.sequence and ${ofEntry.join(' and ')})`,
        ]),
  ];
  const { rows } = await pool.query<{ place: number }>(
    `select w.place from unnest($2::smallint[], $3::bigint[]) with ordinality as w(channel, sequence, place)
      where case when w.channel = ${NO_CHANNEL} then ${['true', ...entrySql].join(' and ')}
        else ${[...claimed, ...other, messageSql].join(' and ')} end
      order by w.place`,
    values,
  );
  return rows.flatMap(({ place }) => candidates[place - 1] ?? []);
}

/** The quarantine is not in the index of words: what is held is little. */
function entryHas(pattern: string): string {
  return `(q.account ilike ${pattern} or q.type ilike ${pattern} or q.external_id ilike ${pattern} or 'q-' || q.number ilike ${pattern})`;
}

async function itemsOf(pool: Pool, tenant: number, places: readonly InboxPlace[]): Promise<InboxItem[]> {
  const messages = await summaries(
    pool,
    tenant,
    places.filter(({ channel }) => channel !== NO_CHANNEL),
  );
  const numbers = places.filter(({ channel }) => channel === NO_CHANNEL).map(({ sequence }) => sequence);
  const entries = await entriesByNumber(pool, tenant, numbers);
  const messageAt = new Map(messages.map((one) => [`${one.channel}-${one.sequence}`, one]));
  const entryAt = new Map(entries.map((one) => [one.number, one]));
  return places.flatMap(({ need, since, channel, sequence }): InboxItem[] => {
    const at = new Date(since);
    if (need === 'unrouted') {
      const message = messageAt.get(`${channel}-${sequence}`);
      return message ? [{ need, since: at, message, entry: null }] : [];
    }
    const entry = entryAt.get(sequence);
    return entry ? [{ need, since: at, message: null, entry }] : [];
  });
}

/** Where a message stands in the list, or would; null when it waits for nobody. */
export async function placeInInbox(pool: Pool, tenant: number, place: Place): Promise<InboxMark | null> {
  const { rows } = await pool.query<InboxMark>(
    `select ${TIME('coalesce(snoozed_until, since)')}, channel, sequence from standing
      where tenant = $1 and channel = $2 and sequence = $3 and state = 'waiting'`,
    [tenant, place.channel, place.sequence],
  );
  return rows[0] ?? null;
}

/** When the one that has needed somebody longest began to; null when nothing does. `entries`: the quarantine counts, too. */
export async function oldestWaiting(pool: Pool, tenant: number, entries = true): Promise<Date | null> {
  const { rows } = await pool.query<{ since: Date | null }>(
    `select least(
       (select coalesce(snoozed_until, since) from standing
         where tenant = $1 and state = 'waiting' and coalesce(snoozed_until, since) <= now()
         order by coalesce(snoozed_until, since) limit 1),
       (select since from quarantine where tenant = $1 and state = 'held' and $2 order by since limit 1)) as since`,
    [tenant, entries],
  );
  return rows[0]?.since ?? null;
}

/** Most that are decided about together. */
export const MOST_MATCHING = 10_000;
/** Pages that are looked through for them. */
const MOST_PAGES = 25;

/** Everything that matches, up to MOST_MATCHING, a page at a time; the last says whether there is more. */
export async function* allInInbox(
  pool: Pool,
  tenant: number,
  filter: InboxFilter,
): AsyncGenerator<{ readonly places: readonly InboxPlace[]; readonly more: boolean }> {
  let mark: InboxMark | null = null;
  let left = MOST_MATCHING;
  for (let page = 1; page <= MOST_PAGES && left > 0; page++) {
    const found: InboxPage<InboxPlace> = await inboxPlaces(pool, tenant, filter, Math.min(left, WINDOW), mark);
    left -= found.items.length;
    yield { places: found.items, more: found.next !== null };
    if (found.next === null) return;
    mark = found.next;
  }
}
