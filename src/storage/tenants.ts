import type { Pool, PoolClient } from 'pg';
import type { Tenant } from '../message/tenant.js';
import { writeAudit } from './audit.js';
import { changeConfiguration } from './configuration.js';
import { ledgerSource } from './ledger-source.js';

export type TenantCreated = { readonly result: 'ok'; readonly tenant: Tenant } | { readonly result: 'name_taken' };

/** Makes a tenant with all its channels. `name` is well-formed, `channels` 1 to 1024. */
export function createTenant(pool: Pool, name: string, channels: number, who: string): Promise<TenantCreated> {
  return changeConfiguration(pool, async (client) => {
    if (await findTenant(client, name)) return { result: 'name_taken' };
    return { result: 'ok', tenant: await insertTenant(client, name, channels, who) };
  });
}

/** The same within a transaction of `changeConfiguration`; the name must be free. */
export async function insertTenant(client: PoolClient, name: string, channels: number, who: string): Promise<Tenant> {
  const { rows } = await client.query<Tenant>(
    'insert into tenant (name, channels) values ($1, $2) returning id, name, channels',
    [name, channels],
  );
  const tenant = rows[0] as Tenant;
  await client.query(
    `with numbers as (select n from generate_series(0, $2::int - 1) n),
          channels as (insert into channel (tenant, channel) select $1, n from numbers),
          leases as (insert into lease (tenant, channel) select $1, n from numbers)
     insert into reader (tenant, channel) select $1, n from numbers`,
    [tenant.id, channels],
  );
  await ledgerSource(client, tenant.id);
  await writeAudit(client, { tenant: tenant.id, who, action: 'tenant.create', object: name, detail: { channels } });
  return tenant;
}

export async function findTenant(db: Pool | PoolClient, name: string): Promise<Tenant | undefined> {
  const { rows } = await db.query<Tenant>('select id, name, channels from tenant where name = $1', [name]);
  return rows[0];
}

/** All of them, by name. */
export async function listTenants(db: Pool | PoolClient): Promise<Tenant[]> {
  return (await db.query<Tenant>('select id, name, channels from tenant order by name')).rows;
}
