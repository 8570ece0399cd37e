import type { Pool, PoolClient } from 'pg';
import type { Place } from '../message/id.js';
import { type Portion, samePortion } from '../message/portion.js';
import { type Action, consequenceOf, type Designated, newTargets, type Standing, takeBack } from '../routing/person.js';
import { arrayOf } from './array.js';
import { endClaim } from './claims.js';
import { type DeliveryEntry, deliveriesOfMessage } from './deliveries-read.js';
import { keepContent } from './keeping.js';
import { inTransaction } from './pool.js';

/** What a person wants done with one message. */
export interface Wish {
  readonly action: Action;
  readonly who: string;
  /** Version of the last decision they saw; null where they decide about a delivery and not about the message. */
  readonly version: number | null;
  /** Ids; undefined means all that it has (unassign, replay). */
  readonly targets?: readonly number[] | undefined;
  /** Only this of the message; null is all of it. Undefined is all of it to be assigned, and what each target had again. */
  readonly portion?: Portion | null | undefined;
  readonly reason: string | null;
  /** Of a snooze. */
  readonly until: Date | null;
  /** How long it may still be taken back, in seconds. */
  readonly hold: number;
  readonly idempotencyKey: string | null;
}

/** A decision as it stands in its row. */
export interface DecisionEntry extends Place {
  readonly version: number;
  readonly who: string;
  readonly action: Action;
  /** Ids. */
  readonly targets: readonly number[];
  /** Only this of the message is sent; null for all of it. */
  readonly portion: Portion | null;
  readonly reason: string | null;
  readonly until: Date | null;
  readonly decidedAt: Date;
  readonly holdUntil: Date;
  /** The plan that carried it out; 0 when it needed none, null while it waits for one. */
  readonly plan: number | null;
}

export type Decided =
  | { readonly result: 'decided'; readonly decision: DecisionEntry }
  /** The same key came before: what was answered then. */
  | { readonly result: 'repeated'; readonly decision: DecisionEntry }
  | { readonly result: 'key_reused' }
  | { readonly result: 'unknown' }
  | { readonly result: 'gone' }
  | { readonly result: 'erased' }
  | { readonly result: 'not_routed_yet' }
  /** Somebody was faster; null when it was the rules. */
  | { readonly result: 'changed'; readonly version: number; readonly last: DecisionEntry | null }
  | { readonly result: 'wrong_state'; readonly state: Standing; readonly why: string }
  | { readonly result: 'already_assigned' }
  | { readonly result: 'nothing_to_take_back' }
  | { readonly result: 'no_targets' };

const COLUMNS = `channel, sequence, version, who, action, targets, portion, reason, snoozed_until as "until",
  decided_at as "decidedAt", hold_until as "holdUntil", plan`;

/** Every decision of people about a message, oldest first. */
export async function decisionsOf(
  db: Pool | PoolClient,
  tenant: number,
  { channel, sequence }: Place,
): Promise<DecisionEntry[]> {
  const { rows } = await db.query<DecisionEntry>(
    `select ${COLUMNS} from decision where tenant = $1 and channel = $2 and sequence = $3 order by version`,
    [tenant, channel, sequence],
  );
  return rows;
}

/**
 * Decides about a message, in one transaction that holds the message's standing: of two people who decide at once, the
 * second sees what the first did. What takes effect in the inbox does so here; what sends or cancels waits for the
 * channel's owner as a row without a plan.
 */
export async function decide(pool: Pool, tenant: number, place: Place, wish: Wish): Promise<Decided> {
  try {
    return await inTransaction(pool, (client) => decideIn(client, tenant, place, wish));
  } catch (error) {
    if (error instanceof TakenBack) return error.outcome;
    if (isKeyTaken(error)) return { result: 'key_reused' };
    throw error;
  }
}

/** Of one message: its page and its story show them all. */
const MOST_DECISIONS = 1_000;

/** Ends the transaction without writing anything. */
class TakenBack extends Error {
  override readonly name = 'TakenBack';
  constructor(readonly outcome: Decided) {
    super(outcome.result);
  }
}

/** The same key for another message, at the same moment. */
function isKeyTaken(error: unknown): boolean {
  const { code, constraint } = error as { code?: unknown; constraint?: unknown };
  return code === '23505' && constraint === 'decision_once';
}

