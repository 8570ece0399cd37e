import { describe, expect, it } from 'vitest';
import { createAccepter } from '../../src/channel/accept.js';
import { type CommitBatch, StoreError } from '../../src/channel/batch.js';
import { FilterSet } from '../../src/channel/filter-set.js';
import { Unavailable } from '../../src/message/verdict.js';
import { eventArrival, testSecret } from '../support/arrivals.js';
import { settableClock } from '../support/clock.js';

const DAY = 86_400_000;
const tenant = { id: 1, name: 'one', channels: 1 };

/** A channel over a store of the test's own; time passes only in its pauses. */
function accepting(commit: CommitBatch) {
  const clock = settableClock();
  const pauses: number[] = [];
  const accepter = createAccepter({
    commit,
    filters: new FilterSet(1, 1000, clock),
    secret: testSecret(),
    clock,
    settings: {
      maxBatchRows: 50,
      maxBatchBytes: 1 << 20,
      maxWaitingRows: 1000,
      maxWaitingBytes: 1 << 20,
      window: { pastMs: 35 * DAY, futureMs: DAY },
      patienceMs: 1000,
    },
    onSequenced: () => undefined,
    randomId: () => 1,
    pause: async (ms) => {
      pauses.push(ms);
      clock.advance(ms);
    },
  });
  return { accepter, pauses };
}

describe('a batch that fails', () => {
  it('is tried again ever more slowly against other writers, and given up in the end', async () => {
    let commits = 0;
    const { accepter, pauses } = accepting(() => {
      commits++;
      return Promise.reject(new StoreError('contended', 'another was first'));
    });
    const refused = accepter.accept([eventArrival(tenant, { id: 'a' })]);
    await expect(refused).rejects.toBeInstanceOf(Unavailable);
    await expect(refused).rejects.toThrow(/sending it again is safe/);
    expect(commits).toBe(21);
    // The first is the wait for company.
    expect(pauses.slice(0, 7)).toEqual([0, 20, 40, 80, 160, 320, 500]);
    expect(Math.max(...pauses)).toBe(500);
    // A crowd is not an absence: the database is there.
    expect(accepter.storing()).toBe(true);
  });

  it.each(['unavailable', 'fault'] as const)('is not said to be lost when it is %s', async (failure) => {
    const { accepter } = accepting(() => Promise.reject(new StoreError(failure, 'no answer')));
    const refused = accepter.accept([eventArrival(tenant, { id: 'a' })]);
    await expect(refused).rejects.toThrow(/it is not known whether this was accepted, and sending it again is safe/);
    await expect(refused).rejects.not.toThrow(/nothing was accepted/);
  });
});
