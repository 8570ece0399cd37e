import type { Pool, PoolClient } from 'pg';
import type { Decider, Run } from '../delivery/plan.js';
import type { Kind } from '../message/arrival.js';
import type { StoredMessage } from '../message/message.js';
import type { Portion } from '../message/portion.js';
import { EMPTY_VIEW, type LadderPlace, type View } from '../message/view.js';
import {
  DecisionMoved,
  type DueDecision,
  type DueDelivery,
  type EndedAttempt,
  FencedOut,
  type Held,
  type NewPlan,
  type OwnerStore,
  type ParkedMessage,
  type PlanOutcome,
  type Quarantined,
  type Settled,
  type WaitingLine,
} from '../owner/ports.js';
import { arrayOf, textArray } from './array.js';
import { beginChannels } from './beginning.js';
import { insertDeliveries } from './pending.js';
import { inTransaction } from './pool.js';
import { noteCourses, placeInThreads } from './threads.js';

/** Columns of a message, as StoredMessage has them; event times keep their microseconds. */
export const MESSAGE_COLUMNS = `m.tenant, m.channel, m.sequence, m.source, m.kind, m.account, m.type,
  m.external_id, m.value, to_char(m.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as event_time,
  m.arrived_at, m.peer, m.meta::text as meta, m.sha256, m.raw, m.erased_at is not null as erased`;

export interface MessageRow {
  tenant: number;
  channel: number;
  sequence: number;
  source: number;
  kind: Kind;
  account: string;
  type: string | null;
  external_id: string | null;
  value: string | null;
  event_time: string | null;
  arrived_at: Date;
  peer: string;
  meta: string | null;
  sha256: Buffer;
  raw: Buffer;
  erased: boolean;
}

/** Written out, since it is made for every message that is read back: what a rest pattern makes is slow to make and to read. */
export function storedMessage(row: MessageRow): StoredMessage {
  const message: StoredMessage = {
    tenant: row.tenant,
    channel: row.channel,
    sequence: row.sequence,
    source: row.source,
    kind: row.kind,
    account: row.account,
    type: row.type,
    externalId: row.external_id,
    value: row.value,
    eventTime: row.event_time,
    arrivedAt: row.arrived_at.getTime(),
    peer: row.peer,
    meta: row.meta,
    sha256: row.sha256,
    raw: row.raw,
  };
  return row.erased ? { ...message, erased: true } : message;
}

/** The channels of $1 and $2, a row a tenant. */
const BY_TENANT = `(select tenant, array_agg(channel) as channels
  from unnest($1::int[], $2::smallint[]) as h(tenant, channel) group by tenant) w`;

/** SQLSTATE of `check_leases`. */
const FENCED = 'WB001';

