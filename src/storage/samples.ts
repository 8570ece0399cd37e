import type { Pool, PoolClient } from 'pg';
import { LONG_STEP, type Sample, SHORT_STEP } from '../overview/series.js';
import { waitingAt } from './inbox-counts.js';
import { inTransaction } from './pool.js';

/** What waits is counted up to this where the numbers of deliveries don't tell how much it is. */
export const LAG_COUNTED = 100_000;

const HOUR = 3_600_000;
/** `sample.step`. */
const SHORT = SHORT_STEP / 1000;
const LONG = LONG_STEP / 1000;
/** How long samples of each step are kept, in milliseconds. */
const KEPT = [
  [SHORT, 2 * HOUR],
  [LONG, 8 * 24 * HOUR],
] as const;

/**
 * Writes down what the counters of every tenant stand at, unless somebody has done so for these ten seconds. The first
 * sample of each five minutes is kept for long; what is too old goes with that. Of several processes that call it one does
 * it. Answers whether this one did.
 */
export function takeSample(pool: Pool, now: number): Promise<boolean> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ ours: boolean }>(
      "select pg_try_advisory_xact_lock(hashtext('waybill samples')) as ours",
    );
    const slot = slotOf(now, SHORT_STEP);
    if (!rows[0]?.ours || (await isTaken(client, SHORT, slot))) return false;
    await writeSamples(client, slot, new Date(now));
    const long = slotOf(now, LONG_STEP);
    if (!(await isTaken(client, LONG, long))) {
      await keepForLong(client, slot, long);
      await dropOld(client, now);
    }
    return true;
  });
}

function slotOf(now: number, step: number): Date {
  return new Date(Math.floor(now / step) * step);
}

async function isTaken(client: PoolClient, step: number, slot: Date): Promise<boolean> {
  const { rows } = await client.query(
    'select from tenant t join sample s on s.tenant = t.id and s.step = $1 and s.slot = $2 limit 1',
    [step, slot],
  );
  return rows.length > 0;
}

/**
 * One statement for all tenants. Delivered is what was given a number and neither waits, nor is under way, nor was lost. A delivery that is lost in a
 * transaction open at this moment counts as delivered: a handful at most.
 */
async function writeSamples(client: PoolClient, slot: Date, at: Date): Promise<void> {
  await client.query(
    `with lag as materialized (
       select * from target_lag(null, ${LAG_COUNTED})
     ), waits as (
       select l.tenant, sum(l.waiting) as messages, bool_or(l.more) as more from lag l group by l.tenant
     ), given as (
       select tenant, sum(last_number) as numbers from line group by tenant
     ), under_way as (
       select p.tenant, sum((run->>'n')::bigint
           * (select count(*) from json_array_elements(run->'t') t where t->>2 = 'now')) as messages
       from plan p cross join json_array_elements(p.runs) run where p.open group by p.tenant
     ), counted as (
       select c.tenant, sum(c.last_sequence) as sequenced, sum(c.duplicates) as duplicates,
         sum(c.conflicts) as conflicts, sum(c.expired) as expired, sum(r.planned) as routed
       from channel c join reader r on r.tenant = c.tenant and r.channel = c.channel group by c.tenant
     ), written as (
       insert into sample (tenant, step, slot, at, accepted, sequenced, routed, delivered, duplicates, conflicts, expired,
         lost, inbox)
       select c.tenant, ${SHORT}, $1, $2, c.sequenced + c.duplicates + c.conflicts + c.expired, c.sequenced, c.routed,
         case when not coalesce(w.more, false)
           then coalesce(g.numbers, 0) - coalesce(w.messages, 0) - coalesce(u.messages, 0) - lost.messages end,
         c.duplicates, c.conflicts, c.expired, lost.messages,
         ${waitingAt('c.tenant', '$2::timestamptz')}
       from counted c
       left join waits w on w.tenant = c.tenant
       left join given g on g.tenant = c.tenant
       left join under_way u on u.tenant = c.tenant
       left join lateral (select s.at, s.lost from sample s where s.tenant = c.tenant and s.step = ${SHORT}
         order by s.slot desc limit 1) before on true
       cross join lateral (select coalesce(before.lost, 0) + count(*) as messages from delivery d
         where d.tenant = c.tenant and d.state in ('failed', 'cancelled') and d.settled_at > before.at
           and d.settled_at <= $2) lost
       returning tenant
     )
     insert into sample_lag (tenant, step, slot, target, waiting, oldest)
       select l.tenant, ${SHORT}, $1, l.target, l.waiting, l.oldest from lag l join written w on w.tenant = l.tenant`,
    [slot, at],
  );
}

async function keepForLong(client: PoolClient, slot: Date, long: Date): Promise<void> {
  await client.query(
    `insert into sample (tenant, step, slot, at, accepted, sequenced, routed, delivered, duplicates, conflicts, expired,
       lost, inbox)
     select s.tenant, ${LONG}, $2, s.at, s.accepted, s.sequenced, s.routed, s.delivered, s.duplicates, s.conflicts,
       s.expired, s.lost, s.inbox from tenant t join sample s on s.tenant = t.id and s.step = ${SHORT} and s.slot = $1`,
    [slot, long],
  );
  await client.query(
    `insert into sample_lag (tenant, step, slot, target, waiting, oldest)
     select s.tenant, ${LONG}, $2, s.target, s.waiting, s.oldest
     from tenant t join sample_lag s on s.tenant = t.id and s.step = ${SHORT} and s.slot = $1`,
    [slot, long],
  );
}

async function dropOld(client: PoolClient, now: number): Promise<void> {
  for (const [step, keptMs] of KEPT) {
    await client.query('delete from sample s using tenant t where s.tenant = t.id and s.step = $1 and s.slot < $2', [
      step,
      new Date(now - keptMs),
    ]);
  }
}

/** What one target had yet to get, at a sample's slot. */
export interface LagSample {
  readonly target: number;
  readonly slot: number;
  readonly waiting: number;
}

interface SampleRow extends Omit<Sample, 'slot' | 'at'> {
  slot: Date;
  at: Date;
}

/** A tenant's samples since then, oldest first. */
export async function samplesSince(pool: Pool, tenant: number, apart: number, since: number): Promise<Sample[]> {
  const { rows } = await pool.query<SampleRow>(
    `select s.slot, s.at, s.accepted, s.sequenced, s.routed, s.delivered, s.duplicates, s.conflicts, s.expired, s.inbox,
       coalesce(l.waiting, 0)::bigint as waiting
     from sample s left join lateral (select sum(l.waiting) as waiting from sample_lag l
       where l.tenant = s.tenant and l.step = s.step and l.slot = s.slot) l on true
     where s.tenant = $1 and s.step = $2 and s.slot >= $3 order by s.slot`,
    [tenant, apart / 1000, new Date(since)],
  );
  return rows.map((row) => ({ ...row, slot: row.slot.getTime(), at: row.at.getTime() }));
}

/** What waited for each target since then, at full minutes and beside them; no row says that nothing waited. */
export async function lagSince(pool: Pool, tenant: number, since: number): Promise<LagSample[]> {
  const { rows } = await pool.query<Omit<LagSample, 'slot'> & { slot: Date }>(
    `select target, slot, waiting from sample_lag
      where tenant = $1 and step = ${SHORT} and slot >= $2 and extract(second from slot) in (50, 0, 10)`,
    [tenant, new Date(since)],
  );
  return rows.map((row) => ({ ...row, slot: row.slot.getTime() }));
}
