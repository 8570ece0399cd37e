import type { Pool, PoolClient } from 'pg';
import type { Kind } from '../message/arrival.js';
import { messageId } from '../message/id.js';
import { inTransaction } from './pool.js';

export const CAUSES = ['conflict', 'expired', 'undecodable', 'poison'] as const;
export type Cause = (typeof CAUSES)[number];
export type QuarantineState = 'held' | 'released' | 'discarded';

/** A message taken out of the stream, without its bytes. */
export interface QuarantineEntry {
  readonly number: number;
  readonly cause: Cause;
  readonly state: QuarantineState;
  /** What can't be read of an undecodable one. */
  readonly reason: string | null;
  /** The message it contradicts; of a poison one, itself. */
  readonly of: string | null;
  readonly source: string;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly externalId: string | null;
  readonly value: string | null;
  readonly time: string | null;
  readonly received: Date;
  readonly peer: string;
  /** How often the same came. */
  readonly count: number;
  readonly lastAt: Date;
  readonly size: number;
}

const COLUMNS = `q.number, q.cause, q.state, q.reason, q.of_channel, q.of_sequence, s.name as source, q.kind, q.account, q.type,
  q.external_id as "externalId", q.value, to_char(q.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time,
  q.arrived_at as received, q.peer, q.count, q.last_at as "lastAt", octet_length(q.raw) as size`;
const FROM = 'quarantine q join source s on s.tenant = q.tenant and s.id = q.source';

type Row = Omit<QuarantineEntry, 'of'> & { of_channel: number | null; of_sequence: number | null };

function entry({ of_channel, of_sequence, ...same }: Row): QuarantineEntry {
  const of =
    of_channel === null || of_sequence === null ? null : messageId({ channel: of_channel, sequence: of_sequence });
  return { ...same, of };
}

/** A tenant's quarantine, newest number first. `below` is the number a further page goes on under. */
export async function listQuarantine(
  pool: Pool,
  tenant: number,
  filter: { readonly state?: QuarantineState | undefined; readonly cause?: Cause | undefined },
  limit: number,
  below: number | null,
): Promise<{ readonly entries: QuarantineEntry[]; readonly next: number | null }> {
  const { rows } = await pool.query<Row>(
    `select ${COLUMNS} from ${FROM} where q.tenant = $1 and ($2::text is null or q.state = $2)
        and ($3::text is null or q.cause = $3) and ($5::bigint is null or q.number < $5)
      order by q.number desc limit $4`,
    [tenant, filter.state ?? null, filter.cause ?? null, limit + 1, below],
  );
  const entries = rows.slice(0, limit).map(entry);
  return { entries, next: rows.length > limit ? (entries[entries.length - 1]?.number ?? null) : null };
}

/** Counts no further than this. */
export const HELD_COUNTED = 1000;

/** How many of the newest HELD_COUNTED held entries there are of each cause; causes without one are left out. */
export async function countHeld(pool: Pool, tenant: number): Promise<Map<Cause, number>> {
  const { rows } = await pool.query<{ cause: Cause; count: number }>(
    `select cause, count(*) as count from (select cause from quarantine where tenant = $1 and state = 'held'
        order by number desc limit ${HELD_COUNTED}) q group by cause order by cause`,
    [tenant],
  );
  return new Map(rows.map(({ cause, count }) => [cause, count]));
}

export async function findQuarantined(
  pool: Pool,
  tenant: number,
  number: number,
): Promise<QuarantineEntry | undefined> {
  const { rows } = await pool.query<Row>(`select ${COLUMNS} from ${FROM} where q.tenant = $1 and q.number = $2`, [
    tenant,
    number,
  ]);
  return rows[0] && entry(rows[0]);
}

/** The bytes as they came; none of what was erased. */
export async function quarantinedBytes(
  pool: Pool,
  tenant: number,
  number: number,
): Promise<{ kind: Kind; raw: Buffer; erased: boolean } | undefined> {
  const { rows } = await pool.query<{ kind: Kind; raw: Buffer; erased: boolean }>(
    'select kind, raw, erased_at is not null as erased from quarantine where tenant = $1 and number = $2',
    [tenant, number],
  );
  return rows[0];
}

