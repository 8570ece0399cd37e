import { createHash } from 'node:crypto';
import { type Portion, samePortion } from '../message/portion.js';

/**
 * A plan is one durable row for a batch of a channel, written before anything of it is sent. Messages beside each
 * other that share everything but their numbers are one run: a thousand events under one rule are a row of some
 * hundred bytes. Keys are short because they are stored for every batch.
 */
export interface Run {
  /** First sequence. */
  readonly s: number;
  /** How many sequences follow each other from there, itself included. */
  readonly n: number;
  /** Rung they were read on. */
  readonly r: number;
  /** What became of them. */
  readonly m: Mode;
  /** Who decided. */
  readonly d: Decider;
  /** Deliveries: target id, number of the first sequence's delivery, and whether it was sent at once or made pending. */
  readonly t: readonly (readonly [target: number, firstNumber: number, how: How])[];
  /** Parked before and now ready. */
  readonly late?: true;
  /** Sent again by a person, with new numbers. */
  readonly replay?: true;
  /** Reason of a close, a park or a quarantine. */
  readonly why?: string;
  /** Only this of it goes out. */
  readonly p?: Portion;
  /** Types of data by target id: of these targets each gets only what of it was updated in a conversation. */
  readonly u?: Readonly<Record<number, readonly string[]>>;
}

export type Mode = 'deliver' | 'close' | 'wait' | 'park' | 'quarantine' | 'cancel';
/** `now`: sent at once, its outcome is the plan's. `later`: it has a row of its own. */
export type How = 'now' | 'later';

/**
 * Rules of a set's version by their names; where none of that set matched, the message of that number in its thread, which
 * it follows, or probabilities of a model's version: those of every target that was asked for, by id, each with the threshold
 * it had to exceed; or a person by the version of the message's decision.
 */
export type Decider =
  | { readonly by: 'rules'; readonly set: number; readonly rules: readonly string[] }
  | { readonly by: 'thread'; readonly set: number; readonly thread: number; readonly number: number }
  | { readonly by: 'person'; readonly who: string; readonly version: number }
  | {
      readonly by: 'suggestion';
      readonly set: number;
      readonly model: number;
      readonly scores: readonly (readonly [target: number, probability: number, threshold: number])[];
    };

/** One message as the planner gets it: read, decided, not yet numbered. */
export interface Decided {
  readonly sequence: number;
  readonly rung: number;
  readonly mode: Mode;
  readonly decider: Decider;
  /** Ids of targets, each once. */
  readonly targets: readonly number[];
  readonly late: boolean;
  readonly replay: boolean;
  readonly why: string | null;
  /** Only this of it goes out. */
  readonly portion?: Portion | null;
  /** Of these targets each gets only the types of data that were updated, by target id. */
  readonly updated?: Readonly<Record<number, readonly string[]>>;
}

/** The delivery counters of one channel: the last number given per target. The planner moves them on. */
export type Lines = Map<number, number>;

/** Gives every delivery its number and groups the messages into runs, in the order given. */
export function planRuns(messages: readonly Decided[], lines: Lines, how: (target: number) => How): Run[] {
  const runs: { -readonly [K in keyof Run]: Run[K] }[] = [];
  /** Targets for which something of this plan waits: what comes after it must not overtake it. */
  const waiting = new Set<number>();
  for (const message of messages) {
    const last = runs[runs.length - 1];
    // The bytes of a part are fetched first, and what is sent at once must not wait.
    if (message.portion?.part !== undefined) for (const target of message.targets) waiting.add(target);
    const deliveries = message.targets.map((target) => {
      const number = (lines.get(target) ?? 0) + 1;
      lines.set(target, number);
      return [target, number, waiting.has(target) ? 'later' : how(target)] as const;
    });
    if (last && continues(last, message, deliveries)) {
      last.n++;
    } else {
      runs.push({
        s: message.sequence,
        n: 1,
        r: message.rung,
        m: message.mode,
        d: message.decider,
        t: deliveries,
        ...(message.late && { late: true }),
        ...(message.replay && { replay: true }),
        ...(message.why !== null && { why: message.why }),
        ...(message.portion && { p: message.portion }),
        ...(message.updated && { u: message.updated }),
      });
    }
  }
  return runs;
}

