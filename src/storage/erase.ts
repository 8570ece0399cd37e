import { setTimeout as pause } from 'node:timers/promises';
import type { Pool, PoolClient } from 'pg';
import { accountHash, channelOf } from '../channel/partition.js';
import { pseudonymOf } from '../channel/pseudonym.js';
import type { Run } from '../delivery/plan.js';
import type { Tenant } from '../message/tenant.js';
import { arrayOf, textArray } from './array.js';
import { writeAudit } from './audit.js';
import { loadInstallation } from './installation.js';
import { cutContent, LOCK_MS, patiently } from './keeping.js';
import { TEACHING } from './learning.js';
import { inTransaction } from './pool.js';
import { unseenOf } from './unseen-read.js';

export interface EraseDeps {
  readonly pool: Pool;
  /** Tells the channel's owner that it has something to plan, or to cancel. */
  readonly wake: (tenant: number, channel: number) => void;
  /** How long the owner may take to plan what came last. Default 10 s. */
  readonly patienceMs?: number;
}

export interface EraseWish {
  readonly account: string;
  /** Only what came by this source; null: whatever it came by. */
  readonly source: { readonly id: number; readonly name: string } | null;
  readonly who: string;
  readonly reason: string;
}

export type EraseEvent =
  /** Of the channel's messages so many have been looked at. */
  | { readonly event: 'progress'; readonly done: number; readonly total: number; readonly erased: number }
  | ({ readonly event: 'result' } & EraseResult);

export interface EraseResult {
  /** What stands in the account's place from now on. */
  readonly pseudonym: string;
  readonly messages: number;
  /** Of those, how many waited for a person, or to be read, and are closed. */
  readonly closed: number;
  /** Deliveries that waited: the channel's owner cancels those that are not being sent at this moment. */
  readonly cancelling: number;
  readonly quarantined: number;
  readonly refusals: number;
  /** Messages nobody has planned yet, or looked up: they can only be erased after that. */
  readonly left: number;
}

/** Messages looked through in one statement, and erased in one transaction: some ten milliseconds of work. */
const PAGE = 20_000;
const BATCH = 100;
const PATIENCE_MS = 10_000;
const POLL_MS = 100;

/** What stands where a person's words, a target's answer or a parser's complaint stood. */
const ERASED = 'erased';

/**
 * Erases what one account's messages say, and who it was: raw bytes, views, what the transport said, copies in quarantine,
 * answers of targets and reasons that may quote them. What stays proves that something was there and what was done with it:
 * sequence, hashes, keys, type, value and times, plans, deliveries, decisions, and usage under a pseudonym. Works through the account's channel a page at a
 * time; leaving it early stops it, and calling it again goes on.
 */
export async function* eraseAccount(deps: EraseDeps, tenant: Tenant, wish: EraseWish): AsyncGenerator<EraseEvent> {
  const { pool } = deps;
  const { fingerprintSecret } = await loadInstallation(pool);
  const pseudonym = pseudonymOf(fingerprintSecret, tenant.id, wish.account);
  const channel = channelOf(accountHash(wish.account), tenant.channels);
  const job: Job = { ...wish, pool, tenant: tenant.id, channel, pseudonym };
  // The account's name is nowhere in it: the audit is kept for good.
  const audit = { tenant: tenant.id, who: wish.who, object: pseudonym };
  await writeAudit(pool, {
    ...audit,
    action: 'account.erase',
    detail: { reason: wish.reason, source: wish.source?.name ?? null },
  });
  const sum = { messages: 0, closed: 0, cancelling: 0 };
  let left = await untilSeen(deps, job);
  let taught: Date | null = null;
  const last = await lastSequence(job);
  for (let after = 0; after < last; ) {
    const { reached, found } = await findMessages(job, after, last);
    for (let i = 0; i < found.length; i += BATCH) {
      const batch = found.slice(i, i + BATCH);
      await untilPlanned(deps, job, Math.max(...batch));
      const done = await patiently(() => inTransaction(pool, (client) => eraseMessages(client, job, batch)));
      sum.messages += done.messages;
      sum.closed += done.closed;
      sum.cancelling += done.cancelling;
      left += done.left;
      if (done.taught && (!taught || done.taught < taught)) taught = done.taught;
      if (done.cancelling > 0) deps.wake(tenant.id, channel);
      yield { event: 'progress', done: batch.at(-1) ?? after, total: last, erased: sum.messages };
    }
    after = reached;
    yield { event: 'progress', done: after, total: last, erased: sum.messages };
  }
  const quarantined = await eraseQuarantined(job);
  const refusals = await eraseRefusals(job);
  if (wish.source === null) await patiently(() => eraseUsage(job));
  if (sum.messages > 0) await forgetInLearning(job, taught);
  const result: EraseResult = { pseudonym, ...sum, quarantined, refusals, left };
  await writeAudit(pool, { ...audit, action: 'account.erased', detail: { ...result } });
  yield { event: 'result', ...result };
}

