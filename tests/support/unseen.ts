import type { Pool } from 'pg';
import type { Tenant } from '../../src/message/tenant.js';

/** A message that was taken as a duplicate and nobody has looked up: what it says, as much as anything asks for. */
export async function addUnseen(
  pool: Pool,
  tenant: Tenant,
  given: { source: number; account: string; arrivedAt: Date; value?: string; count?: number },
): Promise<void> {
  const { source, account, arrivedAt, value = '1.50', count = 1 } = given;
  await pool.query(
    `insert into unseen (tenant, fingerprint, digest, identity, strict, source, kind, account, type, value, arrived_at, peer,
       sha256, raw, count, batch)
     values ($1, uuid_send(gen_random_uuid()), decode(repeat('00', 24), 'hex'), convert_to($3, 'UTF8'), true, $2, 'event', $3,
       'usage', $4, $5, 'test', sha256($7), $7, $6, 1)`,
    [tenant.id, source, account, value, arrivedAt, count, Buffer.from(JSON.stringify({ subject: account }))],
  );
}