/** What the owner of channels keeps, in PostgreSQL. `process` is this process's row, `epoch` the installation's. */
export function createOwnerStore(pool: Pool, process: string, epoch: number): OwnerStore {
  return {
    begin: (held) => fenced(pool, process, held, (client) => beginChannels(client, process, epoch, held)),
    async read(ranges, most) {
      // What is read of a range never crosses a span: its partition is probed alone, and has no gap there. The limit keeps
      // the planner from joining whole partitions instead, once it has statistics.
      const { rows } = await pool.query<MessageRow>(
        `select ${MESSAGE_COLUMNS} from (
           select m.*, sum(length(m.raw)) over ahead - length(m.raw) as before,
             count(*) filter (where m.kind = 'mail') over ahead as mails
           from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[]) as w(tenant, channel, first, last)
           cross join lateral (select generation_of(w.tenant, w.channel, w.first) as id,
             coalesce((select min(first_sequence) - 1 from span where tenant = w.tenant and channel = w.channel
               and first_sequence > w.first), w.last) as last offset 0) g
           cross join lateral (select * from message where generation = g.id and tenant = w.tenant
             and channel = w.channel and sequence between w.first and least(w.last, g.last)
             order by sequence limit greatest(w.last - w.first + 1, 0)) m
           window ahead as (partition by m.tenant, m.channel order by m.sequence)
         ) m
         where m.before < $5 and m.mails <= $6 order by m.tenant, m.channel, m.sequence`,
        [
          arrayOf(ranges.map((each) => each.tenant)),
          arrayOf(ranges.map((each) => each.channel)),
          arrayOf(ranges.map((each) => each.first)),
          arrayOf(ranges.map((each) => each.last)),
          most.bytes,
          most.mails,
        ],
      );
      return rows.map(storedMessage);
    },
    async readWithViews(tenant, places) {
      const { rows } = await pool.query<
        MessageRow & { body: View | null; thread: number | null; number: number | null }
      >(
        `select ${MESSAGE_COLUMNS}, v.body, t.thread, t.number
         from unnest($2::smallint[], $3::bigint[]) as w(channel, sequence)
         join message m on m.generation = generation_of($1, w.channel, w.sequence) and m.tenant = $1
           and m.channel = w.channel and m.sequence = w.sequence
         left join view v on v.generation = m.generation and v.tenant = m.tenant and v.channel = m.channel
           and v.sequence = m.sequence
         left join thread_message t on t.tenant = m.tenant and t.channel = m.channel and t.sequence = m.sequence
         order by m.channel, m.sequence`,
        [tenant, arrayOf(places.map(({ channel }) => channel)), arrayOf(places.map(({ sequence }) => sequence))],
      );
      return rows.map((row) => ({
        message: storedMessage(row),
        view: row.erased ? EMPTY_VIEW : row.body,
        thread: row.thread === null || row.number === null ? null : { id: row.thread, number: row.number },
      }));
    },
    async lastSequences(held) {
      const { rows } = await pool.query<{ tenant: number; channel: number; last_sequence: number }>(
        `select c.tenant, c.channel, c.last_sequence from channel c
         join unnest($1::int[], $2::smallint[]) as w(tenant, channel) on c.tenant = w.tenant and c.channel = w.channel`,
        [arrayOf(held.map((h) => h.tenant)), arrayOf(held.map((h) => h.channel))],
      );
      return new Map(rows.map((row) => [`${row.tenant}/${row.channel}`, row.last_sequence]));
    },
    async placeInThreads(messages) {
      const held = distinctLeases(messages.map((message) => message.held));
      // The plan that speaks of a number is flushed to disk after it, and the number with it.
      const begin = (client: PoolClient) =>
        client.query("select check_leases($1, $2, $3, $4), set_config('synchronous_commit', 'off', true)", [
          ...leaseParameters(process, held),
        ]);
      return asFencedOut(held, () => placeInThreads(pool, begin, messages));
    },
    async beginAttempts(attempts) {
      if (attempts.length === 0) return [];
      const { rows } = await pool.query<{ id: number }>(
        `insert into attempt (tenant, channel, first_sequence, last_sequence, rung, stage, try, process, blamed,
           crash_hash, deadline)
         select i.tenant, i.channel, i.first, i.last, i.rung, i.stage, i.try, $8, i.blamed::int[],
           decode(i.crash_hash, 'hex'), now() + i.try_ms * interval '1 ms'
         from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::text[],
           $7::smallint[], $9::text[], $10::text[], $11::int[])
           with ordinality as i(tenant, channel, first, last, rung, stage, try, blamed, crash_hash, try_ms, n)
         order by i.n returning id`,
        [
          arrayOf(attempts.map((a) => a.held.tenant)),
          arrayOf(attempts.map((a) => a.held.channel)),
          arrayOf(attempts.map((a) => a.first)),
          arrayOf(attempts.map((a) => a.last)),
          arrayOf(attempts.map((a) => a.rung)),
          textArray(attempts.map((a) => a.stage)),
          arrayOf(attempts.map((a) => a.try)),
          process,
          textArray(attempts.map((a) => arrayOf(a.blamed))),
          textArray(attempts.map((a) => a.crashHash?.toString('hex') ?? null)),
          textArray(attempts.map((a) => (a.tryMs === null ? null : String(a.tryMs)))),
        ],
      );
      return rows.map((row) => row.id);
    },
    endAttempts: (held, attempts) => fenced(pool, process, [held], (client) => endAttempts(client, attempts)),
    async forgetAttempts(attempts) {
      await pool.query('delete from attempt where id = any ($2::bigint[]) and process = $1 and ended_at is null', [
        process,
        arrayOf(attempts),
      ]);
    },
    writePlans: (plans, outcomes) => writePlans(pool, process, epoch, plans, outcomes),
    due: (target, held, max) => due(pool, target, held, max),
    settle: (held, settled) => fenced(pool, process, held, (client) => settle(client, settled)),
    async pauseTarget(tenant, target, code, reason) {
      await pool.query(
        `update target set paused_at = now(), paused_by = 'waybill', paused_code = $3, paused_reason = $4,
           updated_at = now() where tenant = $1 and id = $2 and paused_at is null`,
        [tenant, target, code, reason],
      );
    },
    async dueDecisions(held, max) {
      const { rows } = await pool.query<DueDecision>(
        // Tenants take turns: one that decides about thousands keeps no other waiting.
        `select d.tenant, d.channel, d.sequence, d.version, d.who, d.action, d.targets, d.portion
         from ${BY_TENANT} cross join lateral (
           select *, row_number() over (order by decided_at, sequence, version) as turn from decision
           where tenant = w.tenant and channel = any (w.channels) and plan is null and hold_until <= now()
           order by decided_at, sequence, version limit $3) d
         order by d.turn, d.tenant limit $3`,
        [arrayOf(held.map((h) => h.tenant)), arrayOf(held.map((h) => h.channel)), max],
      );
      return rows;
    },
    async pendingOf(held, sequence) {
      const { rows } = await pool.query<{ target: number; epoch: number; number: number }>(
        `select target, epoch, number from delivery where tenant = $1 and channel = $2 and sequence = $3
         and state = 'pending' and (leased_until is null or leased_until < now())`,
        [held.tenant, held.channel, sequence],
      );
      return rows;
    },
    async waitingLines(held) {
      // One probe of an index a line, however much waits in it.
      const { rows } = await pool.query<WaitingLine>(
        `select t.tenant, t.id as target, w.channel from unnest($1::int[], $2::smallint[]) as w(tenant, channel)
         join target t on t.tenant = w.tenant
         cross join lateral (select from delivery d where d.tenant = t.tenant and d.target = t.id
           and d.channel = w.channel and (d.state = 'pending' or d.void = 'due') limit 1) d`,
        [arrayOf(held.map((h) => h.tenant)), arrayOf(held.map((h) => h.channel))],
      );
      return rows;
    },
    async countWaiting({ tenant, target, channel }) {
      const { rows } = await pool.query<{ count: number }>(
        `select count(*) as count from delivery where tenant = $1 and target = $2 and channel = $3
         and (state = 'pending' or void = 'due')`,
        [tenant, target, channel],
      );
      return rows[0]?.count ?? 0;
    },
    async parked(held, max) {
      const { rows } = await pool.query<{ tenant: number; channel: number; sequence: number }>(
        // Tenants take turns: they are tried one after another.
        `select s.tenant, s.channel, s.sequence from ${BY_TENANT} cross join lateral (
           select tenant, channel, sequence, row_number() over (order by ready_at, sequence) as turn from standing
           where tenant = w.tenant and channel = any (w.channels) and state = 'parked' and ready_at <= now()
           order by ready_at, sequence limit $3) s
         order by s.turn, s.tenant limit $3`,
        [arrayOf(held.map((h) => h.tenant)), arrayOf(held.map((h) => h.channel)), max],
      );
      return rows;
    },
    async parkedOne(held, sequence) {
      const { rows } = await pool.query<Omit<ParkedMessage, 'place'> & LadderPlace>(
        // What went wrong before a person chose a rung no longer counts; what its likes come to on that rung does.
        `select s.sequence, s.version, s.rung, s.blamed, s.deaths,
           s.by_hand and not exists (select from attempt a join crash c on c.tenant = a.tenant and c.hash = a.crash_hash
             where a.tenant = s.tenant and a.channel = s.channel and a.first_sequence = s.sequence
               and c.last_at > s.since) as "byHand",
           (select count(*) from attempt a where a.tenant = s.tenant
             and a.channel = s.channel and a.first_sequence = s.sequence and a.last_sequence = s.sequence
             and a.rung = s.rung and a.outcome = 'interrupted' and (not s.by_hand or a.started_at >= s.since))
             as interruptions
         from standing s where s.tenant = $1 and s.channel = $2 and s.sequence = $3 and s.state = 'parked'`,
        [held.tenant, held.channel, sequence],
      );
      const [found] = rows;
      if (!found) return null;
      const { version, rung, blamed, deaths, byHand, interruptions } = found;
      return { sequence, version, byHand, place: { rung, blamed, deaths, interruptions } };
    },
    park: (held, { sequence, place, byHand }, reason, restMs) =>
      fenced(pool, process, [held], async (client) => {
        await client.query(
          `update standing set rung = $4, blamed = $5, deaths = $6, reason = $7, by_hand = $8,
             ready_at = now() + $9 * interval '1 ms'
           where tenant = $1 and channel = $2 and sequence = $3 and state = 'parked'`,
          [held.tenant, held.channel, sequence, place.rung, place.blamed, place.deaths, reason, byHand, restMs],
        );
      }),
  };
}

