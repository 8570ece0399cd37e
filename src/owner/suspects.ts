import type { StoredMessage } from '../message/message.js';
import type { LadderPlace } from '../message/view.js';
import { type Crashes, furtherDown } from './crashes.js';
import { decideByRules, type Item, poisonItem, readyOf } from './planning.js';
import type { EndedAttempt, OwnerStore, ParkedMessage } from './ports.js';
import { failedAttempt, isFurtherDown, parseMail, reasonOf } from './reading.js';
import type { Canonical, ChannelState, ContentPort, OwnerDirectory, ParseOutcome, ThreadPort } from './state.js';
import { inThreads } from './threads.js';

/** A parked message that may go on: an extra plan is to carry it. */
export interface Resolved {
  readonly state: ChannelState;
  readonly item: Item;
  readonly attempts: readonly EndedAttempt[];
  readonly poison: readonly number[];
}

export interface SuspectDeps {
  readonly store: OwnerStore;
  readonly content: ContentPort;
  readonly crashes: Crashes;
  readonly threads: ThreadPort;
  readonly directory: () => OwnerDirectory;
  readonly canonical: Canonical;
}

/** When something around us failed: not at once, lest it be tried in vain without end. */
const AGAIN_MS = 1_000;

/**
 * Tries one parked message, alone, where it has come down to. Answers what an extra plan is to say of it; null when it
 * is to be tried again, lower or as before.
 */
export async function trySuspect(deps: SuspectDeps, state: ChannelState, sequence: number): Promise<Resolved | null> {
  const { content, crashes, store } = deps;
  const { tenant, channel } = state.held;
  const [found] = await store.readWithViews(tenant, [{ channel, sequence }]);
  const crashHash = found?.message.kind === 'mail' ? content.crashHash(found.message.raw) : null;
  const twinOf = () => (crashHash === null ? null : crashes.twinEnded(tenant, crashHash));
  for (let twin = twinOf(); twin; twin = twinOf()) await twin;
  const parked = await store.parkedOne(state.held, sequence);
  if (!parked) return null;
  if (!found) return poison(state, parked, 'its content is no longer kept', []);
  const { message } = found;
  const known = crashHash === null || parked.byHand ? null : crashes.placeOf(message.tenant, crashHash);
  const own = content.afterInterruptions(message.kind, parked.place);
  const place = known === null ? own : furtherDown(own, known);
  if (content.isPoison(message.kind, place.rung)) return poison(state, parked, whyPoison(parked, place), []);
  // Interruptions are counted on the rung where it stands.
  if (own.rung !== parked.place.rung) {
    await store.park(state.held, { ...parked, place: own }, 'the process ended again and again while it was read', 0);
  }
  const isMail = message.kind === 'mail';
  const [attempt = null] = await store.beginAttempts([
    {
      held: state.held,
      first: parked.sequence,
      last: parked.sequence,
      rung: place.rung,
      blamed: place.blamed,
      stage: isMail ? 'begun' : 'read and route',
      try: place.interruptions + 1,
      crashHash,
      tryMs: isMail ? content.tryMs : null,
    },
  ]);
  const outcome: ParseOutcome =
    crashHash === null
      ? { ok: true, view: content.inPlace(message, undefined, place.rung), child: null }
      : await parseMail(deps, message, { crashHash, place }, true);
  if (outcome.ok && parked.byHand && crashHash !== null) crashes.forget(message.tenant, crashHash);
  return concludeSuspect(deps, state, { message, parked: { ...parked, place }, outcome, attempt });
}

function whyPoison(parked: ParkedMessage, place: LadderPlace): string {
  if (isFurtherDown(place, parked.place) && parked.place.interruptions === 0) {
    return 'a message with the same content could not be read on any rung';
  }
  return parked.place.interruptions > 0
    ? 'the process ended again and again while it was read'
    : 'it could not be read on any rung';
}

/** What follows from the end of a suspect's try, also of one that had begun in the stream. */
export async function concludeSuspect(
  deps: SuspectDeps,
  state: ChannelState,
  tried: {
    readonly message: StoredMessage;
    readonly parked: ParkedMessage;
    readonly outcome: ParseOutcome | 'not_tried';
    readonly attempt: number | null;
  },
): Promise<Resolved | null> {
  const { outcome, parked, message, attempt } = tried;
  if (outcome === 'not_tried') {
    if (attempt !== null)
      await deps.store.endAttempts(state.held, [{ id: attempt, outcome, reason: null, child: null }]);
    return null;
  }
  if (outcome.ok) {
    const directory = deps.directory();
    const { view, written } = outcome;
    const ready = { ...readyOf(message, view, directory, deps.canonical), written };
    const decided = decideByRules(ready, directory, { late: true, version: parked.version });
    // It has its number in its conversation since it was set aside, or takes one now.
    const [[item = decided] = []] = await inThreads(deps, [{ held: state.held, items: [decided] }], directory);
    const attempts: EndedAttempt[] =
      attempt === null ? [] : [{ id: attempt, outcome: 'processed', reason: null, child: outcome.child }];
    return { state, item, attempts, poison: [] };
  }
  const ended = attempt === null ? [] : [failedAttempt(attempt, outcome)];
  const reason = reasonOf(outcome);
  const place = outcome.ours ? parked.place : outcome.next;
  if (deps.content.isPoison(message.kind, place.rung)) return poison(state, { ...parked, place }, reason, ended);
  if (ended.length > 0) await deps.store.endAttempts(state.held, ended);
  // Only a failure of its own ends what a person chose.
  const byHand = outcome.ours && parked.byHand;
  await deps.store.park(state.held, { sequence: parked.sequence, place, byHand }, reason, outcome.ours ? AGAIN_MS : 0);
  return null;
}

function poison(
  state: ChannelState,
  { sequence, place }: ParkedMessage,
  reason: string,
  attempts: readonly EndedAttempt[],
): Resolved {
  return { state, item: poisonItem(sequence, place.rung, reason), attempts, poison: [sequence] };
}
