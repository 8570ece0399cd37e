import type { Pool, PoolClient } from 'pg';
import { inTransaction } from './pool.js';

/**
 * Runs a change of configuration: one at a time over all processes, so that what it has looked at (whose is this
 * address? which rules name this target?) still holds when it commits.
 */
export function changeConfiguration<T>(pool: Pool, change: (client: PoolClient) => Promise<T>): Promise<T> {
  return inTransaction(pool, async (client) => {
    await client.query(`select pg_advisory_xact_lock(hashtext('waybill configuration'))`);
    return change(client);
  });
}

/** Whether PostgreSQL can hold this as jsonb: neither NUL nor half a surrogate pair in any of its strings. */
export function isStorable(value: unknown): boolean {
  if (typeof value === 'string') return !/[\0\p{Cs}]/u.test(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([key, item]) => isStorable(key) && isStorable(item));
}