function continues(run: Run, message: Decided, deliveries: Run['t']): boolean {
  return (
    message.sequence === run.s + run.n &&
    message.rung === run.r &&
    message.mode === run.m &&
    message.late === (run.late ?? false) &&
    message.replay === (run.replay ?? false) &&
    message.why === (run.why ?? null) &&
    samePortion(message.portion, run.p) &&
    // What was updated is seldom the same for two messages beside each other.
    message.updated === undefined &&
    run.u === undefined &&
    deliveries.length === run.t.length &&
    deliveries.every(([target, number, how], i) => {
      const begun = run.t[i];
      return begun !== undefined && begun[0] === target && begun[1] + run.n === number && begun[2] === how;
    }) &&
    sameDecider(run.d, message.decider)
  );
}

function sameDecider(a: Decider, b: Decider): boolean {
  if (a === b) return true;
  switch (a.by) {
    case 'rules':
      return b.by === 'rules' && a.set === b.set && sameList(a.rules, b.rules);
    case 'person':
      return b.by === 'person' && a.who === b.who && a.version === b.version;
    case 'thread':
      return b.by === 'thread' && a.set === b.set && a.thread === b.thread && a.number === b.number;
    case 'suggestion':
      return (
        b.by === 'suggestion' && a.set === b.set && a.model === b.model && sameList(a.scores.flat(), b.scores.flat())
      );
    default: {
      const never: never = a;
      throw never;
    }
  }
}

function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i]);
}

/** What of its messages a run's target gets; null for all of each. */
export function portionFor({ p, u }: Run, target: number): Portion | null {
  const updated = u?.[target];
  return updated === undefined ? (p ?? null) : { fields: updated };
}

/** One delivery of a plan, written out. */
export interface PlannedDelivery {
  readonly target: number;
  readonly number: number;
  readonly sequence: number;
  readonly how: How;
  readonly run: Run;
}

/** Every delivery of the runs, in plan order. */
export function* deliveriesOf(runs: readonly Run[]): Generator<PlannedDelivery> {
  for (const run of runs) {
    for (let i = 0; i < run.n; i++) {
      for (const [target, first, how] of run.t) {
        yield { target, number: first + i, sequence: run.s + i, how, run };
      }
    }
  }
}

/**
 * Short text of who decided, as it goes to targets: `rules 3: invoices, big`, `thread 12: after 3`, `person anna v2` or
 * `suggestion 5: 0.93`, of the model's version, with the probability of the target whose id is given.
 */
export function deciderText(decider: Decider, target?: number): string {
  switch (decider.by) {
    case 'rules':
      return `rules ${decider.set}${decider.rules.length > 0 ? `: ${decider.rules.join(', ')}` : ''}`;
    case 'thread':
      return `thread ${decider.thread}: after ${decider.number}`;
    case 'person':
      return `person ${decider.who} v${decider.version}`;
    case 'suggestion': {
      const probability = probabilityFor(decider, target);
      return `suggestion ${decider.model}${probability === null ? '' : `: ${probability}`}`;
    }
    default: {
      const never: never = decider;
      throw never;
    }
  }
}

/** What a target was given by; null where it was not asked for. */
export function probabilityFor(
  { scores }: Extract<Decider, { by: 'suggestion' }>,
  target: number | undefined,
): number | null {
  return scores.find(([id]) => id === target)?.[1] ?? null;
}

/** The running hash over a channel's planned sequences: SHA-256 of (previous, then sequence (8 bytes) and SHA-256 of each). */
export function nextChain(
  previous: Uint8Array,
  messages: readonly { readonly sequence: number; readonly sha256: Uint8Array }[],
): Buffer {
  const input = Buffer.allocUnsafe(previous.length + messages.length * 40);
  input.set(previous, 0);
  let at = previous.length;
  for (const { sequence, sha256 } of messages) {
    input.writeUInt32BE(Math.floor(sequence / 2 ** 32), at);
    input.writeUInt32BE(sequence % 2 ** 32, at + 4);
    input.set(sha256, at + 8);
    at += 40;
  }
  return createHash('sha256').update(input).digest();
}
