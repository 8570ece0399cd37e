import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SequencedRow } from '../../src/channel/accept.js';
import type { Kind } from '../../src/message/arrival.js';
import type { StoredMessage } from '../../src/message/message.js';
import { createHandover } from '../../src/owner/handover.js';
import type { OwnerStore, SequenceRange } from '../../src/owner/ports.js';
import { takeNext } from '../../src/owner/reading.js';
import { type ChannelState, channelState } from '../../src/owner/state.js';
import { eventArrival } from '../support/arrivals.js';

const tenant = { id: 1, name: 'one', channels: 4 };

interface Stored {
  readonly channel: number;
  readonly kind: Kind;
  readonly bytes: number;
  /** Accepted by this process, and still in its memory. */
  readonly here: boolean;
}

const stored = fc.record({
  channel: fc.constantFrom(0, 1),
  kind: fc.constantFrom<Kind>('event', 'event', 'mail'),
  bytes: fc.integer({ min: 1, max: 50 }),
  here: fc.boolean(),
});

function rowsOf(all: readonly Stored[]): (SequencedRow & { here: boolean })[] {
  const last = new Map<number, number>();
  return all.map(({ channel, kind, bytes, here }) => {
    const sequence = (last.get(channel) ?? 0) + 1;
    last.set(channel, sequence);
    const arrival = { ...eventArrival(tenant, { id: `${channel}-${sequence}` }), kind, raw: Buffer.alloc(bytes) };
    return { arrival, channel, sequence, sha256: '\0'.repeat(32), here };
  });
}

function stateOf(channel: number, known: number, aloneUpTo = 0): ChannelState {
  const reader = {
    planned: 0,
    lastPlan: 0,
    chain: Buffer.alloc(32),
    lines: new Map(),
    pending: new Map(),
    interrupted: new Map(),
    aloneUpTo,
  };
  return Object.assign(channelState({ tenant: 1, channel, term: 1 }, tenant, reader), { known });
}

/** Keeps to its contract and to no more: at least one of a channel, within so many bytes and mails. */
function storeOf(rows: readonly SequencedRow[], asked: SequenceRange[]): OwnerStore {
  const read: OwnerStore['read'] = async (ranges, most) => {
    asked.push(...ranges);
    const bytes = new Map<number, number>();
    const mails = new Map<number, number>();
    return rows
      .filter(({ channel, sequence }) =>
        ranges.some((range) => range.channel === channel && range.first <= sequence && sequence <= range.last),
      )
      .sort((a, b) => a.channel - b.channel || a.sequence - b.sequence)
      .filter(({ channel, arrival }) => {
        const before = bytes.get(channel) ?? 0;
        bytes.set(channel, before + arrival.raw.length);
        mails.set(channel, (mails.get(channel) ?? 0) + (arrival.kind === 'mail' ? 1 : 0));
        return before < most.bytes && (mails.get(channel) ?? 0) <= most.mails;
      })
      .map(
        ({ channel, sequence, arrival }) => ({ ...arrival, tenant: 1, channel, sequence }) as unknown as StoredMessage,
      );
  };
  return { read } as OwnerStore;
}

describe('what a round takes', () => {
  it('is every message of every channel once and in order, wherever it lies, within the bounds', async () => {
    const bounds = fc.record({
      rows: fc.integer({ min: 1, max: 9 }),
      bytes: fc.integer({ min: 1, max: 200 }),
      mails: fc.integer({ min: 1, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(stored, { maxLength: 60 }), bounds, fc.nat(5), async (all, bound, alone) => {
        const rows = rowsOf(all);
        const handover = createHandover(1e6);
        handover.put(rows.filter(({ here }) => here));
        const asked: SequenceRange[] = [];
        const store = storeOf(rows, asked);
        const states = [0, 1].map((channel) =>
          stateOf(channel, rows.filter((row) => row.channel === channel).length, alone),
        );
        for (;;) {
          const behind = states.filter((state) => state.known > state.taken);
          if (behind.length === 0) break;
          const batches = await takeNext(behind, bound, handover, store);
          expect(batches).toHaveLength(behind.length);
          for (const { state, taken } of batches) {
            const sequences = taken.map(({ sequence }) => sequence);
            expect(sequences).toEqual(sequences.map((_, i) => state.planned + 1 + i));
            expect(taken.length).toBeLessThanOrEqual(state.planned < alone ? 1 : bound.rows);
            expect(taken.filter(({ kind }) => kind === 'mail').length).toBeLessThanOrEqual(bound.mails);
            state.planned += taken.length;
          }
        }
        // What is in memory is never asked for.
        for (const { channel, sequence } of rows.filter(({ here }) => here)) {
          expect(
            asked.some((range) => range.channel === channel && range.first <= sequence && sequence <= range.last),
          ).toBe(false);
        }
      }),
    );
  });
});
