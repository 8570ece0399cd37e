import type { Pool } from 'pg';

/** Thresholds of a period that were said, as `meter percent`. */
export async function knownNotices(pool: Pool, tenant: number, account: string, from: number): Promise<Set<string>> {
  const { rows } = await pool.query<{ key: string }>(
    `select meter || ' ' || percent as key from usage_notice where tenant = $1 and account = $2 and period_from = $3`,
    [tenant, account, new Date(from)],
  );
  return new Set(rows.map(({ key }) => key));
}

export async function noteNotice(
  pool: Pool,
  tenant: number,
  account: string,
  from: number,
  meter: string,
  percent: number,
): Promise<void> {
  await pool.query(
    `insert into usage_notice (tenant, account, period_from, meter, percent) values ($1, $2, $3, $4, $5)
     on conflict do nothing`,
    [tenant, account, new Date(from), meter, percent],
  );
}
