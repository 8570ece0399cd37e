import { expect, it } from 'vitest';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { createReadAhead } from '../../src/owner/ahead.js';
import { createCrashes } from '../../src/owner/crashes.js';
import { createHandover } from '../../src/owner/handover.js';
import type { NewAttempt, OwnerStore } from '../../src/owner/ports.js';
import { hasNext } from '../../src/owner/reading.js';
import { type ChannelState, type ContentPort, channelState, type ParseOutcome } from '../../src/owner/state.js';
import { eventArrival } from '../support/arrivals.js';

const tenant = { id: 1, name: 'one', channels: 4 };
const READ: ParseOutcome = { ok: true, view: EMPTY_VIEW, child: null };

/** One channel with so many messages in memory, read by one child that does one mail at each `read()`. */
function reader({ mails = 0, events = 0, aloneUpTo = 0, fails = false }) {
  const handover = createHandover(1e6);
  const kinds = [...new Array(events).fill('event'), ...new Array(mails).fill('mail')];
  handover.put(
    kinds.map((kind, i) => ({
      arrival: { ...eventArrival(tenant, { id: String(i) }), kind, raw: Buffer.from([i]) },
      channel: 0,
      sequence: i + 1,
      sha256: '\0'.repeat(32),
    })),
  );
  const begun: NewAttempt[] = [];
  const tried: number[] = [];
  const waiting: (() => void)[] = [];
  const store = {
    read: async () => [],
    beginAttempts: async (attempts: readonly NewAttempt[]) => {
      if (fails) throw new Error('the database is away');
      begun.push(...attempts);
      return attempts.map((_, i) => i);
    },
  } as unknown as OwnerStore;
  const content = {
    slots: 1,
    tryMs: 1_000,
    crashHash: (raw: Uint8Array) => Buffer.from(raw),
    isPoison: () => false,
    parsedOf: () => undefined,
    inPlace: () => EMPTY_VIEW,
    parse: (raw: Uint8Array) =>
      new Promise<ParseOutcome>((resolve) => {
        tried.push((raw[0] as number) + 1);
        waiting.push(() => resolve(READ));
      }),
  } as unknown as ContentPort;
  const empty = { planned: 0, lastPlan: 0, chain: Buffer.alloc(32), lines: new Map(), pending: new Map() };
  const state: ChannelState = Object.assign(
    channelState({ tenant: 1, channel: 0, term: 1 }, tenant, { ...empty, interrupted: new Map(), aloneUpTo }),
    { known: kinds.length },
  );
  const ahead = createReadAhead({
    behind: () => [state].filter(hasNext),
    handover,
    store,
    content,
    crashes: createCrashes([], () => undefined),
    clock: { now: () => 0, monotonic: () => 0 },
    settings: { roundRows: 2, roundBytes: 1e6, parkAfterMs: 60_000 },
  });
  return { ahead, state, begun, tried, read: () => waiting.shift()?.() };
}

/** Lets everything happen that waits for nothing from outside. */
const settled = () => new Promise((resolve) => setImmediate(resolve));
const last = (attempts: readonly NewAttempt[]) => attempts.at(-1)?.last;

it('begins the tries of the next round while one is read, and of no other', async () => {
  const { ahead, begun, tried, read } = reader({ mails: 6 });
  const first = ahead.next();
  await settled();
  // Durable before they are tried, and one child has one mail.
  expect([last(begun), tried]).toEqual([4, [1]]);
  expect([ahead.isAhead(), ahead.hasOf('1/0'), ahead.hasOf('1/1')]).toEqual([true, true, false]);
  read();
  await settled();
  read();
  const [batch] = await first.read;
  expect(batch?.readings.map(({ message }) => message.sequence)).toEqual([1, 2]);
  await settled();
  // Nobody has asked for the second round: its mails are read, and the third's are left.
  expect([last(begun), tried]).toEqual([4, [1, 2, 3]]);
  const second = ahead.next();
  await settled();
  expect(last(begun)).toBe(6);
  for (let i = 0; i < 2; i++, await settled()) read();
  expect((await second.read)[0]?.readings.map(({ message }) => message.sequence)).toEqual([3, 4]);
  const third = ahead.next();
  for (let i = 0; i < 2; i++, await settled()) read();
  expect((await third.read)[0]?.readings.map(({ message }) => message.sequence)).toEqual([5, 6]);
  expect(ahead.isAhead()).toBe(false);
  expect(await ahead.next().read).toEqual([]);
});

it('takes events as they are asked for: to read them takes no child', async () => {
  const { ahead, begun } = reader({ events: 4 });
  await ahead.next().read;
  expect([last(begun), ahead.isAhead()]).toEqual([2, false]);
});

it('takes nothing more of a channel while a message of it is tried alone', async () => {
  const { ahead, state, begun, read } = reader({ mails: 4, aloneUpTo: 1 });
  const first = ahead.next();
  await settled();
  read();
  await first.read;
  expect([last(begun), ahead.isAhead()]).toEqual([1, false]);
  state.planned = 1;
  void ahead.next();
  await settled();
  expect(last(begun)).toBe(4);
});

it('tells whoever asks for it what became of a round that failed', async () => {
  const { ahead } = reader({ mails: 4, fails: true });
  await expect(ahead.next().read).rejects.toThrow('away');
  await settled();
  expect(ahead.isAhead()).toBe(true);
  await expect(ahead.next().read).rejects.toThrow('away');
});