/** Runs `fn` in a transaction that holds the leases, or rejects with FencedOut before it did anything. */
async function fenced<T>(
  pool: Pool,
  process: string,
  held: readonly Held[],
  fn: (client: PoolClient) => Promise<T>,
): Promise<T> {
  return asFencedOut(held, () =>
    inTransaction(pool, async (client) => {
      await client.query('select check_leases($1, $2, $3, $4)', leaseParameters(process, held));
      return fn(client);
    }),
  );
}

async function asFencedOut<T>(held: readonly Held[], fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    if ((error as { code?: unknown }).code === FENCED) throw new FencedOut(held);
    throw error;
  }
}

function leaseParameters(process: string, held: readonly Held[]): unknown[] {
  return [
    process,
    arrayOf(held.map((h) => h.tenant)),
    arrayOf(held.map((h) => h.channel)),
    arrayOf(held.map((h) => h.term)),
  ];
}

async function writePlans(
  pool: Pool,
  process: string,
  epoch: number,
  plans: readonly NewPlan[],
  outcomes: readonly PlanOutcome[],
): Promise<Quarantined[]> {
  const held = distinctLeases([...plans.map((plan) => plan.held), ...outcomes.map((outcome) => outcome.held)]);
  const core = {
    name: 'write_plans',
    text: WRITE_PLANS,
    values: planParameters(process, held, epoch, plans, outcomes),
  };
  return asFencedOut(held, async () => {
    if (plans.every(isBare) && outcomes.every((outcome) => outcome.unsent.length === 0)) {
      await pool.query(core);
      return [];
    }
    return inTransaction(pool, async (client) => {
      await client.query(core);
      await insertDeliveries(client, [
        ...outcomes.map(({ held, plan, unsent }) => ({ ...held, plan, epoch, deliveries: unsent })),
        ...plans.map(({ held, number, pending }) => ({ ...held, plan: number, epoch, deliveries: pending })),
      ]);
      await holdResumed(client, plans);
      await writeStandings(client, plans);
      await writeViews(client, plans);
      await endAttempts(
        client,
        plans.flatMap((plan) => plan.attempts),
      );
      await noteModels(client, plans);
      await takeDecisions(client, plans);
      await cancelDeliveries(client, plans);
      await noteCourses(
        client,
        withChannel(plans, (plan) => plan.threads),
      );
      return quarantinePoison(client, plans);
    });
  });
}

