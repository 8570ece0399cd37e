import type { StoredMessage } from '../message/message.js';
import { decideByRules, type Item, poisonItem, readyOf } from './planning.js';
import type { EndedAttempt, OwnerStore, ParkedMessage } from './ports.js';
import { failedAttempt } from './reading.js';
import type { Canonical, ChannelState, ContentPort, OwnerDirectory, ParseOutcome } from './state.js';

/** How often the death of the whole process may cut off a try before it counts against the message. */
const INTERRUPTIONS = 3;

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
  readonly directory: () => OwnerDirectory;
  readonly canonical: Canonical;
}

/**
 * Tries one parked message, alone, on the rung it has come down to. Answers what an extra plan is to say of it;
 * null when it is to be tried again, lower or as before.
 */
export async function trySuspect(deps: SuspectDeps, state: ChannelState, sequence: number): Promise<Resolved | null> {
  const parked = await deps.store.parkedOne(state.held, sequence);
  if (!parked) return null;
  const [found] = await deps.store.readWithViews(state.held.tenant, state.held.channel, [parked.sequence]);
  if (!found) return poison(state, parked, 'its content is no longer kept', []);
  const rung = parked.interruptions >= INTERRUPTIONS ? deps.content.lower(parked.rung) : parked.rung;
  if (rung === null) return poison(state, parked, 'the process ended three times while it was read', []);
  const [attempt] = await deps.store.beginAttempts([
    {
      held: state.held,
      first: parked.sequence,
      last: parked.sequence,
      rung,
      stage: found.message.kind === 'mail' ? 'parse' : 'read and route',
      try: parked.interruptions + 1,
    },
  ]);
  const { message } = found;
  const outcome = await readAlone(deps.content, message, rung);
  return concludeSuspect(deps, state, { message, parked: { ...parked, rung }, outcome, attempt: attempt ?? null });
}

async function readAlone(content: ContentPort, message: StoredMessage, rung: number): Promise<ParseOutcome> {
  if (message.kind === 'mail') return content.parse(message.raw, rung);
  return { ok: true, view: content.inPlace(message, undefined, rung) };
}

/** What follows from the end of a suspect's try, also of one that had begun in the stream. */
export async function concludeSuspect(
  deps: SuspectDeps,
  state: ChannelState,
  tried: {
    readonly message: StoredMessage;
    readonly parked: ParkedMessage;
    readonly outcome: ParseOutcome;
    readonly attempt: number | null;
  },
): Promise<Resolved | null> {
  const { outcome, parked, message } = tried;
  if (outcome.ok) {
    const ready = readyOf(message, outcome.view, deps.directory(), deps.canonical);
    const item = decideByRules(ready, deps.directory(), { late: true, version: parked.version });
    const attempts: EndedAttempt[] =
      tried.attempt === null ? [] : [{ id: tried.attempt, outcome: 'processed', reason: null }];
    return { state, item, attempts, poison: [] };
  }
  const ended = failedAttempt(tried.attempt, outcome);
  const lower = outcome.ours ? parked.rung : deps.content.lower(parked.rung);
  if (lower === null) return poison(state, parked, `${outcome.stage}: ${outcome.reason}`, ended ? [ended] : []);
  if (ended) await deps.store.endAttempts(state.held, [ended]);
  await deps.store.park(state.held, parked.sequence, lower, `${outcome.stage}: ${outcome.reason}`);
  return null;
}

function poison(
  state: ChannelState,
  parked: ParkedMessage,
  reason: string,
  attempts: readonly EndedAttempt[],
): Resolved {
  return { state, item: poisonItem(parked.sequence, parked.rung, reason), attempts, poison: [parked.sequence] };
}
