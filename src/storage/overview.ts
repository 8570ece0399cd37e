import type { Pool } from 'pg';
import { quarantineId } from '../message/id.js';
import { LAG_COUNTED } from './samples.js';

/** What one target has yet to get. */
export interface TargetLag {
  readonly target: number;
  readonly waiting: number;
  /** There may be more than was counted. */
  readonly more: boolean;
  readonly oldest: Date;
}

/** By target id; what waits for a target that was removed, too. */
export async function targetLags(pool: Pool, tenant: number): Promise<Map<number, TargetLag>> {
  const { rows } = await pool.query<TargetLag>('select target, waiting, more, oldest from target_lag($1, $2)', [
    tenant,
    LAG_COUNTED,
  ]);
  return new Map(rows.map((row) => [row.target, row]));
}

/** An owner beats once a second. */
const LIVING_SECONDS = 10;

/** Channels that no living process reads onward. */
export async function unownedChannels(pool: Pool, tenant: number): Promise<number[]> {
  const { rows } = await pool.query<{ channel: number }>(
    `select l.channel from lease l left join process p on p.id = l.holder
        and p.beat_at > clock_timestamp() - make_interval(secs => ${LIVING_SECONDS})
      where l.tenant = $1 and p.id is null order by l.channel`,
    [tenant],
  );
  return rows.map(({ channel }) => channel);
}

/** Entries of the quarantine that are looked through for new kinds of poison. */
const NEWEST_HELD = 200;

/** Since then: messages no rung could read, of which none before had what may have stopped them. The newest first. */
export async function newPoison(pool: Pool, tenant: number, since: Date): Promise<string[]> {
  const { rows } = await pool.query<{ number: number }>(
    `select q.number from (select * from quarantine where tenant = $1 and state = 'held'
        order by number desc limit ${NEWEST_HELD}) q
      where q.cause = 'poison' and q.last_at >= $2 and not exists (select from quarantine before
        where before.tenant = $1 and before.crash_hash = q.crash_hash and before.number < q.number)
      order by q.number desc`,
    [tenant, since],
  );
  return rows.map(({ number }) => quarantineId(number));
}
