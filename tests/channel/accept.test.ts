import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createAccepter } from '../../src/channel/accept.js';
import { type Batch, type CommitBatch, StoreError } from '../../src/channel/batch.js';
import { FilterSet } from '../../src/channel/filter-set.js';
import { Busy, Unavailable } from '../../src/message/verdict.js';
import { eventArrival, testSecret } from '../support/arrivals.js';
import { settableClock } from '../support/clock.js';
import { until } from '../support/until.js';

const DAY = 86_400_000;
const tenant = { id: 1, name: 'one', channels: 1 };

/** A channel over a store of the test's own; time passes only in its pauses. */
function accepting(commit: CommitBatch, maxBatchRows = 50) {
  const handedOver: number[] = [];
  const clock = settableClock();
  const pauses: number[] = [];
  const accepter = createAccepter({
    commit,
    filters: new FilterSet(1, 1000, clock),
    secret: testSecret(),
    clock,
    settings: {
      maxBatchRows,
      maxBatchBytes: 1 << 20,
      secondLaneRows: 500,
      maxWaitingRows: 5000,
      maxWaitingBytes: 1 << 20,
      window: { pastMs: 35 * DAY, futureMs: DAY },
      patienceMs: 1000,
    },
    onSequenced: (rows) => handedOver.push(...rows.map(({ sequence }) => sequence)),
    randomId: () => 1,
    pause: async (ms) => {
      pauses.push(ms);
      clock.advance(ms);
    },
  });
  return { accepter, pauses, handedOver };
}

/** Commits that the test ends one by one; each numbers its rows from where the one before left off. */
function heldCommits() {
  const begun: { readonly batch: Batch; end(): void }[] = [];
  let last = 0;
  const commit: CommitBatch = (batch) =>
    new Promise((resolve) => {
      const starts = [{ tenant: tenant.id, channel: 0, lastSequence: last }];
      last += batch.rows.length;
      begun.push({ batch, end: () => resolve({ starts, exceptions: [] }) });
    });
  return { begun, commit };
}

const idsOf = ({ batch }: { readonly batch: Batch }) => batch.rows.map(({ arrival }) => arrival.externalId);
const events = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => eventArrival(tenant, { id: String(from + i) }));

describe('a commit', () => {
  it('takes no more than some senders of one message while the store has time, and the rows of a request together', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 1000);
    const verdicts = Array.from({ length: 100 }, (_, n) => accepter.accept(events(n, n + 1)));
    verdicts.push(accepter.accept(events(100, 300)));
    await until(() => begun.length === 1, 'commit 1');
    expect(begun[0]?.batch.rows).toHaveLength(32);
    for (let n = 0; n < 4; n++) {
      begun[n]?.end();
      await until(() => begun.length === n + 2 || n === 3, `commit ${n + 2}`);
    }
    expect(begun.map(({ batch }) => batch.rows.length)).toEqual([32, 32, 32, 204]);
    expect((await Promise.all(verdicts)).flat()).toHaveLength(300);
    await accepter.close();
  });

  it('takes all that wait once they are worth a second one', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 1000);
    const verdicts = Array.from({ length: 600 }, (_, n) => accepter.accept(events(n, n + 1)));
    await until(() => begun.length === 2, 'commit 2');
    expect(begun.map(({ batch }) => batch.rows.length)).toEqual([32, 568]);
    for (const each of begun) each.end();
    await Promise.all(verdicts);
    await accepter.close();
  });

  it('takes all that wait where the database is away, so that they hear of it at once', async () => {
    let tries = 0;
    const { accepter } = accepting(async () => {
      tries++;
      throw new StoreError('unavailable', 'away');
    }, 1000);
    const single = (from: number, to: number) =>
      Promise.allSettled(Array.from({ length: to - from }, (_, n) => accepter.accept(events(from + n, from + n + 1))));
    await single(0, 1);
    const before = tries;
    const answers = await single(1, 200);
    expect(answers.every(({ status }) => status === 'rejected')).toBe(true);
    expect(tries - before).toBe(1);
    await accepter.close();
  });
});

