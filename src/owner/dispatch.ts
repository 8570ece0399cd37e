import type { Room } from '../channel/room.js';
import type { Target } from '../delivery/target.js';
import type { Clock } from '../message/clock.js';
import type { Outgoing, SendResult } from '../message/delivery.js';
import { grouped } from '../message/grouped.js';
import type { Place } from '../message/id.js';
import { readyOf } from './planning.js';
import type { DueDelivery, Held, OwnerStore, Settled, WaitingLine } from './ports.js';
import {
  type Canonical,
  type ChannelStates,
  channelKey,
  countPending,
  type OwnerDirectory,
  type Ready,
  type Render,
  type SenderOf,
} from './state.js';
import type { UnderWay } from './under-way.js';

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
  readonly states: ChannelStates;
  /** Bytes of messages that are being sent, of all targets; tenants share it. */
  readonly memory: Room;
  /** Whether something of a line was sent at once and is not written down: it may yet have to go before what waits. */
  readonly inFlight: (line: WaitingLine) => boolean;
  /** Goes on beside the dispatcher; a failure of it is said, and the delivery is taken up again. */
  readonly aside: (work: Promise<unknown>) => void;
  readonly onPaused: (target: Target, code: string, reason: string) => void;
  readonly onSettled: (target: Target, settled: readonly Settled[]) => void;
}

/** How many waiting deliveries of a target in line are taken at a time, and how many bytes: they are in memory at once. */
const LINE_BATCH = 4_000;
const BATCH_BYTES = 32 * 1024 * 1024;

/** As many from the front as there is memory for. One that is larger than all of it goes when nothing else does. */
function withinBytes(due: readonly DueDelivery[], memory: Room): DueDelivery[] {
  let bytes = 0;
  const end = due.findIndex((each, i) => {
    bytes += each.size;
    if (i > 0 && bytes > BATCH_BYTES) return true;
    return !memory.fits(each.tenant, bytes) && (i > 0 || memory.used > 0);
  });
  return due.slice(0, end === -1 ? due.length : end);
}

/**
 * Sends what waits for one target, as far as it may go now. Answers true when there may be more at once.
 * A target in line gets its heads together, in order. One without order gets each by itself, several at a time; those
 * go on by themselves, and the next one is taken as soon as one of them ends.
 */
export async function dispatchTarget(deps: DispatchDeps, target: Target, underWay: UnderWay): Promise<boolean> {
  const sender = deps.senderOf(target);
  // A sender that has given its target up for a while is left alone: asking it would only rewrite the rows.
  if (!sender || (sender.resting?.() ?? 0) > 0 || target.paused) return false;
  const inLine = target.definition.order === 'channel';
  const held = waitingChannels(deps, target).filter(
    ({ tenant, channel }) => !inLine || !deps.inFlight({ tenant, channel, target: target.id }),
  );
  underWay.look();
  const room = roomOf(target, underWay);
  if (held.length === 0 || room <= 0) return false;
  const wanted = { tenant: target.tenant.id, id: target.id, inLine };
  const found = await deps.store.due(wanted, held, room + underWay.size);
  // A channel may have been given to another owner while the store was asked.
  const ours = found.filter((each) => isRead(deps, each, held) && !underWay.has(keyOf(each)));
  const due = withinBytes(ours.slice(0, room), deps.memory);
  if (due.length === 0) return false;
  for (const each of due) {
    underWay.begin(keyOf(each));
    deps.memory.add(each.tenant, each.size);
  }
  if (inLine) return (await tryAndRelease(deps, target, due, underWay)) > 0;
  for (const each of due) deps.aside(tryAndRelease(deps, target, [each], underWay));
  return false;
}

/** Tries deliveries together and forgets that they are under way, whatever happens. Answers how many were taken. */
async function tryAndRelease(
  deps: DispatchDeps,
  target: Target,
  due: readonly DueDelivery[],
  underWay: UnderWay,
): Promise<number> {
  try {
    return await tryTogether(deps, target, await outgoingOf(deps, target, due));
  } finally {
    for (const each of due) {
      underWay.end(keyOf(each));
      deps.memory.remove(each.tenant, each.size);
    }
  }
}