async function decideIn(client: PoolClient, tenant: number, place: Place, wish: Wish): Promise<Decided> {
  await keepContent(client);
  const absent = await absence(client, tenant, place, wish.action);
  if (absent) throw new TakenBack(absent);
  const before = await lockStanding(client, tenant, place);
  const repeated = await repetition(client, tenant, place, wish);
  if (repeated) throw new TakenBack(repeated);
  if (wish.version !== null && wish.version !== before.version) {
    const last = (await decisionsOf(client, tenant, place)).at(-1) ?? null;
    throw new TakenBack({ result: 'changed', version: before.version, last });
  }
  if (before.version > MOST_DECISIONS) {
    const why = `it has been decided ${MOST_DECISIONS} times, which is all that is kept of one message`;
    throw new TakenBack({ result: 'wrong_state', state: before.state, why });
  }
  const consequence = consequenceOf(wish.action, before.state);
  if (!consequence.allowed) throw new TakenBack({ result: 'wrong_state', state: before.state, why: consequence.why });
  const settled = await settleTargets(client, tenant, place, wish);
  const version = before.version + settled.sent.length;
  const becomes = settled.nothingLeft ? 'waiting' : consequence.becomes;
  await client.query(
    `update standing set version = $4, state = case when $5 = 'unchanged' then state else $5 end,
        since = case when $5 in ('unchanged', state) then since else now() end,
        snoozed_until = case when $5 = 'unchanged' then snoozed_until else $6::timestamptz end,
        reason = case when $5 = 'unchanged' then reason else $7 end
      where tenant = $1 and channel = $2 and sequence = $3`,
    [tenant, place.channel, place.sequence, version, becomes, wish.until, wish.reason],
  );
  if (wish.action !== 'note') await endClaim(client, tenant, place);
  const plan = consequence.by === 'owner' && settled.waits ? null : 0;
  let decision: DecisionEntry | undefined;
  for (const [i, { targets, portion }] of settled.sent.entries()) {
    const last = i === settled.sent.length - 1;
    // A key stands with one decision alone: with the one that is answered.
    const own = last ? wish : { ...wish, idempotencyKey: null };
    decision = await insertDecision(client, tenant, place, own, {
      version: before.version + 1 + i,
      targets,
      portion,
      plan,
    });
  }
  if (!decision) throw new Error(`nothing was decided about ${place.channel}-${place.sequence}`);
  return { result: 'decided', decision };
}

/** What can't be done with a message whose content is gone. */
const NEED_CONTENT: ReadonlySet<Action> = new Set(['assign', 'replay', 'reopen']);

/** Why there is nothing to decide about; undefined when there is. */
async function absence(
  client: PoolClient,
  tenant: number,
  { channel, sequence }: Place,
  action: Action,
): Promise<Decided | undefined> {
  const { rows } = await client.query<{ planned: boolean; content: 'there' | 'erased' | null }>(
    `select coalesce(r.planned, 0) >= $3 as planned, (
         select case when m.erased_at is null then 'there' else 'erased' end from message m
          where m.generation = generation_of($1, $2::smallint, $3) and m.tenant = $1 and m.channel = $2 and m.sequence = $3) as content
       from channel c left join reader r on r.tenant = c.tenant and r.channel = c.channel
      where c.tenant = $1 and c.channel = $2 and c.last_sequence >= $3`,
    [tenant, channel, sequence],
  );
  const row = rows[0];
  if (!row) return { result: 'unknown' };
  if (row.content !== 'there' && NEED_CONTENT.has(action)) {
    return { result: row.content === 'erased' ? 'erased' : 'gone' };
  }
  return row.planned ? undefined : { result: 'not_routed_yet' };
}

/** The message's standing, locked; what rules simply routed gets its row here. */
async function lockStanding(
  client: PoolClient,
  tenant: number,
  { channel, sequence }: Place,
): Promise<{ state: Standing; version: number }> {
  await client.query(
    `insert into standing (tenant, channel, sequence, state, version) values ($1, $2, $3, 'routed', 1) on conflict do nothing`,
    [tenant, channel, sequence],
  );
  const { rows } = await client.query<{ state: Standing; version: number }>(
    `select case when state = 'waiting' and snoozed_until > now() then 'snoozed' else state end as state, version
       from standing where tenant = $1 and channel = $2 and sequence = $3 for update`,
    [tenant, channel, sequence],
  );
  const row = rows[0];
  if (!row) throw new Error(`message ${channel}-${sequence} of tenant ${tenant} lost its standing`);
  return row;
}

async function repetition(client: PoolClient, tenant: number, place: Place, wish: Wish): Promise<Decided | undefined> {
  if (wish.idempotencyKey === null) return undefined;
  const { rows } = await client.query<DecisionEntry>(
    `select ${COLUMNS} from decision where tenant = $1 and idempotency_key = $2`,
    [tenant, wish.idempotencyKey],
  );
  const [decision] = rows;
  if (!decision) return undefined;
  const same =
    decision.channel === place.channel && decision.sequence === place.sequence && decision.action === wish.action;
  return same ? { result: 'repeated', decision } : { result: 'key_reused' };
}

/** Targets, and what of the message they are about. */
interface Sent {
  readonly targets: readonly number[];
  readonly portion: Portion | null;
}

