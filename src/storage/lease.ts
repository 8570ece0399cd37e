import type { Pool } from 'pg';
import type { Lease, LeaseStore, ProcessBeat } from '../owner/leases.js';
import { arrayOf } from './array.js';
import { inTransaction } from './pool.js';

const SAME_EPOCH = 'not exists (select from installation where epoch <>';

/**
 * Processes, their beats and the leases of channels, in PostgreSQL. `epoch` is the installation's as this process knows it:
 * under one that was restored meanwhile it neither lives nor takes a channel, because its numbers would be used twice.
 */
export function createLeaseStore(pool: Pool, process: string, epoch: number): LeaseStore {
  let registered: { readonly name: string; readonly roles: readonly string[] } = { name: '', roles: [] };
  return {
    async register(name, roles) {
      registered = { name, roles };
      await pool.query('insert into process (id, name, roles) values ($1, $2, $3)', [process, name, roles]);
    },
    async beat() {
      // A process that stood still for long may have been taken for dead, and its row removed.
      await pool.query(
        `insert into process (id, name, roles) select $1::uuid, $2, $3::text[] where ${SAME_EPOCH} $4)
         on conflict (id) do update set beat = process.beat + 1, beat_at = now()`,
        [process, registered.name, registered.roles, epoch],
      );
    },
    async forgetOthers() {
      await pool.query('delete from process where id <> $1', [process]);
    },
    async processes() {
      const { rows } = await pool.query<ProcessBeat>(`select id, 'owner' = any (roles) as owns, beat from process`);
      return rows;
    },
    async leases() {
      const { rows } = await pool.query<Lease>(
        `select l.tenant, l.channel, l.holder, l.term, p.id is not null as present
         from lease l left join process p on p.id = l.holder order by l.tenant, l.channel`,
      );
      return rows;
    },
    async version() {
      // A take counts a term up, and what is given back has no holder until it is taken.
      const { rows } = await pool.query<{ version: string }>(
        `select concat_ws('/', count(*), count(holder), sum(term)) as version from lease`,
      );
      return rows[0]?.version ?? '';
    },
    async take(wanted) {
      const { rows } = await pool.query<{ tenant: number; channel: number; term: number }>(
        // Locked in one order: others may be taking some of the same.
        `with free as materialized (
           select l.tenant, l.channel, l.term
           from lease l join unnest($2::int[], $3::smallint[], $4::bigint[]) as w(tenant, channel, term)
             on l.tenant = w.tenant and l.channel = w.channel and l.term = w.term
           order by l.tenant, l.channel for update of l
         )
         update lease l set holder = $1, term = l.term + 1, taken_at = now() from free f
         where l.tenant = f.tenant and l.channel = f.channel and l.term = f.term and ${SAME_EPOCH} $5)
         returning l.tenant, l.channel, l.term`,
        [
          process,
          arrayOf(wanted.map((each) => each.tenant)),
          arrayOf(wanted.map((each) => each.channel)),
          arrayOf(wanted.map((each) => each.term)),
          epoch,
        ],
      );
      return rows;
    },
    async give(held) {
      const channels = [
        process,
        arrayOf(held.map((each) => each.tenant)),
        arrayOf(held.map((each) => each.channel)),
        arrayOf(held.map((each) => each.term)),
      ];
      await inTransaction(pool, async (client) => {
        const given = await client.query<{ tenant: number; channel: number }>(
          `update lease l set holder = null from unnest($2::int[], $3::smallint[], $4::bigint[]) as w(tenant, channel, term)
           where l.tenant = w.tenant and l.channel = w.channel and l.term = w.term and l.holder = $1
           returning l.tenant, l.channel`,
          channels,
        );
        // What was being read is read again by the next owner, and held against nobody.
        await client.query(
          `delete from attempt a using unnest($2::int[], $3::smallint[]) as w(tenant, channel)
           where a.tenant = w.tenant and a.channel = w.channel and a.process = $1 and a.ended_at is null`,
          [process, arrayOf(given.rows.map((each) => each.tenant)), arrayOf(given.rows.map((each) => each.channel))],
        );
      });
    },
    async retire() {
      registered = { ...registered, roles: registered.roles.filter((role) => role !== 'owner') };
      await pool.query('update process set roles = $2 where id = $1', [process, registered.roles]);
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
