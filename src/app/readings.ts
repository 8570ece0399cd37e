import type { Pool, QueryResultRow } from 'pg';
import type { Logger } from 'pino';
import type { Readings } from '../observe/metrics.js';

/**
 * The figures that only the database knows, for `/metrics`. Counted up to a bound, so that asking stays cheap. While it is
 * away they are missing, and all the others are there: that is when somebody looks.
 */
export function databaseReadings(pool: Pool, log: Logger): Pick<Readings, 'lag' | 'inbox' | 'unseen'> {
  async function rowsOf<T extends QueryResultRow>(sql: string, parameters: unknown[] = []): Promise<T[]> {
    try {
      return (await pool.query<T>(sql, parameters)).rows;
    } catch (error) {
      log.warn({ err: error }, 'figures of the database are missing from the metrics');
      return [];
    }
  }
  return {
    lag() {
      return rowsOf<{ tenant: string; target: string; messages: number }>(
        `select n.name as tenant, t.name as target, (select count(*) from (select from delivery d
           where d.tenant = t.tenant and d.target = t.id and (d.state = 'pending' or d.void = 'due') limit $1) c) as messages
         from target t join tenant n on n.id = t.tenant where t.removed_at is null`,
        [LAG_COUNTED],
      );
    },
    unseen() {
      return rowsOf<{ tenant: string; messages: number }>(
        `select n.name as tenant, coalesce(u.messages, 0)::bigint as messages from tenant n
         left join (select tenant, sum(count) as messages from unseen group by tenant) u on u.tenant = n.id`,
      );
    },
    async inbox() {
      const rows = await rowsOf<{ tenant: string; messages: number; oldest: number }>(
        `select n.name as tenant, coalesce((select sum(c.n) from inbox_count c
             where c.tenant = n.id and c.need = 'unrouted'), 0)::bigint as messages,
           coalesce((select extract(epoch from now() - coalesce(s.snoozed_until, s.since)) from standing s
             where s.tenant = n.id and s.state = 'waiting' order by coalesce(s.snoozed_until, s.since) limit 1), 0)::float8 as oldest
         from tenant n`,
      );
      return rows.map(({ oldest, ...row }) => ({ ...row, oldestSeconds: Math.max(0, oldest) }));
    },
  };
}

const LAG_COUNTED = 100_000;
