import type { Target } from '../delivery/target.js';
import type { Clock } from '../message/clock.js';
import type { Outgoing, SendResult } from '../message/delivery.js';
import { readyOf } from './planning.js';
import type { DueDelivery, Held, OwnerStore, Settled, WaitingLine } from './ports.js';
import {
  type Canonical,
  type ChannelState,
  channelKey,
  countPending,
  type OwnerDirectory,
  type Ready,
  type Render,
  type SenderOf,
} from './state.js';

/** What a result of one try leads to (delivery/retry.ts). */
export type AfterTry = (
  due: DueDelivery,
  result: SendResult,
  target: Target,
  /** When the try began and ended, milliseconds since 1970. */
  startedAt: number,
  now: number,
) => {
  readonly becomes: Settled['becomes'];
  readonly pause: { readonly code: string; readonly reason: string } | null;
};

export interface DispatchDeps {
  readonly store: OwnerStore;
  readonly directory: () => OwnerDirectory;
  readonly senderOf: SenderOf;
  readonly render: Render;
  readonly canonical: Canonical;
  readonly afterTry: AfterTry;
  readonly epoch: number;
  readonly clock: Clock;
  /** Reads an event's view in place; mail's views are stored. */
  readonly viewInPlace: (message: Ready['message'], rung: number) => Ready['view'];
  readonly states: ReadonlyMap<string, ChannelState>;
  /** Whether something of a line was sent at once and is not written down: it may yet have to go before what waits. */
  readonly inFlight: (line: WaitingLine) => boolean;
  readonly onPaused: (target: Target, code: string, reason: string) => void;
  readonly onSettled: (target: Target, settled: readonly Settled[]) => void;
}

/** How many waiting deliveries of a target in line are taken at a time, and how many bytes: they are in memory at once. */
const LINE_BATCH = 1000;
const BATCH_BYTES = 32 * 1024 * 1024;

/** As many from the front as fit; the first one always goes. */
function withinBytes(due: readonly DueDelivery[]): DueDelivery[] {
  let bytes = 0;
  const end = due.findIndex((each, i) => {
    bytes += each.size;
    return i > 0 && bytes > BATCH_BYTES;
  });
  return due.slice(0, end === -1 ? due.length : end);
}

/**
 * Sends what waits for one target, as far as it may go now. Answers true when there may be more at once.
 * A target in line gets its heads together, in order; one without order gets each by itself, several at a time.
 */
export async function dispatchTarget(deps: DispatchDeps, target: Target, underWay: Set<string>): Promise<boolean> {
  const sender = deps.senderOf(target);
  const inLine = target.definition.order === 'channel';
  const held = heldOf(deps.states, target.tenant.id).filter(
    ({ tenant, channel }) => !inLine || !deps.inFlight({ tenant, channel, target: target.id }),
  );
  // A sender that has given its target up for a while is left alone: asking it would only rewrite the rows.
  if (!sender || (sender.resting?.() ?? 0) > 0) return false;
  if (target.paused || held.length === 0 || !hasPending(deps.states, target)) return false;
  const room = roomOf(target, underWay);
  if (room <= 0) return false;
  const wanted = { tenant: target.tenant.id, id: target.id, inLine };
  const found = await deps.store.due(wanted, held, room + underWay.size);
  const due = withinBytes(found.filter((each) => !underWay.has(keyOf(each))).slice(0, room));
  if (due.length === 0) return false;
  for (const each of due) underWay.add(keyOf(each));
  try {
    const outgoing = await outgoingOf(deps, target, due);
    if (inLine) {
      await tryTogether(deps, target, outgoing);
    } else {
      await Promise.all(outgoing.map((each) => tryTogether(deps, target, [each])));
    }
  } finally {
    for (const each of due) underWay.delete(keyOf(each));
  }
  return found.length >= room;
}

function roomOf(target: Target, underWay: Set<string>): number {
  const { definition } = target;
  switch (definition.kind) {
    case 'queue':
    case 'pull':
      return LINE_BATCH - underWay.size;
    case 'webhook':
      return definition.concurrency - underWay.size;
    case 'email':
      return definition.connections - underWay.size;
    default: {
      const never: never = definition;
      throw never;
    }
  }
}

