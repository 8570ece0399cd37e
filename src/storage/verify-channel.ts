import type { Pool } from 'pg';
import { accountHash, channelOf } from '../channel/partition.js';
import {
  type Finding,
  type FindingCode,
  type Mark,
  NO_CHAIN,
  NO_HASH,
  type PlanRow,
  PlanWalk,
  runsOf,
  type WalkEnd,
  type WalkStart,
} from '../delivery/chain.js';
import { type Checkpoint, isSigned } from '../delivery/checkpoint.js';
import { messageId } from '../message/id.js';
import type { Tenant } from '../message/tenant.js';
import { arrayOf } from './array.js';
import { hashesDigest, type SignedCheckpoint } from './checkpoints.js';
import type { Installation } from './installation.js';

/*
 * Reads a channel's books from one end to the other, page by page, each page by itself: nothing is held for long, and the
 * channel goes on meanwhile. What it had come to when the reading began is where the reading ends.
 */

export interface Books {
  readonly pool: Pool;
  readonly installation: Pick<Installation, 'id' | 'signingKey'>;
  readonly tenant: Tenant;
}

/** Where a channel stood at one moment. */
export interface ChannelBooks extends WalkEnd {
  readonly channel: number;
  /** Last sequence given. */
  readonly last: number;
  readonly checkpoint: SignedCheckpoint | null;
}

/** What of a channel is to be looked at. */
export type Stretch =
  /** All there is, and the plans of what retention has dropped. */
  | { readonly of: 'all' }
  /** Sequences, both ends included. What comes before is believed. */
  | { readonly of: 'range'; readonly from: number; readonly to: number }
  /** From the last checkpoint up to a sequence: what retention is about to drop. */
  | { readonly of: 'due'; readonly to: number };

export interface ChannelReport {
  readonly messages: number;
  readonly erased: number;
  readonly plans: number;
  /** The first ones. */
  readonly findings: readonly Finding[];
  /** How many there are in all. */
  readonly found: number;
  /** Where the plans had come to with the last one that speaks of nothing beyond the stretch; null where there is none. */
  readonly mark: Mark | null;
}

/** Messages looked at in one statement, and bytes: the server hashes them. */
const PAGE_ROWS = 2_000;
const PAGE_BYTES = 64 * 1024 * 1024;
const PAGE_PLANS = 64;
const PAGE_HASHES = 5_000;
/** Findings that are told one by one, a channel. */
const MOST_TOLD = 100;
const MOST = Number.MAX_SAFE_INTEGER;

/** Everything that says where a channel stands, at one moment. */
export async function channelBooks({ pool, tenant }: Books, channel: number): Promise<ChannelBooks> {
  const { rows } = await pool.query<{
    last: number;
    planned: number;
    last_plan: number;
    chain: Buffer;
    extra_chain: Buffer;
    lines: [number, number, number][] | null;
    k: number | null;
    generation: number;
    through: number;
    k_plan: number;
    k_planned: number;
    k_chain: Buffer;
    k_extra: Buffer;
    k_plans: Buffer;
    k_hashes: Buffer;
    findings: string[];
    made_at: Date;
    signature: Buffer;
  }>(
    `select c.last_sequence as last, r.planned, r.last_plan, r.chain, r.extra_chain,
       (select json_agg(json_build_array(l.target, l.epoch, l.last_number)) from line l
         where l.tenant = c.tenant and l.channel = c.channel) as lines,
       k.channel as k, k.generation, k.through, k.plan as k_plan, k.planned as k_planned, k.chain as k_chain,
       k.extra_chain as k_extra, k.plans as k_plans, k.hashes as k_hashes, k.findings, k.made_at, k.signature
     from channel c join reader r on r.tenant = c.tenant and r.channel = c.channel
     left join checkpoint k on k.tenant = c.tenant and k.channel = c.channel
     where c.tenant = $1 and c.channel = $2`,
    [tenant.id, channel],
  );
  const [row] = rows;
  if (!row) throw new Error(`channel ${channel} of tenant ${tenant.id} has no row, or its reader has none`);
  return {
    channel,
    last: row.last,
    planned: row.planned,
    lastPlan: row.last_plan,
    chain: row.chain,
    extraChain: row.extra_chain,
    lines: row.lines ?? [],
    checkpoint:
      row.k === null
        ? null
        : {
            generation: row.generation,
            through: row.through,
            plan: row.k_plan,
            planned: row.k_planned,
            chain: row.k_chain,
            extraChain: row.k_extra,
            plans: row.k_plans,
            hashes: row.k_hashes,
            findings: row.findings,
            madeAt: row.made_at,
            signature: row.signature,
          },
  };
}