interface Job extends EraseWish {
  readonly pool: Pool;
  readonly tenant: number;
  readonly channel: number;
  readonly pseudonym: string;
}

/** What was taken as a duplicate unseen may be a message. Waits until it has been looked up; answers what has not. */
async function untilSeen(
  { patienceMs = PATIENCE_MS }: EraseDeps,
  { pool, tenant, account, source }: Job,
): Promise<number> {
  for (let waited = 0; ; waited += POLL_MS) {
    const unseen = await unseenOf(pool, tenant, account, source?.id ?? null);
    if (unseen === 0 || waited >= patienceMs) return unseen;
    await pause(POLL_MS);
  }
}

async function lastSequence({ pool, tenant, channel }: Job): Promise<number> {
  const { rows } = await pool.query<{ last: number }>(
    'select last_sequence as last from channel where tenant = $1 and channel = $2',
    [tenant, channel],
  );
  return rows[0]?.last ?? 0;
}

/** The account's messages among the next ones that are stored, and how far those reach. */
async function findMessages(
  { pool, tenant, channel, account, source }: Job,
  after: number,
  to: number,
): Promise<{ reached: number; found: number[] }> {
  const { rows } = await pool.query<{ reached: number | null; count: number; found: number[] }>(
    `with page as materialized (
       select sequence, account, source from message
       where generation = any (array(select id from generation where content_dropped_at is null))
         and tenant = $1 and channel = $2 and sequence > $3 and sequence <= $4
       order by sequence limit ${PAGE})
     select (select max(sequence) from page) as reached, (select count(*) from page) as count,
       array(select sequence from page where account = $5 and ($6::int is null or source = $6) order by sequence) as found`,
    [tenant, channel, after, to, account, source?.id ?? null],
  );
  const page = rows[0];
  return { reached: page && page.count === PAGE ? (page.reached ?? to) : to, found: page?.found ?? [] };
}

/** How far owner and ledger have read a channel; without meters there may be no ledger. */
const REACHED = `select least(r.planned, (select m.through from ledger_mark m where m.tenant = r.tenant and m.channel = r.channel
    and m.book = coalesce((select live from ledger where tenant = $1), 1))) as reached
  from reader r where r.tenant = $1 and r.channel = $2`;

/** Waits for owner and ledger to read a sequence: it has to be there when they do. Gives up after a while. */
async function untilPlanned(
  { wake, patienceMs = PATIENCE_MS }: EraseDeps,
  { pool, tenant, channel }: Job,
  sequence: number,
): Promise<void> {
  for (let waited = 0; waited < patienceMs; waited += POLL_MS) {
    const { rows } = await pool.query<{ reached: number }>(REACHED, [tenant, channel]);
    if ((rows[0]?.reached ?? 0) >= sequence) return;
    wake(tenant, channel);
    await pause(POLL_MS);
  }
}

interface Erased {
  readonly messages: number;
  readonly left: number;
  readonly closed: number;
  readonly cancelling: number;
  /** When the first decision about any of them was over that something is learnt from. */
  readonly taught: Date | null;
}

const OF = 'tenant = $1 and channel = $2 and sequence = any ($3::bigint[])';

