import { isLedgerOwn, ownTarget } from '../billing/batch.js';
import {
  type Decided,
  type Decider,
  deliveriesOf,
  type How,
  nextChain,
  planRuns,
  portionFor,
  type Run,
} from '../delivery/plan.js';
import type { ParsedJson } from '../message/arrival.js';
import type { Outcome } from '../message/decision.js';
import type { StoredMessage } from '../message/message.js';
import type { ThreadPlace } from '../message/thread.js';
import type { LadderPlace } from '../message/view.js';
import { suggest } from './automatic.js';
import type { NewDelivery, NewPlan, NewStanding } from './ports.js';
import type { Reading } from './reading.js';
import type { Canonical, ChannelState, OwnerDirectory, Ready } from './state.js';

/** A plan, and the messages it speaks of that were read: what is sent at once is made from them. */
export interface Drawn {
  readonly plan: NewPlan;
  readonly ready: ReadonlyMap<number, Ready>;
}

/** Everything the drawing of one plan starts from. */
export interface Drawing {
  readonly state: ChannelState;
  readonly directory: OwnerDirectory;
  /** Whether a delivery to this target goes out at once or waits in line. */
  readonly how: (target: number) => How;
}

/** What one message comes to in a plan: its decision, and where it stands when it is not simply routed by rules. */
export interface Item {
  readonly decided: Decided;
  readonly standing: NewStanding | null;
  readonly ready: Ready | null;
  /** A message that is set aside: its place in its conversation is kept for it. */
  readonly unread?: StoredMessage;
  /** Where its conversation goes with it; undefined for what has none. */
  readonly goesTo?: readonly number[];
}

/**
 * Decides one message that was read, by the rules in force, or by probability where they come to nothing. `known` is what
 * rules came to in this round.
 */
export function decideByRules(
  ready: Ready,
  directory: OwnerDirectory,
  how: { readonly late: boolean; readonly version: number },
  known: Map<Outcome, Consequence> = new Map(),
): Item {
  const { message, view } = ready;
  const rules = directory.rules(message.tenant);
  const { rules: matched, outcome } = isLedgerOwn(ready.canonical.source)
    ? { rules: [], outcome: outcomeOfOwn(ready) }
    : rules.decide(ready.canonical);
  let consequence = known.get(outcome);
  if (!consequence) {
    const decider = { by: 'rules', set: rules.version, rules: matched } as const;
    consequence = { decider, ...consequenceOf(outcome, message.tenant, directory) };
    known.set(outcome, consequence);
  }
  const suggested = outcome.do === 'wait' ? suggest(ready, directory, rules.version) : null;
  const { decider, mode, targets, why } = suggested ?? consequence;
  const decided: Decided = {
    sequence: message.sequence,
    rung: view.rung,
    mode,
    decider,
    targets,
    late: how.late,
    replay: false,
    why,
  };
  return { decided, standing: standingOf(decided, how), ready };
}

/** No rule sees what the ledger writes itself: a statement or a notice goes where it says, a correction nowhere. */
function outcomeOfOwn({ canonical, view }: Ready): Outcome {
  const target = ownTarget(canonical.type, view.data);
  return target === null ? { do: 'close', reason: 'for the ledger alone' } : { do: 'deliver', targets: [target] };
}

/** What follows from rules: nearly all messages of a channel share a few of these. */
interface Consequence {
  readonly decider: Decider;
  readonly mode: Decided['mode'];
  readonly targets: readonly number[];
  readonly why: string | null;
}

function consequenceOf(outcome: Outcome, tenant: number, directory: OwnerDirectory): Omit<Consequence, 'decider'> {
  switch (outcome.do) {
    case 'deliver': {
      const targets: number[] = [];
      const missing: string[] = [];
      for (const name of outcome.targets) {
        const target = directory.targetNamed(tenant, name);
        if (target) targets.push(target.id);
        else missing.push(name);
      }
      const why = missing.length > 0 ? `no such target: ${missing.join(', ')}` : null;
      // A rule whose targets are all gone chooses nothing: a person must.
      return targets.length > 0 ? { mode: 'deliver', targets, why } : { mode: 'wait', targets: [], why };
    }
    case 'close':
      return { mode: 'close', targets: [], why: outcome.reason };
    case 'wait':
      return { mode: 'wait', targets: [], why: null };
    default: {
      const never: never = outcome;
      throw never;
    }
  }
}

/** Messages that rules simply routed have no row of their own; every other one has, and so has a late one. */
export function standingOf(
  decided: Decided,
  how: { readonly late: boolean; readonly version: number },
): NewStanding | null {
  if (decided.mode === 'deliver' && !how.late) return null;
  const base = { sequence: decided.sequence, version: how.version, reason: decided.why, place: null };
  switch (decided.mode) {
    case 'deliver':
      return { ...base, state: 'routed' };
    case 'close':
      return { ...base, state: 'closed' };
    case 'wait':
      return { ...base, state: 'waiting' };
    case 'park':
      return { ...base, state: 'parked' };
    case 'quarantine':
      return { ...base, state: 'quarantined' };
    case 'cancel':
      return { ...base, state: 'waiting' };
    default: {
      const never: never = decided.mode;
      throw never;
    }
  }
}

const NOT_DECIDED: Decider = { by: 'rules', set: 0, rules: [] };

/** A message set aside: it takes its place in the stream's plan, and its deliveries come later. */
function parkedItem(message: StoredMessage, place: LadderPlace, why: string): Item {
  const decided: Decided = {
    sequence: message.sequence,
    rung: place.rung,
    mode: 'park',
    decider: NOT_DECIDED,
    targets: [],
    late: false,
    replay: false,
    why,
  };
  const standing = standingOf(decided, { late: false, version: 1 });
  return { decided, standing: standing && { ...standing, place }, ready: null, unread: message };
}