function heldOf(states: ReadonlyMap<string, ChannelState>, tenant: number): Held[] {
  return [...states.values()].filter((state) => state.held.tenant === tenant).map((state) => state.held);
}

function hasPending(states: ReadonlyMap<string, ChannelState>, target: Target): boolean {
  for (const state of states.values()) {
    if (state.held.tenant === target.tenant.id && state.pending.has(target.id)) return true;
  }
  return false;
}

export function keyOf(due: { target: number; channel: number; epoch: number; number: number }): string {
  return `${due.target}/${due.channel}/${due.epoch}/${due.number}`;
}

interface Prepared {
  readonly due: DueDelivery;
  readonly outgoing: Outgoing;
}

/** Looks up the messages of deliveries and makes what goes on the wire. */
async function outgoingOf(deps: DispatchDeps, target: Target, due: readonly DueDelivery[]): Promise<Prepared[]> {
  const directory = deps.directory();
  const ready = new Map<string, Ready>();
  for (const [channel, deliveries] of byChannelOf(due, (each) => each.channel)) {
    const sequences = [...new Set(deliveries.map((each) => each.sequence))];
    for (const { message, view } of await deps.store.readWithViews(target.tenant.id, channel, sequences)) {
      const seen = view ?? deps.viewInPlace(message, 0);
      ready.set(
        channelKey(channel, message.sequence),
        readyOf({ message, parsed: undefined }, seen, directory, deps.canonical),
      );
    }
  }
  const prepared: Prepared[] = [];
  for (const each of due) {
    const message = ready.get(channelKey(each.channel, each.sequence));
    // Content that retention has dropped can not be sent any more; its number stays due until someone cancels it.
    if (message) prepared.push({ due: each, outgoing: await deps.render(target, message, each) });
  }
  return prepared;
}

async function tryTogether(deps: DispatchDeps, target: Target, prepared: readonly Prepared[]): Promise<void> {
  const sender = deps.senderOf(target);
  if (!sender) return;
  const startedAt = deps.clock.now();
  const begun = deps.clock.monotonic();
  const results = await sender.send(prepared.map((each) => each.outgoing));
  const tookMs = deps.clock.monotonic() - begun;
  const settled: Settled[] = [];
  let pause: { code: string; reason: string } | null = null;
  prepared.forEach(({ due }, i) => {
    const result = results[i];
    if (!result) return;
    const after = deps.afterTry(due, result, target, startedAt, deps.clock.now());
    pause ??= after.pause;
    settled.push({ due, result, startedAt, tookMs, becomes: after.becomes });
  });
  await settleByChannel(deps, target, settled);
  if (pause !== null) await pauseTarget(deps, target, pause);
}

async function pauseTarget(deps: DispatchDeps, target: Target, pause: { code: string; reason: string }): Promise<void> {
  await deps.store.pauseTarget(target.tenant.id, target.id, pause.code, pause.reason);
  deps.onPaused(target, pause.code, pause.reason);
}

async function settleByChannel(deps: DispatchDeps, target: Target, settled: readonly Settled[]): Promise<void> {
  for (const [channel, ofChannel] of byChannelOf(settled, (each) => each.due.channel)) {
    const state = deps.states.get(channelKey(target.tenant.id, channel));
    // Somebody else's by now: the next owner sends it again under the same number.
    if (!state) continue;
    await deps.store.settle(state.held, ofChannel);
    for (const each of ofChannel) if (!stillWaits(each)) countPending(state, target.id, -1);
  }
  deps.onSettled(target, settled);
}

/** Whether the delivery's row is still to be sent: as it was, or as the notice that its number is void. */
function stillWaits({ due, becomes }: Settled): boolean {
  switch (becomes.state) {
    case 'delivered':
      return false;
    case 'pending':
      return true;
    case 'failed':
      return due.what === 'message' && becomes.voided;
    default: {
      const never: never = becomes;
      throw never;
    }
  }
}

function byChannelOf<T>(items: readonly T[], channelOf: (item: T) => number): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const group = groups.get(channelOf(item));
    if (group) group.push(item);
    else groups.set(channelOf(item), [item]);
  }
  return groups;
}
