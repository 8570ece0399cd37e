import type { Decided } from '../delivery/plan.js';
import { whyNoPortion } from '../delivery/portion.js';
import { type Change, changeOf } from '../routing/thread/changes.js';
import type { ThreadContent } from '../routing/thread/content.js';
import { type Earlier, followed, knownTo } from '../routing/thread/follow.js';
import type { ThreadKeys } from '../routing/thread/keys.js';
import { type Item, standingOf } from './planning.js';
import type { Held, NewInThread, OwnerStore, PlacedInThread } from './ports.js';
import { channelKey, type OwnerDirectory, type Ready, type ThreadPort } from './state.js';

export interface ThreadDeps {
  readonly store: Pick<OwnerStore, 'placeInThreads'>;
  readonly threads: ThreadPort;
}

/** What rules came to for messages of one channel, in its order. */
export interface DecidedBatch {
  readonly held: Held;
  readonly items: readonly Item[];
}

/** Why a message goes nowhere that brings its conversation nothing. */
const NOTHING_NEW = 'nothing in it is new to its conversation';

/** Whether any of them can belong to a conversation: if not, nothing is asked of the database for them. */
export function mayBelong(items: readonly Item[], threads: ThreadPort): boolean {
  return items.some(({ ready, unread }) => {
    const message = ready?.message ?? unread;
    return message !== undefined && threads.mayBelong(message);
  });
}

interface InThread extends NewInThread {
  readonly item: Item;
  /** Null for one that is set aside: its number is kept for it, and what it comes to is found when it is read. */
  readonly ready: Ready | null;
  /** Milliseconds since 1970. No later than what its channel took after it. */
  readonly receivedAt: number;
}

/**
 * Gives messages that rules were asked about their places in their conversations, all of them at once, and decides anew what
 * follows from that: where no rule matched, a message goes where the one before it went, and a target that wants changes
 * only gets what is new. Answers the items of each batch, in order.
 */
export async function inThreads(
  deps: ThreadDeps,
  batches: readonly DecidedBatch[],
  directory: OwnerDirectory,
): Promise<Item[][]> {
  const wanted = batches.flatMap((batch) => threadedOf(batch, deps.threads, directory));
  wanted.sort((a, b) => a.receivedAt - b.receivedAt || a.held.channel - b.held.channel);
  const places = wanted.length === 0 ? [] : await deps.store.placeInThreads(wanted);
  const decided = decideAll(wanted, places, directory);
  return batches.map(({ held, items }) => items.map((item) => decided.get(placeKey(held, item.decided)) ?? item));
}

function placeKey({ tenant, channel }: Pick<Held, 'tenant' | 'channel'>, { sequence }: { readonly sequence: number }) {
  return `${channelKey(tenant, channel)}/${sequence}`;
}

/** Those that have something by which others can belong with them. */
function threadedOf({ held, items }: DecidedBatch, threads: ThreadPort, directory: OwnerDirectory): InThread[] {
  let receivedAt = 0;
  return items.flatMap((item): InThread[] => {
    const { ready, unread, decided } = item;
    const message = ready?.message ?? unread;
    if (!message || !threads.mayBelong(message)) return [];
    receivedAt = Math.max(receivedAt, message.arrivedAt);
    const keys = ready ? threads.keysOf(ready) : threads.keysOfUnread(message);
    if (!keys) return [];
    if (!ready) {
      return [{ held, sequence: decided.sequence, keys, content: null, asks: false, item, ready, receivedAt }];
    }
    const content = threads.contentOf(ready);
    const asks =
      setWithoutMatch(decided) !== null || decided.targets.some((id) => wantsChanges(directory, held.tenant, id));
    return [{ held, sequence: decided.sequence, keys, content, asks, item, ready, receivedAt }];
  });
}

/** Of the set that was asked; null where a rule of it matched. What a conversation says goes before what is probable. */
function setWithoutMatch({ mode, decider }: Decided): number | null {
  if (decider.by === 'suggestion') return decider.set;
  return mode === 'wait' && decider.by === 'rules' && decider.rules.length === 0 ? decider.set : null;
}

