import type { Pool } from 'pg';

export interface ChannelEntry {
  readonly channel: number;
  readonly lastSequence: number;
  /** Every sequence up to here is in a plan. */
  readonly readUpTo: number;
  /** Name of the process that reads it onward; null while nobody does. */
  readonly owner: string | null;
  readonly term: number;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly expired: number;
  readonly parked: number;
}

export async function listChannels(pool: Pool, tenant: number): Promise<ChannelEntry[]> {
  const { rows } = await pool.query<ChannelEntry>(
    `select c.channel, c.last_sequence as "lastSequence", coalesce(r.planned, 0) as "readUpTo", p.name as owner,
        coalesce(l.term, 0) as term, c.duplicates, c.conflicts, c.expired, coalesce(k.parked, 0) as parked
       from channel c
       left join reader r on r.tenant = c.tenant and r.channel = c.channel
       left join lease l on l.tenant = c.tenant and l.channel = c.channel
       left join process p on p.id = l.holder
       left join (select channel, count(*) as parked from standing where tenant = $1 and state = 'parked' group by channel) k
         on k.channel = c.channel
      where c.tenant = $1 order by c.channel`,
    [tenant],
  );
  return rows;
}
