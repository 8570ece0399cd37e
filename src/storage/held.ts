import type { Pool } from 'pg';

/** A message that a meter holds: its period was final when it came. */
export interface Held {
  readonly channel: number;
  readonly sequence: number;
  readonly account: string;
  readonly meters: readonly string[];
  /** RFC 3339, to the microsecond. */
  readonly time: string;
  readonly arrivedAt: Date;
  /** The final period it is of. */
  readonly period: string | null;
}

const HELD = `select e.channel, e.sequence, s.account, array_agg(d.name order by d.name) as meters,
    to_char(min(e.at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time, min(e.arrived_at) as "arrivedAt",
    (select t.body::json->'period'->>'name' from statement t where t.tenant = $1 and t.account = s.account
       and t.period_from <= min(e.at) and t.period_to > min(e.at)) as period
  from usage_entry e join usage_series s on s.tenant = e.tenant and s.id = e.series
  join billing_definition d on d.tenant = s.tenant and d.id = s.meter
  where e.tenant = $1 and e.book = coalesce((select live from ledger where tenant = $1), 1) and e.state = 'h'`;

/** By channel and sequence, after a place; of one account alone where it is given. */
export async function listHeld(
  pool: Pool,
  tenant: number,
  after: { readonly channel: number; readonly sequence: number },
  account: string | null,
  limit: number,
): Promise<Held[]> {
  const { rows } = await pool.query<Held>(
    `${HELD} and (e.channel, e.sequence) > ($2, $3) and ($4::text is null or s.account = $4)
     group by e.channel, e.sequence, s.account order by e.channel, e.sequence limit $5`,
    [tenant, after.channel, after.sequence, account, limit],
  );
  return rows;
}

export async function heldAt(
  pool: Pool,
  tenant: number,
  { channel, sequence }: { readonly channel: number; readonly sequence: number },
): Promise<Held | undefined> {
  const { rows } = await pool.query<Held>(
    `${HELD} and e.channel = $2 and e.sequence = $3 group by e.channel, e.sequence, s.account`,
    [tenant, channel, sequence],
  );
  return rows[0];
}

/** The message that said a held one is to count, where there is one. */
export async function acceptanceOf(
  pool: Pool,
  tenant: number,
  { channel, sequence }: { readonly channel: number; readonly sequence: number },
): Promise<number | undefined> {
  const { rows } = await pool.query<{ sequence: number }>(
    `select sequence from ledger_acceptance where tenant = $1 and book = coalesce((select live from ledger where tenant = $1), 1)
       and channel = $2 and target = $3 order by sequence limit 1`,
    [tenant, channel, sequence],
  );
  return rows[0]?.sequence;
}