/** A batch of messages of the job's channel. Leaves out those that are not planned yet, or not counted. */
async function eraseMessages(client: PoolClient, job: Job, batch: readonly number[]): Promise<Erased> {
  const { tenant, channel } = job;
  await client.query(`set local lock_timeout = ${LOCK_MS}`);
  // Nobody decides about them meanwhile, and the owner writes nothing of the channel.
  await cutContent(client);
  await client.query('select from lease where tenant = $1 and channel = $2 for update', [tenant, channel]);
  const { rows } = await client.query<{ reached: number }>(REACHED, [tenant, channel]);
  const sequences = batch.filter((sequence) => sequence <= (rows[0]?.reached ?? 0));
  const left = batch.length - sequences.length;
  if (sequences.length === 0) return { messages: 0, left, closed: 0, cancelling: 0, taught: null };
  const of = [tenant, channel, arrayOf(sequences)];
  const decided = await client.query<{ taught: Date | null }>(
    `select min(hold_until) as taught from decision where ${TEACHING} and ${OF}`,
    of,
  );
  await eraseReasons(client, of);
  await erasePlanReasons(client, job, sequences);
  await client.query(`update thread_message set content = null where content is not null and ${OF}`, of);
  const closed = await closeOpen(client, job, of);
  const cancelling = await cancelPending(client, job, of);
  await client.query(
    `delete from view v where v.generation = any (array(select id from generation where content_dropped_at is null)) and ${OF}`,
    of,
  );
  for (const table of ['search_words', 'search_late', 'claim', 'presence']) {
    await client.query(`delete from ${table} where ${OF}`, of);
  }
  const erased = await client.query(
    `update message set raw = '', meta = null, external_id = null, peer = '${ERASED}', account = $4, erased_at = now()
     where generation = any (array(select id from generation where content_dropped_at is null)) and ${OF}`,
    [...of, job.pseudonym],
  );
  return { messages: erased.rowCount ?? 0, left, closed, cancelling, taught: decided.rows[0]?.taught ?? null };
}

/** Reasons may quote what a message says, or whom it concerns; answers of targets too. */
async function eraseReasons(client: PoolClient, of: readonly unknown[]): Promise<void> {
  await client.query(`update standing set reason = '${ERASED}' where reason is not null and ${OF}`, [...of]);
  await client.query(`update decision set reason = '${ERASED}' where reason is not null and ${OF}`, [...of]);
  await client.query(
    `update attempt set reason = '${ERASED}' where reason is not null and tenant = $1 and channel = $2
       and first_sequence = any ($3::bigint[]) and last_sequence = first_sequence`,
    [...of],
  );
  await client.query(
    `update delivery_attempt a set answer = null, reason = case when a.reason is not null then '${ERASED}' end
     from delivery d where d.tenant = $1 and d.channel = $2 and d.sequence = any ($3::bigint[]) and a.tenant = d.tenant
       and a.target = d.target and a.channel = d.channel and a.epoch = d.epoch and a.number = d.number`,
    [...of],
  );
  await client.query(`update delivery set reason = '${ERASED}' where reason is not null and ${OF}`, [...of]);
}

/** Why a message was set aside is what a parser said about it. No running hash is over it. */
async function erasePlanReasons(
  client: PoolClient,
  { tenant, channel }: Job,
  sequences: readonly number[],
): Promise<void> {
  const wanted = new Set(sequences);
  const { rows } = await client.query<{ number: number; runs: Run[] }>(
    `select distinct on (p.number) p.number, p.runs from unnest($3::bigint[]) as w(sequence)
     join standing s on s.tenant = $1 and s.channel = $2 and s.sequence = w.sequence
     cross join lateral (
       (select number, runs, last_sequence from plan where tenant = $1 and channel = $2 and kind = 'stream'
          and first_sequence <= w.sequence order by first_sequence desc limit 1)
       union all
       (select number, runs, last_sequence from plan where tenant = $1 and channel = $2 and kind = 'extra'
          and first_sequence <= w.sequence and last_sequence >= w.sequence)) p
     where p.last_sequence >= w.sequence and p.runs::text like '%"why"%'`,
    [tenant, channel, arrayOf(sequences)],
  );
  for (const { number, runs } of rows) {
    const erased = runs.map((run) => (quotes(run, wanted) ? { ...run, why: ERASED } : run));
    await client.query('update plan set runs = $4 where tenant = $1 and channel = $2 and number = $3', [
      tenant,
      channel,
      number,
      JSON.stringify(erased),
    ]);
  }
}

