import type { Logger } from 'pino';
import { deliveriesOf, type How, type PlannedDelivery, portionFor } from '../delivery/plan.js';
import type { Target } from '../delivery/target.js';
import type { Outgoing, SendResult } from '../message/delivery.js';
import { type Drawn, newDelivery } from './planning.js';
import type { Held, NewDelivery, NewPlan, PlanOutcome, WaitingLine } from './ports.js';
import {
  type ChannelState,
  channelKey,
  countPending,
  lineKey,
  type OwnerDirectory,
  type Ready,
  type Render,
  type SenderOf,
} from './state.js';

export interface AtOnceDeps {
  readonly epoch: number;
  readonly states: ReadonlyMap<string, ChannelState>;
  readonly senderOf: SenderOf;
  readonly render: Render;
  readonly log: Logger;
  readonly settled: (target: Target, results: readonly SendResult['result'][]) => void;
  /** Something was sent, and its outcome is to be written. */
  readonly ended: () => void;
}

/** What a plan sends at once, made: the messages it is made of need not be kept while the plan is being written. */
export interface Made {
  readonly plan: NewPlan;
  /** By target id. */
  readonly targets: ReadonlyMap<number, MadeForTarget>;
}

interface MadeForTarget {
  /** In the order of their numbers. */
  readonly deliveries: readonly PlannedDelivery[];
  /** What goes on the wire for each; null where it could not be made. */
  readonly outgoing: readonly Outgoing[] | null;
}

/**
 * What plans send at once, and what became of it until that is written too:
 *
 *   drawn ──make──► made, and the plan written ──begin──► being sent ──ended──► outcome, to be written ──written──► gone
 *
 * A line is in flight from `begin` to `written`: what waits of it must not overtake.
 */
export interface AtOnce {
  /** Whether what is planned for a target may go without a row, if nothing before it waits. */
  goesAtOnce(target: Target): boolean;
  /** A delivery goes at once to a queue whose line is clear; everything else waits in a row of its own. */
  how(state: ChannelState, directory: OwnerDirectory): (target: number) => How;
  /** Makes what a plan sends at once. What can't be made will wait. */
  make(drawn: Drawn, directory: OwnerDirectory): Made;
  /** Sends what was made, once its plan is written. */
  begin(made: Made, directory: OwnerDirectory): void;
  /** Takes the outcomes of channels that are read now. Others' are written when they begin, or are another owner's. */
  take(): PlanOutcome[];
  /** Takes the outcomes of one channel, whoever held it then. */
  takeOf(held: Held): PlanOutcome[];
  /** They could not be written: they are still true. */
  putBack(outcomes: readonly PlanOutcome[]): void;
  written(outcomes: readonly PlanOutcome[]): void;
  /** Forgets the outcomes of channels that are no longer held. */
  keepOnly(isHeld: (channel: string) => boolean): void;
  /** Forgets what was in flight of a channel that is no longer read, or begins anew. */
  forget(channel: string): void;
  inFlight(line: WaitingLine): boolean;
  isSending(channel: string): boolean;
  /** Something of the channel was sent, and is not written yet. */
  hasOutcome(held: Held): boolean;
  /** Nothing is being sent, and every outcome is written. */
  resting(): boolean;
  /** Something is being sent, or has an outcome that can be written. */
  unfinished(): boolean;
  /** Resolves once no more deliveries, and bytes of their bodies, have no answer; at once when nothing is being sent. */
  room(most: { readonly deliveries: number; readonly bytes: number }): Promise<void>;
}