export type QuarantineDecided = { readonly result: 'done'; readonly channel: number | null } | QuarantineNotDone;

export type QuarantineNotDone =
  | { readonly result: 'unknown' }
  /** Not held any more, by the state it is in. */
  | { readonly result: 'changed'; readonly state: QuarantineState }
  /** Its content may have been sequenced already. */
  | { readonly result: 'being_released' }
  /** What is asked for can't be done with what is in quarantine for that cause. */
  | { readonly result: 'wrong_cause'; readonly cause: Cause };

interface Held {
  readonly cause: Cause;
  readonly channel: number;
  readonly sequence: number;
  readonly beingReleased: boolean;
}

/** Locks an entry that is still held, for what a person wants done with it. */
async function lockHeld(client: PoolClient, tenant: number, number: number): Promise<Held | QuarantineNotDone> {
  const { rows } = await client.query<Held & { state: QuarantineState }>(
    `select cause, state, of_channel as channel, of_sequence as sequence, release_begun_at is not null as "beingReleased"
       from quarantine where tenant = $1 and number = $2 for update`,
    [tenant, number],
  );
  const [entry] = rows;
  if (!entry) return { result: 'unknown' };
  return entry.state === 'held' ? entry : { result: 'changed', state: entry.state };
}

/** Throws an entry away; the message of a poison one is closed with that. Its bytes stay until retention takes them. */
export function discard(
  pool: Pool,
  tenant: number,
  number: number,
  who: string,
  reason: string | null,
): Promise<QuarantineDecided> {
  return inTransaction(pool, async (client) => {
    const held = await lockHeld(client, tenant, number);
    if ('result' in held) return held;
    if (held.beingReleased) return { result: 'being_released' };
    await client.query(`update quarantine set state = 'discarded' where tenant = $1 and number = $2`, [tenant, number]);
    if (held.cause !== 'poison') return { result: 'done', channel: null };
    await client.query(
      `with closed as (
         update standing set state = 'closed', version = version + 1, since = now(), reason = $5
          where tenant = $1 and channel = $2 and sequence = $3 and state = 'quarantined' returning version)
       insert into decision (tenant, channel, sequence, version, who, action, reason, plan)
         select $1, $2, $3, version, $4, 'close', $5, 0 from closed`,
      [tenant, held.channel, held.sequence, who, reason ?? 'discarded from quarantine'],
    );
    return { result: 'done', channel: held.channel };
  });
}

/** Gives a poison message another try from the top of the ladder, at once or from a time on. */
export function requeue(pool: Pool, tenant: number, number: number, from: Date | null): Promise<QuarantineDecided> {
  return inTransaction(pool, async (client) => {
    const held = await lockHeld(client, tenant, number);
    if ('result' in held) return held;
    if (held.cause !== 'poison') return { result: 'wrong_cause', cause: held.cause };
    await client.query(`update quarantine set state = 'released' where tenant = $1 and number = $2`, [tenant, number]);
    await client.query(
      `update standing set state = 'parked', since = now(), rung = 0, ready_at = coalesce($4, now()), reason = 'requeued'
        where tenant = $1 and channel = $2 and sequence = $3 and state = 'quarantined'`,
      [tenant, held.channel, held.sequence, from],
    );
    return { result: 'done', channel: held.channel };
  });
}

/** Why an entry can't be released into its channel as a new message; undefined when it can. */
export async function releasable(pool: Pool, tenant: number, number: number): Promise<QuarantineNotDone | undefined> {
  const held = await findQuarantined(pool, tenant, number);
  if (!held) return { result: 'unknown' };
  if (held.state !== 'held') return { result: 'changed', state: held.state };
  return held.cause === 'poison' ? { result: 'wrong_cause', cause: held.cause } : undefined;
}