/** Looks at a stretch of one channel. Yields how many messages each page held; leaving it early stops it. */
export async function* verifyChannel(
  books: Books,
  at: ChannelBooks,
  stretch: Stretch,
): AsyncGenerator<number, ChannelReport> {
  const findings = new Findings(at.channel);
  await checkCheckpoint(books, at, findings);
  const to = Math.min(stretch.of === 'all' ? at.last : stretch.to, at.last);
  if (stretch.of === 'range' && stretch.from > to)
    return { ...NOTHING_SEEN, findings: findings.told, found: findings.found };
  const start = await startOf(books, at, stretch);
  const walk = new PlanWalk(start, findings.note);
  const messages = new Messages(books, at, Math.max(start.sequence, (at.checkpoint?.planned ?? 0) + 1), to, findings);
  yield* messages.kept(stretch.of === 'range' ? stretch.from : 1);
  let mark: Mark | null = at.checkpoint;
  let plans = 0;
  let ended = true;
  for await (const plan of plansFrom(books, at, start.plan, findings)) {
    // What straddles the end of what is due can still be checked when its first part is gone.
    ended = !(plan.kind === 'stream' && (stretch.of === 'due' ? plan.last : plan.first) > to);
    if (!ended) break;
    plans++;
    if (plan.number <= (at.checkpoint?.plan ?? 0)) {
      walk.take(plan, null);
      if (plan.number === at.checkpoint?.plan) checkMark(walk.mark, at.checkpoint, findings);
    } else if (plan.kind === 'stream') {
      yield* messages.reach(plan.last);
      walk.take(plan, messages.hashOf);
      messages.forget(plan.last);
      if (plan.last <= to) mark = walk.mark ?? mark;
    } else {
      const hashes = await hashesOf(books, at, plan);
      walk.take(plan, (sequence) => hashes.get(sequence));
    }
  }
  yield* messages.reach(to);
  if (ended) walk.end(at);
  const { told, found } = findings;
  return { messages: messages.seen, erased: messages.erased, plans, findings: told, found, mark };
}

const NOTHING_SEEN = { messages: 0, erased: 0, plans: 0, mark: null };

/** Collects what is wrong with a channel; beyond MOST_TOLD it only counts. */
class Findings {
  readonly told: Finding[] = [];
  found = 0;

  constructor(private readonly channel: number) {}

  readonly note = (finding: Finding): void => {
    this.found++;
    if (this.told.length < MOST_TOLD) this.told.push(finding);
  };

  about(code: FindingCode, sequence: number, say: (id: string) => string): void {
    const message = messageId({ channel: this.channel, sequence });
    this.note({ code, channel: this.channel, message, plan: null, detail: say(message) });
  }

  plain(code: FindingCode, detail: string, plan: number | null = null): void {
    this.note({ code, channel: this.channel, message: null, plan, detail });
  }
}

async function checkCheckpoint(books: Books, at: ChannelBooks, findings: Findings): Promise<void> {
  const { checkpoint } = at;
  if (!checkpoint) return;
  const { signature, ...signed } = checkpoint;
  const of = { installation: books.installation.id, tenant: books.tenant.id, channel: at.channel };
  if (!isSigned(of, signed, signature, books.installation.signingKey))
    findings.plain('checkpoint_altered', 'The checkpoint of the channel is not the one that was signed.');
  const hashes = await hashesDigest(books.pool, books.tenant.id, at.channel);
  if (!hashes.equals(checkpoint.hashes))
    findings.plain('checkpoint_altered', 'The hashes kept beside the checkpoint are not those that were signed.');
  for (const said of checkpoint.findings) findings.plain('found_before', said);
}

/** Of the plans whose messages are gone, all of it is held by the checkpoint. */
function checkMark(mark: Mark | null, checkpoint: Checkpoint, findings: Findings): void {
  if (!mark) return;
  const same =
    mark.planned === checkpoint.planned &&
    mark.chain.equals(checkpoint.chain) &&
    mark.extraChain.equals(checkpoint.extraChain) &&
    mark.plans.equals(checkpoint.plans);
  if (same) return;
  const detail = `One of the plans 1 to ${checkpoint.plan} has been altered since their messages were dropped.`;
  findings.plain('plan_altered', detail);
}

