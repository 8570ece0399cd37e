import { describe, expect, it } from 'vitest';
import type { SequencedRow } from '../../src/channel/accept.js';
import { createHandover, ROW_BYTES } from '../../src/owner/handover.js';
import { eventArrival } from '../support/arrivals.js';

const tenant = { id: 1, name: 'one', channels: 4 };
const row = (sequence: number, channel = 0): SequencedRow => ({
  arrival: eventArrival(tenant, { id: `${channel}-${sequence}` }),
  channel,
  sequence,
  sha256: '\0'.repeat(32),
});
/** As events of one request are: each a part of the same memory. */
const rowsOf = (body: Buffer, ...numbers: number[]): SequencedRow[] =>
  numbers.map((sequence) => {
    const { arrival, ...rest } = row(sequence);
    return { ...rest, arrival: { ...arrival, raw: body.subarray(sequence, sequence + 1) } };
  });
const sequences = (rows: readonly { readonly sequence: number }[]) => rows.map((each) => each.sequence);

describe('the hand-over', () => {
  it('shows what is here of a range, and keeps it until it is let go of', () => {
    const handover = createHandover(1e6);
    handover.put([row(1), row(1, 2), row(2), row(5), row(6)]);
    expect(sequences(handover.peek(1, 0, 1, 5))).toEqual([1, 2, 5]);
    expect(sequences(handover.peek(1, 0, 2, 2))).toEqual([2]);
    expect(handover.peek(1, 0, 3, 4)).toEqual([]);
    expect(handover.peek(1, 0, 7, 9)).toEqual([]);
    expect(sequences(handover.peek(1, 2, 1, 9))).toEqual([1]);
    handover.dropUpTo(1, 0, 4);
    expect(sequences(handover.peek(1, 0, 1, 9))).toEqual([5, 6]);
    handover.dropUpTo(1, 0, 9);
    expect(handover.peek(1, 0, 1, 9)).toEqual([]);
    expect(sequences(handover.peek(1, 2, 1, 9))).toEqual([1]);
  });

  it('is in order also when the later one of two batches comes first', () => {
    const handover = createHandover(1e6);
    handover.put([row(4), row(5)]);
    handover.put([row(1), row(2), row(3)]);
    expect(sequences(handover.peek(1, 0, 1, 9))).toEqual([1, 2, 3, 4, 5]);
    handover.dropUpTo(1, 0, 2);
    expect(sequences(handover.peek(1, 0, 3, 4))).toEqual([3, 4]);
  });

  it('keeps what it hears of late in its place, and what it hears of twice once', () => {
    const handover = createHandover(1e6);
    handover.put([row(4), row(5), row(1), row(3), row(2), row(4), row(6), row(1)]);
    expect(sequences(handover.peek(1, 0, 1, 9))).toEqual([1, 2, 3, 4, 5, 6]);
    handover.dropUpTo(1, 0, 3);
    expect(sequences(handover.peek(1, 0, 1, 9))).toEqual([4, 5, 6]);
  });

  it('keeps no more than it may, and has room again for what was taken or forgotten', () => {
    const body = Buffer.allocUnsafeSlow(100);
    const handover = createHandover(2 * ROW_BYTES + body.length);
    handover.put(rowsOf(body, 1, 2, 3));
    expect(sequences(handover.peek(1, 0, 1, 9))).toEqual([1, 2]);
    handover.dropUpTo(1, 0, 2);
    handover.put(rowsOf(body, 3, 4));
    handover.forget(1, 0);
    handover.put(rowsOf(body, 7, 8));
    expect(sequences(handover.peek(1, 0, 7, 9))).toEqual([7, 8]);
  });

  it('counts the memory that rows are parts of once, and whole until the last of them has gone', () => {
    const [body, other] = [Buffer.allocUnsafeSlow(100_000), Buffer.allocUnsafeSlow(100_000)];
    const handover = createHandover(3 * ROW_BYTES + body.length);
    handover.put(rowsOf(body, 1, 2));
    handover.put(rowsOf(other, 3));
    handover.dropUpTo(1, 0, 1);
    handover.put(rowsOf(other, 3));
    expect(sequences(handover.peek(1, 0, 1, 9))).toEqual([2]);
    handover.dropUpTo(1, 0, 2);
    handover.put(rowsOf(other, 3));
    expect(sequences(handover.peek(1, 0, 1, 9))).toEqual([3]);
  });
});
