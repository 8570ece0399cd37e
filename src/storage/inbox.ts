import type { Pool } from 'pg';
import type { Place } from '../message/id.js';
import { type MessageSummary, summaries } from './messages.js';

/** Where a page of the inbox ends: time with microseconds, and place. */
export interface InboxMark extends Place {
  readonly since: string;
}

export interface InboxPage {
  readonly messages: MessageSummary[];
  /** Null when that was the last page. */
  readonly next: InboxMark | null;
}

/** What waits for a person, by when it began to wait, newest first. `snoozed` gives those whose time has not come instead. */
export async function listInbox(
  pool: Pool,
  tenant: number,
  which: 'waiting' | 'snoozed',
  limit: number,
  before: InboxMark | null,
): Promise<InboxPage> {
  const now = which === 'waiting' ? '(snoozed_until is null or snoozed_until <= now())' : 'snoozed_until > now()';
  const { rows } = await pool.query<InboxMark>(
    `select to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as since, channel, sequence
       from standing where tenant = $1 and state = 'waiting' and ${now}
        and ($3::timestamptz is null or (since, channel, sequence) < ($3::timestamptz, $4::smallint, $5::bigint))
      order by standing.since desc, channel desc, sequence desc limit $2`,
    [tenant, limit + 1, before?.since ?? null, before?.channel ?? null, before?.sequence ?? null],
  );
  const page = rows.slice(0, limit);
  const last = page[page.length - 1];
  return { messages: await summaries(pool, tenant, page), next: rows.length > limit && last ? last : null };
}

/** Counts no further than this: a person sees "1,000+" and the database is spared. */
export const INBOX_COUNTED = 1000;

/** How much waits for a person, snoozed left out, up to INBOX_COUNTED. */
export async function countInbox(pool: Pool, tenant: number): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    `select count(*) as count from (select from standing where tenant = $1 and state = 'waiting'
        and (snoozed_until is null or snoozed_until <= now()) limit ${INBOX_COUNTED}) as waiting`,
    [tenant],
  );
  return rows[0]?.count ?? 0;
}

/** When the one that has waited longest began to, snoozed left out; null when nothing waits. */
export async function oldestWaiting(pool: Pool, tenant: number): Promise<Date | null> {
  const { rows } = await pool.query<{ since: Date }>(
    `select since from standing where tenant = $1 and state = 'waiting' and (snoozed_until is null or snoozed_until <= now())
      order by since limit 1`,
    [tenant],
  );
  return rows[0]?.since ?? null;
}