function isBare(plan: NewPlan): boolean {
  return (
    plan.pending.length + plan.standings.length + plan.views.length + plan.attempts.length === 0 &&
    plan.decisions.length + plan.cancelled.length + plan.poison.length + plan.threads.length === 0 &&
    plan.runs.every(({ d }) => d.by !== 'suggestion')
  );
}

const WRITE_PLANS = `select write_plans($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
  $19, $20, $21, $22, $23)`;
const NO_CHAIN = Buffer.alloc(32);

function planParameters(
  process: string,
  held: readonly Held[],
  epoch: number,
  plans: readonly NewPlan[],
  outcomes: readonly PlanOutcome[],
): unknown[] {
  const lines = plans.flatMap((plan) =>
    [...lastNumbers(plan.runs)].map(([target, number]) => ({ held: plan.held, target, number })),
  );
  // A stream and an extra plan of one channel may both move a line: the later number wins.
  const newest = new Map(lines.map((line) => [`${line.held.tenant}/${line.held.channel}/${line.target}`, line]));
  const moved = [...newest.values()];
  return [
    ...leaseParameters(process, held),
    epoch,
    arrayOf(plans.map((plan) => plan.held.tenant)),
    arrayOf(plans.map((plan) => plan.held.channel)),
    arrayOf(plans.map((plan) => plan.number)),
    textArray(plans.map((plan) => plan.kind)),
    arrayOf(plans.map((plan) => plan.firstSequence)),
    arrayOf(plans.map((plan) => plan.lastSequence)),
    textArray(plans.map((plan) => JSON.stringify(plan.runs))),
    textArray(plans.map((plan) => arrayOf([...lastNumbers(plan.runs).keys()]))),
    Buffer.concat(plans.map((plan) => plan.chain ?? NO_CHAIN)),
    arrayOf(plans.map((plan) => plan.open)),
    arrayOf(moved.map((line) => line.held.tenant)),
    arrayOf(moved.map((line) => line.target)),
    arrayOf(moved.map((line) => line.held.channel)),
    arrayOf(moved.map((line) => line.number)),
    arrayOf(outcomes.map((outcome) => outcome.held.tenant)),
    arrayOf(outcomes.map((outcome) => outcome.held.channel)),
    arrayOf(outcomes.map((outcome) => outcome.plan)),
    arrayOf(plans.flatMap((plan) => plan.doneBatches)),
  ];
}

/** What a model decided can be explained for as long as the model is there: it is not let go of. */
async function noteModels(client: PoolClient, plans: readonly NewPlan[]): Promise<void> {
  const used = new Map<number, Set<number>>();
  for (const { held, runs } of plans) {
    for (const { d } of runs) {
      if (d.by === 'suggestion') used.set(held.tenant, (used.get(held.tenant) ?? new Set()).add(d.model));
    }
  }
  // In one order, so that two owners can't wait for each other.
  for (const [tenant, models] of [...used].sort(([a], [b]) => a - b)) {
    await client.query(
      'update learning_model set used = true where tenant = $1 and version = any($2::int[]) and not used',
      [tenant, arrayOf([...models].sort((a, b) => a - b))],
    );
  }
}

/** The last delivery number the runs give, by target. */
function lastNumbers(runs: readonly Run[]): Map<number, number> {
  const last = new Map<number, number>();
  for (const run of runs) for (const [target, first] of run.t) last.set(target, first + run.n - 1);
  return last;
}

function distinctLeases(held: readonly Held[]): Held[] {
  const byChannel = new Map(held.map((each) => [`${each.tenant}/${each.channel}`, each]));
  return [...byChannel.values()].sort((a, b) => a.tenant - b.tenant || a.channel - b.channel);
}

