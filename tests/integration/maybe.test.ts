import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import fc from 'fast-check';
import type { Pool, PoolClient } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createUnseenChecks } from '../../src/app/unseen.js';
import { createAccepter, type SequencedRow } from '../../src/channel/accept.js';
import { type Batch, type CommitBatch, StoreError } from '../../src/channel/batch.js';
import { FingerprintFilter, filterShape } from '../../src/channel/filter.js';
import { UnseenRoom } from '../../src/channel/maybe.js';
import type { Arrival } from '../../src/message/arrival.js';
import type { Tenant } from '../../src/message/tenant.js';
import type { Verdict } from '../../src/message/verdict.js';
import { createCommit } from '../../src/storage/accept.js';
import { openGenerations } from '../../src/storage/generations.js';
import { lookUpUnseen, type SeenNow } from '../../src/storage/unseen.js';
import { maybeEntries, unseenByTenant } from '../../src/storage/unseen-read.js';
import { eventArrival, insertProcess, insertTenant, testSecret } from '../support/arrivals.js';
import { realClock } from '../support/clock.js';
import { failing } from '../support/failing.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

const DAY = 86_400_000;

let database: TestDatabase;
let tenant: Tenant;
let source: number;
const secret = testSecret();

beforeEach(async () => {
  database = await freshDatabase({ max: 8 });
  tenant = await insertTenant(database.pool, 'one');
  source = await insertFeed(tenant);
});
afterEach(() => database.drop());

async function insertFeed(of: Tenant): Promise<number> {
  const { rows } = await database.pool.query<{ id: number }>(
    `insert into source (tenant, name, kind, definition, managed_by)
     values ($1, 'feed', 'events', '{"kind":"events","value":"/data/n","maybe":{"threshold":"10","below":"duplicate"}}', 'api')
     returning id`,
    [of.id],
  );
  return rows[0]?.id as number;
}

/** Every bit is set: it says "maybe seen" to everything. */
const believesAll = (): FingerprintFilter => {
  const shape = filterShape(1000);
  return new FingerprintFilter(shape, new Uint8Array(shape.bits / 8).fill(255), 1000);
};

/** A process that accepts and looks up what it kept. Its filter of generation 1 takes every key for seen. */
async function startProcess(around: (commit: CommitBatch) => CommitBatch = (commit) => commit, roomBytes = 1 << 24) {
  const process = await insertProcess(database.pool, randomUUID());
  const generations = await openGenerations({
    pool: database.pool,
    settings: { windowMs: 35 * DAY, futureMs: DAY, expectedKeys: 1000, cacheDirectory: null },
    clock: realClock,
    log: silent,
  });
  if (generations.filters.current === 1) await generations.rotate();
  await generations.tend();
  generations.filters.seal(1, believesAll());
  const room = new UnseenRoom(roomBytes);
  const handedOver: SequencedRow[] = [];
  const seen: SeenNow[] = [];
  const accepter = createAccepter({
    commit: around(createCommit(database.pool, process)),
    filters: generations.filters,
    unseen: room,
    secret,
    clock: realClock,
    settings: {
      maxBatchRows: 50,
      maxBatchBytes: 1 << 20,
      secondLaneRows: 1,
      maxWaitingRows: 10_000,
      maxWaitingBytes: 1 << 26,
      window: { pastMs: 35 * DAY, futureMs: DAY },
      patienceMs: 5_000,
    },
    onSequenced: (rows) => handedOver.push(...rows),
    randomId: () => randomInt(1, 2 ** 47),
    pause: (ms) => pause(ms),
  });
  const deps = { pool: database.pool, process, secret, randomId: () => randomInt(1, 2 ** 47) };
  const lookUp = createUnseenChecks({
    ...deps,
    room,
    filters: generations.filters,
    onSequenced: (rows) => handedOver.push(...rows),
    observe: (some) => seen.push(...some),
  });
  return { accept: accepter.accept, accepter, filters: generations.filters, lookUp, deps, handedOver, seen };
}

function event(id: string, value: string | null, more: Partial<Parameters<typeof eventArrival>[1]> = {}): Arrival {
  return { ...eventArrival(tenant, { id, source, ...more }), value, maybeBelow: '10' };
}

const UNSEEN = { verdict: 'duplicate', basis: 'filter' };