function roomOf(target: Target, underWay: UnderWay): number {
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

/** Channels of this process in which something waits for the target. */
function waitingChannels(deps: DispatchDeps, target: Target): Held[] {
  return deps.states
    .ofTenant(target.tenant.id)
    .filter((state) => state.leavingSince === null && state.pending.has(target.id))
    .map((state) => state.held);
}

/** Whether this process still reads the channel as it did when it began to look, and is not about to leave it. */
function isRead(deps: DispatchDeps, { tenant, channel }: DueDelivery, held: readonly Held[]): boolean {
  const state = deps.states.get(channelKey(tenant, channel));
  return state?.leavingSince === null && held.includes(state.held);
}

export function keyOf(due: { target: number; channel: number; epoch: number; number: number }): string {
  return `${due.target}/${due.channel}/${due.epoch}/${due.number}`;
}

/** Whether a key is of a delivery of this channel. */
export function keyIn(key: string, channel: number): boolean {
  return key.split('/')[1] === String(channel);
}

interface Prepared {
  readonly due: DueDelivery;
  /** What goes on the wire, or why nothing can. */
  readonly outgoing: Outgoing | Refused;
}

/** Looks up the messages of deliveries and makes what goes on the wire. */
async function outgoingOf(deps: DispatchDeps, target: Target, due: readonly DueDelivery[]): Promise<Prepared[]> {
  const ready = await readyOfEach(deps, target, due);
  const prepared: Prepared[] = [];
  for (const each of due) {
    const message = ready(each);
    const outgoing = isLeft(each, message) ? ((await deps.render(target, message, each)) ?? PORTION_GONE) : GONE;
    prepared.push({ due: each, outgoing });
  }
  return prepared;
}

/** Looks up the messages of deliveries of one target; what it answers with finds them. */
export async function readyOfEach(
  deps: Pick<DispatchDeps, 'directory' | 'canonical' | 'viewInPlace'> & {
    readonly store: Pick<OwnerStore, 'readWithViews'>;
  },
  target: Target,
  deliveries: readonly (Place & { readonly rung: number })[],
): Promise<(place: Place) => Ready | undefined> {
  // Of a message that goes to it more than once, the first one says on which rung it was read.
  const wanted = new Map(deliveries.toReversed().map((each) => [placeKey(each), each]));
  const ready = new Map<string, Ready>();
  for (const { message, view, thread } of await deps.store.readWithViews(target.tenant.id, [...wanted.values()])) {
    const key = placeKey(message);
    const seen = view ?? deps.viewInPlace(message, wanted.get(key)?.rung ?? 0);
    ready.set(key, readyOf(message, seen, deps.directory(), deps.canonical, undefined, thread));
  }
  return (place) => ready.get(placeKey(place));
}

function placeKey({ channel, sequence }: Place): string {
  return `${channel}/${sequence}`;
}

/** Of a message that was erased nothing goes out but the notice that its number is void. */
export function isLeft(due: Pick<DueDelivery, 'what'>, ready: Ready | undefined): ready is Ready {
  return ready !== undefined && (due.what === 'void' || !ready.message.erased);
}

type Refused = Extract<SendResult, { result: 'refused' }>;

const GONE: Refused = { result: 'refused', code: 'content_gone', reason: 'its content is no longer kept' };
const PORTION_GONE: Refused = {
  result: 'refused',
  code: 'portion_gone',
  reason: 'the attachment it was to be can not be read any more',
};

function isRefused(outgoing: Outgoing | Refused): outgoing is Refused {
  return 'result' in outgoing;
}

async function tryTogether(deps: DispatchDeps, target: Target, prepared: readonly Prepared[]): Promise<number> {
  const sender = deps.senderOf(target);
  if (!sender) return 0;
  const startedAt = deps.clock.now();
  const begun = deps.clock.monotonic();
  const sendable = prepared.flatMap(({ outgoing }) => (isRefused(outgoing) ? [] : [outgoing]));
  const results = await sender.send(sendable);
  const tookMs = deps.clock.monotonic() - begun;
  const settled: Settled[] = [];
  let pause: { code: string; reason: string } | null = null;
  let at = 0;
  for (const each of prepared) {
    const result = isRefused(each.outgoing) ? each.outgoing : results[at++];
    if (!result) continue;
    const after = deps.afterTry(each.due, result, target, startedAt, deps.clock.now());
    pause ??= after.pause;
    settled.push({ due: each.due, result, startedAt, tookMs, becomes: after.becomes });
  }
  await settleAll(deps, target, settled);
  if (pause !== null) await pauseTarget(deps, target, pause);
  return settled.filter((each) => each.becomes.state !== 'pending').length;
}

async function pauseTarget(deps: DispatchDeps, target: Target, pause: { code: string; reason: string }): Promise<void> {
  await deps.store.pauseTarget(target.tenant.id, target.id, pause.code, pause.reason);
  deps.onPaused(target, pause.code, pause.reason);
}

/** Writes down what became of them. One channel that has gone to another owner, or can't be written, keeps no other from it. */
async function settleAll(deps: DispatchDeps, target: Target, settled: readonly Settled[]): Promise<void> {
  const byChannel = [...grouped(settled, (each) => each.due.channel)].flatMap(([channel, ofChannel]) => {
    const state = deps.states.get(channelKey(target.tenant.id, channel));
    // Somebody else's by now: the next owner sends it again under the same number.
    return state ? [{ state, ofChannel }] : [];
  });
  const settle = async (channels: typeof byChannel) => {
    await deps.store.settle(
      channels.map(({ state }) => state.held),
      channels.flatMap(({ ofChannel }) => ofChannel),
    );
    for (const { state, ofChannel } of channels)
      for (const each of ofChannel) if (!stillWaits(each)) countPending(state, target.id, -1);
  };
  try {
    if (byChannel.length > 0) await settle(byChannel);
  } catch (error) {
    if (byChannel.length === 1) throw error;
    const apart = await Promise.allSettled(byChannel.map((one) => settle([one])));
    for (const each of apart) if (each.status === 'rejected') throw each.reason;
  } finally {
    deps.onSettled(target, settled);
  }
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