interface Settled {
  /** What the decision's row names. Several, a row each, where targets are sent different portions again. */
  readonly sent: readonly [Sent, ...Sent[]];
  /** The channel's owner has something to do about it. */
  readonly waits: boolean;
  readonly nothingLeft: boolean;
}

/** The targets the decision's row is about. Throws TakenBack where that is none. */
async function settleTargets(client: PoolClient, tenant: number, place: Place, wish: Wish): Promise<Settled> {
  switch (wish.action) {
    case 'assign': {
      const { portion = null } = wish;
      const targets = newTargets(wish.targets ?? [], await designated(client, tenant, place, portion));
      if (targets.length === 0) throw new TakenBack({ result: 'already_assigned' });
      return { sent: [{ targets, portion }], waits: true, nothingLeft: false };
    }
    case 'unassign':
      return unassign(client, tenant, place, wish.targets);
    case 'replay': {
      const [first, ...others] = await sentAgain(client, tenant, place, wish);
      if (!first) throw new TakenBack({ result: 'no_targets' });
      return { sent: [first, ...others], waits: true, nothingLeft: false };
    }
    case 'close':
    case 'snooze':
    case 'reopen':
    case 'note':
      return { sent: [{ targets: [], portion: null }], waits: false, nothingLeft: false };
    default: {
      const never: never = wish.action;
      throw new Error(`no such action: ${String(never)}`);
    }
  }
}

/** What the owner hasn't taken up is struck out here, under its lock; what it has, it must cancel. */
async function unassign(
  client: PoolClient,
  tenant: number,
  place: Place,
  targets: readonly number[] | undefined,
): Promise<Settled> {
  const { unchosen, cancel, nothingLeft } = takeBack(targets, await designated(client, tenant, place, 'any'));
  if (unchosen.length + cancel.length === 0) throw new TakenBack({ result: 'nothing_to_take_back' });
  await client.query(
    `update decision d set targets = rest.targets, plan = case when cardinality(rest.targets) = 0 then 0 end
       from (select version, array(select t from unnest(targets) t where t <> all ($4::int[])) as targets from decision
              where tenant = $1 and channel = $2 and sequence = $3 and plan is null and action in ('assign', 'replay')) rest
      where d.tenant = $1 and d.channel = $2 and d.sequence = $3 and d.version = rest.version`,
    [tenant, place.channel, place.sequence, arrayOf(unchosen)],
  );
  const taken = { targets: [...unchosen, ...cancel], portion: null };
  return { sent: [taken], waits: cancel.length > 0, nothingLeft };
}

/** What has been chosen and not taken up, and what is planned: all of it. */
async function everChosen(
  client: PoolClient,
  tenant: number,
  place: Place,
): Promise<{ readonly waiting: readonly Sent[]; readonly deliveries: readonly DeliveryEntry[] }> {
  const waiting = await client.query<Sent>(
    `select targets, portion from decision where tenant = $1 and channel = $2 and sequence = $3 and plan is null
        and action in ('assign', 'replay') for update`,
    [tenant, place.channel, place.sequence],
  );
  return { waiting: waiting.rows, deliveries: await deliveriesOfMessage(client, tenant, place) };
}

/** The targets that have, or will get, this portion or the whole; null is the whole, `any` whatever there is of it. */
async function designated(
  client: PoolClient,
  tenant: number,
  place: Place,
  wanted: Portion | null | 'any',
): Promise<Designated> {
  const { waiting, deliveries } = await everChosen(client, tenant, place);
  const isMeant = ({ portion }: { readonly portion: Portion | null }) =>
    wanted === 'any' || portion === null || samePortion(portion, wanted);
  const inState = (state: string) =>
    new Set(deliveries.filter((one) => one.state === state && isMeant(one)).map((one) => one.targetId));
  return {
    chosen: new Set(waiting.filter(isMeant).flatMap(({ targets }) => targets)),
    pending: inState('pending'),
    delivered: inState('delivered'),
  };
}

/**
 * What is sent again: to the targets that are named, else to all the message was ever meant for that still exist, but not
 * what was taken back. Each gets what it had, a target that had nothing the whole.
 */
async function sentAgain(client: PoolClient, tenant: number, place: Place, wish: Wish): Promise<Sent[]> {
  const { waiting, deliveries } = await everChosen(client, tenant, place);
  const had = [
    ...deliveries.filter(({ state }) => state !== 'cancelled'),
    ...waiting.flatMap(({ targets, portion }) => targets.map((targetId) => ({ targetId, portion }))),
  ];
  const { rows } = await client.query<{ id: number }>(
    'select id from target where tenant = $1 and id = any($2::int[]) and removed_at is null order by id',
    [tenant, arrayOf([...new Set(had.map(({ targetId }) => targetId))])],
  );
  const targets = wish.targets ? new Set(wish.targets) : rows.map(({ id }) => id);
  const sent: { targets: number[]; portion: Portion | null }[] = [];
  for (const target of targets) {
    const own = had.filter(({ targetId }) => targetId === target).map(({ portion }) => portion);
    const again = own.length === 0 || own.includes(null) ? [null] : own;
    for (const portion of wish.portion === undefined ? again : [wish.portion]) {
      const same = sent.find((one) => samePortion(one.portion, portion));
      if (!same) sent.push({ targets: [target], portion });
      else if (!same.targets.includes(target)) same.targets.push(target);
    }
  }
  return sent;
}

