import type { Pool } from 'pg';

/** The database's clock, milliseconds since 1970. */
export async function databaseTime(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ ms: number }>(
    'select extract(epoch from clock_timestamp())::float8 * 1000 as ms',
  );
  return rows[0]?.ms as number;
}

/** How far the clock of another process's machine is ahead of the database's, as that process says. */
export interface OtherClock {
  /** Host and process id. */
  readonly name: string;
  readonly offsetMs: number;
}

/** Writes down how far this process's clock is ahead, and answers the same of the others that live. */
export async function exchangeOffsets(pool: Pool, process: string, offsetMs: number): Promise<OtherClock[]> {
  await pool.query('update process set clock_offset_ms = $2 where id = $1', [process, Math.round(offsetMs)]);
  const { rows } = await pool.query<OtherClock>(
    `select name, clock_offset_ms as "offsetMs" from process
     where id <> $1 and beat_at > now() - interval '1 minute' order by name limit 100`,
    [process],
  );
  return rows;
}

/**
 * After the database's clock has gone back by so much: what it said of the future it said too late by that, and is put
 * right for the channels this process holds, so that nothing waits for a time that will come a second time.
 */
export async function bringForward(pool: Pool, process: string, ms: number): Promise<void> {
  const channels = [process, ms / 1000];
  await pool.query(
    `update delivery d set next_at = d.next_at - make_interval(secs => $2),
       leased_until = d.leased_until - make_interval(secs => $2)
     from lease l where l.holder = $1 and d.tenant = l.tenant and d.channel = l.channel
       and (d.state = 'pending' or d.void = 'due') and d.next_at > now()`,
    channels,
  );
  await pool.query(
    `update standing s set ready_at = s.ready_at - make_interval(secs => $2)
     from lease l where l.holder = $1 and s.tenant = l.tenant and s.channel = l.channel
       and s.state = 'parked' and s.ready_at > now()`,
    channels,
  );
  await pool.query(
    `update decision d set hold_until = d.hold_until - make_interval(secs => $2)
     from lease l where l.holder = $1 and d.tenant = l.tenant and d.channel = l.channel
       and d.plan is null and d.hold_until > now()`,
    channels,
  );
}