describe('an arrival that says what another of its batch says', () => {
  it('goes with that one, and hears what it hears', async () => {
    const { begun, commit } = heldCommits();
    const { accepter, handedOver } = accepting(commit, 1000);
    const first = accepter.accept(events(0, 2));
    const same = accepter.accept([...events(1, 2), ...events(1, 2)]);
    const other = accepter.accept([eventArrival(tenant, { id: '1', content: 'other' })]);
    await until(() => begun.length === 1, 'commit 1');
    expect(begun.map(idsOf)).toEqual([['0', '1']]);
    expect(begun[0]?.batch.repeats).toEqual([0, 2]);
    begun[0]?.end();
    const again = { verdict: 'duplicate', of: { channel: 0, sequence: 2 }, basis: 'store', differs: false };
    expect(await same).toEqual([again, again]);
    expect((await first).map(({ verdict }) => verdict)).toEqual(['sequenced', 'sequenced']);
    // Whether it is in conflict can't be said before the first one's fate is known.
    await until(() => begun.length === 2, 'commit 2');
    expect(begun[1] && idsOf(begun[1])).toEqual(['1']);
    begun[1]?.end();
    await other;
    expect(handedOver).toEqual([1, 2, 3]);
    await accepter.close();
  });

  it('is refused with it, whoever sent it', async () => {
    const { accepter } = accepting(async ({ rows }) => {
      if (rows.some(({ arrival }) => arrival.externalId === '1')) throw new StoreError('data', 'refused');
      return { starts: [{ tenant: tenant.id, channel: 0, lastSequence: 0 }], exceptions: [] };
    });
    const verdicts = await Promise.all([accepter.accept(events(0, 2)), accepter.accept(events(1, 2))]);
    expect(verdicts.map((each) => each.map(({ verdict }) => verdict))).toEqual([
      ['sequenced', 'rejected'],
      ['rejected'],
    ]);
    await accepter.close();
  });

  it('is told to come back with it while the database is away', async () => {
    const { accepter } = accepting(() => Promise.reject(new StoreError('unavailable', 'away')));
    const answers = await Promise.allSettled([accepter.accept(events(0, 2)), accepter.accept(events(1, 2))]);
    expect(answers.map((each) => each.status === 'rejected' && each.reason)).toEqual([
      expect.any(Unavailable),
      expect.any(Unavailable),
    ]);
    await accepter.close();
  });
});

describe('two commits at once', () => {
  it('begin only when so much waits that it is worth a second, and never a third', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 1000);
    const verdicts = [accepter.accept(events(0, 10))];
    await until(() => begun.length === 1, 'commit 1');
    verdicts.push(accepter.accept(events(10, 200)));
    await nextTurn();
    expect(begun).toHaveLength(1);
    verdicts.push(accepter.accept(events(200, 700)));
    await until(() => begun.length === 2, 'commit 2');
    expect(begun.map(({ batch }) => batch.lane)).toEqual([0, 1]);
    verdicts.push(accepter.accept(events(700, 1400)));
    await nextTurn();
    expect(begun).toHaveLength(2);
    begun[1]?.end();
    await until(() => begun.length === 3, 'commit 3');
    expect(begun[2]?.batch.lane).toBe(1);
    for (const each of begun) each.end();
    expect((await Promise.all(verdicts)).flat()).toHaveLength(1400);
    await accepter.close();
  });

  it('never hold one key both: the later one waits for the fate of the first', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 1000);
    const first = accepter.accept(events(0, 3));
    await until(() => begun.length === 1, 'commit 1');
    const second = accepter.accept(events(1, 600));
    await until(() => begun.length === 2, 'commit 2');
    expect(idsOf(begun[1] as { batch: Batch })).not.toContain('1');
    expect(begun[1]?.batch.rows).toHaveLength(597);
    begun[0]?.end();
    begun[1]?.end();
    await until(() => begun.length === 3, 'commit 3');
    expect(idsOf(begun[2] as { batch: Batch })).toEqual(['1', '2']);
    // Stored by now, so the store is asked.
    expect(begun[2]?.batch.lookUps).toEqual([
      [0, 1],
      [1, 1],
    ]);
    begun[2]?.end();
    await Promise.all([first, second]);
    await accepter.close();
  });

  it('never hold rows of one request both: they keep their order', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 1000);
    const verdicts = accepter.accept(events(0, 2000));
    await until(() => begun.length === 1, 'commit 1');
    const others = accepter.accept(events(2000, 2600));
    await until(() => begun.length === 2, 'commit 2');
    expect(begun.map((each) => idsOf(each)[0])).toEqual(['0', '2000']);
    begun[0]?.end();
    await until(() => begun.length === 3, 'commit 3');
    expect(begun[2] && idsOf(begun[2])).toEqual(Array.from({ length: 1000 }, (_, i) => String(1000 + i)));
    for (const each of begun) each.end();
    await Promise.all([verdicts, others]);
    await accepter.close();
  });

  it('need as many rows that may go now: those that wait for a key are none', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 1000);
    const first = accepter.accept(events(0, 1));
    await until(() => begun.length === 1, 'commit 1');
    const again = accepter.accept(Array.from({ length: 600 }, () => events(0, 1)).flat());
    await nextTurn();
    const more = accepter.accept(events(1, 3));
    await nextTurn();
    await nextTurn();
    expect(begun.map((each) => each.batch.rows.length)).toEqual([1]);
    begun[0]?.end();
    await until(() => begun.length === 2, 'commit 2');
    expect(begun[1]?.batch.rows).toHaveLength(602);
    begun[1]?.end();
    await Promise.all([first, again, more]);
    await accepter.close();
  });

  it('each hand over what they have sequenced without waiting for the other', async () => {
    const { begun, commit } = heldCommits();
    const { accepter, handedOver } = accepting(commit, 1000);
    const first = accepter.accept(events(0, 1));
    await until(() => begun.length === 1, 'commit 1');
    const second = accepter.accept(events(1, 501));
    await until(() => begun.length === 2, 'commit 2');
    begun[1]?.end();
    expect(await second).toHaveLength(500);
    expect(handedOver).toHaveLength(500);
    begun[0]?.end();
    await first;
    await accepter.close();
  });
});

