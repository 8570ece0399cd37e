import type { Pool, PoolClient } from 'pg';
import type { Decider } from '../delivery/plan.js';
import type { DeliveryPlace, Holder, Leased, PulledTarget, PullStore, Returned } from '../delivery/pull.js';
import type { Portion } from '../message/portion.js';
import { arrayOf } from './array.js';
import { classify, inTransaction } from './pool.js';

export function createPullStore(pool: Pool): PullStore {
  return {
    lease: (target, holder, max) =>
      repeated(() =>
        inTransaction(pool, (client) => (target.inLine ? leaseLines : leaseAny)(client, target, holder, max)),
      ),
    async ack(target, places, holder) {
      const returned = await giveBack(pool, ACK, target, places, holder, [target.leaseSeconds]);
      if (returned.includes('done')) await noteTaken(pool, target);
      return returned;
    },
    nack: (target, places, holder, nack) =>
      nack.do === 'return'
        ? giveBack(pool, RETURN, target, places, holder, [target.leaseSeconds, nack.reason, nack.delaySeconds])
        : giveBack(pool, REJECT, target, places, holder, [target.leaseSeconds, nack.reason, nack.code]),
    async release(target, places, holder) {
      await giveBack(pool, RELEASE, target, places, holder, []);
    },
  };
}

/** Two consumers may wait for each other's rows: one of them is told so, and asks again. */
async function repeated<T>(work: () => Promise<T>): Promise<T> {
  for (let left = 3; ; left--) {
    try {
      return await work();
    } catch (error) {
      if (left === 0 || classify(error) !== 'repeat') throw error;
    }
  }
}

const WAITS = `(d.state = 'pending' or d.void = 'due')`;

/*
 * leased_by is `<who>#<lease>` for a message and `<who>#<lease>#void` for a notice: a consumer that acks a message whose
 * number became void meanwhile must not settle the notice it never saw. While a lease lasts, next_at is its end, so what
 * is due and what is free are one question. leased_by stays after an ack, so that the same ack is right again.
 */
const AS_MESSAGE = `d.state in ('pending', 'delivered')`;

/** Rows `picked` (with their old leases) become the holder's: $1 tenant, $2 target, $3 holder, $4 seconds. */
const TAKE = `
  expired as (
    insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result, code, reason)
    select $1, $2, p.channel, p.epoch, p.number, p.attempts, case when p.state = 'pending' then 'message' else 'void' end,
      p.leased_until - make_interval(secs => $4), $4 * 1000, 'retry', 'lease_expired', 'the lease ended without an answer'
    from picked p where p.leased_until is not null
    on conflict do nothing)
  update delivery d set leased_by = $3::text || case when d.state = 'pending' then '' else '#void' end,
    leased_until = now() + make_interval(secs => $4), next_at = now() + make_interval(secs => $4),
    attempts = d.attempts + 1, first_attempt_at = coalesce(d.first_attempt_at, now())
  from picked p
  where d.tenant = $1 and d.target = $2 and d.channel = p.channel and d.epoch = p.epoch and d.number = p.number
  returning p.place, d.channel, d.epoch, d.number, d.sequence, d.state, d.reason, d.rung, d.decision, d.late, d.replay,
    d.portion, p.attempts, d.leased_until, coalesce((select octet_length(m.raw) from message m
      where m.generation = generation_of(d.tenant, d.channel, d.sequence) and m.tenant = d.tenant
        and m.channel = d.channel and m.sequence = d.sequence), 0) as size`;

const PICKED = 'd.channel, d.epoch, d.number, d.state, d.attempts, d.leased_until';

const LEASE_ANY = `with picked as materialized (
    select row_number() over () as place, d.* from (
      select ${PICKED} from delivery d where d.tenant = $1 and d.target = $2 and ${WAITS} and d.next_at <= now()
      order by d.next_at limit $5 for update skip locked) d),
  ${TAKE}`;

