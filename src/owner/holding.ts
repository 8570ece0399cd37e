import type { Logger } from 'pino';
import type { Clock } from '../message/clock.js';
import type { AtOnce } from './at-once.js';
import { createBell } from './bell.js';
import type { Handover } from './handover.js';
import { BeatWatch, type Lease, type LeaseSettings, type LeaseStore, type Presence } from './leases.js';
import type { Held, OwnerStore } from './ports.js';
import { movesOf } from './shares.js';
import { type ChannelState, type ChannelStates, channelKey, channelState, type OwnerDirectory } from './state.js';

export interface HoldingDeps {
  readonly process: string;
  readonly store: OwnerStore;
  readonly leases: LeaseStore;
  readonly directory: () => OwnerDirectory;
  readonly states: ChannelStates;
  readonly handover: Handover;
  readonly atOnce: AtOnce;
  /** Whether a round, a try or a delivery of a channel has begun and not ended. */
  readonly isUnderWay: (state: ChannelState) => boolean;
  /** Whether messages are being tried: were this process taken for dead meanwhile, that would be held against them. */
  readonly isTrying: () => boolean;
  /** There is something to read, or something to let go of. */
  readonly wake: () => void;
  /** Others may take channels now. */
  readonly given: () => void;
  readonly guarded: <T>(what: string, work: () => Promise<T>) => Promise<T | undefined>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly settings: LeaseSettings;
}

/**
 * Which channels this process reads:
 *
 *   free ──take──► begun ──more than its share──► leaving ──nothing under way──► given back
 *                    ▲                               │
 *                    └────────── too long ◄──────────┘        a lease that is lost drops its channel from anywhere
 */
export interface Holding {
  /** Shows that this process lives, until `stop`, and on while anything is tried. */
  beats(): Promise<void>;
  /** Watches the others, takes what is free and gives back what is theirs, until `stop`. */
  leasing(): Promise<void>;
  /** Once, whatever the time: who else lives, and what is to be taken or left. */
  lookAround(): Promise<void>;
  /** Begins what is held and not begun: just taken, of a tenant that was unknown, or forgotten after a failed round. */
  beginHeld(): void;
  /** Between two rounds: from here on nothing new of those channels is begun. */
  letGo(): void;
  drop(state: ChannelState): void;
  /** Whether other processes lived at the last look. */
  accompanied(): boolean;
  /** A lease may have become free: look at once. */
  look(): void;
  /** Takes and begins nothing more; resolves when what was being taken and begun has. */
  stop(): Promise<void>;
  /** Nothing is tried any more: beats end without waiting for the next one. */
  endBeats(): void;
}

/** What is under way of a channel may take so long to end before the process goes on with it instead. */
const LEAVE_MS = 5_000;
/** How long a channel that could not be left is let alone; twice as long each time, up to an hour. */
const LEAVE_AGAIN_MS = 10_000;
const LEAVE_AGAIN_AT_MOST_MS = 3_600_000;
/** Channels that are left at a time: nobody reads them meanwhile. */
const LEFT_AT_A_TIME = 64;
/** Channels that are begun in one transaction, by a few statements for all of them. */
const BEGUN_TOGETHER = 128;
/** Of those that were not begun with others, so many at the same time. */
const BEGUN_APART = 4;
/** Looks at the beats of others for each of one's own: a death is seen that much sooner. */
const LOOKS_A_BEAT = 4;

