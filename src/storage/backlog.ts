import type { Pool } from 'pg';

/** What waits for the broker of one tenant. */
export interface TenantBacklog {
  readonly tenant: number;
  readonly messages: number;
}

/**
 * How much waits for queues that are not paused, by tenant. In order, everything behind a line's head waits with it, so
 * the numbers of both ends tell how many these are: one look into an index a line. Without order they are counted, up to
 * `most` a target.
 */
export async function brokerBacklog(pool: Pool, most: number): Promise<TenantBacklog[]> {
  const { rows } = await pool.query<TenantBacklog>(
    `with queue as (
       select t.tenant, t.id, coalesce(t.definition->>'order', 'channel') = 'channel' as in_line
       from target t where t.kind = 'queue' and t.removed_at is null and t.paused_at is null
     ), waiting as (
       select q.tenant, case when h.epoch = l.epoch then l.last_number - h.number + 1 else l.last_number end as messages
       from queue q join line l on l.tenant = q.tenant and l.target = q.id
       cross join lateral (
         select d.epoch, d.number from delivery d
         where d.tenant = l.tenant and d.channel = l.channel and d.target = l.target and d.state = 'pending'
         order by d.epoch, d.number limit 1) h
       where q.in_line
       union all
       select q.tenant, (select count(*) from (select from delivery d
         where d.tenant = q.tenant and d.target = q.id and d.state = 'pending' limit $1) c)
       from queue q where not q.in_line
     )
     select w.tenant, sum(w.messages)::bigint as messages from waiting w group by w.tenant`,
    [most],
  );
  return rows;
}