/** What plans bring beside themselves, with the channel it is of. */
function withChannel<T>(
  plans: readonly NewPlan[],
  itemsOf: (plan: NewPlan) => readonly T[],
): (T & { readonly tenant: number; readonly channel: number; readonly plan: number })[] {
  return plans.flatMap((plan) =>
    itemsOf(plan).map((item) => ({
      ...item,
      tenant: plan.held.tenant,
      channel: plan.held.channel,
      plan: plan.number,
    })),
  );
}

/** Of rows about one message the last: a statement can't write a row twice. */
function lastOfEach<T extends { readonly tenant: number; readonly channel: number; readonly sequence: number }>(
  rows: readonly T[],
): T[] {
  return [...new Map(rows.map((row) => [`${row.tenant}/${row.channel}/${row.sequence}`, row])).values()];
}

function placesOf(rows: readonly { readonly tenant: number; readonly channel: number }[]): [string, string] {
  return [arrayOf(rows.map((row) => row.tenant)), arrayOf(rows.map((row) => row.channel))];
}

/** Messages that stand as parked, and do so until the end of the transaction. */
async function holdResumed(client: PoolClient, plans: readonly NewPlan[]): Promise<void> {
  const resumed = withChannel(plans, (plan) => plan.resumed.map((sequence) => ({ sequence })));
  if (resumed.length === 0) return;
  const { rowCount } = await client.query(
    `select from standing s join unnest($1::int[], $2::smallint[], $3::bigint[]) as i(tenant, channel, sequence)
       using (tenant, channel, sequence) where s.state = 'parked' for update of s`,
    [...placesOf(resumed), arrayOf(resumed.map((each) => each.sequence))],
  );
  if (rowCount !== resumed.length) throw new DecisionMoved();
}

async function writeStandings(client: PoolClient, plans: readonly NewPlan[]): Promise<void> {
  const standings = lastOfEach(withChannel(plans, (plan) => plan.standings));
  if (standings.length === 0) return;
  await client.query(
    `insert into standing (tenant, channel, sequence, state, version, reason, rung, blamed, deaths, ready_at)
     select i.tenant, i.channel, i.sequence, i.state, i.version, i.reason, i.rung, i.blamed::int[], i.deaths,
       case when i.state = 'parked' then now() end
     from unnest($1::int[], $2::smallint[], $3::bigint[], $4::text[], $5::int[], $6::text[], $7::smallint[],
       $8::text[], $9::smallint[])
       as i(tenant, channel, sequence, state, version, reason, rung, blamed, deaths)
     on conflict (tenant, channel, sequence) do update set state = excluded.state,
       version = greatest(standing.version, excluded.version), since = now(), reason = excluded.reason,
       rung = excluded.rung, blamed = excluded.blamed, deaths = excluded.deaths, by_hand = false,
       ready_at = excluded.ready_at, snoozed_until = null`,
    [
      ...placesOf(standings),
      arrayOf(standings.map((each) => each.sequence)),
      textArray(standings.map((each) => each.state)),
      arrayOf(standings.map((each) => each.version)),
      textArray(standings.map((each) => each.reason)),
      textArray(standings.map((each) => (each.place === null ? null : String(each.place.rung)))),
      textArray(standings.map((each) => arrayOf(each.place?.blamed ?? []))),
      arrayOf(standings.map((each) => each.place?.deaths ?? 0)),
    ],
  );
}

async function writeViews(client: PoolClient, plans: readonly NewPlan[]): Promise<void> {
  const views = lastOfEach(withChannel(plans, (plan) => plan.views));
  if (views.length === 0) return;
  // As bytes: in an array of texts each of their many quotes would have to be escaped.
  const bodies = views.map(({ view, written }) => written?.json ?? Buffer.from(JSON.stringify(view)));
  await client.query({
    name: 'write_views',
    // Each message is probed for, whatever the planner knew of the tables when it made the plan that is kept.
    text: `insert into view (generation, tenant, channel, sequence, rung, body)
     select m.generation, i.tenant, i.channel, i.sequence, i.rung,
       convert_from(substring($6::bytea from i.start for i.length), 'UTF8')::json
     from (select *, (1 + sum(length) over (rows between unbounded preceding and current row) - length)::int as start
       from unnest($1::int[], $2::smallint[], $3::bigint[], $4::smallint[], $5::int[])
         as i(tenant, channel, sequence, rung, length)) i
     -- Without what was erased while it was being read.
     cross join lateral (select generation from message where generation = generation_of(i.tenant, i.channel, i.sequence)
       and tenant = i.tenant and channel = i.channel and sequence = i.sequence and erased_at is null limit 1) m
     on conflict (generation, tenant, channel, sequence) do update set rung = excluded.rung, body = excluded.body`,
    values: [
      ...placesOf(views),
      arrayOf(views.map((each) => each.sequence)),
      arrayOf(views.map((each) => each.view.rung)),
      arrayOf(bodies.map((each) => each.length)),
      Buffer.concat(bodies),
    ],
  });
}