async function insertDecision(
  client: PoolClient,
  tenant: number,
  place: Place,
  wish: Wish,
  what: Sent & { readonly version: number; readonly plan: number | null },
): Promise<DecisionEntry> {
  const { rows } = await client.query<DecisionEntry>(
    `insert into decision (tenant, channel, sequence, version, who, action, targets, reason, snoozed_until, hold_until, plan,
       idempotency_key, portion)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + make_interval(secs => $10), $11, $12, $13) returning ${COLUMNS}`,
    [
      tenant,
      place.channel,
      place.sequence,
      what.version,
      wish.who,
      wish.action,
      arrayOf(what.targets),
      wish.reason,
      wish.until,
      wish.hold,
      what.plan,
      wish.idempotencyKey,
      what.portion,
    ],
  );
  const [decision] = rows;
  if (!decision) throw new Error('a decision was written and not returned');
  return decision;
}

/** Most messages one recovery takes. */
const RECOVERED_AT_ONCE = 10_000;

export interface Recovery {
  readonly recovered: number;
  /** There is more: ask again. */
  readonly more: boolean;
  readonly channels: readonly number[];
}

/**
 * Has everything that failed at a target since then sent again, in the order it failed to go: one decision `replay` each.
 * What a person has had sent to that target again, or taken back, since it failed is left out.
 */
export function recover(pool: Pool, tenant: number, target: number, since: Date, who: string): Promise<Recovery> {
  return inTransaction(pool, async (client) => {
    await keepContent(client);
    return recoverIn(client, tenant, target, since, who);
  });
}

async function recoverIn(
  client: PoolClient,
  tenant: number,
  target: number,
  since: Date,
  who: string,
): Promise<Recovery> {
  const { rows } = await client.query<{ channel: number; recovered: number }>(
    `with failed as (
       select distinct on (d.channel, d.sequence, d.portion::text)
          d.channel, d.sequence, d.created_at, d.epoch, d.number, d.portion from delivery d
        where d.tenant = $1 and d.target = $2 and d.state = 'failed' and d.settled_at >= $3
          and not exists (select from decision p where p.tenant = d.tenant and p.channel = d.channel
            and p.sequence = d.sequence and p.action in ('assign', 'unassign', 'replay')
            and (p.action = 'unassign' or p.portion is null or p.portion::text = d.portion::text)
            and $2 = any(p.targets) and p.decided_at >= d.settled_at)
          and exists (select from message m where m.generation = generation_of(d.tenant, d.channel, d.sequence)
            and m.tenant = d.tenant and m.channel = d.channel and m.sequence = d.sequence and m.erased_at is null)
        order by d.channel, d.sequence, d.portion::text, d.number limit $5
     ), numbered as (
       -- Of one message several portions may have failed: a decision each, one version after another.
       select channel, sequence, portion, row_number() over (order by created_at, epoch, channel, number) as place,
         row_number() over (partition by channel, sequence order by created_at, epoch, number) as nth from failed
     ), stood as (
       insert into standing as s (tenant, channel, sequence, state, version)
         select $1, channel, sequence, 'routed', 1 + count(*) from numbered group by channel, sequence
           order by channel, sequence
         on conflict (tenant, channel, sequence) do update set version = s.version + excluded.version - 1
         returning channel, sequence, version
     ), decided as (
       -- A microsecond apart, because the owner takes decisions up by their time.
       insert into decision (tenant, channel, sequence, version, who, action, targets, portion, reason, decided_at)
         select $1, s.channel, s.sequence,
           s.version - (max(n.nth) over (partition by s.channel, s.sequence)) + n.nth, $4, 'replay', array[$2]::int[],
           n.portion, 'recovered', now() + n.place * interval '1 microsecond'
           from stood s join numbered n on n.channel = s.channel and n.sequence = s.sequence
         returning channel
     )
     select channel, count(*) as recovered from decided group by channel`,
    [tenant, target, since, who, RECOVERED_AT_ONCE],
  );
  const recovered = rows.reduce((sum, row) => sum + row.recovered, 0);
  return { recovered, more: recovered === RECOVERED_AT_ONCE, channels: rows.map((row) => row.channel) };
}
