import type { Pool } from 'pg';
import type { Place } from '../message/id.js';

/** What the journal says of a message: whose usage it is, and of when. */
export async function entryAt(
  pool: Pool,
  tenant: number,
  { channel, sequence }: Place,
): Promise<{ readonly account: string; readonly at: string } | undefined> {
  const { rows } = await pool.query<{ account: string; at: string }>(
    `select s.account, to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
     from usage_entry e join usage_series s on s.tenant = e.tenant and s.id = e.series
     where e.tenant = $1 and e.book = coalesce((select live from ledger where tenant = $1), 1) and e.channel = $2
       and e.sequence = $3 limit 1`,
    [tenant, channel, sequence],
  );
  return rows[0];
}

/** The correction of a message that holds, where there is one. */
export async function correctionOf(
  pool: Pool,
  tenant: number,
  { channel, sequence }: Place,
): Promise<{ readonly place: Place; readonly action: 'void' | 'amend' } | undefined> {
  const { rows } = await pool.query<{ sequence: number; action: 'void' | 'amend' }>(
    `select sequence, action from ledger_correction where tenant = $1
       and book = coalesce((select live from ledger where tenant = $1), 1) and channel = $2 and target = $3
     order by sequence limit 1`,
    [tenant, channel, sequence],
  );
  return rows[0] && { place: { channel, sequence: rows[0].sequence }, action: rows[0].action };
}

/** The name of the final period that a time of an account lies in; null where it is open. */
export async function finalPeriodAt(pool: Pool, tenant: number, account: string, at: string): Promise<string | null> {
  const { rows } = await pool.query<{ name: string }>(
    `select body::json->'period'->>'name' as name from statement
     where tenant = $1 and account = $2 and period_from <= $3::timestamptz and period_to > $3::timestamptz`,
    [tenant, account, at],
  );
  return rows[0]?.name ?? null;
}

/** A correction as the live ledger has taken it. */
export interface TakenCorrection {
  readonly channel: number;
  readonly sequence: number;
  readonly action: 'void' | 'amend';
  readonly target: number;
  readonly who: string;
  readonly why: string;
  readonly at: Date;
}

/** Those of an account's usage, the newest first. */
export async function correctionsOf(
  pool: Pool,
  tenant: number,
  account: string,
  most: number,
): Promise<TakenCorrection[]> {
  const { rows } = await pool.query<TakenCorrection>(
    `select distinct c.channel, c.sequence, c.action, c.target, c.who, c.why, c.arrived_at as at
     from usage_series s
     join usage_entry e on e.tenant = s.tenant and e.book = coalesce((select live from ledger where tenant = $1), 1)
       and e.series = s.id and e.state <> 'c'
     join ledger_correction c on c.tenant = e.tenant and c.book = e.book and c.channel = e.channel and c.target = e.sequence
     where s.tenant = $1 and s.account = $2 order by c.arrived_at desc, c.sequence desc limit $3`,
    [tenant, account, most],
  );
  return rows;
}