/** People's decisions that the plans carry out. */
async function takeDecisions(client: PoolClient, plans: readonly NewPlan[]): Promise<void> {
  const decisions = withChannel(plans, (plan) => plan.decisions);
  if (decisions.length === 0) return;
  const { rowCount } = await client.query(
    `update decision d set plan = i.plan
     from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::int[], $6::text[])
       as i(tenant, channel, plan, sequence, version, targets)
     where d.tenant = i.tenant and d.channel = i.channel and d.sequence = i.sequence and d.version = i.version
       and d.plan is null and d.targets = i.targets::int[]`,
    [
      ...placesOf(decisions),
      arrayOf(decisions.map((each) => each.plan)),
      arrayOf(decisions.map((each) => each.sequence)),
      arrayOf(decisions.map((each) => each.version)),
      textArray(decisions.map((each) => arrayOf(each.targets))),
    ],
  );
  if (rowCount !== decisions.length) throw new DecisionMoved();
}

async function cancelDeliveries(client: PoolClient, plans: readonly NewPlan[]): Promise<void> {
  const cancelled = withChannel(plans, (plan) => plan.cancelled);
  if (cancelled.length === 0) return;
  await client.query(
    `update delivery d set state = 'cancelled', settled_at = now(), next_at = now(), first_attempt_at = null,
       void = case when t.kind = 'email' then null else 'due' end, reason = 'taken back by a person'
     from unnest($1::int[], $2::smallint[], $3::int[], $4::bigint[], $5::bigint[])
       as i(tenant, channel, target, epoch, number), target t
     where d.tenant = i.tenant and d.channel = i.channel and d.target = i.target and d.epoch = i.epoch
       and d.number = i.number and d.state = 'pending' and (d.leased_until is null or d.leased_until < now())
       and t.tenant = d.tenant and t.id = d.target`,
    [
      ...placesOf(cancelled),
      arrayOf(cancelled.map((each) => each.target)),
      arrayOf(cancelled.map((each) => each.epoch)),
      arrayOf(cancelled.map((each) => each.number)),
    ],
  );
}

/** Messages no rung could read, one by one: there are few. */
async function quarantinePoison(client: PoolClient, plans: readonly NewPlan[]): Promise<Quarantined[]> {
  const quarantined: Quarantined[] = [];
  for (const { held, poison } of plans) {
    for (const sequence of poison) quarantined.push(...(await quarantineOne(client, held, sequence)));
  }
  return quarantined;
}

/** A message no rung could read, whole, under a number of its own. None where its content is no longer kept. */
async function quarantineOne(client: PoolClient, held: Held, sequence: number): Promise<Quarantined[]> {
  const { rows } = await client.query<Quarantined>(
    `with number as (update tenant set quarantined = quarantined + 1 where id = $1 returning quarantined),
     crash as (select (select crash_hash from attempt where tenant = $1 and channel = $2 and first_sequence = $3
       and crash_hash is not null order by id desc limit 1) as hash),
     entry as (
       insert into quarantine (tenant, number, cause, of_channel, of_sequence, source, kind, account, type, external_id,
         value, event_time, arrived_at, peer, meta, fingerprint, digest, sha256, raw, crash_hash, last_at)
       select m.tenant, n.quarantined, 'poison', m.channel, m.sequence, m.source, m.kind, m.account, m.type, m.external_id,
         m.value, m.event_time, m.arrived_at, m.peer, m.meta, int2send(m.channel) || int8send(m.sequence), m.sha256,
         m.sha256, m.raw, c.hash, m.arrived_at
       from message m, number n, crash c
       where m.generation = generation_of($1, $2::smallint, $3) and m.tenant = $1 and m.channel = $2 and m.sequence = $3
       on conflict (tenant, cause, fingerprint, digest) do update set count = quarantine.count + 1,
         state = 'held', decided_at = null, since = now(), last_at = excluded.last_at,
         crash_hash = coalesce(excluded.crash_hash, quarantine.crash_hash)
       returning tenant, number, crash_hash, count)
     -- What was there is seen as it was before this statement.
     select e.tenant, e.number, e.crash_hash as "crashHash", e.count = 1 and not exists (select from quarantine q
       where q.tenant = $1 and q.crash_hash = e.crash_hash) as first from entry e`,
    [held.tenant, held.channel, sequence],
  );
  return rows;
}