describe('tenants', () => {
  const other = { id: 2, name: 'two', channels: 1 };
  const one = (id: string) => [eventArrival(other, { id })];

  it('share a batch: one message of another goes with the next commit, however much waits of the first', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 100);
    const first = Array.from({ length: 20 }, (_, i) => accepter.accept(events(100 * i, 100 * i + 100)));
    await until(() => begun.length === 2, 'both lanes to be busy');
    const lone = accepter.accept(one('lone'));
    begun[0]?.end();
    await until(() => begun.length === 3, 'the next commit');
    expect(begun[2] && idsOf(begun[2])).toContain('lone');
    expect(begun[2]?.batch.rows).toHaveLength(100);
    begun[2]?.end();
    expect(await lone).toMatchObject([{ verdict: 'sequenced' }]);
    for (let i = 0; i < begun.length; i++) {
      begun[i]?.end();
      await nextTurn();
      await nextTurn();
    }
    await Promise.all(first);
    await accepter.close();
  });

  it('find room, however much another one sends: only that one is told to come back', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit, 100);
    const taken: Promise<unknown>[] = [];
    const refused: unknown[] = [];
    for (let i = 0; i < 100; i++) {
      taken.push(accepter.accept(events(100 * i, 100 * i + 100)).catch((error: unknown) => refused.push(error)));
    }
    const others = Array.from({ length: 1000 }, (_, i) => accepter.accept(one(`other ${i}`)));
    await nextTurn();
    await nextTurn();
    // Of 5,000 the first may have half in line, and one request more per commit that is under way.
    expect(refused.length).toBeGreaterThanOrEqual(70);
    expect(refused.every((error) => error instanceof Busy)).toBe(true);
    for (let i = 0; i < begun.length; i++) {
      begun[i]?.end();
      await nextTurn();
      await nextTurn();
    }
    expect((await Promise.all(others)).flat()).toHaveLength(1000);
    await Promise.all(taken);
    await accepter.close();
  });
});

describe('closing', () => {
  it('waits for the commit that is under way, and leaves everything else its turn meanwhile', async () => {
    const { begun, commit } = heldCommits();
    const { accepter } = accepting(commit);
    const verdicts = accepter.accept(events(0, 1));
    await until(() => begun.length === 1, 'the commit');
    let closed = false;
    const closing = accepter.close().then(() => {
      closed = true;
    });
    await nextTurn();
    expect(closed).toBe(false);
    await expect(accepter.accept(events(1, 2))).rejects.toThrow(/shutting down/);
    begun[0]?.end();
    await closing;
    expect(await verdicts).toMatchObject([{ verdict: 'sequenced' }]);
  });
});

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