export function createAtOnce(deps: AtOnceDeps): AtOnce {
  const { states } = deps;
  let outcomes: PlanOutcome[] = [];
  const unconfirmed = { deliveries: 0, bytes: 0 };
  const sending = new Set<Promise<void>>();
  /** How many plans are being sent, by channel. */
  const channels = new Counts();
  /** How many plans whose outcome is not written yet, by line. */
  const lines = new Counts();
  /** Whether the newest plan in flight was taken whole, with all before it, by ordered line. */
  const ahead = new Map<string, Promise<boolean>>();

  function writable(): PlanOutcome[] {
    return outcomes.filter(({ held }) => states.get(channelKey(held.tenant, held.channel))?.held.term === held.term);
  }

  function without(taken: readonly PlanOutcome[]): void {
    outcomes = outcomes.filter((outcome) => !taken.includes(outcome));
  }

  /** Sends target by target, and collects what becomes of it. Of the plan it keeps nothing meanwhile: views are large. */
  async function send({ plan: { held, number }, targets }: Made, directory: OwnerDirectory): Promise<void> {
    const channel = channelKey(held.tenant, held.channel);
    const state = states.get(channel);
    const size = sizeOf(targets.values());
    unconfirmed.deliveries += size.deliveries;
    unconfirmed.bytes += size.bytes;
    channels.add(channel);
    for (const target of targets.keys()) lines.add(lineKey({ ...held, target }));
    const unsent = await Promise.all(
      [...targets].map(async ([id, made]) => {
        const { deliveries } = made;
        const target = directory.target(held.tenant, id);
        const sent = sendTo(held, target, made).catch((error: unknown) => {
          deps.log.error({ err: error, target: id }, 'sending at once failed; the deliveries wait');
          return deliveries.map(newDelivery);
        });
        const inLine = target?.definition.order === 'channel';
        const waiting = inLine ? await inTurn(lineKey({ ...held, target: id }), sent, deliveries) : await sent;
        // Nothing overtakes them from here on, though their rows come with the next plan.
        if (state && states.get(channel) === state) countPending(state, id, waiting.length);
        return waiting;
      }),
    );
    unconfirmed.deliveries -= size.deliveries;
    unconfirmed.bytes -= size.bytes;
    channels.remove(channel);
    outcomes.push({ held, plan: number, targets: [...targets.keys()], unsent: unsent.flat() });
    deps.ended();
  }

  /** What of an ordered line is to be sent again: all of it once a plan in flight before it was not taken whole. */
  async function inTurn(
    line: string,
    sent: Promise<NewDelivery[]>,
    deliveries: readonly PlannedDelivery[],
  ): Promise<NewDelivery[]> {
    const before = ahead.get(line) ?? Promise.resolve(true);
    const unsent = Promise.all([before, sent]).then(([whole, own]) => (whole ? own : deliveries.map(newDelivery)));
    ahead.set(
      line,
      unsent.then((waiting) => waiting.length === 0),
    );
    return unsent;
  }

  /** Answers what was not confirmed, in order: everything of an ordered line from the first such one on. */
  async function sendTo(
    held: Held,
    target: Target | undefined,
    { deliveries, outgoing }: MadeForTarget,
  ): Promise<NewDelivery[]> {
    const sender = target && deps.senderOf(target);
    if (!target || !sender || !outgoing) return deliveries.map(newDelivery);
    const inLine = target.definition.order === 'channel';
    // An earlier plan's delivery of this line has failed since these were planned.
    if (inLine && states.get(channelKey(held.tenant, held.channel))?.pending.has(target.id))
      return deliveries.map(newDelivery);
    const results = await sender.send(outgoing);
    const failed = results.findIndex((result) => result.result !== 'delivered');
    deps.settled(
      target,
      results.map((result) => result.result),
    );
    if (failed === -1) return [];
    const lost = inLine ? deliveries.slice(failed) : deliveries.filter((_, i) => results[i]?.result !== 'delivered');
    return lost.map(newDelivery);
  }

  function outgoingOf(target: Target, ready: ReadonlyMap<number, Ready>, each: PlannedDelivery): Outgoing {
    const message = ready.get(each.sequence);
    if (!message) throw new RangeError(`plan names sequence ${each.sequence} but did not read it`);
    const made = deps.render(target, message, {
      channel: message.message.channel,
      epoch: deps.epoch,
      number: each.number,
      what: 'message',
      reason: null,
      rung: each.run.r,
      decision: each.run.d,
      late: each.run.late ?? false,
      replay: each.run.replay ?? false,
      portion: portionFor(each.run, each.target),
      attempts: 0,
    });
    if (!(made instanceof Promise)) return made;
    made.catch(() => undefined);
    throw new RangeError(`target ${target.name} has parts fetched, and is not to be sent to at once`);
  }

  function makeFor(target: Target, ready: ReadonlyMap<number, Ready>, deliveries: readonly PlannedDelivery[]) {
    try {
      return deliveries.map((each) => outgoingOf(target, ready, each));
    } catch (error) {
      deps.log.error({ err: error, target: target.id }, 'what was to be sent at once can not be made; it waits');
      return null;
    }
  }

  function decideHow(state: ChannelState, target: Target | undefined): How {
    if (!target || !goesAtOnce(target)) return 'later';
    return target.definition.order === 'channel' && state.pending.has(target.id) ? 'later' : 'now';
  }

  function goesAtOnce(target: Target): boolean {
    if (target.paused || target.definition.kind !== 'queue') return false;
    // Parts have to be fetched first, and what is sent at once must not wait: others would overtake it.
    return !target.definition.inlineParts && deps.senderOf(target) !== null;
  }

  return {
    goesAtOnce,
    how(state, directory) {
      const known = new Map<number, How>();
      return (id) => {
        const decided = known.get(id) ?? decideHow(state, directory.target(state.held.tenant, id));
        known.set(id, decided);
        return decided;
      };
    },
    make({ plan, ready }, directory) {
      const targets = new Map<number, MadeForTarget>();
      for (const [id, deliveries] of byTarget(plan.runs)) {
        const target = directory.target(plan.held.tenant, id);
        targets.set(id, { deliveries, outgoing: target ? makeFor(target, ready, deliveries) : null });
      }
      return { plan, targets };
    },
    begin(made, directory) {
      const sent = send(made, directory).finally(() => sending.delete(sent));
      sending.add(sent);
    },
    take() {
      const taken = writable();
      without(taken);
      return taken;
    },
    takeOf({ tenant, channel }) {
      const taken = outcomes.filter(({ held }) => held.tenant === tenant && held.channel === channel);
      without(taken);
      return taken;
    },
    putBack(back) {
      outcomes = [...back, ...outcomes];
    },
    written(done) {
      for (const { held, targets } of done) {
        for (const target of targets) {
          const line = lineKey({ ...held, target });
          lines.remove(line);
          if (!lines.has(line)) ahead.delete(line);
        }
      }
    },
    keepOnly(isHeld) {
      outcomes = outcomes.filter(({ held }) => isHeld(channelKey(held.tenant, held.channel)));
    },
    forget(channel) {
      lines.forget((line) => lineIn(line, channel));
      for (const line of [...ahead.keys()]) if (lineIn(line, channel)) ahead.delete(line);
    },
    inFlight: (line) => lines.has(lineKey(line)),
    isSending: (channel) => channels.has(channel),
    hasOutcome: ({ tenant, channel }) =>
      outcomes.some(({ held }) => held.tenant === tenant && held.channel === channel),
    resting: () => sending.size === 0 && outcomes.length === 0,
    unfinished: () => sending.size > 0 || writable().length > 0,
    async room(most) {
      const isTooMuch = () => unconfirmed.deliveries > most.deliveries || unconfirmed.bytes > most.bytes;
      while (isTooMuch() && sending.size > 0) await Promise.race(sending);
    },
  };
}

