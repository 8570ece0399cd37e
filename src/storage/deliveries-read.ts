import type { Pool, PoolClient } from 'pg';
import { type Decider, deciderText, portionFor, type Run } from '../delivery/plan.js';
import type { DeliveryState } from '../message/delivery.js';
import { type DeliveryKey, messageId, type Place } from '../message/id.js';
import type { Portion } from '../message/portion.js';
import { arrayOf } from './array.js';
import type { Positions } from './messages.js';
import { type Found, NewestFirst, type Stretch } from './newest.js';

/** One delivery, whether it has a row of its own or lives in its plan alone. */
export interface DeliveryEntry extends DeliveryKey {
  readonly targetId: number;
  readonly message: string;
  readonly sequence: number;
  readonly state: DeliveryState;
  /** Of the notice that the number carries no message; null where none is due. */
  readonly void: 'due' | 'taken' | 'refused' | null;
  readonly rung: number;
  readonly decision: string;
  readonly late: boolean;
  readonly replay: boolean;
  /** Only this of the message; null for all of it. */
  readonly portion: Portion | null;
  readonly attempts: number;
  readonly code: string | null;
  readonly reason: string | null;
  readonly created: Date;
  /** When it is tried next; null unless it is pending. */
  readonly next: Date | null;
  readonly settled: Date | null;
  /** Whether it has a row of its own. */
  readonly stored: boolean;
}

interface DeliveryRow {
  target: number;
  target_name: string;
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
  state: DeliveryState;
  void: 'due' | 'taken' | 'refused' | null;
  attempts: number;
  next_at: Date;
  settled_at: Date | null;
  code: string | null;
  reason: string | null;
  created_at: Date;
}

const ROW = `d.target, t.name as target_name, d.channel, d.epoch, d.number, d.sequence, d.plan, d.rung, d.decision, d.late,
  d.replay, d.portion, d.state, d.void, d.attempts, d.next_at, d.settled_at, d.code, d.reason, d.created_at`;
const ROWS = 'delivery d join target t on t.tenant = d.tenant and t.id = d.target';

function fromRow(row: DeliveryRow): DeliveryEntry {
  return {
    epoch: row.epoch,
    target: row.target_name,
    targetId: row.target,
    channel: row.channel,
    number: row.number,
    message: messageId(row),
    sequence: row.sequence,
    state: row.state,
    void: row.void,
    rung: row.rung,
    decision: deciderText(row.decision, row.target),
    late: row.late,
    replay: row.replay,
    portion: row.portion,
    attempts: row.attempts,
    code: row.code,
    reason: row.reason,
    created: row.created_at,
    next: row.state === 'pending' ? row.next_at : null,
    settled: row.settled_at,
    stored: true,
  };
}

export interface PlanRow {
  channel: number;
  number: number;
  epoch: number;
  runs: Run[];
  open: boolean;
  planned_at: Date;
  closed_at: Date | null;
}

const PLAN = 'channel, number, epoch, runs, open, planned_at, closed_at';

/** A delivery without a row: sent at once, so made when its plan is closed. */
function fromPlan(
  plan: PlanRow,
  run: Run,
  sequence: number,
  [target, first]: Run['t'][number],
  name: string,
): DeliveryEntry {
  return {
    epoch: plan.epoch,
    target: name,
    targetId: target,
    channel: plan.channel,
    number: first + sequence - run.s,
    message: messageId({ channel: plan.channel, sequence }),
    sequence,
    state: plan.open ? 'pending' : 'delivered',
    void: null,
    rung: run.r,
    decision: deciderText(run.d, target),
    late: run.late ?? false,
    replay: run.replay ?? false,
    portion: portionFor(run, target),
    attempts: plan.open ? 0 : 1,
    code: null,
    reason: null,
    created: plan.planned_at,
    next: plan.open ? plan.planned_at : null,
    settled: plan.closed_at,
    stored: false,
  };
}

function keyOf(target: number, epoch: number, number: number): string {
  return `${target}.${epoch}.${number}`;
}