const count = async (sql: string): Promise<number> =>
  (await database.pool.query<{ n: number }>(`select count(*)::int as n from ${sql}`)).rows[0]?.n ?? 0;

async function counters(of: Tenant = tenant): Promise<{ sequenced: number; duplicates: number; conflicts: number }> {
  const { rows } = await database.pool.query(
    `select sum(last_sequence)::int as sequenced, sum(duplicates)::int as duplicates, sum(conflicts)::int as conflicts
     from channel where tenant = $1`,
    [of.id],
  );
  return rows[0];
}

const feed = async (of: Tenant = tenant) => {
  const [entry] = await maybeEntries(database.pool, of.id);
  if (!entry) throw new Error('the feed is not told of');
  const { saved, waiting, falsePositives, conflicts } = entry;
  return { saved, waiting, wrong: falsePositives.events, worth: falsePositives.value, conflicts };
};

describe('a "maybe" of a filter', () => {
  it('is looked up from the threshold on, also below 0, and where there is no value: sequenced once', async () => {
    const { accept, accepter, lookUp } = await startProcess();
    const arrivals = ['10', '10.00', '-10', '1e1', '250', null, 'NaN', '9'.repeat(400)].map((value, i) =>
      event(`above ${i}`, value),
    );
    expect((await accept(arrivals)).map(({ verdict }) => verdict)).toEqual(Array(8).fill('sequenced'));
    expect(await accept(arrivals)).toMatchObject(Array(8).fill({ verdict: 'duplicate', basis: 'store' }));
    await lookUp();
    expect(await count('unseen')).toBe(0);
    expect(await counters()).toEqual({ sequenced: 8, duplicates: 8, conflicts: 0 });
    expect(await feed()).toEqual({ saved: 0, waiting: 0, wrong: 0, worth: '0', conflicts: 0 });
    await accepter.close();
  });

  it('is a duplicate at once below it, kept whole, and sequenced when it has been looked up', async () => {
    const { accept, accepter, lookUp, handedOver, seen } = await startProcess();
    const arrivals = [
      {
        ...event('a', '9.99', { time: '2026-03-01T10:00:00.123456Z', at: Date.UTC(2026, 2, 1, 11) }),
        meta: '{"k": 1.0}',
      },
      event('b', '-0.50'),
    ];
    expect(await accept(arrivals)).toEqual([UNSEEN, UNSEEN]);
    expect(await counters()).toEqual({ sequenced: 0, duplicates: 0, conflicts: 0 });
    expect(await count('message')).toBe(0);
    expect(await feed()).toEqual({ saved: 2, waiting: 2, wrong: 0, worth: '0', conflicts: 0 });
    expect(handedOver).toEqual([]);

    await lookUp();
    expect(await feed()).toEqual({ saved: 2, waiting: 0, wrong: 2, worth: '10.49', conflicts: 0 });
    expect(await counters()).toEqual({ sequenced: 2, duplicates: 0, conflicts: 0 });
    const { rows } = await database.pool.query(
      `select m.external_id as id, m.value, m.raw, m.meta::text as meta, m.arrived_at as at, m.peer, m.sha256 = sha256(m.raw) as hashed,
         to_char(m.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') as time from message m order by 1`,
    );
    expect(rows).toMatchObject([
      {
        id: 'a',
        value: '9.99',
        raw: arrivals[0]?.raw,
        meta: '{"k": 1.0}',
        at: new Date(Date.UTC(2026, 2, 1, 11)),
        hashed: true,
        time: '2026-03-01T10:00:00.123456',
      },
      { id: 'b', value: '-0.50', raw: arrivals[1]?.raw, meta: null, hashed: true, time: null },
    ]);
    expect(seen.map(({ became }) => became)).toEqual(['original', 'original']);
    // Whoever reads on in this process hears of them.
    expect(handedOver.map(({ arrival, sequence }) => [arrival.externalId, sequence]).toSorted()).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
    // From then on they are real duplicates, that are found to be some.
    expect(await accept(arrivals)).toEqual([UNSEEN, UNSEEN]);
    await lookUp();
    expect(await feed()).toEqual({ saved: 4, waiting: 0, wrong: 2, worth: '10.49', conflicts: 0 });
    expect(await counters()).toEqual({ sequenced: 2, duplicates: 2, conflicts: 0 });
    await accepter.close();
  });

  it('is the word of a filter: what none has been asked about is looked up', async () => {
    const { accept, accepter, filters } = await startProcess();
    filters.seal(1, null);
    expect(await accept([event('a', '1')])).toMatchObject([{ verdict: 'sequenced' }]);
    expect(await accept([event('a', '1')])).toEqual([UNSEEN]);
    await accepter.close();
  });

  it('costs those nothing who do not ask: the same commits, and nothing is kept', async () => {
    const batches: Batch[] = [];
    const { accept, accepter } = await startProcess((commit) => (batch) => {
      batches.push(batch);
      return commit(batch);
    });
    const arrivals = Array.from({ length: 40 }, (_, i) => eventArrival(tenant, { id: `${i}`, source }));
    expect((await accept(arrivals)).map(({ verdict }) => verdict)).toEqual(Array(40).fill('sequenced'));
    expect(await accept(arrivals)).toMatchObject(Array(40).fill({ verdict: 'duplicate', basis: 'store' }));
    expect(batches.map(({ rows, unseen }) => [rows.length, unseen.length])).toEqual([
      [40, 0],
      [40, 0],
    ]);
    await accepter.close();
  });

  it('shares a commit with what is looked up, and its answer comes in the order sent', async () => {
    let commits = 0;
    const { accept, accepter } = await startProcess((commit) => (batch) => {
      commits++;
      return commit(batch);
    });
    const verdicts = await accept([event('a', '1'), event('b', '100'), event('c', '2'), event('d', '1000')]);
    expect(verdicts).toMatchObject([
      UNSEEN,
      { verdict: 'sequenced', sequence: 1 },
      UNSEEN,
      { verdict: 'sequenced', sequence: 2 },
    ]);
    expect(commits).toBe(1);
    await accepter.close();
  });

  it('is looked up when so much is kept that there is no room', async () => {
    const { accept, accepter, lookUp } = await startProcess(undefined, 4 * 1024);
    const [first, second, third] = [
      await accept([event('a', '1')]),
      await accept([event('b', '1')]),
      await accept([event('c', '1')]),
    ];
    expect([first, second, third]).toMatchObject([[UNSEEN], [{ verdict: 'sequenced' }], [{ verdict: 'sequenced' }]]);
    await lookUp();
    expect(await accept([event('d', '1')])).toEqual([UNSEEN]);
    await accepter.close();
  });
});

