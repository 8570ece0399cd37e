import { hash, randomBytes } from 'node:crypto';
import type { Pool } from 'pg';
import type { Arrival } from '../../src/message/arrival.js';
import type { Tenant } from '../../src/message/tenant.js';

/** A tenant with its channels, in an empty test database. */
export async function insertTenant(pool: Pool, name: string, channels = 4): Promise<Tenant> {
  const { rows } = await pool.query<{ id: number }>(
    'insert into tenant (name, channels) values ($1, $2) returning id',
    [name, channels],
  );
  const id = rows[0]?.id as number;
  for (const table of ['channel', 'lease', 'reader']) {
    await pool.query(`insert into ${table} (tenant, channel) select $1, generate_series(0, $2 - 1)`, [id, channels]);
  }
  return { id, name, channels };
}

/** A row for a process that accepts. */
export async function insertProcess(pool: Pool, id: string): Promise<string> {
  await pool.query("insert into process (id, name, roles) values ($1, 'test', '{ingress}')", [id]);
  return id;
}

/** An event of a feed, told apart by `id`; `content` is what its digest is made of. */
export function eventArrival(
  tenant: Tenant,
  given: { id: string; account?: string; content?: string; at?: number; time?: string | null; source?: number },
): Arrival {
  const { id, account = 'someone', content = 'same', at = Date.now(), time = null, source = 1 } = given;
  return {
    tenant,
    source: { id: source, name: 'feed' },
    kind: 'event',
    account,
    type: 'usage',
    externalId: id,
    value: '1.50',
    eventTime: time,
    arrivedAt: at,
    peer: 'token test',
    meta: null,
    identity: Buffer.from(id),
    digest: hash('sha256', content, 'binary').slice(0, 16),
    onOtherContent: 'conflict',
    raw: Buffer.from(
      JSON.stringify({ specversion: '1.0', id, source: '/s', type: 'usage', subject: account, data: content }),
    ),
  };
}

/** Bytes that key the fingerprints of a test. */
export function testSecret(): Buffer {
  return randomBytes(32);
}
