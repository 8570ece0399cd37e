import type { Pool } from 'pg';
import type { LeaseStore } from '../owner/leases.js';
import { arrayOf } from './array.js';

/** Processes, their beats and the leases of channels, in PostgreSQL. */
export function createLeaseStore(pool: Pool, process: string): LeaseStore {
  return {
    async register(name, roles) {
      await pool.query('insert into process (id, name, roles) values ($1, $2, $3)', [process, name, roles]);
    },
    async beat() {
      await pool.query('update process set beat = beat + 1, beat_at = now() where id = $1', [process]);
    },
    async leases() {
      const { rows } = await pool.query<{
        tenant: number;
        channel: number;
        holder: string | null;
        term: number;
        beat: number | null;
      }>(
        `select l.tenant, l.channel, l.holder, l.term, p.beat from lease l left join process p on p.id = l.holder
         order by l.tenant, l.channel`,
      );
      return rows;
    },
    async take(wanted) {
      const { rows } = await pool.query<{ tenant: number; channel: number; term: number }>(
        `update lease l set holder = $1, term = l.term + 1, taken_at = now()
         from unnest($2::int[], $3::smallint[], $4::bigint[]) as w(tenant, channel, term)
         where l.tenant = w.tenant and l.channel = w.channel and l.term = w.term
         returning l.tenant, l.channel, l.term`,
        [
          process,
          arrayOf(wanted.map((each) => each.tenant)),
          arrayOf(wanted.map((each) => each.channel)),
          arrayOf(wanted.map((each) => each.term)),
        ],
      );
      return rows;
    },
    async leave() {
      // A clean end interrupts nothing: what was being read is read again, and held against nobody.
      await pool.query('delete from attempt where process = $1 and ended_at is null', [process]);
      await pool.query('update lease set holder = null where holder = $1', [process]);
      await pool.query('delete from process where id = $1', [process]);
    },
    async sweep() {
      // The dead leave a row behind; a day later nothing refers to it but old attempts, by id alone.
      await pool.query(
        `delete from process p where p.beat_at < now() - interval '1 day' and p.id <> $1
         and not exists (select from lease l where l.holder = p.id)`,
        [process],
      );
    },
  };
}
