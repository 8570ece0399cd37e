import { createHash } from 'node:crypto';
import { messageId } from '../message/id.js';
import { nextChain } from './plan.js';

/*
 * What a channel's plans prove, read again from the first to the last: that each message was planned once, in order, as it
 * is stored; that no plan is missing; and that no delivery number was left out or given twice. Plain arithmetic over what
 * storage/verify.ts reads.
 */

/** What verifying can find, each with one meaning. Stable: programs go by them. */
export type FindingCode =
  /** A sequence that was given has no message. */
  | 'message_missing'
  /** The bytes are not those of the message's hash, or its hash is not the one that was kept of it. */
  | 'message_altered'
  /** It lies in another generation than its channel says, or there is more than one of it. */
  | 'message_misplaced'
  /** Its account belongs to another channel. */
  | 'account_altered'
  | 'plan_missing'
  | 'plan_altered'
  | 'not_planned'
  | 'planned_twice'
  /** The running hash is another one: a message it speaks of, or their order, was changed. */
  | 'chain_broken'
  | 'delivery_missing'
  | 'delivery_reused'
  /** What the channel says of itself is not what its plans say. */
  | 'channel_altered'
  | 'key_missing'
  | 'key_without_message'
  /** A final statement is not the text it was made with. */
  | 'statement_altered'
  | 'checkpoint_altered'
  /** Found, and written down in the checkpoint, before retention dropped what it speaks of. */
  | 'found_before';

export interface Finding {
  readonly code: FindingCode;
  readonly channel: number;
  /** Id of the one message it is about; null where it is about several, or none. */
  readonly message: string | null;
  readonly plan: number | null;
  /** A sentence that names everything concerned. */
  readonly detail: string;
}

/** A plan as its row says. Nothing of it is believed, least of all the shape of its runs. */
export interface PlanRow {
  readonly number: number;
  readonly epoch: number;
  readonly kind: 'stream' | 'extra';
  readonly first: number;
  readonly last: number;
  readonly runs: unknown;
  readonly chain: Buffer;
}

/** What of a run is checked. */
interface RunNumbers {
  readonly s: number;
  readonly n: number;
  readonly t: readonly (readonly [target: number, first: number])[];
}

/** More messages than any plan speaks of: what says more was tampered with, and is not worked through. */
const MOST_IN_PLAN = 1_000_000;

/** The runs of a plan; undefined where that is not what its row holds. */
export function runsOf({ runs }: Pick<PlanRow, 'runs'>): RunNumbers[] | undefined {
  if (!Array.isArray(runs) || !runs.every(isRun)) return undefined;
  return runs.reduce((sum, run) => sum + run.n, 0) <= MOST_IN_PLAN ? runs : undefined;
}

function isRun(run: unknown): run is RunNumbers {
  const { s, n, t } = (run ?? {}) as Partial<Record<keyof RunNumbers, unknown>>;
  return isCount(s) && isCount(n) && Number.isSafeInteger(s + n) && Array.isArray(t) && t.every(isDelivery);
}

