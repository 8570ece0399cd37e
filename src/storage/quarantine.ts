import type { Pool, PoolClient } from 'pg';
import type { Kind } from '../message/arrival.js';
import { messageId, quarantineId } from '../message/id.js';
import { arrayOf } from './array.js';
import { writeAudit } from './audit.js';
import { endEntryClaims } from './claims.js';
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
  /** Of a poison mail, hex: its likes have the same. */
  readonly crash: string | null;
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

const COLUMNS = `q.number, q.cause, q.state, q.reason, q.of_channel, q.of_sequence, encode(q.crash_hash, 'hex') as crash, s.name as source, q.kind, q.account, q.type,
  q.external_id as "externalId", q.value, to_char(q.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time,
  q.arrived_at as received, q.peer, q.count, q.last_at as "lastAt", octet_length(q.raw) as size`;
const FROM = 'quarantine q join source s on s.tenant = q.tenant and s.id = q.source';

type Row = Omit<QuarantineEntry, 'of'> & { of_channel: number | null; of_sequence: number | null };

function entry({ of_channel, of_sequence, ...same }: Row): QuarantineEntry {
  const of =
    of_channel === null || of_sequence === null ? null : messageId({ channel: of_channel, sequence: of_sequence });
  return { ...same, of };
}

export interface QuarantineFilter {
  readonly state?: QuarantineState | undefined;
  readonly cause?: Cause | undefined;
  /** Hex. */
  readonly crash?: string | undefined;
}