async function startOf(books: Books, at: ChannelBooks, stretch: Stretch): Promise<WalkStart> {
  const { channel, checkpoint } = at;
  const first: WalkStart = {
    channel,
    plan: 1,
    sequence: 1,
    chain: NO_CHAIN,
    extraChain: NO_CHAIN,
    plans: NO_CHAIN,
    fromTheFirst: true,
  };
  const kept: WalkStart = checkpoint
    ? { ...checkpoint, channel, plan: checkpoint.plan + 1, sequence: checkpoint.planned + 1, fromTheFirst: false }
    : first;
  switch (stretch.of) {
    case 'all':
      return first;
    case 'due':
      return kept;
    case 'range':
      return (await startWithin(books, at, stretch.from)) ?? kept;
    default: {
      const never: never = stretch;
      throw never;
    }
  }
}

/** The plan that speaks of a sequence first, going on from what those before it say; undefined where the start is as near. */
async function startWithin(books: Books, at: ChannelBooks, from: number): Promise<WalkStart | undefined> {
  const { pool, tenant } = books;
  const { rows } = await pool.query<{ number: number; first: number; chain: Buffer | null; extra: Buffer | null }>(
    `select p.number, p.first_sequence as first,
       (select b.chain from plan b where b.tenant = p.tenant and b.channel = p.channel and b.kind = 'stream'
         and b.first_sequence < p.first_sequence order by b.first_sequence desc limit 1) as chain,
       (select b.chain from plan b where b.tenant = p.tenant and b.channel = p.channel and b.kind = 'extra'
         and b.number between p.number - ${LOOKED_BACK} and p.number - 1 order by b.number desc limit 1) as extra
     from plan p where p.tenant = $1 and p.channel = $2 and p.kind = 'stream' and p.first_sequence <= $3
     order by p.first_sequence desc limit 1`,
    [tenant.id, at.channel, from],
  );
  const [row] = rows;
  if (!row || row.number <= (at.checkpoint?.plan ?? 0) || row.chain === null) return undefined;
  return {
    channel: at.channel,
    plan: row.number,
    sequence: row.first,
    chain: row.chain,
    extraChain: row.extra,
    plans: null,
    fromTheFirst: false,
  };
}

/** How many plans before a range the last extra one is looked for. */
const LOOKED_BACK = 10_000;

/** A channel's plans in order; rows of deliveries that say another thing than their plan are noted on the way. */
async function* plansFrom(
  { pool, tenant }: Books,
  at: ChannelBooks,
  from: number,
  findings: Findings,
): AsyncGenerator<PlanRow> {
  for (let next = from; next <= at.lastPlan; ) {
    const { rows } = await pool.query<PlanRow>(
      `select number, epoch, kind, first_sequence as first, last_sequence as last, runs, chain from plan
       where tenant = $1 and channel = $2 and number between $3 and $4 order by number limit ${PAGE_PLANS}`,
      [tenant.id, at.channel, next, at.lastPlan],
    );
    const last = rows.at(-1);
    if (!last) return;
    await checkDeliveries(pool, tenant.id, at.channel, rows, findings);
    yield* rows;
    next = last.number + 1;
  }
}

/** Rows of deliveries whose number a plan gave to another message. */
async function checkDeliveries(
  pool: Pool,
  tenant: number,
  channel: number,
  plans: readonly PlanRow[],
  findings: Findings,
): Promise<void> {
  const given = plans.flatMap((plan) =>
    (runsOf(plan) ?? []).flatMap(({ s, n, t }) => t.map(([target, first]) => ({ plan, s, n, target, first }))),
  );
  if (given.length === 0) return;
  const { rows } = await pool.query<{ target: number; epoch: number; number: number; sequence: number; plan: number }>(
    `select d.target, d.epoch, d.number, d.sequence, g.plan
     from unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
       as g(target, epoch, first, count, sequence, plan)
     join delivery d on d.tenant = $1 and d.target = g.target and d.channel = $2 and d.epoch = g.epoch
       and d.number between g.first and g.first + g.count - 1
     where d.sequence <> g.sequence + d.number - g.first or d.plan <> g.plan limit ${MOST_TOLD}`,
    [
      tenant,
      channel,
      arrayOf(given.map(({ target }) => target)),
      arrayOf(given.map(({ plan }) => plan.epoch)),
      arrayOf(given.map(({ first }) => first)),
      arrayOf(given.map(({ n }) => n)),
      arrayOf(given.map(({ s }) => s)),
      arrayOf(given.map(({ plan }) => plan.number)),
    ],
  );
  for (const row of rows) {
    const what = `Delivery ${row.number} to target ${row.target} (epoch ${row.epoch})`;
    findings.about('delivery_reused', row.sequence, (id) => `${what} is ${id} in its row, and another in its plan.`);
  }
}

