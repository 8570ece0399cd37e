import type { Pool } from 'pg';
import type { HeldEntry } from '../channel/held.js';
import { writeAudit } from './audit.js';
import { endEntryClaims } from './claims.js';
import { inTransaction } from './pool.js';

/**
 * What an entry holds that is not poison, which can't be discarded from now on; undefined where it is not held (any
 * more). May be done again when the first try was cut off.
 */
export async function beginRelease(pool: Pool, tenant: number, number: number): Promise<HeldEntry | undefined> {
  const { rows } = await pool.query<HeldEntry>(
    `update quarantine q set release_begun_at = coalesce(q.release_begun_at, now()) from source s
     where s.tenant = q.tenant and s.id = q.source
       and q.tenant = $1 and q.number = $2 and q.state = 'held' and q.cause <> 'poison'
     returning json_build_object('id', s.id, 'name', s.name) as source, q.kind, q.account, q.type,
       q.external_id as "externalId", q.value,
       to_char(q.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "eventTime", q.peer,
       q.meta::text as meta, q.digest, q.raw`,
    [tenant, number],
  );
  return rows[0];
}

export function markReleased(pool: Pool, tenant: number, number: number, who: string): Promise<void> {
  return inTransaction(pool, async (client) => {
    const { rowCount } = await client.query(
      `update quarantine set state = 'released', decided_at = now()
        where tenant = $1 and number = $2 and state = 'held'`,
      [tenant, number],
    );
    if (rowCount === 1) {
      await endEntryClaims(client, tenant, [number]);
      await writeAudit(client, { tenant, who, action: 'quarantine.release', object: `q-${number}` });
    }
  });
}