describe('what came again before anybody looked', () => {
  it('is one event, however often and in how many batches', async () => {
    let commits = 0;
    const { accept, accepter, lookUp } = await startProcess((commit) => (batch) => {
      commits++;
      return commit(batch);
    });
    expect(await accept(Array.from({ length: 100 }, () => event('a', '1')))).toEqual(Array(100).fill(UNSEEN));
    expect(commits).toBe(2);
    expect(await accept([event('a', '1')])).toEqual([UNSEEN]);
    expect(await count('unseen')).toBe(1);
    await lookUp();
    expect(await counters()).toEqual({ sequenced: 1, duplicates: 100, conflicts: 0 });
    expect(await feed()).toEqual({ saved: 101, waiting: 0, wrong: 1, worth: '1', conflicts: 0 });
    await accepter.close();
  });

  it('is a conflict where its content differs, as it would have been', async () => {
    const { accept, accepter, lookUp } = await startProcess();
    expect(await accept([event('a', '1')])).toEqual([UNSEEN]);
    const other = event('a', '2', { content: 'other' });
    expect(await accept([other, other, event('a', '1', { account: 'another' })])).toEqual([UNSEEN, UNSEEN, UNSEEN]);
    await lookUp();
    expect(await counters()).toEqual({ sequenced: 1, duplicates: 0, conflicts: 3 });
    expect(await feed()).toEqual({ saved: 4, waiting: 0, wrong: 1, worth: '1', conflicts: 3 });
    const { rows } = await database.pool.query('select value, account, count, cause from quarantine order by number');
    expect(rows).toEqual(
      expect.arrayContaining([
        { value: '2', account: 'someone', count: 2, cause: 'conflict' },
        { value: '1', account: 'another', count: 1, cause: 'conflict' },
      ]),
    );
    await accepter.close();
  });

  it('holds up nobody else, however many contents it comes with', async () => {
    const { accept, accepter, lookUp } = await startProcess();
    await accept(Array.from({ length: 900 }, (_, i) => event('a', '1', { content: `content ${i}` })));
    await accept([event('b', '1')]);
    await lookUp();
    expect(await counters()).toEqual({ sequenced: 2, duplicates: 0, conflicts: 899 });
    expect(await feed()).toEqual({ saved: 901, waiting: 0, wrong: 2, worth: '2', conflicts: 899 });
    const { rows } = await database.pool.query(
      'select count(*)::int as n, min(number)::int as first, max(number)::int as last from quarantine',
    );
    expect(rows).toEqual([{ n: 899, first: 1, last: 899 }]);
    await accepter.close();
  });

  it('is a duplicate where its source does not call that a conflict', async () => {
    const { accept, accepter, lookUp } = await startProcess();
    const hook = (content: string): Arrival => ({ ...event('a', '1', { content }), onOtherContent: 'duplicate' });
    await accept([hook('x')]);
    await accept([hook('y')]);
    await lookUp();
    expect(await counters()).toEqual({ sequenced: 1, duplicates: 1, conflicts: 0 });
    expect(await count('quarantine')).toBe(0);
    await accepter.close();
  });

  it('is counted once when it was looked up in between, or by another process', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    second.filters.seal(1, new FingerprintFilter(filterShape(1000)));
    expect(await first.accept([event('a', '1'), event('b', '1')])).toEqual([UNSEEN, UNSEEN]);
    // To the second one both are new.
    expect(await second.accept([event('a', '1')])).toMatchObject([{ verdict: 'sequenced' }]);
    await Promise.all([first.lookUp(), second.lookUp()]);
    await first.lookUp();
    expect(await second.accept([event('b', '1')])).toMatchObject([{ verdict: 'duplicate', basis: 'store' }]);
    expect(await first.accept([event('a', '100')])).toMatchObject([{ verdict: 'duplicate', basis: 'store' }]);
    expect(await feed()).toMatchObject({ saved: 2, waiting: 0, wrong: 1, worth: '1' });
    expect((await counters()).sequenced).toBe(2);
    await Promise.all([first.accepter.close(), second.accepter.close()]);
  });

  it('is kept anew when it comes while it is being looked up, and is found to be a duplicate', async () => {
    const { accept, accepter, lookUp, deps } = await startProcess();
    await accept([event('a', '1')]);
    let during: Promise<Verdict[]> | undefined;
    const pool = tampered(database.pool, async (text, run) => {
      // Its row is locked from here on.
      if (text.startsWith('select * from accept')) during = accept([event('a', '1')]);
      return run();
    });
    expect(await lookUpUnseen({ ...deps, pool })).toMatchObject([{ became: 'original', sequence: 1, count: 1 }]);
    expect(await during).toEqual([UNSEEN]);
    await lookUp();
    expect(await counters()).toEqual({ sequenced: 1, duplicates: 1, conflicts: 0 });
    expect(await feed()).toMatchObject({ saved: 2, waiting: 0, wrong: 1 });
    await accepter.close();
  });
});

