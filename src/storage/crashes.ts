import type { Pool } from 'pg';
import type { Crash } from '../owner/ports.js';

interface Row {
  readonly tenant: number;
  readonly hash: Buffer;
  readonly rung: number;
  readonly blamed: number[];
  readonly deaths: number;
}

/** The likes of mails that failed before, of every tenant, the latest first, at most so many. */
export async function knownCrashes(pool: Pool, max: number): Promise<Crash[]> {
  const { rows } = await pool.query<Row>(
    'select tenant, hash, rung, blamed, deaths from crash order by last_at desc limit $1',
    [max],
  );
  return rows.map(crashOf);
}

/** More than one process can see fail before the others have heard of it. */
const LATE_SECONDS = 60;
const MOST_LATE = 1_000;

/** Those of a tenant that were written down lately, for a process that was just told of one. */
export async function lateCrashes(pool: Pool, tenant: number): Promise<Crash[]> {
  const { rows } = await pool.query<Row>(
    `select tenant, hash, rung, blamed, deaths from crash
     where tenant = $1 and last_at > now() - make_interval(secs => ${LATE_SECONDS}) order by last_at desc limit ${MOST_LATE}`,
    [tenant],
  );
  return rows.map(crashOf);
}

function crashOf({ tenant, hash, rung, blamed, deaths }: Row): Crash {
  return { tenant, hash, place: { rung, blamed, deaths, interruptions: 0 } };
}

/** How long a like that does not come again is remembered. */
const REMEMBERED_DAYS = 90;
/** Rows forgotten in one statement. */
const FORGOTTEN_AT_ONCE = 10_000;

/** Forgets those whose likes have not failed for long, of every tenant; the more there are, the more often it must be called. */
export async function sweepCrashes(pool: Pool): Promise<number> {
  const { rowCount } = await pool.query(
    `delete from crash where (tenant, hash) in (select tenant, hash from crash
       where last_at < now() - make_interval(days => ${REMEMBERED_DAYS}) order by last_at limit ${FORGOTTEN_AT_ONCE})`,
  );
  return rowCount ?? 0;
}

/** What was known of one is no longer so. */
export async function forgetCrash(pool: Pool, tenant: number, hash: Buffer): Promise<void> {
  await pool.query('delete from crash where tenant = $1 and hash = $2', [tenant, hash]);
}

/** Writes one down; of two processes that do, the one that came further down the ladder is right. */
export async function keepCrash(pool: Pool, { tenant, hash, place }: Crash): Promise<void> {
  await pool.query(
    `insert into crash (tenant, hash, rung, blamed, deaths) values ($1, $2, $3, $4, $5)
     on conflict (tenant, hash) do update set rung = greatest(crash.rung, excluded.rung),
       blamed = case when excluded.deaths >= crash.deaths then excluded.blamed else crash.blamed end,
       deaths = greatest(crash.deaths, excluded.deaths), last_at = now()`,
    [tenant, hash, place.rung, place.blamed, place.deaths],
  );
}
