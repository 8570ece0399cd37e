import type { Pool } from 'pg';
import { CAUSES, type Cause } from './quarantine.js';

/** Why something needs a person: no rule matched, or it was taken out of the stream. */
export const NEEDS = ['unrouted', ...CAUSES] as const;
export type Need = 'unrouted' | Cause;

export interface InboxCounts {
  /** By need; those of which there are none are left out. */
  readonly waiting: ReadonlyMap<Need, number>;
  readonly snoozed: number;
}

/** Those snoozed into the very minute of that time are looked at one by one; all others are summed up. */
const soonAt = (tenant: string, at: string) => `(select count(*) from standing
  where tenant = ${tenant} and state = 'waiting' and coalesce(snoozed_until, since) > ${at}
    and coalesce(snoozed_until, since) < due_minute(${at}) + interval '1 minute')`;

/** How much needs a person at a time, what is snoozed left out, as SQL. */
export const waitingAt = (tenant: string, at: string) => `((select coalesce(sum(n), 0) from inbox_count
  where tenant = ${tenant} and due <= due_minute(${at})) - ${soonAt(tenant, at)})`;

/** How many need a person, exactly, however many there are. */
export async function inboxCounts(pool: Pool, tenant: number): Promise<InboxCounts> {
  const { rows } = await pool.query<{ need: Need; waiting: number; snoozed: number; soon: number }>(
    `select need, coalesce(sum(n) filter (where due <= due_minute(now())), 0)::bigint as waiting,
        coalesce(sum(n) filter (where due > due_minute(now())), 0)::bigint as snoozed,
        ${soonAt('$1', 'now()')} as soon
       from inbox_count where tenant = $1 group by need`,
    [tenant],
  );
  const waiting = rows.map(
    (row) => [row.need, row.need === 'unrouted' ? row.waiting - row.soon : row.waiting] as const,
  );
  const unrouted = rows.find(({ need }) => need === 'unrouted');
  return {
    waiting: new Map(waiting.filter(([, count]) => count > 0)),
    snoozed: unrouted ? unrouted.snoozed + unrouted.soon : 0,
  };
}

/** How much needs a person, what is snoozed left out. */
export async function countInbox(pool: Pool, tenant: number): Promise<number> {
  const { waiting } = await inboxCounts(pool, tenant);
  return [...waiting.values()].reduce((sum, count) => sum + count, 0);
}

/** Rows of a tenant that could be summed up with others and are left as they are. */
const ROWS_LEFT = 64;
const SUMMED_AS = "case when due < now() - interval '1 day' then '-infinity' else due end";

/**
 * Sums additions and subtractions up, so that counting reads few rows. Times that are past for a day need no row of their
 * own. Whoever counts meanwhile sees the rows or their sum.
 */
export async function sumUpCounts(pool: Pool): Promise<void> {
  await pool.query(
    `with gone as (
       delete from inbox_count where tenant in (
         select tenant from inbox_count group by tenant having count(*) - count(distinct (need, ${SUMMED_AS})) > ${ROWS_LEFT})
       returning tenant, need, ${SUMMED_AS} as due, n)
     insert into inbox_count (tenant, need, due, n)
       select tenant, need, due, sum(n) from gone group by 1, 2, 3 having sum(n) <> 0`,
  );
}