function bound(of: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(of, name, of);
  return typeof value === 'function' ? value.bind(of) : value;
}

/** A pool whose transactions go through the test's hands. */
function tampered(pool: Pool, handle: (text: string, run: () => Promise<unknown>) => Promise<unknown>): Pool {
  return new Proxy(pool, {
    get(target, name) {
      if (name !== 'connect') return bound(target, name);
      return async () => {
        const client: PoolClient = await target.connect();
        return new Proxy(client, {
          get(of, key) {
            if (key !== 'query') return bound(of, key);
            return (query: string | { text: string }, values?: unknown[]) =>
              handle(typeof query === 'string' ? query : query.text, () => of.query(query as string, values) as never);
          },
        });
      };
    },
  });
}

describe('cut off', () => {
  it('at any statement, or when the answer to the commit is lost, it is as if nothing or all had happened', async () => {
    const { accept, accepter, deps } = await startProcess();
    await accept([event('known', '100'), event('other', '100')]);
    let cuts = 0;
    for (let at = 0; ; at++) {
      await accept([
        event(`new ${at}`, '1'),
        event('known', '1'),
        event('other', '1', { content: 'x' }),
        event(`new ${at}`, '1'),
      ]);
      const before = { ...(await counters()), feed: await feed() };
      let turn = 0;
      const cut = await lookUpUnseen({
        ...deps,
        pool: tampered(database.pool, async (text, run) => {
          if (turn++ !== at || text === 'rollback') return run();
          throw Object.assign(new Error('Connection terminated'), { at: text });
        }),
      }).then(
        () => false,
        () => true,
      );
      if (!cut) break;
      cuts++;
      expect({ ...(await counters()), feed: await feed() }).toEqual(before);
      await lookUpUnseen(deps);
    }
    expect(cuts).toBeGreaterThan(6);
    const rounds = cuts + 1;
    expect(await counters()).toEqual({ sequenced: 2 + rounds, duplicates: 2 * rounds, conflicts: rounds });
    expect(await feed()).toMatchObject({
      saved: 4 * rounds,
      waiting: 0,
      wrong: rounds,
      worth: String(rounds),
      conflicts: rounds,
    });

    await accept([event('last', '1')]);
    const lost = tampered(database.pool, async (text, run) => {
      const answer = await run();
      if (text === 'commit') throw new Error('Connection terminated');
      return answer;
    });
    await expect(lookUpUnseen({ ...deps, pool: lost })).rejects.toThrow('Connection terminated');
    expect(await lookUpUnseen(deps)).toEqual([]);
    expect((await counters()).sequenced).toBe(3 + rounds);
    await accepter.close();
  });

  it('a batch whose answer was lost is repeated: kept once, counted once', async () => {
    let lose = true;
    const { accept, accepter, lookUp } = await startProcess((commit) => async (batch) => {
      const answer = await commit(batch);
      if (!lose) return answer;
      lose = false;
      throw new StoreError('unavailable', 'the answer was lost');
    });
    expect(await accept([event('a', '1'), event('b', '100'), event('a', '1')])).toMatchObject([
      UNSEEN,
      { verdict: 'sequenced', sequence: 1 },
      UNSEEN,
    ]);
    const { rows } = await database.pool.query('select count from unseen');
    expect(rows).toEqual([{ count: 2 }]);
    lose = true;
    expect(await accept([event('c', '1')])).toEqual([UNSEEN]);
    await lookUp();
    expect(await counters()).toEqual({ sequenced: 3, duplicates: 1, conflicts: 0 });
    expect(await feed()).toMatchObject({ saved: 3, wrong: 2, worth: '2' });
    await accepter.close();
  });

  it('rejects only the row that the database can not hold', async () => {
    const { accept, accepter } = await startProcess();
    const bad = { ...event('bad', '1'), account: 'a\0b' };
    expect(await accept([event('a', '1'), bad, event('b', '100')])).toMatchObject([
      UNSEEN,
      { verdict: 'rejected', code: 'unstorable' },
      { verdict: 'sequenced' },
    ]);
    await accepter.close();
  });
});