async function endAttempts(client: PoolClient, attempts: readonly EndedAttempt[]): Promise<void> {
  if (attempts.length === 0) return;
  await client.query(
    `update attempt a set ended_at = now(), outcome = i.outcome, reason = i.reason, child = i.child
     from unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) as i(id, outcome, reason, child) where a.id = i.id`,
    [
      arrayOf(attempts.map((attempt) => attempt.id)),
      textArray(attempts.map((attempt) => attempt.outcome)),
      textArray(attempts.map((attempt) => attempt.reason)),
      textArray(attempts.map((attempt) => attempt.child)),
    ],
  );
}

interface DueRow {
  tenant: number;
  target: number;
  channel: number;
  epoch: number;
  number: number;
  sequence: number;
  plan: number;
  rung: number;
  decision: Decider;
  late: boolean;
  replay: boolean;
  portion: Portion | null;
  state: string;
  attempts: number;
  first_attempt_at: Date | null;
  reason: string | null;
  ready: boolean;
  size: number;
  last_taken_at: Date | null;
  resumed_at: Date | null;
}

const DUE_COLUMNS = `d.tenant, d.target, d.channel, d.epoch, d.number, d.sequence, d.plan, d.rung, d.decision, d.late,
  d.replay, d.portion, d.state, d.attempts, d.first_attempt_at, d.reason, d.next_at <= now() as ready,
  t.last_taken_at, t.resumed_at, coalesce(octet_length(m.raw), 0) as size`;
const DUE_FROM = `delivery d join target t on t.tenant = d.tenant and t.id = d.target
  left join message m on m.generation = generation_of(d.tenant, d.channel, d.sequence) and m.tenant = d.tenant
    and m.channel = d.channel and m.sequence = d.sequence`;

async function due(
  pool: Pool,
  target: { readonly tenant: number; readonly id: number; readonly inLine: boolean },
  held: readonly Held[],
  max: number,
): Promise<DueDelivery[]> {
  const channels = arrayOf(held.filter((each) => each.tenant === target.tenant).map((each) => each.channel));
  if (target.inLine) {
    // The head of each line, as far as it may go now: what waits behind one that is not ready waits with it.
    const perLine = Math.max(64, Math.ceil(max / Math.max(1, held.length)));
    const { rows } = await pool.query<DueRow>(
      `select l.* from unnest($3::smallint[]) as w(channel), lateral (
         select ${DUE_COLUMNS} from ${DUE_FROM}
         where d.tenant = $1 and d.target = $2 and d.channel = w.channel and (d.state = 'pending' or d.void = 'due') order by d.epoch, d.number limit $4) l`,
      [target.tenant, target.id, channels, perLine],
    );
    return readyHeads(rows).slice(0, max).map(dueDelivery);
  }
  const { rows } = await pool.query<DueRow>(
    `select ${DUE_COLUMNS} from ${DUE_FROM}
     where d.tenant = $1 and d.target = $2 and d.channel = any($3::smallint[])
       and (d.state = 'pending' or d.void = 'due') and d.next_at <= now() order by d.next_at limit $4`,
    [target.tenant, target.id, channels, max],
  );
  return rows.map(dueDelivery);
}

function readyHeads(rows: readonly DueRow[]): DueRow[] {
  const stopped = new Set<number>();
  return rows.filter((row) => {
    if (!row.ready) stopped.add(row.channel);
    return !stopped.has(row.channel);
  });
}

function dueDelivery(row: DueRow): DueDelivery {
  return {
    tenant: row.tenant,
    target: row.target,
    channel: row.channel,
    epoch: row.epoch,
    number: row.number,
    sequence: row.sequence,
    plan: row.plan,
    rung: row.rung,
    decision: row.decision,
    late: row.late,
    replay: row.replay,
    portion: row.portion,
    attempts: row.attempts,
    reason: row.reason,
    size: row.size,
    what: row.state === 'pending' ? 'message' : 'void',
    firstAttemptAt: row.first_attempt_at?.getTime() ?? null,
    targetTakenAt: row.last_taken_at?.getTime() ?? null,
    targetResumedAt: row.resumed_at?.getTime() ?? null,
  };
}

async function settle(client: PoolClient, settled: readonly Settled[]): Promise<void> {
  await recordAttempts(client, settled);
  const messages = settled.filter((each) => each.due.what === 'message');
  const voids = settled.filter((each) => each.due.what === 'void');
  await settleMessages(client, messages);
  await settleVoids(client, voids);
  const taken = settled.filter((each) => each.result.result === 'delivered').map((each) => each.due);
  const [first] = taken;
  if (first) {
    await client.query(
      `update target set last_taken_at = now() where tenant = $1 and id = any($2::int[])
         and (last_taken_at is null or last_taken_at < now() - interval '10 s')`,
      [first.tenant, arrayOf([...new Set(taken.map((each) => each.target))])],
    );
  }
}