function quotes({ s, n, m, why }: Run, wanted: ReadonlySet<number>): boolean {
  if (why === undefined || (m !== 'park' && m !== 'quarantine')) return false;
  return Array.from({ length: n }, (_, i) => s + i).some((sequence) => wanted.has(sequence));
}

/** What waits for a person or to be read is closed, and what nobody has taken up yet is struck out. */
async function closeOpen(client: PoolClient, { who, reason }: Job, of: readonly unknown[]): Promise<number> {
  const struck = await client.query<{ sequence: number }>(
    `update decision set targets = '{}', plan = 0 where plan is null and action in ('assign', 'replay') and ${OF}
     returning sequence`,
    [...of],
  );
  const { rowCount } = await client.query(
    `with closed as (
       update standing set state = 'closed', version = version + 1, since = now(), reason = '${ERASED}',
         snoozed_until = null, rung = null, ready_at = null
       where (state in ('waiting', 'parked', 'quarantined') or sequence = any ($4::bigint[])) and ${OF}
       returning tenant, channel, sequence, version)
     insert into decision (tenant, channel, sequence, version, who, action, reason, plan)
       select tenant, channel, sequence, version, $5, 'close', $6, 0 from closed`,
    [...of, arrayOf(struck.rows.map(({ sequence }) => sequence)), who, reason],
  );
  return rowCount ?? 0;
}

/**
 * Only the owner knows what it is sending, so it is told to cancel, as by a person who takes targets back. What it is sending
 * now and has to send again finds nothing to send, and fails: its number is void then, too.
 */
async function cancelPending(client: PoolClient, { who, reason }: Job, of: readonly unknown[]): Promise<number> {
  const { rows } = await client.query<{ sequence: number; targets: number[]; count: number }>(
    `select sequence, array_agg(distinct target) as targets, count(*) as count from delivery
     where state = 'pending' and ${OF} group by sequence`,
    [...of],
  );
  if (rows.length === 0) return 0;
  await client.query(
    `with pending as (
       select * from unnest($3::bigint[], $4::text[]) as p(sequence, targets)
     ), stood as (
       insert into standing as s (tenant, channel, sequence, state, version)
         select $1, $2, sequence, 'routed', 2 from pending order by sequence
         on conflict (tenant, channel, sequence) do update set version = s.version + 1
         returning sequence, version)
     insert into decision (tenant, channel, sequence, version, who, action, targets, reason)
       select $1, $2, s.sequence, s.version, $5, 'unassign', p.targets::int[], $6
       from stood s join pending p on p.sequence = s.sequence`,
    [
      of[0],
      of[1],
      arrayOf(rows.map(({ sequence }) => sequence)),
      textArray(rows.map(({ targets }) => arrayOf(targets))),
      who,
      reason,
    ],
  );
  return rows.reduce((sum, { count }) => sum + count, 0);
}

/** Copies of its messages that were taken out of the stream, or never let in. What is held is discarded with that. */
async function eraseQuarantined({ pool, tenant, account, source, pseudonym }: Job): Promise<number> {
  let erased = 0;
  for (let after = 0; ; ) {
    const { rows } = await pool.query<{ reached: number | null; erased: number }>(
      `with page as materialized (
         select number, account, source from quarantine where tenant = $1 and number > $2 order by number limit ${PAGE}),
       erased as (
         update quarantine q set raw = '', meta = null, external_id = null, peer = '${ERASED}', account = $5,
           reason = case when q.reason is not null then '${ERASED}' end, erased_at = now(),
           state = case when q.state = 'held' then 'discarded' else q.state end,
           decided_at = coalesce(q.decided_at, now())
         from page p where q.tenant = $1 and q.number = p.number and p.account = $3 and ($4::int is null or p.source = $4)
         returning q.number)
       select (select max(number) from page) as reached, (select count(*) from erased) as erased`,
      [tenant, after, account, source?.id ?? null, pseudonym],
    );
    const [page] = rows;
    if (!page || page.reached === null) return erased;
    erased += page.erased;
    after = page.reached;
  }
}