describe('what is kept', () => {
  it('keeps the keys it must be looked up in, however old they are', async () => {
    const { accept, accepter, lookUp, filters } = await startProcess();
    await accept([event('a', '1')]);
    await database.pool.query(
      `update generation set last_arrival = now() - interval '40 days' where id = 1;
       update unseen set arrived_at = now() - interval '5 days'`,
    );
    const old = await openGenerations({
      pool: database.pool,
      settings: { windowMs: 35 * DAY, futureMs: DAY, expectedKeys: 1000, cacheDirectory: null },
      clock: realClock,
      log: silent,
    });
    await old.tend();
    expect(await count('generation where keys_dropped_at is not null')).toBe(0);
    await lookUp();
    await old.tend();
    expect(await count('generation where keys_dropped_at is not null')).toBe(1);
    expect(filters.current).toBe(2);
    await accepter.close();
  });

  it('is counted by tenant, and is looked up a page at a time', async () => {
    const { accept, accepter, lookUp, deps, seen } = await startProcess();
    const arrivals = Array.from({ length: 1_200 }, (_, i) => event(`${i}`, '0.01'));
    await accept(arrivals);
    const bytes = arrivals.reduce((sum, { raw }) => sum + raw.length, 0);
    expect(await unseenByTenant(database.pool)).toEqual([{ tenant: tenant.id, rows: 1_200, bytes }]);
    expect(await lookUpUnseen(deps)).toHaveLength(500);
    await lookUp();
    expect(seen).toHaveLength(700);
    expect(await feed()).toMatchObject({ saved: 1_200, waiting: 0, wrong: 1_200, worth: '12.00' });
    // All of one account, so in the order they came.
    const { rows } = await database.pool.query('select external_id as id from message order by sequence');
    expect(rows.map(({ id }) => id)).toEqual(arrivals.map(({ externalId }) => externalId));
    await accepter.close();
  });
});