/** Names of targets by id, removed ones too. */
async function targetNames(db: Pool | PoolClient, tenant: number): Promise<Map<number, string>> {
  const { rows } = await db.query<{ id: number; name: string }>('select id, name from target where tenant = $1', [
    tenant,
  ]);
  return new Map(rows.map(({ id, name }) => [id, name]));
}

/** A run of a plan that speaks of one message: what became of it then, and by whom. */
export interface PlannedRun {
  readonly plan: number;
  readonly plannedAt: Date;
  readonly run: Run;
}

async function plansOf(db: Pool | PoolClient, tenant: number, { channel, sequence }: Place): Promise<PlanRow[]> {
  const { rows } = await db.query<PlanRow & { last_sequence: number }>(
    `(select ${PLAN}, last_sequence from plan where tenant = $1 and channel = $2 and kind = 'stream' and first_sequence <= $3
        order by first_sequence desc limit 1)
     union all
     (select ${PLAN}, last_sequence from plan where tenant = $1 and channel = $2 and kind = 'extra'
        and first_sequence <= $3 and last_sequence >= $3)`,
    [tenant, channel, sequence],
  );
  return rows.filter((row) => row.last_sequence >= sequence).sort((a, b) => a.number - b.number);
}

function runsAbout(plan: PlanRow, sequence: number): Run[] {
  return plan.runs.filter((run) => run.s <= sequence && sequence < run.s + run.n);
}

/** Everything that was ever planned of a message, oldest first. */
export async function planned(pool: Pool, tenant: number, place: Place): Promise<PlannedRun[]> {
  const plans = await plansOf(pool, tenant, place);
  return plans.flatMap((plan) =>
    runsAbout(plan, place.sequence).map((run) => ({ plan: plan.number, plannedAt: plan.planned_at, run })),
  );
}

/** All deliveries of a message, oldest first. */
export async function deliveriesOfMessage(
  db: Pool | PoolClient,
  tenant: number,
  place: Place,
): Promise<DeliveryEntry[]> {
  const { rows } = await db.query<DeliveryRow>(
    `select ${ROW} from ${ROWS} where d.tenant = $1 and d.channel = $2 and d.sequence = $3`,
    [tenant, place.channel, place.sequence],
  );
  const plans = await plansOf(db, tenant, place);
  const names = await targetNames(db, tenant);
  const entries = new Map<string, DeliveryEntry>();
  for (const plan of plans) {
    for (const run of runsAbout(plan, place.sequence)) {
      for (const one of run.t) {
        const entry = fromPlan(plan, run, place.sequence, one, names.get(one[0]) ?? '');
        entries.set(keyOf(entry.targetId, entry.epoch, entry.number), entry);
      }
    }
  }
  for (const row of rows) entries.set(keyOf(row.target, row.epoch, row.number), fromRow(row));
  return [...entries.values()].sort((a, b) => a.created.getTime() - b.created.getTime() || a.number - b.number);
}

/** One delivery by its name. */
export async function findDelivery(pool: Pool, tenant: number, key: DeliveryKey): Promise<DeliveryEntry | undefined> {
  const { rows } = await pool.query<DeliveryRow>(
    `select ${ROW} from ${ROWS} where d.tenant = $1 and t.name = $2 and d.channel = $3 and d.epoch = $4 and d.number = $5`,
    [tenant, key.target, key.channel, key.epoch, key.number],
  );
  return rows[0] ? fromRow(rows[0]) : findInPlans(pool, tenant, key);
}

async function findInPlans(pool: Pool, tenant: number, key: DeliveryKey): Promise<DeliveryEntry | undefined> {
  const { rows } = await pool.query<{ id: number }>('select id from target where tenant = $1 and name = $2', [
    tenant,
    key.target,
  ]);
  const [target] = rows;
  const plan = target && (await planOf(pool, tenant, target.id, key));
  return plan && deliveryIn(plan, target.id, key);
}

/** The number's place in its line: channel, epoch, number. */
type NumberInLine = Omit<DeliveryKey, 'target'>;

