import type { PoolClient } from 'pg';
import { arrayOf } from './array.js';
import { LOCK_MS } from './keeping.js';

/** Messages looked at in one transaction. */
const PAGE = 2_000;

/**
 * Forgets where messages of a channel stood in conversations, of those after `from` that are gone, a page at a time; and
 * conversations of which no message is left. What goes on keeps its last number. Answers where the next page begins; null
 * after the last.
 */
export async function forgetPage(
  client: PoolClient,
  { tenant, channel, from, through }: { tenant: number; channel: number; from: number; through: number },
): Promise<number | null> {
  await client.query(`set local lock_timeout = ${LOCK_MS}`);
  const { rows } = await client.query<{ reached: number | null; count: number; threads: number[] }>(
    `with page as materialized (
       select sequence from thread_message where tenant = $1 and channel = $2 and sequence > $3 and sequence <= $4
       order by sequence limit ${PAGE}),
     gone as (
       delete from thread_message m using page p where m.tenant = $1 and m.channel = $2 and m.sequence = p.sequence
         and generation_of($1, $2::smallint, m.sequence) = 0
       returning m.thread)
     select (select max(sequence) from page) as reached, (select count(*) from page) as count,
       array(select distinct thread from gone order by 1) as threads`,
    [tenant, channel, from, through],
  );
  const [page] = rows;
  if (!page || page.reached === null) return null;
  await forgetEmpty(client, tenant, page.threads);
  return page.count === PAGE ? page.reached : null;
}

/** Locked first, so that whoever gives a number there is done, or finds it gone and looks anew. */
async function forgetEmpty(client: PoolClient, tenant: number, threads: readonly number[]): Promise<void> {
  if (threads.length === 0) return;
  const of = [tenant, arrayOf(threads)];
  await client.query('select from thread where tenant = $1 and id = any ($2::bigint[]) order by id for update', of);
  const { rows } = await client.query<{ id: number }>(
    `delete from thread t where t.tenant = $1 and t.id = any ($2::bigint[])
       and not exists (select from thread_message m where m.tenant = t.tenant and m.thread = t.id) returning id`,
    of,
  );
  const empty = [tenant, arrayOf(rows.map(({ id }) => id))];
  await client.query('delete from thread_reference where tenant = $1 and thread = any ($2::bigint[])', empty);
  await client.query(
    'delete from thread_link where tenant = $1 and (thread = any ($2::bigint[]) or other = any ($2::bigint[]))',
    empty,
  );
}