it('counts each event once, under any order of events, processes, look-ups, lost answers and cuts', {
  timeout: 120_000,
}, async () => {
  const arrival = fc.record({
    id: fc.integer({ min: 0, max: 12 }),
    value: fc.constantFrom('1', '-9.99', '10', '1e2', null),
    account: fc.constantFrom('a', 'a', 'b'),
  });
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('send' as const),
        process: fc.nat(1),
        arrivals: fc.array(arrival, { minLength: 1, maxLength: 10 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('look up' as const),
        process: fc.nat(1),
        cut: fc.integer({ min: -12, max: 12 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 14 }),
      fc.array(fc.constantFrom('ok', 'ok', 'ok', 'lost', 'refused'), { minLength: 1 }),
      async (steps, faults) => {
        const of = await insertTenant(database.pool, `run-${run++}`, 3);
        const its = await insertFeed(of);
        const around = failing(faults);
        const processes = [await startProcess(around), await startProcess(around)] as const;
        // One filter is right, the other takes everything for seen.
        processes[1].filters.seal(1, new FingerprintFilter(filterShape(1000)));
        const sent: { id: number; verdict: Verdict }[] = [];
        let under: Promise<unknown>[] = [];
        const send = async (at: number, arrivals: readonly { id: number; value: string | null; account: string }[]) => {
          const verdicts = await (processes[at] ?? processes[0]).accept(
            arrivals.map(({ id, value, account }) => ({
              ...eventArrival(of, { id: String(id), account, content: String(value), source: its }),
              value,
              maybeBelow: '10',
            })),
          );
          for (const [i, verdict] of verdicts.entries()) sent.push({ id: arrivals[i]?.id ?? -1, verdict });
        };
        for (const each of steps) {
          if (each.do === 'send') under.push(send(each.process, each.arrivals));
          else if (each.do === 'wait') {
            await Promise.all(under);
            under = [];
          } else {
            let at = 0;
            const pool = tampered(database.pool, async (text, query) => {
              if (at++ === each.cut && text !== 'rollback') throw new Error('Connection terminated');
              return query();
            });
            under.push(
              lookUpUnseen({ ...(processes[each.process] ?? processes[0]).deps, pool }).catch(() => undefined),
            );
          }
        }
        await Promise.all(under);
        while ((await count('unseen')) > 0) await processes[0].lookUp();
        await Promise.all(processes.map(({ accepter }) => accepter.close()));

        const ids = new Set(sent.map(({ id }) => id));
        const { rows } = await database.pool.query<{ id: string; n: number }>(
          'select external_id as id, count(*)::int as n from message where tenant = $1 group by 1',
          [of.id],
        );
        expect(new Map(rows.map(({ id, n }) => [Number(id), n]))).toEqual(new Map([...ids].map((id) => [id, 1])));
        const said = (kind: Verdict['verdict']) => sent.filter(({ verdict }) => verdict.verdict === kind).length;
        const { wrong, conflicts, waiting } = await feed(of);
        const counted = await counters(of);
        expect(counted.sequenced).toBe(ids.size);
        expect(said('sequenced') + wrong).toBe(ids.size);
        expect(counted.conflicts).toBe(said('conflict') + conflicts);
        expect(waiting).toBe(0);
        // A commit that took place although its sender never heard of it, looked up before it was repeated, is counted again.
        if (!faults.includes('lost'))
          expect(counted.sequenced + counted.duplicates + counted.conflicts).toBe(sent.length);
        const gapless = await count(
          `(select c.channel from channel c left join message m on m.tenant = c.tenant and m.channel = c.channel
            where c.tenant = ${of.id} group by c.channel, c.last_sequence
            having count(m.sequence) <> c.last_sequence or coalesce(max(m.sequence), 0) <> c.last_sequence) wrong`,
        );
        expect(gapless).toBe(0);
      },
    ),
    { numRuns: 25 },
  );
});