/** The plan that gave a target this number. A target's numbers rise with a channel's plans, so it is found by halving. */
export async function planOf(
  db: Pool | PoolClient,
  tenant: number,
  target: number,
  key: NumberInLine,
): Promise<PlanRow | undefined> {
  const reader = await db.query<{ last_plan: number }>(
    'select last_plan from reader where tenant = $1 and channel = $2',
    [tenant, key.channel],
  );
  for (let low = 1, high = reader.rows[0]?.last_plan ?? 0; low <= high; ) {
    const middle = Math.floor((low + high) / 2);
    const { rows } = await db.query<PlanRow>(
      `select ${PLAN} from plan where tenant = $1 and channel = $2 and number between $3 and $4 and $5::int = any(targets)
        order by number desc limit 1`,
      [tenant, key.channel, low, middle, target],
    );
    const plan = rows[0];
    const order = plan ? compareToPlan(key, plan, target) : 1;
    if (order === 0) return plan;
    if (order < 0) high = (plan?.number ?? middle) - 1;
    else low = middle + 1;
  }
  return undefined;
}

/** Below, within or above the numbers a plan gives a target. */
function compareToPlan(key: NumberInLine, plan: PlanRow, target: number): number {
  if (plan.epoch !== key.epoch) return key.epoch - plan.epoch;
  const spans = plan.runs.flatMap((run) =>
    run.t.filter(([id]) => id === target).map(([, first]) => [first, first + run.n - 1] as const),
  );
  const first = Math.min(...spans.map(([from]) => from));
  const last = Math.max(...spans.map(([, to]) => to));
  if (key.number < first) return -1;
  return key.number > last ? 1 : 0;
}

function deliveryIn(plan: PlanRow, target: number, key: DeliveryKey): DeliveryEntry | undefined {
  for (const run of plan.runs) {
    for (const one of run.t) {
      const at = key.number - one[1];
      if (one[0] === target && at >= 0 && at < run.n) return fromPlan(plan, run, run.s + at, one, key.target);
    }
  }
  return undefined;
}

export interface DeliveryAttempt {
  readonly attempt: number;
  readonly what: 'message' | 'void';
  readonly started: Date;
  readonly tookMs: number;
  readonly result: 'delivered' | 'retry' | 'refused' | 'pause' | 'interrupted';
  readonly code: string | null;
  readonly reason: string | null;
  readonly answer: string | null;
}

/** The tries of one delivery, oldest first. One that was sent at once and confirmed has none written down. */
export async function attemptsOf(
  pool: Pool,
  tenant: number,
  { targetId, channel, epoch, number }: DeliveryEntry,
): Promise<DeliveryAttempt[]> {
  const { rows } = await pool.query<DeliveryAttempt>(
    `select attempt, what, started_at as started, took_ms as "tookMs", result, code, reason, answer from delivery_attempt
      where tenant = $1 and target = $2 and channel = $3 and epoch = $4 and number = $5
      order by started_at, attempt limit 1000`,
    [tenant, targetId, channel, epoch, number],
  );
  return rows;
}

/** What a list of deliveries is narrowed by. */
export interface DeliveryFilter {
  readonly state?: DeliveryState | undefined;
  /** Id. */
  readonly target?: number | undefined;
  readonly after?: Date | undefined;
  readonly before?: Date | undefined;
}

/** Where a list goes on: in the plans, within the one that was being read; or in the rows. */
export type DeliveryMark =
  | {
      readonly by: 'plans';
      readonly positions: Positions;
      readonly within: { readonly channel: number; readonly offset: number } | null;
    }
  | {
      readonly by: 'rows';
      readonly created: string;
      readonly target: number;
      readonly channel: number;
      readonly epoch: number;
      readonly number: number;
    };

export interface DeliveryPage {
  readonly deliveries: DeliveryEntry[];
  readonly next: DeliveryMark | null;
}

/** Plans, or rows, that one request looks through for what a filter asks for. */
const BUDGET = 20_000;
const ROWS_AT_ONCE = 2_000;

/**
 * A tenant's deliveries by when they were planned, newest first. What is pending, failed or cancelled has rows, and is
 * listed by them; the rest is written out from the plans. A filter may end a page early, with `next` to go on from.
 */