/** Locks the heads of lines that are due: who holds a line's head decides about the line. */
const LOCK_HEADS = `select d.channel from (
    select h.* from generate_series(0, $3::int - 1) as w(channel), lateral (
      select d.channel, d.epoch, d.number, d.next_at from delivery d
      where d.tenant = $1 and d.target = $2 and d.channel = w.channel and ${WAITS}
      order by d.epoch, d.number limit 1) h
    where h.next_at <= now() order by h.next_at limit $4) h
  join delivery d on d.tenant = $1 and d.target = $2 and d.channel = h.channel and d.epoch = h.epoch and d.number = h.number
  where ${WAITS} and d.next_at <= now()
  order by h.next_at for update of d skip locked`;

/** From each line whose head is ours: what is due in one stretch, unless part of the line is still in other hands. */
const LEASE_LINES = `with picked as materialized (
    select row_number() over (order by w.place, l.epoch, l.number) as place, l.* from
      unnest($5::int[]) with ordinality as w(channel, place), lateral (
        select ${PICKED}, bool_and(d.next_at <= now()) over (order by d.epoch, d.number) as ready from (
          select * from delivery d where d.tenant = $1 and d.target = $2 and d.channel = w.channel and ${WAITS}
          order by d.epoch, d.number limit $6) d) l
    where l.ready and not exists (select from delivery o where o.tenant = $1 and o.target = $2 and o.channel = w.channel
      and o.leased_until > now())
    order by w.place, l.epoch, l.number limit $6),
  ${TAKE}`;

interface LeasedRow extends DeliveryPlace {
  place: number;
  sequence: number;
  state: string;
  reason: string | null;
  rung: number;
  decision: Decider;
  late: boolean;
  replay: boolean;
  portion: Portion | null;
  attempts: number;
  leased_until: Date;
  size: number;
}

async function leaseAny(
  client: PoolClient,
  target: PulledTarget,
  holder: { readonly who: string; readonly lease: string },
  max: number,
): Promise<Leased[]> {
  const { rows } = await client.query<LeasedRow>(LEASE_ANY, [...takeParameters(target, holder), max]);
  return leasedOf(rows);
}

async function leaseLines(
  client: PoolClient,
  target: PulledTarget,
  holder: { readonly who: string; readonly lease: string },
  max: number,
): Promise<Leased[]> {
  const heads = await client.query<{ channel: number }>(LOCK_HEADS, [target.tenant, target.id, target.channels, max]);
  if (heads.rows.length === 0) return [];
  const channels = arrayOf(heads.rows.map((head) => head.channel));
  const { rows } = await client.query<LeasedRow>(LEASE_LINES, [...takeParameters(target, holder), channels, max]);
  return leasedOf(rows);
}

function takeParameters(target: PulledTarget, holder: { readonly who: string; readonly lease: string }): unknown[] {
  return [target.tenant, target.id, `${holder.who}#${holder.lease}`, target.leaseSeconds];
}

function leasedOf(rows: readonly LeasedRow[]): Leased[] {
  return [...rows]
    .sort((a, b) => a.place - b.place)
    .map(({ place: _, state, leased_until, ...same }) => ({
      ...same,
      what: state === 'pending' ? 'message' : 'void',
      leasedUntil: leased_until.getTime(),
    }));
}

/**
 * Every way to give back: finds what was asked for, does `change` to what is held and still waits, writes the try down
 * as `tried` says, and tells of each what became of it. $1 tenant, $2 target, $3 to $5 places, $6 who, $7 lease; where a
 * try is written down $8 the seconds of a lease, then what the change itself takes.
 */
function giveBackSql(
  change: string,
  tried: { readonly result: string; readonly code: string; readonly reason: string } | null,
): string {
  return `with asked as materialized (
      select * from unnest($3::int[], $4::bigint[], $5::bigint[]) with ordinality as a(channel, epoch, number, place)),
    found as materialized (
      select d.*, ${HELD} as held, ${WAITS} as waits from delivery d
      where d.tenant = $1 and d.target = $2 and (d.channel, d.epoch, d.number) in (select a.channel, a.epoch, a.number from asked a)
      order by d.channel, d.epoch, d.number for update),
    changed as (
      update delivery d set ${change}, leased_until = null from found f
      where d.tenant = $1 and d.target = $2 and d.channel = f.channel and d.epoch = f.epoch and d.number = f.number
        and f.held and f.waits),
    tried as (${tried ? attemptSql(tried) : 'select'})
    select case when f.number is null then 'unknown' when f.held then 'done' else 'lease_lost' end as returned
    from asked a left join found f on f.channel = a.channel and f.epoch = a.epoch and f.number = a.number
    order by a.place`;
}