/** The hashes of what an extra plan speaks of; without those that should be there and are not. */
async function hashesOf({ pool, tenant }: Books, at: ChannelBooks, plan: PlanRow): Promise<Map<number, Buffer>> {
  const sequences = (runsOf(plan) ?? []).flatMap(({ s, n }) => Array.from({ length: n }, (_, i) => s + i));
  const hashes = new Map<number, Buffer>();
  for (let i = 0; i < sequences.length; i += PAGE_HASHES) {
    const { rows } = await pool.query<{ sequence: number; sha256: Buffer | null }>(
      `select w.sequence, coalesce(m.sha256, k.sha256) as sha256 from unnest($3::bigint[]) as w(sequence)
       left join message m on m.generation = generation_of($1, $2::smallint, w.sequence) and m.tenant = $1
         and m.channel = $2 and m.sequence = w.sequence
       left join checkpoint_hash k on k.tenant = $1 and k.channel = $2 and k.sequence = w.sequence`,
      [tenant.id, at.channel, arrayOf(sequences.slice(i, i + PAGE_HASHES))],
    );
    for (const { sequence, sha256 } of rows) {
      if (sha256) hashes.set(sequence, sha256);
      else if (sequence <= (at.checkpoint?.through ?? 0)) hashes.set(sequence, NO_HASH);
    }
  }
  return hashes;
}

interface MessageRow {
  readonly sequence: number;
  readonly generation: number;
  /** The generation its channel says; null where it says none. */
  readonly said: number | null;
  readonly sha256: Buffer;
  readonly account: string;
  readonly erased: boolean;
  readonly empty: boolean;
  /** The bytes are those of the hash. */
  readonly whole: boolean;
  /** Last sequence of what was found, more perhaps than fits in one page. */
  readonly furthest: number;
}

/** How far a page reaches: one that is full, of rows or of bytes, to its last row; any other one as far as it was asked for. */
function endOf(rows: readonly MessageRow[], wanted: number): number {
  const last = rows.at(-1);
  return last && (rows.length >= PAGE_ROWS || last.sequence < last.furthest) ? last.sequence : wanted;
}

/**
 * Goes along a channel's messages, checks each by itself, and hands out their hashes to the plans that speak of them.
 * Hashes are held from when a page was read until the plan that speaks of them has passed.
 */
class Messages {
  seen = 0;
  erased = 0;
  readonly #hashes = new Map<number, Buffer>();
  #reached: number;

  constructor(
    private readonly books: Books,
    private readonly at: ChannelBooks,
    from: number,
    private readonly to: number,
    private readonly findings: Findings,
  ) {
    this.#reached = from - 1;
  }

  readonly hashOf = (sequence: number): Buffer | undefined => this.#hashes.get(sequence);

  forget(upTo: number): void {
    for (const sequence of this.#hashes.keys()) {
      if (sequence > upTo) return;
      this.#hashes.delete(sequence);
    }
  }

  /** Reads on until a sequence has been seen. */
  async *reach(sequence: number): AsyncGenerator<number> {
    const goal = Math.min(sequence, this.at.last);
    while (this.#reached < goal) {
      const from = this.#reached + 1;
      const wanted = Math.min(from + PAGE_ROWS - 1, Math.max(goal, this.to));
      const { rows, end } = await this.#page(from, wanted);
      await this.#take(from, end, rows);
      this.#reached = end;
      yield end - from + 1;
    }
  }

  /** What was open when its generation was dropped, and moved on: stored still, and its hash kept by the checkpoint. */
  async *kept(from: number): AsyncGenerator<number> {
    const to = Math.min(this.at.checkpoint?.planned ?? 0, this.to);
    for (let next = from; next <= to; ) {
      const { rows, end } = await this.#page(next, to);
      const hashes = await this.#keptHashes(next, end);
      for (const row of rows) this.#checkKept(row, hashes.get(row.sequence));
      const stored = new Set(rows.map((row) => row.sequence));
      for (const [sequence, { stored: should }] of hashes) {
        if (should && !stored.has(sequence)) this.#missing(sequence);
      }
      next = end + 1;
      yield rows.length;
    }
  }

