import type { Pool } from 'pg';

/** How a target is doing, beside whether it is paused. */
export interface TargetHealth {
  /** Deliveries that wait, counted up to PENDING_COUNTED. */
  readonly pending: number;
  /** Of the one that is tried next: how often it was, and what came of it. */
  readonly attempts: number;
  readonly code: string | null;
  readonly reason: string | null;
}

export const PENDING_COUNTED = 10_000;

/** By target id. */
export async function targetHealth(
  pool: Pool,
  tenant: number,
  targets: readonly number[],
): Promise<Map<number, TargetHealth>> {
  const { rows } = await pool.query<TargetHealth & { target: number }>(
    `select w.target, c.pending, coalesce(n.attempts, 0) as attempts, n.code, n.reason
       from unnest($2::int[]) as w(target)
       cross join lateral (select count(*) as pending from (
         select from delivery d where d.tenant = $1 and d.target = w.target and d.state = 'pending' limit ${PENDING_COUNTED}) d) c
       left join lateral (
         select d.attempts, d.code, d.reason from delivery d where d.tenant = $1 and d.target = w.target and d.state = 'pending'
          order by d.next_at limit 1) n on true`,
    [tenant, `{${targets.join(',')}}`],
  );
  return new Map(rows.map(({ target, ...health }) => [target, health]));
}
