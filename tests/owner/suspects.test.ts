import { describe, expect, it } from 'vitest';
import type { StoredMessage } from '../../src/message/message.js';
import { EMPTY_VIEW, type LadderPlace, TOP } from '../../src/message/view.js';
import { type Crashes, createCrashes } from '../../src/owner/crashes.js';
import type { OwnerStore, ParkedMessage } from '../../src/owner/ports.js';
import { type ChannelState, type ContentPort, channelState, type ParseOutcome } from '../../src/owner/state.js';
import { type SuspectDeps, trySuspect } from '../../src/owner/suspects.js';
import { NO_THREADS } from '../support/threads.js';

const HASH = Buffer.alloc(32, 1);
const POISON = 5;

const message: StoredMessage = {
  ...{ tenant: 1, channel: 2, sequence: 3, source: 1, kind: 'mail', account: 'a', type: 'mail', externalId: null },
  ...{ value: null, eventTime: null, arrivedAt: 0, peer: 'p', meta: null, sha256: Buffer.alloc(32) },
  raw: Buffer.from('Subject: x\r\n\r\n'),
};

const state: ChannelState = channelState(
  { tenant: 1, channel: 2, term: 1 },
  { id: 1, name: 'one', channels: 4 },
  {
    ...{ planned: 3, lastPlan: 1, chain: Buffer.alloc(32), lines: new Map(), pending: new Map() },
    ...{ interrupted: new Map(), aloneUpTo: 0 },
  },
);

/** Tries a parked mail whose likes came down to a place; each try ends as the test says. */
function suspect(parked: ParkedMessage, known: LadderPlace | null, outcome: (place: LadderPlace) => ParseOutcome) {
  const tried: number[] = [];
  const put: Parameters<OwnerStore['park']>[1][] = [];
  const crashes: Crashes = createCrashes(
    known === null ? [] : [{ tenant: 1, hash: HASH, place: known }],
    () => undefined,
  );
  const store: Pick<OwnerStore, 'parkedOne' | 'readWithViews' | 'beginAttempts' | 'endAttempts' | 'park'> = {
    parkedOne: async () => parked,
    readWithViews: async () => [{ message, view: null, thread: null }],
    beginAttempts: async () => [7],
    endAttempts: async () => undefined,
    park: async (_held, to) => void put.push(to),
  };
  const content: ContentPort = {
    ...{ slots: 1, tryMs: 1000, parsedOf: () => undefined, inPlace: () => EMPTY_VIEW },
    crashHash: () => HASH,
    parse: async (_raw, place) => {
      tried.push(place.rung);
      return outcome(place);
    },
    afterInterruptions: (_kind, place) =>
      place.interruptions > 2 ? { ...place, rung: place.rung + 1, interruptions: 0 } : place,
    isPoison: (_kind, rung) => rung >= POISON,
  };
  const unused = () => {
    throw new Error('nothing is to be decided here');
  };
  const not = { directory: unused, canonical: unused };
  const deps: SuspectDeps = { store: store as OwnerStore, content, crashes, threads: NO_THREADS, ...not };
  return { tried, put, crashes, run: () => trySuspect(deps, state, parked.sequence) };
}

const failed = (place: LadderPlace): ParseOutcome => ({
  ...{ ok: false, ours: false, stage: 'body', reason: 'crashed: it died' },
  next: { ...place, rung: place.rung + 1, deaths: place.deaths + 1 },
  ofContent: true,
  child: null,
});
const parkedAt = (rung: number, byHand: boolean): ParkedMessage => ({
  ...{ sequence: 3, version: 1, place: { ...TOP, rung }, byHand },
});
const AT_POISON: LadderPlace = { ...TOP, rung: POISON, deaths: 6 };

describe('a parked mail that the death of the process cut off three times', () => {
  it('stands on its lower rung before it is tried there, so that further ones are counted on it', async () => {
    const cutOff = { ...parkedAt(1, false), place: { ...TOP, rung: 1, interruptions: 3 } };
    const { tried, put, run } = suspect(cutOff, null, (place) => {
      expect(put).toMatchObject([{ sequence: 3, place: { rung: 2, interruptions: 0 } }]);
      return failed(place);
    });
    await run();
    expect(tried).toEqual([2]);
  });
});

describe('a parked mail whose likes could be read on no rung', () => {
  it('is not read at all', async () => {
    const { tried, run } = suspect(parkedAt(0, false), AT_POISON, failed);
    expect(await run()).toMatchObject({ poison: [3] });
    expect(tried).toEqual([]);
  });

  it('is read where a person says, once', async () => {
    const { tried, put, crashes, run } = suspect(parkedAt(1, true), AT_POISON, failed);
    expect(await run()).toBeNull();
    expect(tried).toEqual([1]);
    expect(put).toMatchObject([{ sequence: 3, place: { rung: 2, deaths: 1 }, byHand: false }]);
    // What is known of its likes stays as it was.
    expect(crashes.placeOf(1, HASH).rung).toBe(POISON);
  });

  it('keeps what a person said when our surroundings fail', async () => {
    const ours: ParseOutcome = { ok: false, ours: true, stage: 'queued', reason: 'unavailable: no child' };
    const { put, run } = suspect(parkedAt(1, true), AT_POISON, () => ours);
    expect(await run()).toBeNull();
    expect(put).toMatchObject([{ place: { rung: 1 }, byHand: true }]);
  });
});
