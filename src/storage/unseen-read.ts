import type { Pool, PoolClient } from 'pg';
import type { MaybePolicy } from '../channel/maybe.js';

/** What became of a source's messages that were taken as duplicates by a filter's word. */
export interface MaybeEntry {
  readonly source: string;
  /** In force now; null where every "maybe" is looked up. */
  readonly policy: MaybePolicy | null;
  /** Taken without a look-up. */
  readonly saved: number;
  /** Of these, not looked up yet, and since when the oldest is there. */
  readonly waiting: number;
  readonly oldest: Date | null;
  /** Of those that were looked up, the ones that were no duplicates and were sequenced after all, and what they are worth. */
  readonly falsePositives: { readonly events: number; readonly value: string };
  /** Of those that were looked up, the ones with other content than their original's. */
  readonly conflicts: number;
}

/** A tenant's sources that have, or had, such a policy, by name. */
export async function maybeEntries(pool: Pool, tenant: number): Promise<MaybeEntry[]> {
  const { rows } = await pool.query<Omit<MaybeEntry, 'falsePositives'> & { originals: number; value: string }>(
    `select s.name as source, case when s.removed_at is null then s.definition->'maybe' end as policy,
       coalesce(c.checked, 0) + coalesce(u.waiting, 0) as saved, coalesce(u.waiting, 0) as waiting, u.oldest,
       coalesce(c.originals, 0) as originals, coalesce(c.original_value, 0)::text as value, coalesce(c.conflicts, 0) as conflicts
     from source s
     left join unseen_count c on c.tenant = s.tenant and c.source = s.id
     left join (select source, sum(count)::bigint as waiting, min(arrived_at) as oldest from unseen where tenant = $1
       group by source) u on u.source = s.id
     where s.tenant = $1 and (c.source is not null or u.source is not null
       or s.removed_at is null and s.definition ? 'maybe')
     order by s.name`,
    [tenant],
  );
  return rows.map(({ originals, value, ...row }) => ({ ...row, falsePositives: { events: originals, value } }));
}

/** What is kept, by tenant: messages and their bytes. */
export async function unseenByTenant(pool: Pool): Promise<{ tenant: number; rows: number; bytes: number }[]> {
  const { rows } = await pool.query<{ tenant: number; rows: number; bytes: number }>(
    'select tenant, count(*) as rows, sum(octet_length(raw))::bigint as bytes from unseen group by tenant',
  );
  return rows;
}

/** How many messages of an account nobody has looked up. */
export async function unseenOf(pool: Pool, tenant: number, account: string, source: number | null): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    'select count(*) as count from unseen where tenant = $1 and account = $2 and ($3::int is null or source = $3)',
    [tenant, account, source],
  );
  return rows[0]?.count ?? 0;
}

/** Whether an account has a message that came before a time, and may be usage when it has been looked up. */
export async function isUnseen(client: PoolClient, tenant: number, account: string, before: number): Promise<boolean> {
  const { rows } = await client.query(
    'select from unseen where tenant = $1 and account = $2 and arrived_at < $3 limit 1',
    [tenant, account, new Date(before)],
  );
  return rows.length > 0;
}
