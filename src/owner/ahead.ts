import type { Clock } from '../message/clock.js';
import type { Crashes } from './crashes.js';
import type { Handover } from './handover.js';
import type { OwnerStore } from './ports.js';
import { attemptsOf, type BegunAttempt, createSlots, type Reading, readBatch, takeNext } from './reading.js';
import { type ChannelState, type ContentPort, channelKey } from './state.js';

/** The next messages of one channel, as they were read. */
export interface ReadBatch {
  readonly state: ChannelState;
  readonly readings: readonly Reading[];
  /** Of its events. */
  readonly batchAttempt: number | null;
  /** All of them. */
  readonly attempts: readonly number[];
}

/** The messages of one round, of all channels together, that are being read. */
export interface BegunRound {
  /** Its channels, as they were when it began. */
  readonly states: readonly ChannelState[];
  readonly read: Promise<readonly ReadBatch[]>;
}

/**
 * Reads the messages of rounds, in their order. Children read mail, and most of what comes after is the database's work: so
 * that each has something to do while the other is busy, the mails of a round are taken and tried while those of the round
 * before it are read and planned. One round is ahead at most.
 */
export interface ReadAhead {
  /** The next round. What has lost its channel meanwhile is for the caller to leave out. */
  next(): BegunRound;
  /** Whether a round is being read that nobody has asked for yet. */
  isAhead(): boolean;
  /** Whether it has messages of a channel. */
  hasOf(key: string): boolean;
}

export interface ReadAheadDeps {
  /** Channels that have something to be read, those whose turn it is. */
  readonly behind: () => readonly ChannelState[];
  readonly handover: Handover;
  readonly store: OwnerStore;
  readonly content: ContentPort;
  readonly crashes: Crashes;
  readonly clock: Clock;
  readonly settings: { readonly roundRows: number; readonly roundBytes: number; readonly parkAfterMs: number };
}

/** Mails that a round reads for each child: some hundredths of a second's work, and at worst eight seconds. */
const MAILS_A_ROUND_PER_SLOT = 32;

type Taken = Awaited<ReturnType<typeof takeNext>>;

export function createReadAhead(deps: ReadAheadDeps): ReadAhead {
  const { content, crashes, store, settings } = deps;
  const slots = createSlots(content.slots);
  let ahead: ReturnType<typeof begin> | null = null;

  function begin() {
    const states = deps.behind();
    const taken = take(states);
    const read = taken.then(readAll);
    // Whoever asks for it hears of it.
    read.catch(() => undefined);
    return { states, taken, read };
  }

  /** Tenants take turns within the bounds of a round. */
  function take(behind: readonly ChannelState[]): Promise<Taken> {
    const share = (bound: number): number => Math.max(1, Math.floor(bound / Math.max(1, behind.length)));
    const bounds = {
      rows: share(settings.roundRows),
      bytes: share(settings.roundBytes),
      mails: share(MAILS_A_ROUND_PER_SLOT * content.slots),
    };
    return takeNext(behind, bounds, deps.handover, store);
  }

  async function readAll(batches: Taken): Promise<ReadBatch[]> {
    const wanted = batches.flatMap(({ state, taken }) => attemptsOf(state, taken, content, crashes));
    const ids = await store.beginAttempts(wanted);
    const begun = wanted.map((attempt, i) => ({ ...attempt, id: ids[i] as number }));
    return Promise.all(
      batches.map(async ({ state, taken }) => {
        const mine = begun.filter(({ held }) => held === state.held);
        const attempts = new Map<number, BegunAttempt>();
        for (const { first, id, crashHash, place } of mine)
          if (crashHash) attempts.set(first, { id, crashHash, place });
        const { parkAfterMs } = settings;
        const reading = { state, taken, attempts, content, crashes, slot: slots, parkAfterMs, clock: deps.clock };
        const batchAttempt = mine.find(({ batch }) => batch)?.id ?? null;
        return { state, readings: await readBatch(reading), batchAttempt, attempts: mine.map(({ id }) => id) };
      }),
    );
  }

  /** Goes on to the round after one, where that has mail: no message is taken twice, since all of that one are known. */
  function beginAfter(taken: Taken): void {
    if (ahead !== null || !taken.some((batch) => batch.taken.some(({ kind }) => kind === 'mail'))) return;
    const begun = begin();
    if (begun.states.length > 0) ahead = begun;
  }

  return {
    next() {
      const { states, taken, read } = ahead ?? begin();
      ahead = null;
      return {
        states,
        read: taken.then(async (batches) => {
          beginAfter(batches);
          const found = await read;
          // What came meanwhile.
          beginAfter(batches);
          return found;
        }),
      };
    },
    isAhead: () => ahead !== null,
    hasOf: (key) => ahead?.states.some(({ held }) => channelKey(held.tenant, held.channel) === key) ?? false,
  };
}
