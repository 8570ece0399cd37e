import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { SequencedRow } from '../channel/accept.js';
import { Room } from '../channel/room.js';
import type { Target } from '../delivery/target.js';
import type { Clock } from '../message/clock.js';
import type { SendResult } from '../message/delivery.js';
import { createReadAhead } from './ahead.js';
import { createAtOnce, type Made } from './at-once.js';
import { createBell } from './bell.js';
import type { Crashes } from './crashes.js';
import { drawDecision } from './decisions.js';
import { type AfterTry, type DispatchDeps, dispatchTarget, keyIn, keyOf } from './dispatch.js';
import { createDraining } from './draining.js';
import { createHandover } from './handover.js';
import { createHolding } from './holding.js';
import type { LeaseSettings, LeaseStore } from './leases.js';
import { drawExtra, drawStream, type Item, itemsOf } from './planning.js';
import {
  FencedOut,
  type OwnerStore,
  type PlanOutcome,
  type Quarantined,
  type Settled,
  type WaitingLine,
} from './ports.js';
import { hasNext, type Reading } from './reading.js';
import { recount } from './recount.js';
import { restAfter } from './rest.js';
import {
  type Canonical,
  type ChannelState,
  ChannelStates,
  type ContentPort,
  channelKey,
  countPending,
  type OwnerDirectory,
  type ParseOutcome,
  type Render,
  type SenderOf,
  type ThreadPort,
} from './state.js';
import { concludeSuspect, type Resolved, type SuspectDeps, trySuspect } from './suspects.js';
import { inThreads, mayBelong } from './threads.js';
import { createTurns, type Trouble } from './turns.js';
import { UnderWay } from './under-way.js';

export interface OwnerSettings extends LeaseSettings {
  /** How long a lost notice may go unnoticed. */
  readonly pollMs: number;
  readonly parkAfterMs: number;
  /** A round takes at most so many messages of all channels together. */
  readonly roundRows: number;
  readonly roundBytes: number;
  readonly handoverBytes: number;
  /** Deliveries sent at once whose answer is still out, and bytes of their bodies; beyond it the next round waits. */
  readonly maxUnconfirmed: number;
  readonly maxUnconfirmedBytes: number;
  /** What the dispatchers of all targets may have in memory. */
  readonly dispatchBytes: number;
}

export interface OwnerDeps {
  readonly process: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** Whether this process reads channels onward; else it only shows that it lives. */
  readonly owns: boolean;
  readonly epoch: number;
  readonly store: OwnerStore;
  readonly leases: LeaseStore;
  readonly content: ContentPort;
  readonly crashes: Crashes;
  readonly threads: ThreadPort;
  readonly directory: () => OwnerDirectory;
  readonly senderOf: SenderOf;
  readonly render: Render;
  readonly canonical: Canonical;
  readonly afterTry: AfterTry;
  readonly clock: Clock;
  readonly log: Logger;
  readonly settings: OwnerSettings;
  readonly observe: OwnerObserver;
}

/** What others in this process want to hear of: metrics, live pages, long polls. */
export interface OwnerObserver {
  /** Messages of a channel, by their sequences, have been decided. */
  planned(tenant: number, channel: number, first: number, last: number): void;
  /** The view of a mail was written, and these are its words. */
  viewed(
    tenant: number,
    channel: number,
    view: { readonly sequence: number; readonly rung: number },
    words: string,
  ): void;
  /** Deliveries of a target wait: somebody may fetch them. */
  pending(tenant: number, target: number): void;
  paused(target: Target, code: string, reason: string): void;
  settled(target: Target, results: readonly SendResult['result'][]): void;
  attempts(outcome: 'processed' | 'failed' | 'parked', count: number): void;
  /** No rung could read a message: it is in quarantine. */
  quarantined(entry: Quarantined): void;
  /** Channels were given back: others may take them. */
  given(): void;
  /** Messages were accepted here that another process is to read. */
  foreign(tenant: number, channel: number, last: number): void;
}