/** What the runs send at once, each target's in order. */
function byTarget(runs: NewPlan['runs']): Map<number, PlannedDelivery[]> {
  const targets = new Map<number, PlannedDelivery[]>();
  for (const each of deliveriesOf(runs)) {
    if (each.how !== 'now') continue;
    const group = targets.get(each.target);
    if (group) group.push(each);
    else targets.set(each.target, [each]);
  }
  return targets;
}

/** How much is kept until it has an answer; bytes that go to several targets as they are, once. */
function sizeOf(targets: Iterable<MadeForTarget>): { deliveries: number; bytes: number } {
  const bodies = new Set<Uint8Array>();
  let count = 0;
  for (const { deliveries, outgoing } of targets) {
    count += deliveries.length;
    for (const { body } of outgoing ?? []) bodies.add(body);
  }
  let bytes = 0;
  for (const body of bodies) bytes += body.length;
  return { deliveries: count, bytes };
}

/** Whether a line's key is of this channel. */
function lineIn(line: string, channel: string): boolean {
  const [tenant, , of] = line.split('/');
  return `${tenant}/${of}` === channel;
}

/** How many of each key there are; a key without any is gone. */
class Counts {
  readonly #counts = new Map<string, number>();

  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  remove(key: string): void {
    const left = (this.#counts.get(key) ?? 0) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }

  has(key: string): boolean {
    return this.#counts.has(key);
  }

  forget(isMeant: (key: string) => boolean): void {
    for (const key of [...this.#counts.keys()]) if (isMeant(key)) this.#counts.delete(key);
  }
}