export async function listDeliveries(
  pool: Pool,
  tenant: number,
  filter: DeliveryFilter,
  limit: number,
  mark: DeliveryMark | null,
): Promise<DeliveryPage> {
  if (filter.state === undefined || filter.state === 'delivered') {
    return listByPlans(pool, tenant, filter, limit, mark?.by === 'plans' ? mark : null);
  }
  return listByRows(pool, tenant, filter, limit, mark?.by === 'rows' ? mark : null);
}

interface FoundPlan extends Found {
  readonly plan: PlanRow;
}

async function listByPlans(
  pool: Pool,
  tenant: number,
  filter: DeliveryFilter,
  limit: number,
  mark: Extract<DeliveryMark, { by: 'plans' }> | null,
): Promise<DeliveryPage> {
  const names = await targetNames(pool, tenant);
  const start = mark?.positions ?? (await lastPlans(pool, tenant));
  const walk = new NewestFirst<FoundPlan>({ start, step: 8, budget: BUDGET }, (stretches) =>
    lookForPlans(pool, tenant, filter, stretches),
  );
  const deliveries: DeliveryEntry[] = [];
  let { within = null } = mark ?? {};
  for (let found = await walk.peek(); found; found = await walk.peek()) {
    const skip = within?.channel === found.channel ? within.offset : 0;
    if (skip > 0) within = null;
    const written = await writtenOut(pool, tenant, found.plan, names, filter.target);
    for (let i = skip; i < written.length; i++) {
      if (deliveries.length === limit) {
        return {
          deliveries,
          next: { by: 'plans', positions: walk.positions(), within: { channel: found.channel, offset: i } },
        };
      }
      const entry = written[i];
      if (entry && (filter.state === undefined || entry.state === filter.state)) deliveries.push(entry);
    }
    walk.take(found);
  }
  const positions = walk.positions();
  return { deliveries, next: positions.size === 0 ? null : { by: 'plans', positions, within } };
}

async function lastPlans(pool: Pool, tenant: number): Promise<Map<number, number>> {
  const { rows } = await pool.query<{ channel: number; last_plan: number }>(
    'select channel, last_plan from reader where tenant = $1',
    [tenant],
  );
  return new Map(rows.map(({ channel, last_plan }) => [channel, last_plan]));
}

async function lookForPlans(
  pool: Pool,
  tenant: number,
  filter: DeliveryFilter,
  stretches: readonly Stretch[],
): Promise<FoundPlan[]> {
  const { rows } = await pool.query<PlanRow>(
    `select p.* from unnest($2::smallint[], $3::bigint[], $4::bigint[]) as w(channel, first, last)
     cross join lateral (
       select ${PLAN}, targets from plan where tenant = $1 and channel = w.channel and number between w.first and w.last
        order by number desc limit 4096) p
      where cardinality(p.targets) > 0 and ($5::int is null or $5 = any(p.targets))
        and ($6::timestamptz is null or p.planned_at >= $6) and ($7::timestamptz is null or p.planned_at < $7)`,
    [
      tenant,
      arrayOf(stretches.map(({ channel }) => channel)),
      arrayOf(stretches.map(({ from }) => from)),
      arrayOf(stretches.map(({ to }) => to)),
      filter.target ?? null,
      filter.after ?? null,
      filter.before ?? null,
    ],
  );
  return rows.map((plan) => ({ channel: plan.channel, position: plan.number, at: plan.planned_at.getTime(), plan }));
}