export interface Owner {
  /** Registers, takes what nobody living holds, and begins. */
  start(): Promise<void>;
  /** Hands over what this process has just made durable. */
  sequenced(rows: readonly SequencedRow[]): void;
  /** Another process made messages of a channel durable, up to this sequence. */
  stored(tenant: number, channel: number, last: number): void;
  /** Channels may have become free. */
  lookForLeases(): void;
  /** Whether others may have to hear what this process does. */
  accompanied(): boolean;
  /** A decision was made, or a target changed: look at once. */
  wake(): void;
  /** A delivery ended without the owner's doing, and the notice of its number is due. */
  voided(line: WaitingLine): void;
  /** Channels held, for the status page. */
  held(): readonly { readonly tenant: number; readonly channel: number; readonly planned: number }[];
  /** Ends what is under way, writes its outcome, gives the leases back. */
  stop(): Promise<void>;
}

/**
 * The owner of channels. It reads each channel onward in rounds:
 *
 *   take the next messages → make their tries durable → read → decide → number them in their conversations, and decide anew
 *   what follows from that → make what goes at once → write the plans → send it
 *
 * What a round sent is written down with the next one's plans, or by itself when nothing comes. Beside the rounds run
 * the dispatcher (deliveries that wait), the suspects' reader (parked messages, one at a time) and the beat. All of
 * them only collect what is to be planned: numbers are given in rounds alone, so one at a time.
 */