export function createHolding(deps: HoldingDeps): Holding {
  const { store, leases, states, atOnce, clock, settings, log } = deps;
  const watch = new BeatWatch(clock, settings);
  const beatBell = createBell();
  const lookBell = createBell();
  const stayed = new Map<string, { until: number; times: number }>();
  let toLeave: Held[] = [];
  let owners: readonly string[] = [deps.process];
  let presence: Presence = { living: [], isLost: () => false };
  let accompanied = false;
  let stopping = false;

  async function beats(): Promise<void> {
    while (!stopping || deps.isTrying()) {
      await deps.guarded('beat', () => leases.beat());
      await beatBell.wait(settings.beatMs);
    }
  }

  let looking: Promise<void> = Promise.resolve();

  async function leasing(): Promise<void> {
    while (!stopping) {
      await deps.guarded('leases', look);
      await lookBell.wait(settings.beatMs / LOOKS_A_BEAT);
    }
  }

  let decided = Number.NEGATIVE_INFINITY;

  async function look(): Promise<void> {
    const processes = await leases.processes();
    presence = watch.look(processes);
    everybody = processes
      .map(({ id }) => id)
      .sort()
      .join();
    accompanied = processes.some(({ id }) => id !== deps.process && !presence.isLost(id));
    const others = presence.living.filter(({ id, owns }) => owns && id !== deps.process).map(({ id }) => id);
    const now = [...others, deps.process].sort();
    if (now.length !== owners.length) log.info({ owners: now.length }, 'owners have come or gone');
    const moved = now.join() !== owners.join();
    owners = now;
    await leave();
    if (moved || lookedFor || clock.monotonic() - decided >= settings.beatMs) await takeLeases();
  }

  /** Thousands of leases are read when one of them has moved, or a process has come or gone. */
  async function leasesNow(): Promise<readonly Lease[]> {
    const version = `${await leases.version()} ${everybody}`;
    if (version !== seen.version) seen = { version, leases: await leases.leases() };
    return seen.leases;
  }
  let everybody = '';
  let seen: { readonly version: string; readonly leases: readonly Lease[] } = { version: '', leases: [] };

  let lookedFor = false;

  async function takeLeases(): Promise<void> {
    lookedFor = false;
    decided = clock.monotonic();
    const found = await leasesNow();
    dropLost(found);
    const moves = movesOf(found, owners, deps.process, presence.isLost, mayLeave);
    if (moves.take.length > 0) await take(moves.take);
    toLeave = moves.give.slice(0, LEFT_AT_A_TIME);
    beginHeld();
    if (toLeave.length > 0) deps.wake();
  }

  /** What another was quicker to take was taken from our share of what is left: look again at once. */
  async function take(wanted: readonly Held[]): Promise<void> {
    const taken = await leases.take(wanted);
    if (taken.length < wanted.length) lookedFor = true;
  }

  function mayLeave({ tenant, channel }: Lease): boolean {
    return (stayed.get(channelKey(tenant, channel))?.until ?? 0) <= clock.monotonic();
  }

  function dropLost(found: readonly Lease[]): void {
    const mine = new Map(
      found.filter(({ holder }) => holder === deps.process).map((l) => [channelKey(l.tenant, l.channel), l.term]),
    );
    for (const [key, state] of states) if (mine.get(key) !== state.held.term) drop(state);
    atOnce.keepOnly((channel) => mine.has(channel));
  }

  function drop(state: ChannelState): void {
    const { tenant, channel } = state.held;
    const key = channelKey(tenant, channel);
    if (states.get(key) === state) states.delete(key);
    deps.handover.forget(tenant, channel);
    atOnce.forget(key);
  }

  /** Begins to read channels where their last owners left them. */
  async function begin(channels: readonly Held[]): Promise<void> {
    await writeKnown(channels);
    const begun: Held[] = [];
    for (const { held, reader, adopted } of await store.begin(channels)) {
      const tenant = deps.directory().tenant(held.tenant);
      if (!tenant) continue;
      begun.push(held);
      apart.delete(channelKey(held.tenant, held.channel));
      states.set(channelKey(held.tenant, held.channel), channelState(held, tenant, reader));
      if (adopted > 0)
        log.info({ tenant: tenant.name, channel: held.channel, adopted }, 'sending again what a plan had begun');
    }
    // From here on this process hears what is stored of them; what was stored before, it asks for.
    for (const [key, last] of await store.lastSequences(begun)) {
      const state = states.get(key);
      if (state && last > state.known) state.known = last;
    }
  }

  /** What this process sent of them before it forgot them, and has an outcome of. */
  async function writeKnown(channels: readonly Held[]): Promise<void> {
    const known = channels.flatMap((held) => atOnce.takeOf(held).filter((outcome) => outcome.held.term === held.term));
    if (known.length === 0) return;
    await store.writePlans([], known).catch((error: unknown) => {
      atOnce.putBack(known);
      throw error;
    });
  }

  // One after another: two that begin the same channel would each take the other's plans for an old owner's.
  let beginning: Promise<void> = Promise.resolve();

  function beginHeld(): void {
    if (waitingToBegin || stopping) return;
    waitingToBegin = true;
    const begun = beginning.then(async () => {
      waitingToBegin = false;
      const alone: Held[] = [];
      const others: Held[] = [];
      for (const { tenant, channel, term } of (await leasesNow()).filter(isToBegin)) {
        (apart.has(channelKey(tenant, channel)) ? alone : others).push({ tenant, channel, term });
      }
      // What failed may be the database: the others are left for the next look, and are not begun one by one for it.
      for (let at = 0; at < others.length && !stopping; at += BEGUN_TOGETHER) {
        if (!(await beginTogether(others.slice(at, at + BEGUN_TOGETHER)))) return;
      }
      await Promise.all(
        Array.from({ length: BEGUN_APART }, async () => {
          for (let next = alone.shift(); next && !stopping; next = alone.shift()) await beginTogether([next]);
        }),
      );
    });
    beginning = begun.catch((error: unknown) => log.warn({ err: error }, 'channels wait to be read; trying again'));
  }
  let waitingToBegin = false;

  /** One that can't be begun, or takes long, keeps no other from it: next time each of them is begun by itself. */
  async function beginTogether(channels: readonly Held[]): Promise<boolean> {
    const done =
      (await deps.guarded('begin', async () => {
        await begin(channels);
        return true;
      })) ?? false;
    if (!done) for (const { tenant, channel } of channels) apart.add(channelKey(tenant, channel));
    deps.wake();
    return done;
  }

  /** Channels that were not begun with others, until they are by themselves. */
  const apart = new Set<string>();

  function isToBegin({ tenant, channel, holder }: Lease): boolean {
    const key = channelKey(tenant, channel);
    // A tenant this process has not heard of yet: the lease is kept, and the next look at it begins.
    if (holder !== deps.process || states.has(key) || !deps.directory().tenant(tenant)) return false;
    // What is still being sent of it has an outcome soon; begun before that, it would be sent again.
    return !atOnce.isSending(key);
  }

  /** Gives back what has nothing under way any more; what takes too long is read on, and left another time. */
  async function leave(): Promise<void> {
    const leaving = [...states.values()].filter((state) => state.leavingSince !== null);
    const ready = new Set(leaving.filter(isQuiet));
    if (ready.size > 0) {
      await leases.give([...ready].map(({ held }) => held));
      for (const state of ready) {
        stayed.delete(channelKey(state.held.tenant, state.held.channel));
        drop(state);
      }
      deps.given();
    }
    for (const state of leaving) if (!ready.has(state)) stayWhenLate(state);
  }

  function isQuiet(state: ChannelState): boolean {
    const { tenant, channel } = state.held;
    const key = channelKey(tenant, channel);
    return !atOnce.isSending(key) && !atOnce.hasOutcome(state.held) && !deps.isUnderWay(state);
  }

  function stayWhenLate(state: ChannelState): void {
    const now = clock.monotonic();
    if (now - (state.leavingSince ?? now) < LEAVE_MS) return;
    state.leavingSince = null;
    const key = channelKey(state.held.tenant, state.held.channel);
    const times = (stayed.get(key)?.times ?? 0) + 1;
    stayed.set(key, { until: now + Math.min(LEAVE_AGAIN_MS * 2 ** (times - 1), LEAVE_AGAIN_AT_MOST_MS), times });
    deps.wake();
  }

  return {
    beats,
    leasing() {
      looking = leasing();
      return looking;
    },
    lookAround: look,
    beginHeld,
    letGo() {
      for (const { tenant, channel, term } of toLeave) {
        const state = states.get(channelKey(tenant, channel));
        if (state?.held.term === term) state.leavingSince ??= clock.monotonic();
      }
      toLeave = [];
    },
    drop,
    accompanied: () => accompanied,
    look() {
      lookedFor = true;
      lookBell.ring();
    },
    async stop() {
      stopping = true;
      for (const bell of [beatBell, lookBell]) bell.ring();
      await looking;
      await beginning;
    },
    endBeats: () => beatBell.ring(),
  };
}