const HELD = `coalesce(case when $7::text is null
    then starts_with(d.leased_by, $6 || '#') and (d.leased_by like '%#void') <> (${AS_MESSAGE})
    else d.leased_by = $6 || '#' || $7 || case when ${AS_MESSAGE} then '' else '#void' end end, false)`;

function attemptSql({
  result,
  code,
  reason,
}: {
  readonly result: string;
  readonly code: string;
  readonly reason: string;
}): string {
  return `insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result, code, reason)
    select $1, $2, f.channel, f.epoch, f.number, f.attempts, case when f.state = 'pending' then 'message' else 'void' end,
      f.leased_until - make_interval(secs => $8),
      greatest(0, extract(epoch from now() - f.leased_until) * 1000 + $8 * 1000)::int, '${result}', ${code}, ${reason}
    from found f where f.held and f.waits and f.leased_until is not null
    on conflict do nothing`;
}

const IS_MESSAGE = `d.state = 'pending'`;

const ACK = giveBackSql(
  `state = case when ${IS_MESSAGE} then 'delivered' else d.state end,
   void = case when ${IS_MESSAGE} then d.void else 'taken' end,
   code = case when ${IS_MESSAGE} then null else d.code end,
   reason = case when ${IS_MESSAGE} then null else d.reason end,
   settled_at = case when ${IS_MESSAGE} then now() else d.settled_at end`,
  { result: 'delivered', code: 'null', reason: 'null' },
);

/** $9 reason, $10 delay in seconds. */
const RETURN = giveBackSql(
  `leased_by = null, next_at = now() + make_interval(secs => $10),
   code = case when ${IS_MESSAGE} then 'returned' else d.code end,
   reason = case when ${IS_MESSAGE} then $9::text else d.reason end`,
  { result: 'retry', code: `'returned'`, reason: '$9' },
);

/** $9 reason, $10 code. A message's number is void from now on; a notice that is refused is over. */
const REJECT = giveBackSql(
  `leased_by = null, next_at = now(),
   state = case when ${IS_MESSAGE} then 'failed' else d.state end,
   void = case when ${IS_MESSAGE} then 'due' else 'refused' end,
   code = case when ${IS_MESSAGE} then $10::text else d.code end,
   reason = case when ${IS_MESSAGE} then coalesce($9::text, 'the consumer gave it up') else d.reason end,
   settled_at = case when ${IS_MESSAGE} then now() else d.settled_at end`,
  { result: 'refused', code: '$10', reason: '$9' },
);

const RELEASE = giveBackSql(`leased_by = null, next_at = now(), attempts = d.attempts - 1`, null);

async function giveBack(
  pool: Pool,
  sql: string,
  target: PulledTarget,
  places: readonly DeliveryPlace[],
  holder: Holder,
  more: readonly unknown[],
): Promise<Returned[]> {
  if (places.length === 0) return [];
  const { rows } = await repeated(() =>
    pool.query<{ returned: Returned }>(sql, [
      target.tenant,
      target.id,
      arrayOf(places.map((place) => place.channel)),
      arrayOf(places.map((place) => place.epoch)),
      arrayOf(places.map((place) => place.number)),
      holder.who,
      holder.lease,
      ...more,
    ]),
  );
  return rows.map((row) => row.returned);
}

/** When a target last took something need not be exact, and its row is read by everybody. */
async function noteTaken(pool: Pool, target: PulledTarget): Promise<void> {
  await pool.query(
    `update target set last_taken_at = now() where tenant = $1 and id = $2
       and (last_taken_at is null or last_taken_at < now() - interval '10 s')`,
    [target.tenant, target.id],
  );
}
