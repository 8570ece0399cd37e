import type { Pool } from 'pg';
import type { Place } from '../message/id.js';
import type { ThreadPlace } from '../message/thread.js';
import type { ThreadContent } from '../routing/thread/content.js';
import type { Earlier } from '../routing/thread/follow.js';
import { EARLIER_COLUMNS } from './threads.js';

/** A message's place in its conversation. */
export interface PlaceInThread extends ThreadPlace {
  /** The last number given there. */
  readonly of: number;
}

/** Where a message stands in its conversation; null for one that has none, or is not read yet. */
export async function placeInThread(pool: Pool, tenant: number, place: Place): Promise<PlaceInThread | null> {
  const { rows } = await pool.query<PlaceInThread>(
    `select t.id, m.number, t.last_number as of from thread_message m
       join thread t on t.tenant = m.tenant and t.id = m.thread
     where m.tenant = $1 and m.channel = $2 and m.sequence = $3`,
    [tenant, place.channel, place.sequence],
  );
  return rows[0] ?? null;
}

/** Messages of a conversation as they are kept to be compared, newest first: up to a number, that one included. */
export async function keptUpTo(
  pool: Pool,
  tenant: number,
  { id, number }: ThreadPlace,
  most: number,
): Promise<(Earlier & { readonly content: ThreadContent | null })[]> {
  const { rows } = await pool.query<Earlier>(
    `select ${EARLIER_COLUMNS} from thread_message where tenant = $1 and thread = $2 and number <= $3
     order by number desc limit $4`,
    [tenant, id, number, most],
  );
  return rows;
}

export interface FoundThread {
  /** The last number given. */
  readonly of: number;
  /** Conversations of which a message was found to belong to this one, too, as many as are shown. */
  readonly links: readonly { readonly id: number; readonly of: number }[];
}

const LINKS_SHOWN = 100;

export async function findThread(pool: Pool, tenant: number, id: number): Promise<FoundThread | undefined> {
  const { rows } = await pool.query<{ of: number }>(
    'select last_number as of from thread where tenant = $1 and id = $2',
    [tenant, id],
  );
  const [thread] = rows;
  if (!thread) return undefined;
  const links = await pool.query<{ id: number; of: number }>(
    `select t.id, t.last_number as of from (
       select other as id from thread_link where tenant = $1 and thread = $2
       union select thread from thread_link where tenant = $1 and other = $2) l
     join thread t on t.tenant = $1 and t.id = l.id order by t.id limit ${LINKS_SHOWN}`,
    [tenant, id],
  );
  return { of: thread.of, links: links.rows };
}

export interface NumberedPlace extends Place {
  readonly number: number;
}

/** Messages of a conversation after a number, in order. What retention has dropped is left out. */
export async function messagesInThread(
  pool: Pool,
  tenant: number,
  id: number,
  after: number,
  limit: number,
): Promise<NumberedPlace[]> {
  const { rows } = await pool.query<NumberedPlace>(
    `select number, channel, sequence from thread_message where tenant = $1 and thread = $2 and number > $3
     order by number limit $4`,
    [tenant, id, after, limit],
  );
  return rows;
}