export function createOwner(deps: OwnerDeps): Owner {
  const { store, clock, settings, log } = deps;
  const states = new ChannelStates();
  const handover = createHandover(settings.handoverBytes);
  const resolved: Resolved[] = [];
  /** Parked messages that are being tried or wait to be planned, of each channel as it is held now: one that begins anew has none. */
  const trying = new WeakMap<ChannelState, Set<number>>();
  const dispatching = new Map<string, UnderWay>();
  const late = new Set<Promise<void>>();
  const beside = new Set<Promise<unknown>>();
  // Channels whose last round failed: each is read alone until a round of it succeeds, so that one holds up nobody else.
  const trouble = new Map<string, Trouble>();
  /** Channels of the round that is under way, or of the last one. */
  const inRound = { running: false, keys: new Set<string>() };
  // Keys of deliveries that an unassign is about to cancel: not to be sent meanwhile.
  let reserved: { readonly underWay: UnderWay; readonly key: string }[] = [];
  let loops: Promise<unknown> = Promise.resolve();
  let beating: Promise<void> = Promise.resolve();
  let stopping = false;
  const bell = createBell();
  const dispatchBell = createBell();
  const suspectBell = createBell();

  const atOnce = createAtOnce({
    epoch: deps.epoch,
    states,
    senderOf: deps.senderOf,
    render: deps.render,
    log,
    settled: deps.observe.settled,
    ended: () => bell.ring(),
  });

  const draining = createDraining({
    goesAtOnce(tenant, id) {
      const target = deps.directory().target(tenant, id);
      if (target?.definition.order !== 'channel' || !atOnce.goesAtOnce(target)) return false;
      return (deps.senderOf(target)?.resting?.() ?? 0) === 0;
    },
    clock,
  });

  const readAhead = createReadAhead({
    behind,
    handover,
    store,
    content: deps.content,
    crashes: deps.crashes,
    clock,
    settings,
  });

  const suspectDeps: SuspectDeps = {
    store,
    content: deps.content,
    crashes: deps.crashes,
    threads: deps.threads,
    directory: deps.directory,
    canonical: deps.canonical,
  };

  const dispatchDeps: DispatchDeps = {
    store,
    directory: deps.directory,
    senderOf: deps.senderOf,
    render: deps.render,
    canonical: deps.canonical,
    afterTry: deps.afterTry,
    epoch: deps.epoch,
    clock,
    viewInPlace: (message, rung) => deps.content.inPlace(message, undefined, rung),
    states,
    memory: new Room(settings.dispatchBytes),
    inFlight: (line) => atOnce.inFlight(line),
    aside: (work) => {
      const done = guarded('dispatch', () => work).finally(() => {
        beside.delete(done);
        dispatchBell.ring();
      });
      beside.add(done);
    },
    onPaused: (target, code, reason) => {
      log.warn({ tenant: target.tenant.name, target: target.name, code, reason }, 'target paused');
      deps.observe.paused(target, code, reason);
    },
    onSettled: (target, settled) => {
      const results = settled.map((each: Settled) => each.result.result);
      draining.settled(target.id, results);
      deps.observe.settled(target, results);
      bell.ring();
    },
  };

  const holding = createHolding({
    process: deps.process,
    store,
    leases: deps.leases,
    directory: deps.directory,
    states,
    handover,
    atOnce,
    isUnderWay,
    isTrying: () => unplanned || readAhead.isAhead() || late.size + suspectsTried > 0,
    wake: () => bell.ring(),
    given: deps.observe.given,
    guarded,
    clock,
    log,
    settings,
  });

  /** Whether a round, a try or a delivery of a channel has begun and not ended. */
  function isUnderWay(state: ChannelState): boolean {
    const { held } = state;
    const key = channelKey(held.tenant, held.channel);
    if ((inRound.running && inRound.keys.has(key)) || readAhead.hasOf(key)) return true;
    if ((trying.get(state)?.size ?? 0) > 0) return true;
    return deps
      .directory()
      .targets()
      .filter(({ tenant }) => tenant.id === held.tenant)
      .some((target) =>
        dispatching.get(channelKey(held.tenant, target.id))?.someRunning((one) => keyIn(one, held.channel)),
      );
  }

  // ── rounds ──────────────────────────────────────────────────────────────────────────────────────────────────────

  let recounted = Number.NEGATIVE_INFINITY;

  async function rounds(): Promise<void> {
    let looked = Number.NEGATIVE_INFINITY;
    while (!stopping || atOnce.unfinished() || readAhead.isAhead()) {
      inRound.keys = new Set();
      const begun = clock.monotonic();
      const done = await guarded('round', async () => {
        if (clock.monotonic() - looked >= settings.pollMs && !stopping) {
          looked = clock.monotonic();
          await look();
        }
        return round();
      });
      if (done === undefined) await recover();
      else if (!readAhead.isAhead())
        await (done ? rest(clock.monotonic() - begun) : bell.wait(stopping ? 1 : settings.pollMs));
    }
  }

  /** No ring ends it: what rings is what it waits for. */
  async function rest(tookMs: number): Promise<void> {
    if (stopping) return;
    const held = [...states.values()];
    const waiting = held.reduce((sum, { known, taken }) => sum + known - taken, 0);
    const ms = restAfter({ tookMs, waiting, channels: held.length });
    if (ms > 0) await pause(ms);
  }

  /** What came in by other processes, what people decided, what was parked: found by looking, once in a while. */
  async function look(): Promise<void> {
    holding.beginHeld();
    const held = [...states.values()].map((state) => state.held);
    for (const [key, last] of await store.lastSequences(held)) {
      const state = states.get(key);
      if (state && last > state.known) state.known = last;
    }
    if (clock.monotonic() - recounted >= RECOUNT_MS) {
      recounted = clock.monotonic();
      await recount(store, states, atOnce.resting());
    }
    dispatchBell.ring();
    suspectBell.ring();
  }

  /**
   * After a failed round: what memory knows of its channels may be wrong, the database is right. They begin anew, each
   * alone until a round of it has succeeded; one that fails alone rests for longer and longer, and says so.
   */
  async function recover(): Promise<void> {
    const failed = inRound.keys;
    for (const key of failed) {
      const state = states.get(key);
      if (state) holding.drop(state);
      const failures = (trouble.get(key)?.failures ?? 0) + (failed.size === 1 ? 1 : 0);
      const rest = failures < 3 ? 0 : Math.min(1000 * 2 ** (failures - 3), 60_000);
      trouble.set(key, { until: clock.monotonic() + rest, failures });
      if (rest > 0) log.error({ channel: key, failures }, 'a channel can not go on; the others do');
    }
    forgetResolved(resolved.splice(0));
    // Their messages do not stand as parked.
    toFollow.length = 0;
    if (!stopping) await bell.wait(settings.pollMs);
  }

  /** One round. True when it did something. */
  async function round(): Promise<boolean> {
    const directory = deps.directory();
    holding.letGo();
    const late = resolved.splice(0);
    const closing = atOnce.take();
    inRound.running = true;
    inRound.keys = new Set(closing.map(({ held }) => channelKey(held.tenant, held.channel)));
    try {
      const made = [
        ...(await streamPlans(directory)),
        ...resolvedPlans(late, directory),
        ...(await decisionPlans(directory)),
      ];
      if (made.length > 0 || closing.length > 0) {
        for (const { plan } of made) inRound.keys.add(channelKey(plan.held.tenant, plan.held.channel));
        const quarantined = await store.writePlans(
          made.map(({ plan }) => plan),
          closing,
        );
        for (const each of quarantined) deps.observe.quarantined(each);
      }
      afterRound(made, closing, late, directory);
      if (!stopping) await atOnce.room({ deliveries: settings.maxUnconfirmed, bytes: settings.maxUnconfirmedBytes });
      return made.length > 0 || closing.length > 0;
    } catch (error) {
      // They are still true, and are written before their channels begin anew.
      atOnce.putBack(closing);
      forgetResolved(late);
      if (error instanceof FencedOut) await forgetTries(tries);
      throw error;
    } finally {
      inRound.running = false;
      unplanned = false;
      tries = [];
      for (const { underWay, key } of reserved) underWay.end(key);
      reserved = [];
    }
  }

  function afterRound(
    made: readonly Made[],
    closing: readonly PlanOutcome[],
    late: readonly Resolved[],
    directory: OwnerDirectory,
  ): void {
    for (const key of inRound.keys) trouble.delete(key);
    forgetResolved(late);
    atOnce.written(closing);
    if (closing.some((outcome) => outcome.unsent.length > 0)) dispatchBell.ring();
    for (const each of made) afterWriting(each, directory);
    for (const follow of toFollow.splice(0)) follow();
  }

  /** Messages of the round are being tried, or what became of that is not written yet. */
  let unplanned = false;
  /** Those tries, of which some may go on beyond their patience. */
  let tries: readonly number[] = [];

  /** Of channels that were lost: nobody writes what became of them, and open ones would be held against the messages. */
  async function forgetTries(lost: readonly number[]): Promise<void> {
    if (lost.length > 0) await guarded('forget tries', () => store.forgetAttempts(lost));
  }

  // Tries that go on are followed once their messages stand as parked.
  const toFollow: (() => void)[] = [];

  async function streamPlans(directory: OwnerDirectory): Promise<Made[]> {
    const round = readAhead.next();
    for (const state of round.states.filter(isHeld))
      inRound.keys.add(channelKey(state.held.tenant, state.held.channel));
    unplanned = round.states.length > 0;
    const found = await round.read;
    const batches = found.filter(({ state }) => isHeld(state));
    await forgetTries(found.flatMap(({ state, attempts }) => (isHeld(state) ? [] : attempts)));
    tries = batches.flatMap(({ attempts }) => attempts);
    const read = batches.map(({ state, readings, batchAttempt }) => {
      const items = itemsOf(readings, directory, deps.canonical);
      const parked = readings.filter((reading) => reading.read === 'parked');
      deps.observe.attempts('processed', readings.length - parked.length);
      for (const reading of parked) followRunning(state, reading);
      const made = (decided: readonly Item[]): Made => {
        const drawing = { state, directory, how: atOnce.how(state, directory) };
        return atOnce.make(drawStream(drawing, readings, decided, batchAttempt), directory);
      };
      return mayBelong(items, deps.threads) ? { held: state.held, items, made } : made(items);
    });
    const threaded = read.filter((one) => 'items' in one);
    const placed = await inThreads({ store, threads: deps.threads }, threaded, directory);
    return read.map((one) => ('items' in one ? one.made(placed[threaded.indexOf(one)] ?? one.items) : one));
  }

  /** The next messages of which channels are to be read: tenants take turns. */
  function behind(): readonly ChannelState[] {
    return stopping ? [] : someOf(turnToRead(reading().filter((state) => hasNext(state) && !draining.holds(state))));
  }

  function isHeld(state: ChannelState): boolean {
    return states.get(channelKey(state.held.tenant, state.held.channel)) === state;
  }

  /** As many channels as a round can take something of; the others come in the next ones. */
  function someOf(behind: readonly ChannelState[]): readonly ChannelState[] {
    if (behind.length <= CHANNELS_A_ROUND) return behind;
    firstOfRound = (firstOfRound + CHANNELS_A_ROUND) % behind.length;
    return [...behind.slice(firstOfRound), ...behind.slice(0, firstOfRound)].slice(0, CHANNELS_A_ROUND);
  }
  let firstOfRound = 0;

  /** Channels of which something new may be begun. */
  function reading(): ChannelState[] {
    return [...states.values()].filter((state) => state.leavingSince === null);
  }

  // Each kind of work has turns of its own: were one for both looked at twice a round, decisions about a channel in
  // trouble would never be carried out while nothing else comes for it.
  const [turnToRead, turnToDecide] = [createTurns(trouble, clock), createTurns(trouble, clock)];

  /** A try that goes on beyond its patience ends as a late message, or lower on the ladder. */
  function followRunning(state: ChannelState, reading: Extract<Reading, { read: 'parked' }>): void {
    deps.observe.attempts(reading.attempt ? 'failed' : 'parked', 1);
    const { running } = reading;
    if (!running) {
      suspectBell.ring();
      return;
    }
    const { sequence } = reading.message;
    tryingOf(state).add(sequence);
    const { attemptId, place, message } = reading;
    toFollow.push(() => follow(state, { message, place, running, attemptId }));
  }

  function follow(
    state: ChannelState,
    tried: Pick<Extract<Reading, { read: 'parked' }>, 'place' | 'message' | 'attemptId'> & {
      readonly running: Promise<ParseOutcome | 'not_tried'>;
    },
  ): void {
    const { message } = tried;
    const { sequence } = message;
    const followed: Promise<void> = guarded('late try', async () => {
      const outcome = await tried.running;
      const parked = { sequence, place: tried.place, version: 1, byHand: false };
      const ended = { message, parked, outcome, attempt: tried.attemptId };
      const done = await concludeSuspect(suspectDeps, state, ended).catch((error: unknown) => {
        tryingOf(state).delete(sequence);
        suspectBell.ring();
        throw error;
      });
      if (done) resolved.push(done);
      else tryingOf(state).delete(sequence);
      bell.ring();
    }).finally(() => late.delete(followed));
    late.add(followed);
  }

  function tryingOf(state: ChannelState): Set<number> {
    const set = trying.get(state) ?? new Set<number>();
    trying.set(state, set);
    return set;
  }

  /** Until it is written, a resolved message still stands as parked and must not be tried again. */
  function forgetResolved(late: readonly Resolved[]): void {
    for (const { state, item } of late) tryingOf(state).delete(item.decided.sequence);
  }

  function resolvedPlans(late: readonly Resolved[], directory: OwnerDirectory): Made[] {
    return late.flatMap((each) => {
      const { state } = each;
      if (!isHeld(state)) return [];
      const drawing = { state, directory, how: atOnce.how(state, directory) };
      const resumed = [each.item.decided.sequence];
      const drawn = drawExtra(drawing, [each.item], {
        attempts: [...each.attempts],
        poison: [...each.poison],
        resumed,
      });
      return [atOnce.make(drawn, directory)];
    });
  }

  // One look a wake-up or poll, for all channels together.
  let lookedAt = Number.NEGATIVE_INFINITY;
  let decisionBell = 0;

  async function decisionPlans(directory: OwnerDirectory): Promise<Made[]> {
    const now = clock.monotonic();
    if (decisionBell <= lookedAt && now - lookedAt < settings.pollMs) return [];
    lookedAt = now;
    const held = turnToDecide(reading()).map((state) => state.held);
    const made: Made[] = [];
    for (const decision of await store.dueDecisions(held, 200)) {
      const state = states.get(channelKey(decision.tenant, decision.channel));
      if (!state) continue;
      inRound.keys.add(channelKey(decision.tenant, decision.channel));
      const drawing = { state, directory, how: atOnce.how(state, directory) };
      const by = { store, content: deps.content, canonical: deps.canonical, reserve };
      made.push(atOnce.make(await drawDecision(by, drawing, decision), directory));
    }
    return made;
  }

  /** Keeps a delivery from being sent while it is being cancelled; false when it is being sent already. */
  function reserve(tenant: number, line: Parameters<typeof keyOf>[0]): boolean {
    const underWay = underWayOf(channelKey(tenant, line.target));
    const key = keyOf(line);
    if (underWay.isRunning(key)) return false;
    underWay.begin(key);
    reserved.push({ underWay, key });
    return true;
  }

  function underWayOf(target: string): UnderWay {
    const underWay = dispatching.get(target) ?? new UnderWay();
    dispatching.set(target, underWay);
    return underWay;
  }

  function afterWriting(made: Made, directory: OwnerDirectory): void {
    const { plan } = made;
    const state = states.get(channelKey(plan.held.tenant, plan.held.channel));
    if (state) for (const waiting of plan.pending) countPending(state, waiting.target, 1);
    for (const target of new Set(plan.pending.map((each) => each.target)))
      deps.observe.pending(plan.held.tenant, target);
    if (plan.pending.length > 0) dispatchBell.ring();
    for (const { sequence, view, written } of plan.views) {
      const { rung } = view;
      if (written) deps.observe.viewed(plan.held.tenant, plan.held.channel, { sequence, rung }, written.words);
    }
    deps.observe.planned(plan.held.tenant, plan.held.channel, plan.firstSequence, plan.lastSequence);
    if (plan.open) atOnce.begin(made, directory);
  }

  // ── what waits ──────────────────────────────────────────────────────────────────────────────────────────────────

  const busy = new Map<string, Promise<void>>();

  async function dispatches(): Promise<void> {
    while (!stopping) {
      for (const target of deps.directory().targets()) {
        const key = channelKey(target.tenant.id, target.id);
        if (busy.has(key) || !deps.senderOf(target)) continue;
        const work = dispatchOne(target.tenant.id, target.id).finally(() => busy.delete(key));
        busy.set(key, work);
      }
      await dispatchBell.wait(settings.pollMs);
    }
    await Promise.all(busy.values());
  }

  /** One target's turn: on until nothing of it may go. Its slowness is its own. */
  async function dispatchOne(tenant: number, id: number): Promise<void> {
    const underWay = underWayOf(channelKey(tenant, id));
    await guarded('dispatch', async () => {
      for (let more = true; more && !stopping; ) {
        const target = deps.directory().target(tenant, id);
        more = target ? await dispatchTarget(dispatchDeps, target, underWay) : false;
      }
    });
  }

  // ── suspects ────────────────────────────────────────────────────────────────────────────────────────────────────

  async function suspects(): Promise<void> {
    while (!stopping) {
      await guarded('suspects', async () => {
        const held = reading().map((state) => state.held);
        for (const place of await store.parked(held, SUSPECTS_AT_ONCE)) await trySuspectAt(place);
      });
      await suspectBell.wait(settings.pollMs);
    }
  }

  let suspectsTried = 0;

  async function trySuspectAt({ tenant, channel, sequence }: { tenant: number; channel: number; sequence: number }) {
    const state = states.get(channelKey(tenant, channel));
    // Each holds its message until the next round.
    if (stopping || resolved.length >= MOST_RESOLVED) return;
    if (!state || state.leavingSince !== null || tryingOf(state).has(sequence)) return;
    tryingOf(state).add(sequence);
    suspectsTried++;
    const done = await trySuspect(suspectDeps, state, sequence)
      .catch((error: unknown) => {
        tryingOf(state).delete(sequence);
        throw error;
      })
      .finally(() => suspectsTried--);
    if (done) resolved.push(done);
    else {
      tryingOf(state).delete(sequence);
      suspectBell.ring();
    }
    bell.ring();
  }

  // ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs one piece of work; its failure is said, and the work is done again by whoever called. */
  async function guarded<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof FencedOut) {
        for (const each of error.channels) {
          const key = channelKey(each.tenant, each.channel);
          const state = states.get(key);
          if (state?.held.term === each.term) holding.drop(state);
        }
        log.warn({ channels: error.channels.length }, 'leases were taken over by another process');
      } else {
        log.warn({ err: error, what }, 'interrupted; trying again');
      }
      return undefined;
    }
  }

  return {
    async start() {
      await deps.leases.register(deps.name, deps.roles);
      beating = holding.beats();
      if (!deps.owns) return;
      await guarded('leases', holding.lookAround);
      loops = Promise.all([holding.leasing(), rounds(), dispatches(), suspects()]);
    },
    sequenced(rows) {
      const near: SequencedRow[] = [];
      let toRead = false;
      const foreign = new Map<string, SequencedRow>();
      for (const row of rows) {
        const key = channelKey(row.arrival.tenant.id, row.channel);
        const state = states.get(key);
        if (!state) {
          if (row.sequence > (foreign.get(key)?.sequence ?? 0)) foreign.set(key, row);
          continue;
        }
        toRead = true;
        if (row.sequence > state.known) state.known = row.sequence;
        if (row.sequence - state.planned <= ROUNDS_AHEAD * settings.roundRows) near.push(row);
      }
      handover.put(near);
      for (const { arrival, channel, sequence } of foreign.values())
        deps.observe.foreign(arrival.tenant.id, channel, sequence);
      if (toRead) bell.ring();
    },
    stored(tenant, channel, last) {
      const state = states.get(channelKey(tenant, channel));
      if (!state || last <= state.known) return;
      state.known = last;
      bell.ring();
    },
    lookForLeases: holding.look,
    accompanied: holding.accompanied,
    wake() {
      decisionBell = clock.monotonic();
      bell.ring();
      dispatchBell.ring();
      suspectBell.ring();
    },
    voided({ tenant, target, channel }) {
      const state = states.get(channelKey(tenant, channel));
      if (state) countPending(state, target, 1);
      dispatchBell.ring();
    },
    held: () =>
      [...states.values()].map(({ held, planned }) => ({ tenant: held.tenant, channel: held.channel, planned })),
    async stop() {
      stopping = true;
      const held = holding.stop();
      for (const each of [bell, dispatchBell, suspectBell]) each.ring();
      await held;
      await guarded('retire', () => deps.leases.retire());
      await loops;
      await Promise.all([...beside, ...late]);
      holding.endBeats();
      await beating;
      await guarded('leave', () => deps.leases.leave());
    },
  };
}

/**
 * What lies further ahead of a channel's reader is not kept for it in memory: a reader that is so far behind comes to it
 * long after, and meanwhile it would only be garbage in the making. It reads from the store until it has caught up.
 */
const ROUNDS_AHEAD = 4;

/** Of each at least one message is read, however large. */
const CHANNELS_A_ROUND = 128;

/** Suspects of one look, tried one after another: tenants take turns from look to look. */
const SUSPECTS_AT_ONCE = 4;

/** Parked messages that may wait for the next round to plan them. */
const MOST_RESOLVED = 16;

/** How long a count of what waits may be wrong because of what another process did, in ms. */
const RECOUNT_MS = 2_000;