/** A plan's deliveries, the last sequence first, in an order that never changes. */
async function writtenOut(
  pool: Pool,
  tenant: number,
  plan: PlanRow,
  names: ReadonlyMap<number, string>,
  only: number | undefined,
): Promise<DeliveryEntry[]> {
  const { rows } = await pool.query<DeliveryRow>(
    `select ${ROW} from ${ROWS}
      where d.tenant = $1 and d.channel = $2 and d.sequence between $3 and $4 and d.plan = $5`,
    [
      tenant,
      plan.channel,
      Math.min(...plan.runs.map((run) => run.s)),
      Math.max(...plan.runs.map((run) => run.s + run.n - 1)),
      plan.number,
    ],
  );
  const byKey = new Map(rows.map((row) => [keyOf(row.target, row.epoch, row.number), fromRow(row)]));
  return plan.runs.toReversed().flatMap((run) =>
    Array.from({ length: run.n }, (_, i) => run.s + run.n - 1 - i).flatMap((sequence) =>
      run.t
        .filter(([target]) => only === undefined || target === only)
        .map((one) => {
          const entry = fromPlan(plan, run, sequence, one, names.get(one[0]) ?? '');
          return byKey.get(keyOf(entry.targetId, entry.epoch, entry.number)) ?? entry;
        }),
    ),
  );
}

type RowMark = Extract<DeliveryMark, { by: 'rows' }>;

/** Before every row there can be. */
const TOP: RowMark = { by: 'rows', created: '9999-12-31T00:00:00Z', target: 0, channel: 0, epoch: 0, number: 0 };

async function listByRows(
  pool: Pool,
  tenant: number,
  filter: DeliveryFilter,
  limit: number,
  mark: RowMark | null,
): Promise<DeliveryPage> {
  const deliveries =
    mark === null && filter.state === 'pending' ? (await underWay(pool, tenant, filter)).slice(0, limit) : [];
  let from = mark ?? TOP;
  for (let seen = 0; seen < BUDGET; seen += ROWS_AT_ONCE) {
    const rows = await nextRows(pool, tenant, filter, from);
    for (const { matches, created, ...row } of rows) {
      if (deliveries.length >= limit) return { deliveries, next: from };
      from = { by: 'rows', created, target: row.target, channel: row.channel, epoch: row.epoch, number: row.number };
      if (matches) deliveries.push(fromRow(row));
    }
    if (rows.length < ROWS_AT_ONCE) return { deliveries, next: null };
  }
  return { deliveries, next: from };
}

/** Every row of the next stretch, those that don't match too, so that the way on is known however few match. */
async function nextRows(pool: Pool, tenant: number, filter: DeliveryFilter, from: RowMark) {
  const { rows } = await pool.query<DeliveryRow & { matches: boolean; created: string }>(
    `select ${ROW}, to_char(d.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created,
        d.state = $2 and ($3::int is null or d.target = $3) as matches
       from (select * from delivery d where d.tenant = $1
          and ($4::timestamptz is null or d.created_at >= $4) and ($5::timestamptz is null or d.created_at < $5)
          and (d.created_at, d.target, d.channel, d.epoch, d.number) < ($6, $7::int, $8::smallint, $9::bigint, $10::bigint)
        order by d.created_at desc, d.target desc, d.channel desc, d.epoch desc, d.number desc limit ${ROWS_AT_ONCE}) d
       join target t on t.tenant = d.tenant and t.id = d.target
      order by d.created_at desc, d.target desc, d.channel desc, d.epoch desc, d.number desc`,
    [
      tenant,
      filter.state ?? null,
      filter.target ?? null,
      filter.after ?? null,
      filter.before ?? null,
      from.created,
      from.target,
      from.channel,
      from.epoch,
      from.number,
    ],
  );
  return rows;
}

/** Sent at once, and the outcome not written yet: the newest of all, at most some batches. Those with rows come with the rows. */
async function underWay(pool: Pool, tenant: number, filter: DeliveryFilter): Promise<DeliveryEntry[]> {
  const names = await targetNames(pool, tenant);
  const { rows } = await pool.query<PlanRow>(
    `select ${PLAN} from plan where tenant = $1 and open and ($2::int is null or $2 = any(targets))
        and ($3::timestamptz is null or planned_at >= $3) and ($4::timestamptz is null or planned_at < $4)
      order by planned_at desc limit 16`,
    [tenant, filter.target ?? null, filter.after ?? null, filter.before ?? null],
  );
  const written = await Promise.all(rows.map((plan) => writtenOut(pool, tenant, plan, names, filter.target)));
  return written.flat().filter((entry) => !entry.stored);
}
