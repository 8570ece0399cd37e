import type { Pool, PoolClient } from 'pg';
import type { Place } from '../message/id.js';
import { arrayOf } from './array.js';

/** The channel of what has none: an entry of the quarantine, whose number stands in for its sequence. */
export const NO_CHANNEL = -1;

export function entryPlace(number: number): Place {
  return { channel: NO_CHANNEL, sequence: number };
}

/** Somebody wants to see to something herself; until then. It binds nobody. */
export interface Claim extends Place {
  readonly who: string;
  readonly since: Date;
  readonly until: Date;
}

const COLUMNS = 'channel, sequence, who, claimed_at as since, until';

/**
 * Claims a message that waits, or an entry that is held, for so many hours, where nobody else has, or `over` theirs. Answers whose
 * claim there is then; undefined where it waits for nobody.
 */
export async function claim(
  pool: Pool,
  tenant: number,
  { channel, sequence }: Place,
  who: string,
  wish: { readonly hours: number; readonly over: boolean },
): Promise<Claim | undefined> {
  const made = await pool.query<Claim>(
    `insert into claim as k (tenant, channel, sequence, who, until)
       select $1::int, $2::smallint, $3::bigint, $4, now() + make_interval(hours => $5) where case when $2 = ${NO_CHANNEL}
         then exists (select from quarantine where tenant = $1 and number = $3 and state = 'held')
         else exists (select from standing where tenant = $1 and channel = $2 and sequence = $3 and state = 'waiting') end
     on conflict (tenant, channel, sequence) do update set who = excluded.who, claimed_at = now(), until = excluded.until
       where k.who = excluded.who or k.until <= now() or $6
     returning ${COLUMNS}`,
    [tenant, channel, sequence, who, wish.hours, wish.over],
  );
  if (made.rows[0]) return made.rows[0];
  const [theirs] = await claimsOf(pool, tenant, [{ channel, sequence }]);
  return theirs;
}

/** Gives a claim up; nothing where somebody else has it. */
export async function unclaim(pool: Pool, tenant: number, { channel, sequence }: Place, who: string): Promise<void> {
  await pool.query('delete from claim where tenant = $1 and channel = $2 and sequence = $3 and who = $4', [
    tenant,
    channel,
    sequence,
    who,
  ]);
}

/** With a decision about a message its claim has served. */
export async function endClaim(client: PoolClient, tenant: number, { channel, sequence }: Place): Promise<void> {
  await client.query('delete from claim where tenant = $1 and channel = $2 and sequence = $3', [
    tenant,
    channel,
    sequence,
  ]);
}

/** The same of entries of the quarantine, by their numbers. */
export async function endEntryClaims(client: PoolClient, tenant: number, numbers: readonly number[]): Promise<void> {
  await client.query(
    `delete from claim where tenant = $1 and channel = ${NO_CHANNEL} and sequence = any ($2::bigint[])`,
    [tenant, arrayOf(numbers)],
  );
}

/** Those of some messages that are claimed. */
export async function claimsOf(pool: Pool, tenant: number, places: readonly Place[]): Promise<Claim[]> {
  if (places.length === 0) return [];
  const { rows } = await pool.query<Claim>(
    `select ${COLUMNS} from claim join unnest($2::smallint[], $3::bigint[]) as w(channel, sequence) using (channel, sequence)
      where tenant = $1 and until > now()`,
    [tenant, ...placeArrays(places)],
  );
  return rows;
}

/** Drops what has run out, and what was about entries that are held no more, of every tenant. */
export async function sweepClaims(pool: Pool): Promise<void> {
  await pool.query('delete from claim where until <= now()');
  await pool.query(
    `delete from claim c where c.channel = ${NO_CHANNEL} and not exists (select from quarantine q
       where q.tenant = c.tenant and q.number = c.sequence and q.state = 'held')`,
  );
  await pool.query(`delete from presence where seen_at < now() - interval '${PRESENT_SECONDS} seconds'`);
}

/** Who has a message open. */
export interface Presence extends Place {
  readonly who: string;
}

/** What is not said again within this is over. */
const PRESENT_SECONDS = 30;
/** Told of one tenant at a time. */
const MOST_PRESENT = 500;

/** Says that somebody has a message open on the page that this stream belongs to; to be said again every few seconds. */
export async function notePresence(
  pool: Pool,
  tenant: number,
  stream: string,
  { channel, sequence, who }: Presence,
): Promise<void> {
  await pool.query(
    `insert into presence (tenant, stream, channel, sequence, who) values ($1, $2, $3, $4, $5)
     on conflict (tenant, stream) do update set seen_at = now()`,
    [tenant, stream, channel, sequence, who],
  );
}

export async function endPresence(pool: Pool, tenant: number, stream: string): Promise<void> {
  await pool.query('delete from presence where tenant = $1 and stream = $2', [tenant, stream]);
}

/** Everybody who has a message of the tenant open, each once for a message. */
export async function presences(pool: Pool, tenant: number): Promise<Presence[]> {
  const { rows } = await pool.query<Presence>(
    `select distinct channel, sequence, who from presence
      where tenant = $1 and seen_at > now() - interval '${PRESENT_SECONDS} seconds'
      order by channel, sequence, who limit ${MOST_PRESENT}`,
    [tenant],
  );
  return rows;
}

/** The newest note about each of some messages, where it has one. */
export async function newestNotes(
  pool: Pool,
  tenant: number,
  places: readonly Place[],
): Promise<(Place & { readonly who: string; readonly note: string })[]> {
  if (places.length === 0) return [];
  const { rows } = await pool.query<Place & { readonly who: string; readonly note: string }>(
    `select w.channel, w.sequence, n.who, n.note from unnest($2::smallint[], $3::bigint[]) as w(channel, sequence)
       cross join lateral (select d.who, d.reason as note from decision d where d.tenant = $1 and d.channel = w.channel
         and d.sequence = w.sequence and d.action = 'note' and d.reason is not null order by d.version desc limit 1) n`,
    [tenant, ...placeArrays(places)],
  );
  return rows;
}

function placeArrays(places: readonly Place[]): [string, string] {
  return [arrayOf(places.map(({ channel }) => channel)), arrayOf(places.map(({ sequence }) => sequence))];
}