function isDelivery(one: unknown): boolean {
  return Array.isArray(one) && isCount(one[0]) && isCount(one[1]);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

/** The running hash over extra plans: SHA-256 of (previous, number of the plan (8 bytes), then sequence and SHA-256 of each). */
export function nextExtraChain(
  previous: Uint8Array,
  plan: number,
  messages: readonly { readonly sequence: number; readonly sha256: Uint8Array }[],
): Buffer {
  const place = Buffer.alloc(8);
  place.writeBigUInt64BE(BigInt(plan));
  return nextChain(Buffer.concat([previous, place]), messages);
}

/** Before the first plan. */
export const NO_CHAIN: Buffer = Buffer.alloc(32);

/** What an extra plan takes for the hash of a message that is gone and of which none was kept. */
export const NO_HASH: Buffer = Buffer.alloc(32);

/** Where a walk along a channel's plans begins. */
export interface WalkStart {
  readonly channel: number;
  /** Number of the first plan, and the first sequence it speaks of. */
  readonly plan: number;
  readonly sequence: number;
  /** Before it; null where nothing says: the first plan's own is believed then. */
  readonly chain: Buffer | null;
  readonly extraChain: Buffer | null;
  /** Running hash over all plans before it; null where nobody asks. */
  readonly plans: Buffer | null;
  /** From the first plan there ever was, so delivery numbers begin at 1. */
  readonly fromTheFirst: boolean;
}

/** What the channel itself says of where its plans have come to. */
export interface WalkEnd {
  readonly planned: number;
  readonly lastPlan: number;
  readonly chain: Buffer;
  readonly extraChain: Buffer;
  readonly lines: readonly (readonly [target: number, epoch: number, last: number])[];
}

/** Where the plans had come to when a sequence was the last of a stream's plan. */
export interface Mark {
  readonly plan: number;
  readonly planned: number;
  readonly chain: Buffer;
  readonly extraChain: Buffer;
  readonly plans: Buffer;
}

/** SHA-256 by sequence; undefined for a message that should be there and is not (that is found elsewhere). */
export type HashOf = (sequence: number) => Buffer | undefined;

/** Goes along a channel's plans, one after another, and notes what does not hold. After a fault it believes what it sees and goes on. */
export class PlanWalk {
  readonly #channel: number;
  #nextPlan: number;
  #next: number;
  #chain: Buffer | null;
  #extraChain: Buffer | null;
  #plans: Buffer | null;
  /** Something before the next plan of this kind is not known: its hash can't be made, and is believed. */
  readonly #unknown = { stream: false, extra: false };
  /** Delivery numbers not seen before must begin at 1. */
  #fromOne: boolean;
  /** Last delivery number by `<epoch>/<target>`. */
  readonly #lines = new Map<string, number>();

  constructor(
    start: WalkStart,
    private readonly note: (finding: Finding) => void,
  ) {
    this.#channel = start.channel;
    this.#nextPlan = start.plan;
    this.#next = start.sequence;
    this.#chain = start.chain;
    this.#extraChain = start.extraChain;
    this.#plans = start.plans;
    this.#fromOne = start.fromTheFirst;
  }

  /** The next sequence that a stream's plan must speak of. */
  get next(): number {
    return this.#next;
  }

  /** Where the plans have come to, as they say themselves; null where the walk did not begin with all that takes. */
  get mark(): Mark | null {
    if (!this.#chain || !this.#extraChain || !this.#plans) return null;
    return {
      plan: this.#nextPlan - 1,
      planned: this.#next - 1,
      chain: this.#chain,
      extraChain: this.#extraChain,
      plans: this.#plans,
    };
  }

  /** `hashOf` is null for plans whose messages are gone: their running hashes are held by a checkpoint. */
  take(plan: PlanRow, hashOf: HashOf | null): void {
    this.#takeNumber(plan.number);
    if (this.#plans) this.#plans = nextPlansHash(this.#plans, plan);
    const runs = runsOf(plan);
    if (!runs) {
      this.#notePlan('plan_altered', plan.number, `What plan ${plan.number} did can not be read any more.`);
      this.#believe(plan);
      this.#fromOne = false;
      this.#lines.clear();
      return;
    }
    this.#checkEnds(plan, runs);
    if (plan.kind === 'stream') this.#takeStream(plan, runs, hashOf);
    else this.#takeExtra(plan, runs, hashOf);
    for (const run of runs) this.#takeDeliveries(plan, run);
  }

  #takeNumber(number: number): void {
    if (number > this.#nextPlan) {
      const missing = named('plan', 'plans', this.#nextPlan, number - 1, String);
      this.#notePlan('plan_missing', this.#nextPlan, `${missing} missing.`);
      // What they said is not known: what follows can only be compared from here on.
      this.#unknown.stream = true;
      this.#unknown.extra = true;
      this.#fromOne = false;
      this.#lines.clear();
    }
    this.#nextPlan = number + 1;
  }

  #checkEnds({ number, first, last }: PlanRow, runs: readonly RunNumbers[]): void {
    const least = Math.min(...runs.map((run) => run.s));
    const most = Math.max(...runs.map((run) => run.s + run.n - 1));
    if (first === least && last === most) return;
    const said = `Plan ${number} says it speaks of ${this.#id(first)} to ${this.#id(last)}`;
    this.#notePlan('plan_altered', number, `${said}, and speaks of ${this.#id(least)} to ${this.#id(most)}.`);
  }

  #takeStream(plan: PlanRow, runs: readonly RunNumbers[], hashOf: HashOf | null): void {
    for (const run of runs) this.#takeRun(plan.number, run);
    const messages = hashOf && hashed(runs, hashOf);
    const before = this.#unknown.stream ? null : this.#chain;
    if (messages && before && !nextChain(before, messages).equals(plan.chain)) this.#noteChain(plan, messages, before);
    this.#chain = plan.chain;
    this.#unknown.stream = false;
  }

  #takeRun(plan: number, { s, n }: RunNumbers): void {
    if (s > this.#next) {
      const missing = named('Message', 'Messages', this.#next, s - 1, (sequence) => this.#id(sequence));
      const detail = `${missing} in no plan: plan ${plan} goes on with ${this.#id(s)}.`;
      this.#note('not_planned', { message: s - 1 === this.#next ? this.#id(this.#next) : null, plan, detail });
      // The plan that should hold them is gone, and with it the hash to go on from.
      this.#unknown.stream = true;
    }
    if (s < this.#next) {
      const again = `Plan ${plan} speaks of ${this.#id(s)}, which the plans before it had passed.`;
      this.#note('planned_twice', { message: this.#id(s), plan, detail: again });
      this.#unknown.stream = true;
    }
    this.#next = Math.max(this.#next, s + n);
  }

  #takeExtra(plan: PlanRow, runs: readonly RunNumbers[], hashOf: HashOf | null): void {
    const ahead = this.#unknown.stream ? undefined : runs.find((run) => run.s + run.n > this.#next);
    if (ahead) {
      const detail = `Plan ${plan.number} speaks of ${this.#id(ahead.s + ahead.n - 1)}, which no plan had read before it.`;
      this.#notePlan('plan_altered', plan.number, detail);
    }
    const messages = hashOf && hashed(runs, hashOf);
    const before = this.#unknown.extra ? null : this.#extraChain;
    if (messages && before && !nextExtraChain(before, plan.number, messages).equals(plan.chain)) {
      this.#noteChain(plan, messages, null);
    }
    this.#extraChain = plan.chain;
    this.#unknown.extra = false;
  }

  #noteChain(plan: PlanRow, messages: readonly Hashed[], previous: Buffer | null): void {
    const [one, ...others] = messages;
    const of =
      others.length === 0 && one ? this.#id(one.sequence) : `${this.#id(plan.first)} to ${this.#id(plan.last)}`;
    const said = `The running hash of plan ${plan.number} (${of}) is another`;
    const swapped = previous && swappedIn(previous, messages, plan.chain);
    const why = swapped
      ? `${this.#id(swapped[0])} and ${this.#id(swapped[1])} have changed places`
      : `${others.length === 0 ? 'that message' : 'one of them, or their order,'} or a plan has been altered`;
    const message = others.length === 0 && one ? this.#id(one.sequence) : null;
    this.#note('chain_broken', { message, plan: plan.number, detail: `${said}: ${why}.` });
  }

  #takeDeliveries({ number: plan, epoch }: PlanRow, run: RunNumbers): void {
    for (const [target, first] of run.t) {
      const line = `${epoch}/${target}`;
      const last = this.#lines.get(line) ?? (this.#fromOne ? 0 : first - 1);
      this.#lines.set(line, first + run.n - 1);
      if (first === last + 1) continue;
      const gap = first > last;
      const instead = `delivery ${first} to target ${target} where ${last + 1} comes next (epoch ${epoch})`;
      this.#note(gap ? 'delivery_missing' : 'delivery_reused', {
        message: this.#id(run.s),
        plan,
        detail: `Plan ${plan} gives ${this.#id(run.s)} ${instead}: a number is ${gap ? 'left out' : 'used twice'}.`,
      });
    }
  }

  /** Compares with what the channel says of itself, once its last plan has been taken. */
  end(end: WalkEnd): void {
    const say = (detail: string) => this.#note('channel_altered', { message: null, plan: null, detail });
    if (this.#nextPlan - 1 < end.lastPlan) {
      const missing = named('plan', 'plans', this.#nextPlan, end.lastPlan, String);
      this.#notePlan('plan_missing', this.#nextPlan, `${missing} missing at the end.`);
      return;
    }
    if (this.#next - 1 !== end.planned && !this.#unknown.stream)
      say(`The channel says ${this.#id(end.planned)} was planned last, its plans say ${this.#id(this.#next - 1)}.`);
    if (this.#differs('stream', end.chain)) say('The running hash of the channel is not that of its last plan.');
    if (this.#differs('extra', end.extraChain))
      say('The running hash of the channel’s extra plans is not that of the last one.');
    for (const [target, epoch, last] of end.lines) {
      const seen = this.#lines.get(`${epoch}/${target}`) ?? (this.#fromOne ? 0 : last);
      if (seen !== last)
        say(`The channel says delivery ${last} to target ${target} was the last, its plans say ${seen}.`);
    }
  }

  #differs(kind: PlanRow['kind'], said: Buffer): boolean {
    const own = kind === 'stream' ? this.#chain : this.#extraChain;
    return own !== null && !this.#unknown[kind] && !own.equals(said);
  }

  #believe(plan: PlanRow): void {
    this.#unknown[plan.kind] = false;
    if (plan.kind === 'extra') {
      this.#extraChain = plan.chain;
      return;
    }
    this.#chain = plan.chain;
    this.#next = Math.max(this.#next, plan.last + 1);
  }

  #notePlan(code: FindingCode, plan: number, detail: string): void {
    this.#note(code, { message: null, plan, detail: detail.charAt(0).toUpperCase() + detail.slice(1) });
  }

  #note(code: FindingCode, about: Pick<Finding, 'message' | 'plan' | 'detail'>): void {
    this.note({ code, channel: this.#channel, ...about });
  }

  #id(sequence: number): string {
    return messageId({ channel: this.#channel, sequence });
  }
}

/** `plan 3 is`, `plans 3 to 5 are`. */
function named(one: string, many: string, first: number, last: number, name: (n: number) => string): string {
  return first === last ? `${one} ${name(first)} is` : `${many} ${name(first)} to ${name(last)} are`;
}

interface Hashed {
  readonly sequence: number;
  readonly sha256: Buffer;
}

/** Every message of the runs, in order; null when one of them is missing. */
function hashed(runs: readonly RunNumbers[], hashOf: HashOf): Hashed[] | null {
  const messages: Hashed[] = [];
  for (const { s, n } of runs) {
    for (let sequence = s; sequence < s + n; sequence++) {
      const sha256 = hashOf(sequence);
      if (!sha256) return null;
      messages.push({ sequence, sha256 });
    }
  }
  return messages;
}

/** Pairs tried to name two messages that changed places: at worst a second of hashing for a plan this large. */
const MOST_SWAPPED = 250;

/** Two messages that make the hash come right when each stands in the other's place; null when no pair does. */
function swappedIn(previous: Buffer, messages: readonly Hashed[], chain: Buffer): [number, number] | null {
  if (messages.length > MOST_SWAPPED) return null;
  const tried = [...messages];
  for (let i = 0; i < messages.length; i++) {
    for (let j = i + 1; j < messages.length; j++) {
      const [a, b] = [messages[i] as Hashed, messages[j] as Hashed];
      tried[i] = { sequence: a.sequence, sha256: b.sha256 };
      tried[j] = { sequence: b.sequence, sha256: a.sha256 };
      if (nextChain(previous, tried).equals(chain)) return [a.sequence, b.sequence];
      tried[i] = a;
      tried[j] = b;
    }
  }
  return null;
}

/**
 * The running hash over whole plans, for a checkpoint: SHA-256 of (previous, the plan as JSON). Reasons are left out of it:
 * they may quote content, and go when an account is erased.
 */
export function nextPlansHash(
  previous: Uint8Array,
  { number, epoch, kind, first, last, runs, chain }: PlanRow,
): Buffer {
  const said = Array.isArray(runs) ? runs.map(withoutReason) : runs;
  const text = JSON.stringify([number, epoch, kind, first, last, said, chain.toString('hex')]);
  return createHash('sha256').update(previous).update(text).digest();
}

function withoutReason(run: unknown): unknown {
  if (typeof run !== 'object' || run === null) return run;
  return Object.fromEntries(Object.entries(run).filter(([name]) => name !== 'why'));
}