/** A tenant's quarantine, newest number first. `below` is the number a further page goes on under. */
export async function listQuarantine(
  pool: Pool,
  tenant: number,
  filter: QuarantineFilter,
  limit: number,
  below: number | null,
): Promise<{ readonly entries: QuarantineEntry[]; readonly next: number | null }> {
  const { rows } = await pool.query<Row>(
    `select ${COLUMNS} from ${FROM} where q.tenant = $1 and ($2::text is null or q.state = $2)
        and ($3::text is null or q.cause = $3) and ($5::bigint is null or q.number < $5)
        and ($6::text is null or q.crash_hash = decode($6, 'hex'))
      order by q.number desc limit $4`,
    [tenant, filter.state ?? null, filter.cause ?? null, limit + 1, below, filter.crash ?? null],
  );
  const entries = rows.slice(0, limit).map(entry);
  return { entries, next: rows.length > limit ? (entries[entries.length - 1]?.number ?? null) : null };
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

/** Some entries, in any order. */
export async function entriesByNumber(
  pool: Pool,
  tenant: number,
  numbers: readonly number[],
): Promise<QuarantineEntry[]> {
  if (numbers.length === 0) return [];
  const { rows } = await pool.query<Row>(
    `select ${COLUMNS} from ${FROM} where q.tenant = $1 and q.number = any ($2::bigint[])`,
    [tenant, arrayOf(numbers)],
  );
  return rows.map(entry);
}

export interface QuarantinedBytes {
  readonly kind: Kind;
  readonly raw: Buffer;
  /** Its id. */
  readonly source: number;
  /** What the transport said, as JSON. */
  readonly meta: string | null;
  readonly erased: boolean;
}

/** The bytes as they came; none of what was erased. */
export async function quarantinedBytes(
  pool: Pool,
  tenant: number,
  number: number,
): Promise<QuarantinedBytes | undefined> {
  const { rows } = await pool.query<QuarantinedBytes>(
    `select kind, raw, source, meta::text as meta, erased_at is not null as erased from quarantine
      where tenant = $1 and number = $2`,
    [tenant, number],
  );
  return rows[0];
}

/** Entries dropped in one statement. */
const DROPPED_AT_ONCE = 500;

/** Drops, of every tenant, what was released or discarded so long ago; what is held stays. Answers how many. */
export async function dropDecided(pool: Pool, days: number, stopping: AbortSignal): Promise<number> {
  let sum = 0;
  for (let dropped = DROPPED_AT_ONCE; dropped === DROPPED_AT_ONCE && !stopping.aborted; sum += dropped) {
    const { rowCount } = await pool.query(
      `delete from quarantine q using (select tenant, number from quarantine
          where state <> 'held' and decided_at < now() - make_interval(days => $1) order by decided_at limit $2) old
        where q.tenant = old.tenant and q.number = old.number and q.state <> 'held'`,
      [days, DROPPED_AT_ONCE],
    );
    dropped = rowCount ?? 0;
  }
  return sum;
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

/** What a person wants done with poison. */
export type PoisonWish = Discard | PutBack;

/** Thrown away; the message is closed with that. Its bytes stay. */
export interface Discard {
  readonly action: 'discard';
  readonly reason: string | null;
}

/** Read again on a rung, at once or from a time on, whatever became of its likes. */
export interface PutBack {
  readonly action: 'requeue' | 'delay' | 'release';
  readonly rung: { readonly number: number; readonly name: string };
  readonly from: Date | null;
  readonly reason: string | null;
}

interface Held {
  readonly number: number;
  readonly cause: Cause;
  readonly channel: number;
  readonly sequence: number;
  readonly beingReleased: boolean;
}

/** Locks those of some entries that are still held, for what a person wants done with them. */
async function lockHeld(client: PoolClient, tenant: number, numbers: readonly number[]): Promise<Held[]> {
  const { rows } = await client.query<Held>(
    `select number, cause, of_channel as channel, of_sequence as sequence, release_begun_at is not null as "beingReleased"
       from quarantine where tenant = $1 and number = any ($2::bigint[]) and state = 'held' order by number for update`,
    [tenant, arrayOf(numbers)],
  );
  return rows;
}

async function whyNotHeld(client: PoolClient, tenant: number, number: number): Promise<QuarantineNotDone> {
  const { rows } = await client.query<{ state: QuarantineState }>(
    'select state from quarantine where tenant = $1 and number = $2',
    [tenant, number],
  );
  return rows[0] ? { result: 'changed', state: rows[0].state } : { result: 'unknown' };
}

/** Does what a person wants with an entry. What is not poison can only be discarded here. */
export function decideQuarantined(
  pool: Pool,
  tenant: number,
  number: number,
  who: string,
  wish: PoisonWish,
): Promise<QuarantineDecided> {
  return inTransaction(pool, async (client) => {
    const [held] = await lockHeld(client, tenant, [number]);
    if (!held) return whyNotHeld(client, tenant, number);
    if (held.beingReleased) return { result: 'being_released' };
    const isPoison = held.cause === 'poison';
    if (!isPoison && wish.action !== 'discard') return { result: 'wrong_cause', cause: held.cause };
    await carryOut(client, tenant, [held], who, wish);
    const detail = auditDetail(wish);
    await writeAudit(client, {
      tenant,
      who,
      action: `quarantine.${wish.action}`,
      object: quarantineId(number),
      ...(detail && { detail }),
    });
    return { result: 'done', channel: isPoison ? held.channel : null };
  });
}

/** Entries of one transaction. */
const AT_ONCE = 500;

export interface BulkDone {
  readonly done: number;
  /** Somebody else decided about them meanwhile. */
  readonly skipped: number;
  /** In which something goes on. */
  readonly channels: readonly number[];
}

/**
 * Does what a person wants with all held entries of one crash hash, hex, a bounded number at a time. Cut off in between it
 * has done a part, which the audit tells; asked again it does the rest.
 */
export async function decideLikes(
  pool: Pool,
  tenant: number,
  crash: string,
  who: string,
  wish: PoisonWish,
  atOnce = AT_ONCE,
): Promise<BulkDone> {
  const channels = new Set<number>();
  let [done, skipped, audited] = [0, 0, null as number | null];
  for (let after = 0; ; ) {
    const numbers = await heldLikes(pool, tenant, crash, after, atOnce);
    const last = numbers.at(-1);
    if (last === undefined) return { done, skipped, channels: [...channels] };
    after = last;
    const before = { done, skipped, audited };
    ({ done, skipped, audited } = await inTransaction(pool, async (client) => {
      const held = await lockHeld(client, tenant, numbers);
      await carryOut(client, tenant, held, who, wish);
      for (const { channel } of held) channels.add(channel);
      const sum = { done: before.done + held.length, skipped: before.skipped + numbers.length - held.length };
      return { ...sum, audited: await auditLikes(client, tenant, crash, who, wish, { ...before, ...sum }) };
    }));
  }
}

async function heldLikes(pool: Pool, tenant: number, crash: string, after: number, most: number): Promise<number[]> {
  const { rows } = await pool.query<{ number: number }>(
    `select number from quarantine where tenant = $1 and crash_hash = decode($2, 'hex') and number > $3
        and state = 'held' and cause = 'poison' order by number limit $4`,
    [tenant, crash, after, most],
  );
  return rows.map(({ number }) => number);
}

/** One line for all of them, which tells at any time what is done. Answers which. */
async function auditLikes(
  client: PoolClient,
  tenant: number,
  crash: string,
  who: string,
  wish: PoisonWish,
  { done, skipped, audited }: { readonly done: number; readonly skipped: number; readonly audited: number | null },
): Promise<number | null> {
  const detail = JSON.stringify({ ...auditDetail(wish), done, skipped });
  if (audited !== null) {
    await client.query('update audit set detail = $3 where tenant = $1 and id = $2', [tenant, audited, detail]);
    return audited;
  }
  if (done === 0) return null;
  const { rows } = await client.query<{ id: number }>(
    'insert into audit (tenant, who, action, object, detail) values ($1, $2, $3, $4, $5) returning id',
    [tenant, who, `quarantine.${wish.action}`, `crash ${crash}`, detail],
  );
  return rows[0]?.id ?? null;
}

function auditDetail(wish: PoisonWish): Readonly<Record<string, unknown>> | undefined {
  const reason = wish.reason === null ? {} : { reason: wish.reason };
  if (wish.action === 'discard') return wish.reason === null ? undefined : reason;
  return { rung: wish.rung.name, ...(wish.from && { from: wish.from.toISOString() }), ...reason };
}

async function carryOut(
  client: PoolClient,
  tenant: number,
  held: readonly Held[],
  who: string,
  wish: PoisonWish,
): Promise<void> {
  const state: QuarantineState = wish.action === 'discard' ? 'discarded' : 'released';
  const numbers = held.map(({ number }) => number);
  await client.query(
    'update quarantine set state = $3, decided_at = now() where tenant = $1 and number = any ($2::bigint[])',
    [tenant, arrayOf(numbers), state],
  );
  await endEntryClaims(client, tenant, numbers);
  const poison = held.filter(({ cause }) => cause === 'poison');
  const places = [
    tenant,
    arrayOf(poison.map(({ channel }) => channel)),
    arrayOf(poison.map(({ sequence }) => sequence)),
  ];
  if (poison.length === 0) return;
  if (wish.action === 'discard') await closePoison(client, places, who, wish.reason);
  else await putBack(client, places, wish);
}

const OF_PLACES = `unnest($2::smallint[], $3::bigint[]) as i(channel, sequence)
  where s.tenant = $1 and s.channel = i.channel and s.sequence = i.sequence and s.state = 'quarantined'`;

async function closePoison(
  client: PoolClient,
  places: readonly unknown[],
  who: string,
  reason: string | null,
): Promise<void> {
  await client.query(
    `with closed as (
       update standing s set state = 'closed', version = version + 1, since = now(), reason = $5 from ${OF_PLACES}
       returning s.tenant, s.channel, s.sequence, s.version)
     insert into decision (tenant, channel, sequence, version, who, action, reason, plan)
       select tenant, channel, sequence, version, $4, 'close', $5, 0 from closed`,
    [...places, who, reason ?? 'discarded from quarantine'],
  );
}

const WHY_PARKED: Readonly<Record<PutBack['action'], string>> = {
  requeue: 'requeued',
  delay: 'requeued for later',
  release: 'released as it is',
};

async function putBack(client: PoolClient, places: readonly unknown[], wish: PutBack): Promise<void> {
  await client.query(
    `update standing s set state = 'parked', since = now(), rung = $4, blamed = '{}', deaths = 0, by_hand = true,
       ready_at = coalesce($5, now()), reason = $6 from ${OF_PLACES}`,
    [...places, wish.rung.number, wish.from, wish.reason ?? WHY_PARKED[wish.action]],
  );
}