/**
 * Usage stays and adds up, under the pseudonym. A statement keeps its hash, which is that of the text before. While it does,
 * the ledger takes nothing of the channel; after it, it knows the account no more.
 */
function eraseUsage({ pool, tenant, channel, account, pseudonym }: Job): Promise<void> {
  const of = [tenant, account, pseudonym];
  return inTransaction(pool, async (client) => {
    await client.query(`set local lock_timeout = ${LOCK_MS}`);
    await client.query('select from ledger_mark where tenant = $1 and channel = $2 order by book for update', [
      tenant,
      channel,
    ]);
    await client.query(
      `update ledger_correction c set who = '${ERASED}', why = '${ERASED}' from usage_entry e join usage_series s
         on s.tenant = e.tenant and s.id = e.series
       where s.tenant = $1 and s.account = $2 and c.tenant = e.tenant and c.book = e.book and c.channel = e.channel
         and e.state <> 'c' and c.target = e.sequence`,
      [tenant, account],
    );
    await client.query(
      `update ledger_acceptance a set who = '${ERASED}', why = '${ERASED}' from usage_entry e join usage_series s
         on s.tenant = e.tenant and s.id = e.series
       where s.tenant = $1 and s.account = $2 and a.tenant = e.tenant and a.book = e.book and a.channel = e.channel
         and a.target = e.sequence`,
      [tenant, account],
    );
    await client.query(
      'update usage_series set account = $3, erased_at = coalesce(erased_at, now()) where tenant = $1 and account = $2',
      of,
    );
    await client.query('update usage_problem set account = $3 where tenant = $1 and account = $2', of);
    await client.query('update backfill_account set account = $3 where tenant = $1 and account = $2', of);
    await client.query('update backfill set account = $3 where tenant = $1 and account = $2', of);
    await client.query('update usage_notice set account = $3 where tenant = $1 and account = $2', of);
    // They will never be counted.
    await client.query('delete from ledger_gap where tenant = $1 and account = $2', [tenant, account]);
    await client.query(
      `update statement set account = $3, erased_at = now(), sent = coalesce(sent, '${ERASED}'),
         body = jsonb_set(body::jsonb, '{account}', to_jsonb($3::text))::text
       where tenant = $1 and account = $2`,
      of,
    );
    await client.query(
      `update billing_definition set definition = jsonb_set(definition, '{account}', to_jsonb($3::text))
       where tenant = $1 and kind = 'subscription' and definition->>'account' = $2`,
      of,
    );
    // Whoever remembers the account's series by its name forgets them with this.
    await client.query('update configuration set version = version + 1');
  });
}

/**
 * Models hold no words, but hashes of some, an address among them, beside the key of these. What is learnt next is learnt soon,
 * and without these messages; the model that holds until then goes with that. Older ones that learnt from them go now:
 * what they decided can no longer be explained.
 */
async function forgetInLearning({ pool, tenant }: Job, taught: Date | null): Promise<void> {
  await pool.query(
    `with newest as (select max(version) as version from learning_model where tenant = $1),
     old as (delete from learning_model m using newest n
       where m.tenant = $1 and m.version < n.version and m.through >= $2::timestamptz)
     update learning_model m set through = '-infinity' from newest n where m.tenant = $1 and m.version = n.version`,
    [tenant, taught],
  );
}

/** What was refused before it became a message names whom it was for. */
async function eraseRefusals({ pool, tenant, account }: Job): Promise<number> {
  const { rowCount } = await pool.query(
    `delete from refusal where tenant = $1
       and exists (select from json_each_text(envelope) e where e.value = $2)`,
    [tenant, account],
  );
  return rowCount ?? 0;
}
