import type { Pool } from 'pg';

/** Ids of a tenant's sources or targets by their names; `all` adds those that were removed, which old messages still name. */
export async function idsByName(
  pool: Pool,
  tenant: number,
  table: 'source' | 'target',
  which: 'all' | 'present',
): Promise<Map<string, number>> {
  const { rows } = await pool.query<{ id: number; name: string }>(
    `select id, name from ${table} where tenant = $1 and ($2 or removed_at is null)`,
    [tenant, which === 'all'],
  );
  return new Map(rows.map(({ id, name }) => [name, id]));
}

/** Of one that was removed, too. */
export async function sourceNameOf(pool: Pool, tenant: number, id: number): Promise<string> {
  const { rows } = await pool.query<{ name: string }>('select name from source where tenant = $1 and id = $2', [
    tenant,
    id,
  ]);
  return rows[0]?.name ?? '';
}
