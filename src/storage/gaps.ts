import type { Pool } from 'pg';
import type { GapReason } from '../billing/mark.js';
import type { Book } from './ledger.js';

export interface Gap {
  readonly channel: number;
  readonly sequence: number;
  readonly reason: GapReason;
  readonly account: string | null;
  readonly at: Date | null;
  readonly since: Date;
  readonly askedAt: Date | null;
  readonly asked: number;
}

/** The open gaps of a tenant's live ledger, by channel and sequence, after a place. */
export async function listGaps(
  pool: Pool,
  tenant: number,
  after: { readonly channel: number; readonly sequence: number },
  limit: number,
): Promise<Gap[]> {
  const { rows } = await pool.query<Gap>(
    `select channel, sequence, reason, account, at, since, asked_at as "askedAt", asked from ledger_gap
     where tenant = $1 and book = coalesce((select live from ledger where tenant = $1), 1)
       and (channel, sequence) > ($2, $3) order by channel, sequence limit $4`,
    [tenant, after.channel, after.sequence, limit],
  );
  return rows;
}

/** Gaps that nothing will heal by itself, as they come due to be asked for: after 1 s, 2 s, 4 s … up to an hour. */
export async function lostGaps(
  pool: Pool,
  most: number,
): Promise<{ readonly place: Book; readonly sequences: number[] }[]> {
  const { rows } = await pool.query<Book & { sequences: number[] }>(
    `select tenant, book, channel, array_agg(sequence) as sequences from (
       select g.tenant, g.book, g.channel, g.sequence from ledger_gap g left join ledger l on l.tenant = g.tenant
       where g.reason = 'missing' and g.book = coalesce(l.live, 1)
         and (g.asked_at is null or g.asked_at < now() - least(interval '1 hour', interval '1 second' * power(2, least(g.asked, 12))))
       order by g.asked_at nulls first limit $1) due
     group by tenant, book, channel`,
    [most],
  );
  return rows.map(({ sequences, ...place }) => ({ place, sequences }));
}

/** Channels with gaps that have been open for so long, each said once. */
export async function alarmGaps(
  pool: Pool,
  afterMs: number,
): Promise<{ readonly tenant: string; readonly channel: number; readonly count: number }[]> {
  const { rows } = await pool.query<{ tenant: string; channel: number; count: number }>(
    `with old as (
       update ledger_gap set alarmed_at = now()
       where alarmed_at is null and since < now() - $1 * interval '1 ms' returning tenant, channel)
     select t.name as tenant, o.channel, count(*) as count from old o join tenant t on t.id = o.tenant group by 1, 2`,
    [afterMs],
  );
  return rows;
}