  #checkKept(row: MessageRow, kept: { readonly sha256: Buffer } | undefined): void {
    this.#checkRow(row);
    if (kept?.sha256.equals(row.sha256)) return;
    this.findings.about(
      'message_altered',
      row.sequence,
      (id) => `The hash of ${id} is not the one the checkpoint has.`,
    );
  }

  async #take(from: number, to: number, rows: readonly MessageRow[]): Promise<void> {
    const hashes =
      from <= (this.at.checkpoint?.through ?? 0)
        ? await this.#keptHashes(from, to)
        : new Map<number, { sha256: Buffer; stored: boolean }>();
    let next = from;
    for (const row of rows) {
      if (row.sequence < next) {
        this.findings.about('message_misplaced', row.sequence, (id) => `There is more than one message ${id}.`);
        continue;
      }
      for (; next < row.sequence; next++) this.#absent(next, hashes);
      this.#checkRow(row);
      this.#hashes.set(row.sequence, row.sha256);
      next = row.sequence + 1;
    }
    for (; next <= to; next++) this.#absent(next, hashes);
  }

  #absent(sequence: number, hashes: ReadonlyMap<number, { readonly sha256: Buffer; readonly stored: boolean }>): void {
    const kept = hashes.get(sequence);
    if (kept) this.#hashes.set(sequence, kept.sha256);
    if (!kept || kept.stored) this.#missing(sequence);
  }

  #missing(sequence: number): void {
    this.findings.about('message_missing', sequence, (id) => `Message ${id} is missing.`);
  }

  #checkRow(row: MessageRow): void {
    const { sequence, generation, said, erased, empty, whole, account } = row;
    const { findings, books, at } = this;
    this.seen++;
    if (erased) this.erased++;
    if (said !== generation) {
      const where = said === null || said === 0 ? 'nowhere' : `in generation ${said}`;
      const say = (id: string) => `Message ${id} lies in generation ${generation}, its channel says ${where}.`;
      findings.about('message_misplaced', sequence, say);
    }
    if (erased ? !empty : !whole) {
      findings.about('message_altered', sequence, (id) => `The bytes of ${id} are not those of its hash.`);
    }
    if (!erased && channelOf(accountHash(account), books.tenant.channels) !== at.channel) {
      findings.about('account_altered', sequence, (id) => `The account of ${id} belongs to another channel.`);
    }
  }

  /** The messages of a stretch, as far as they fit, and the sequence that this reaches to. */
  async #page(from: number, to: number): Promise<{ rows: MessageRow[]; end: number }> {
    const { rows } = await this.books.pool.query<MessageRow>(
      `with s as materialized (
         select first_sequence, generation,
           coalesce(lead(first_sequence) over (order by first_sequence) - 1, ${MOST}) as last_sequence
         from span where tenant = $1 and channel = $2 and first_sequence <= $4 and first_sequence >= coalesce((
           select max(first_sequence) from span where tenant = $1 and channel = $2 and first_sequence <= $3), 0)),
       page as materialized (
         select m.generation, m.sequence,
           sum(length(m.raw)) over (order by m.sequence, m.generation) - length(m.raw) as before, max(m.sequence) over () as furthest
         from (select generation, sequence, raw from message
           where generation = any (array(select id from generation where content_dropped_at is null))
             and tenant = $1 and channel = $2 and sequence between $3 and $4
           order by sequence limit ${PAGE_ROWS}) m)
       select m.sequence, m.generation, s.generation as said, m.sha256, m.account, m.erased_at is not null as erased,
         length(m.raw) = 0 as empty, sha256(m.raw) = m.sha256 as whole, p.furthest
       from page p
       join message m on m.generation = p.generation and m.tenant = $1 and m.channel = $2 and m.sequence = p.sequence
       left join s on p.sequence between s.first_sequence and s.last_sequence
       where p.before < ${PAGE_BYTES} order by m.sequence, m.generation`,
      [this.books.tenant.id, this.at.channel, from, to],
    );
    const through = this.at.checkpoint?.through ?? 0;
    // What is gone already, and waits for its whole generation to be dropped.
    const there = rows.filter(({ said, sequence }) => said !== 0 || sequence > through);
    return { rows: there, end: endOf(rows, to) };
  }

  async #keptHashes(from: number, to: number): Promise<Map<number, { sha256: Buffer; stored: boolean }>> {
    const { rows } = await this.books.pool.query<{ sequence: number; sha256: Buffer; stored: boolean }>(
      `select sequence, sha256, stored from checkpoint_hash
       where tenant = $1 and channel = $2 and sequence between $3 and $4`,
      [this.books.tenant.id, this.at.channel, from, to],
    );
    return new Map(rows.map(({ sequence, ...same }) => [sequence, same]));
  }
}