async function recordAttempts(client: PoolClient, settled: readonly Settled[]): Promise<void> {
  // A broker that is away costs no attempt and leaves no line for each second of it.
  const tried = settled.filter((each) => each.result.result !== 'interrupted');
  if (tried.length === 0) return;
  await client.query(
    `insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result,
       code, reason, answer)
     select i.tenant, i.target, i.channel, i.epoch, i.number, i.attempt, i.what, to_timestamp(i.started / 1000.0),
       i.took, i.result, i.code, i.reason, left(i.answer, 2000)
     from ${KEYS}, $6::int[], $7::text[], $8::float8[], $9::int[], $10::text[], $11::text[], $12::text[], $13::text[])
       as i(tenant, target, channel, epoch, number, attempt, what, started, took, result, code, reason, answer)
     on conflict do nothing`,
    [
      ...keyParameters(tried),
      arrayOf(tried.map((each) => each.due.attempts + 1)),
      textArray(tried.map((each) => each.due.what)),
      arrayOf(tried.map((each) => each.startedAt)),
      arrayOf(tried.map((each) => Math.round(each.tookMs))),
      textArray(tried.map((each) => each.result.result)),
      textArray(tried.map(codeOf)),
      textArray(tried.map((each) => ('reason' in each.result ? each.result.reason : null))),
      textArray(tried.map((each) => ('answer' in each.result ? (each.result.answer ?? null) : null))),
    ],
  );
}

function keyParameters(settled: readonly Settled[]): string[] {
  return [
    arrayOf(settled.map((each) => each.due.tenant)),
    arrayOf(settled.map((each) => each.due.target)),
    arrayOf(settled.map((each) => each.due.channel)),
    arrayOf(settled.map((each) => each.due.epoch)),
    arrayOf(settled.map((each) => each.due.number)),
  ];
}

const KEYS = `unnest($1::int[], $2::int[], $3::smallint[], $4::bigint[], $5::bigint[]`;
const SAME = `d.tenant = i.tenant and d.target = i.target and d.channel = i.channel and d.epoch = i.epoch
  and d.number = i.number`;

/**
 * Said so that no index of what waits is used: where the statistics are of a time when little waited, each delivery would look
 * through all that wait for its target (4,000 took 20 s), instead of being found by its key.
 */
function still(column: string, value: string): string {
  return `${column} || '' = '${value}'`;
}

async function settleMessages(client: PoolClient, settled: readonly Settled[]): Promise<void> {
  if (settled.length === 0) return;
  await client.query(
    `update delivery d set
       state = i.state,
       void = case when i.voided then 'due' else d.void end,
       attempts = d.attempts + i.tried,
       -- A notice begins its own schedule.
       first_attempt_at = case when i.voided then null when i.tried > 0 then coalesce(d.first_attempt_at, now()) else d.first_attempt_at end,
       next_at = coalesce(to_timestamp(i.next_at / 1000.0), now()),
       settled_at = case when i.state = 'pending' then null else now() end,
       code = i.code, reason = i.reason
     from ${KEYS}, $6::text[], $7::boolean[], $8::int[], $9::float8[], $10::text[], $11::text[])
       as i(tenant, target, channel, epoch, number, state, voided, tried, next_at, code, reason)
     where ${SAME} and ${still('d.state', 'pending')}`,
    [
      ...keyParameters(settled),
      textArray(settled.map((each) => each.becomes.state)),
      arrayOf(settled.map((each) => each.becomes.state === 'failed' && each.becomes.voided)),
      arrayOf(settled.map((each) => (each.result.result === 'interrupted' ? 0 : 1))),
      textArray(settled.map((each) => (each.becomes.state === 'pending' ? String(each.becomes.nextAt) : null))),
      textArray(settled.map(codeOf)),
      textArray(settled.map(reasonOf)),
    ],
  );
}

async function settleVoids(client: PoolClient, settled: readonly Settled[]): Promise<void> {
  if (settled.length === 0) return;
  await client.query(
    `update delivery d set
       void = case i.state when 'delivered' then 'taken' when 'failed' then 'refused' else d.void end,
       attempts = d.attempts + i.tried,
       first_attempt_at = case when i.tried > 0 then coalesce(d.first_attempt_at, now()) else d.first_attempt_at end,
       next_at = coalesce(to_timestamp(i.next_at / 1000.0), now())
     from ${KEYS}, $6::text[], $7::int[], $8::float8[])
       as i(tenant, target, channel, epoch, number, state, tried, next_at)
     where ${SAME} and ${still('d.void', 'due')}`,
    [
      ...keyParameters(settled),
      textArray(settled.map((each) => each.becomes.state)),
      arrayOf(settled.map((each) => (each.result.result === 'interrupted' ? 0 : 1))),
      textArray(settled.map((each) => (each.becomes.state === 'pending' ? String(each.becomes.nextAt) : null))),
    ],
  );
}

function codeOf(each: Settled): string | null {
  return 'code' in each.result ? each.result.code : null;
}

function reasonOf(each: Settled): string | null {
  return each.becomes.state === 'failed' ? each.becomes.reason : 'reason' in each.result ? each.result.reason : null;
}