/** A message no rung could read. */
export function poisonItem(sequence: number, rung: number, why: string): Item {
  const decided: Decided = {
    sequence,
    rung,
    mode: 'quarantine',
    decider: NOT_DECIDED,
    targets: [],
    late: true,
    replay: false,
    why,
  };
  return { decided, standing: standingOf(decided, { late: true, version: 1 }), ready: null };
}

/** What follows from the readings of a batch. */
export function itemsOf(readings: readonly Reading[], directory: OwnerDirectory, canonical: Canonical): Item[] {
  const known = new Map<Outcome, Consequence>();
  return readings.map((reading) => {
    const { message } = reading;
    if (reading.read === 'parked') return parkedItem(message, reading.place, reading.reason);
    const ready = readyOf(message, reading.view, directory, canonical, reading.json);
    const { written } = reading;
    return decideByRules(written ? { ...ready, written } : ready, directory, { late: false, version: 1 }, known);
  });
}

/** `json` is the event's, where it has just been read; `thread` its place in a conversation, where it is known to have one. */
export function readyOf(
  message: Ready['message'],
  view: Ready['view'],
  directory: OwnerDirectory,
  canonical: Canonical,
  json?: ParsedJson,
  thread: ThreadPlace | null = null,
): Ready {
  const tenant = directory.tenant(message.tenant)?.name ?? String(message.tenant);
  const source = directory.sourceName(message.tenant, message.source);
  return { message, view, canonical: canonical(message, { tenant, source }, view, json), thread };
}

/** The plan for a channel's next messages. Moves the state's counters on. */
export function drawStream(
  drawing: Drawing,
  readings: readonly Reading[],
  items: readonly Item[],
  batchAttempt: number | null,
): Drawn {
  const { state } = drawing;
  const messages = readings.map((reading) => reading.message);
  const last = messages[messages.length - 1];
  if (!last) throw new RangeError('a plan of the stream needs a message');
  state.chain = nextChain(state.chain, messages);
  state.planned = last.sequence;
  const attempts = readings.map((reading) => reading.attempt).filter((attempt) => attempt !== null);
  return draw(drawing, items, {
    kind: 'stream',
    chain: state.chain,
    attempts,
    doneBatches: batchAttempt === null ? [] : [batchAttempt],
  });
}

/** The plan for what comes beside the stream: decisions of people, parked messages that are ready, poison. */
export function drawExtra(
  drawing: Drawing,
  items: readonly Item[],
  rest: Partial<Pick<NewPlan, 'attempts' | 'decisions' | 'cancelled' | 'resumed' | 'poison' | 'threads'>>,
): Drawn {
  return draw(drawing, items, { kind: 'extra', chain: null, ...rest });
}

function draw(
  { state, how }: Drawing,
  items: readonly Item[],
  rest: Pick<NewPlan, 'kind' | 'chain'> & Partial<NewPlan>,
): Drawn {
  const runs = planRuns(
    items.map((item) => item.decided),
    state.lines,
    how,
  );
  const ready = new Map<number, Ready>();
  let firstSequence = Number.POSITIVE_INFINITY;
  let lastSequence = 0;
  for (const { decided, ready: read } of items) {
    if (read) ready.set(decided.sequence, read);
    firstSequence = Math.min(firstSequence, decided.sequence);
    lastSequence = Math.max(lastSequence, decided.sequence);
  }
  state.lastPlan++;
  return {
    ready,
    plan: {
      held: state.held,
      number: state.lastPlan,
      firstSequence,
      lastSequence,
      runs,
      open: runs.some((run) => run.t.some(([, , when]) => when === 'now')),
      pending: waitingDeliveries(runs),
      standings: items.map((item) => item.standing).filter((standing) => standing !== null),
      views: items.map(viewOf).filter((view) => view !== null),
      attempts: [],
      doneBatches: [],
      decisions: [],
      cancelled: [],
      resumed: [],
      poison: [],
      ...rest,
      threads: [...items.flatMap(goingTo), ...(rest.threads ?? [])],
    },
  };
}

function goingTo({ decided, goesTo }: Item): NewPlan['threads'] {
  return goesTo === undefined ? [] : [{ sequence: decided.sequence, targets: goesTo, how: 'set' }];
}

/** Mail costs a child to read, so what came of it is kept; events are read where they lie. */
function viewOf({ ready, decided }: Item): NewPlan['views'][number] | null {
  return ready?.message.kind === 'mail' && decided.decider.by !== 'person'
    ? { sequence: decided.sequence, view: ready.view, written: ready.written }
    : null;
}

function waitingDeliveries(runs: readonly Run[]): NewDelivery[] {
  if (!runs.some((run) => run.t.some(([, , how]) => how === 'later'))) return [];
  return [...deliveriesOf(runs)].filter((each) => each.how === 'later').map(newDelivery);
}

/** The row a planned delivery gets when it has to wait. */
export function newDelivery(planned: {
  readonly target: number;
  readonly number: number;
  readonly sequence: number;
  readonly run: Run;
}): NewDelivery {
  return {
    target: planned.target,
    number: planned.number,
    sequence: planned.sequence,
    rung: planned.run.r,
    decision: planned.run.d,
    late: planned.run.late ?? false,
    replay: planned.run.replay ?? false,
    portion: portionFor(planned.run, planned.target),
  };
}