function wantsChanges(directory: OwnerDirectory, tenant: number, target: number): boolean {
  return directory.target(tenant, target)?.definition.threads === 'changes';
}

/** One after another by their numbers: what becomes of one counts for the next. */
function decideAll(
  wanted: readonly InThread[],
  places: readonly PlacedInThread[],
  directory: OwnerDirectory,
): Map<string, Item> {
  const all = wanted.map((one, i) => ({ one, place: places[i] as PlacedInThread }));
  all.sort(
    (a, b) => a.one.held.tenant - b.one.held.tenant || a.place.id - b.place.id || a.place.number - b.place.number,
  );
  const decided = new Map<string, Item>();
  for (const { one, place } of all) {
    const { tenant } = one.held;
    const before = place.before.map((earlier): Earlier => {
      const now = decided.get(placeKey({ tenant, channel: earlier.channel }, earlier));
      return now ? { ...earlier, targets: now.goesTo ?? [] } : earlier;
    });
    if (one.ready)
      decided.set(placeKey(one.held, one), itemInThread({ ...one, ready: one.ready }, { ...place, before }, directory));
  }
  return decided;
}

/** What a message comes to in its conversation. */
function itemInThread(
  { item, ready, keys, content, held }: InThread & { readonly ready: Ready },
  place: PlacedInThread,
  directory: OwnerDirectory,
): Item {
  const { id, number, before } = place;
  const thread = { id, number };
  const decision = following(
    item.decided,
    keys,
    place,
    (target) => directory.target(held.tenant, target) !== undefined,
  );
  const goesTo = decision.mode === 'deliver' ? decision.targets : [];
  const decided = onlyChanges(decision, (target) => changeFor(held.tenant, target, content, before, directory));
  const { version = 1 } = item.standing ?? {};
  const standing = decided === item.decided ? item.standing : standingOf(decided, { late: decided.late, version });
  return { ...item, decided, standing, ready: { ...ready, thread }, goesTo };
}

/** Where no rule matched, the conversation's course decides. */
function following(
  decided: Decided,
  keys: ThreadKeys,
  { id, before }: PlacedInThread,
  isThere: (target: number) => boolean,
): Decided {
  const set = setWithoutMatch(decided);
  if (set === null) return decided;
  const leader = followed(keys, before);
  const targets = leader?.targets?.filter(isThere) ?? [];
  if (!leader || targets.length === 0) return decided;
  const decider = { by: 'thread', set, thread: id, number: leader.number } as const;
  return { ...decided, mode: 'deliver', decider, targets };
}

function changeFor(
  tenant: number,
  target: number,
  content: ThreadContent | null,
  before: readonly Earlier[],
  directory: OwnerDirectory,
): Change {
  const definition = directory.target(tenant, target)?.definition;
  if (definition?.threads !== 'changes') return { send: 'whole' };
  const change = changeOf(content, knownTo(target, before));
  // Raw bytes have no fields.
  if (change.send === 'fields' && whyNoPortion(definition, { fields: change.fields })) return { send: 'whole' };
  return change;
}

/** Leaves out of a delivery what its targets have already. Of one that comes late, what came after it may be all they know. */
function onlyChanges(decided: Decided, changeFor: (target: number) => Change): Decided {
  if (decided.mode !== 'deliver' || decided.late) return decided;
  const changes = decided.targets.map((target) => ({ target, change: changeFor(target) }));
  if (changes.every(({ change }) => change.send === 'whole')) return decided;
  const targets = changes.flatMap(({ target, change }) => (change.send === 'nothing' ? [] : [target]));
  if (targets.length === 0) return { ...decided, mode: 'close', targets, why: NOTHING_NEW };
  const updated = Object.fromEntries(
    changes.flatMap(({ target, change }) => (change.send === 'fields' ? [[target, change.fields]] : [])),
  );
  return Object.keys(updated).length === 0 ? { ...decided, targets } : { ...decided, targets, updated };
}
