import type { Pool, PoolClient } from 'pg';
import { LEDGER_SOURCE } from '../billing/correction.js';

/** The row of the ledger's own source, made where it is not there yet. Removed from the start, so that nobody sees it. */
export async function ledgerSource(client: Pool | PoolClient, tenant: number): Promise<{ id: number; name: string }> {
  await client.query(
    `insert into source (tenant, name, kind, definition, managed_by, removed_at)
     values ($1, $2, 'events', '{"kind":"events"}', 'api', now()) on conflict (tenant, name) do nothing`,
    [tenant, LEDGER_SOURCE],
  );
  const { rows } = await client.query<{ id: number }>('select id from source where tenant = $1 and name = $2', [
    tenant,
    LEDGER_SOURCE,
  ]);
  return { id: rows[0]?.id as number, name: LEDGER_SOURCE };
}
