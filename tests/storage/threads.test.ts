import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Tenant } from '../../src/message/tenant.js';
import { FencedOut, type Held, type NewInThread, type OwnerStore } from '../../src/owner/ports.js';
import { createLeaseStore } from '../../src/storage/lease.js';
import { createOwnerStore } from '../../src/storage/owner.js';
import { inTransaction } from '../../src/storage/pool.js';
import { noteCourses } from '../../src/storage/threads.js';
import { forgetPage } from '../../src/storage/threads-forget.js';
import { findThread, messagesInThread, placeInThread } from '../../src/storage/threads-read.js';
import { insertProcess, insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { seeded } from '../support/seeded.js';

const CHANNELS = 8;
let database: TestDatabase;
let tenant: Tenant;
let store: OwnerStore;
let channels: Held[];

beforeEach(async () => {
  database = await freshDatabase({ max: 16 });
  tenant = await insertTenant(database.pool, 'one', CHANNELS);
  const process = await insertProcess(database.pool, randomUUID());
  const leases = createLeaseStore(database.pool, process, 1);
  channels = (await leases.take(await leases.leases())).map(({ tenant, channel, term }) => ({ tenant, channel, term }));
  channels.sort((a, b) => a.channel - b.channel);
  store = createOwnerStore(database.pool, process, 1);
});
afterEach(() => database.drop());

/** 16 bytes in hex, the same for the same name. */
function hash(name: string): string {
  return Buffer.from(name.padEnd(16, '.')).toString('hex');
}

function mail(channel: number, sequence: number, references: readonly string[], given: Partial<NewInThread> = {}) {
  const keys = { references: references.map(hash), party: hash(`account ${channel}`) };
  const held = channels[channel] as Held;
  return {
    held,
    sequence,
    keys,
    content: { fields: null, text: hash('text'), html: null, parts: [] },
    asks: true,
    ...given,
  };
}

async function placed(...messages: NewInThread[]) {
  return (await store.placeInThreads(messages)).map(({ id, number }) => `${id}: ${number}`);
}

async function rows(table: string): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(`select count(*) from ${table}`);
  return rows[0]?.count ?? 0;
}

describe('places in conversations', () => {
  it('are numbered from 1, in the order given, by whatever leads there', async () => {
    expect(await placed(mail(0, 1, ['a']), mail(1, 1, ['b', 'a']), mail(0, 2, ['other']))).toEqual([
      '1: 1',
      '1: 2',
      '2: 1',
    ]);
    expect(await placed(mail(2, 9, ['c', 'b']), mail(0, 3, ['d', 'other']))).toEqual(['1: 3', '2: 2']);
    expect(await placeInThread(database.pool, tenant.id, { channel: 1, sequence: 1 })).toEqual({
      id: 1,
      number: 2,
      of: 3,
    });
    expect(await messagesInThread(database.pool, tenant.id, 1, 1, 10)).toEqual([
      { number: 2, channel: 1, sequence: 1 },
      { number: 3, channel: 2, sequence: 9 },
    ]);
  });

  it('are kept when the same is asked again, in whatever order and company', async () => {
    await placed(mail(0, 1, ['a']), mail(0, 2, ['b', 'a']));
    await placed(mail(1, 1, ['c', 'b']));
    expect(await placed(mail(0, 2, ['b', 'a']), mail(1, 2, ['d', 'a']), mail(0, 1, ['a']))).toEqual([
      '1: 2',
      '1: 4',
      '1: 1',
    ]);
  });

  it('lead to a message that comes after those that answer it', async () => {
    expect(await placed(mail(0, 1, ['answer', 'question']))).toEqual(['1: 1']);
    expect(await placed(mail(0, 2, ['question']))).toEqual(['1: 2']);
  });

  it('stay where they are when two conversations turn out to be one, which are linked', async () => {
    await placed(mail(0, 1, ['a']), mail(0, 2, ['b']), mail(0, 3, ['c']));
    expect(await placed(mail(0, 4, ['d', 'c', 'a', 'b']))).toEqual(['3: 2']);
    expect(await placed(mail(0, 5, ['e', 'a']))).toEqual(['1: 2']);
    const links = async (id: number) => (await findThread(database.pool, tenant.id, id))?.links;
    expect(await links(3)).toEqual([
      { id: 1, of: 2 },
      { id: 2, of: 1 },
    ]);
    expect(await links(1)).toEqual([{ id: 3, of: 2 }]);
    await placed(mail(1, 1, ['f', 'c', 'a']));
    expect(await rows('thread_link')).toBe(2);
  });

  it('are each tenant’s own', async () => {
    const other = await insertTenant(database.pool, 'two', 1);
    const leases = createLeaseStore(database.pool, await insertProcess(database.pool, randomUUID()), 1);
    const [held] = await leases.take((await leases.leases()).filter((lease) => lease.tenant === other.id));
    if (!held) throw new RangeError('a lease');
    await placed(mail(0, 1, ['a']));
    const { rows } = await database.pool.query<{ holder: string }>('select holder from lease where tenant = $1', [
      other.id,
    ]);
    const theirs = createOwnerStore(database.pool, rows[0]?.holder as string, 1);
    expect(await theirs.placeInThreads([mail(0, 1, ['a'], { held })])).toMatchObject([{ id: 2, number: 1 }]);
    expect(await findThread(database.pool, other.id, 1)).toBeUndefined();
  });

  it('are not given by a process that no longer holds the channel', async () => {
    const [first] = channels;
    if (!first) throw new RangeError('a channel');
    await expect(placed(mail(0, 1, ['a'], { held: { ...first, term: first.term + 1 } }))).rejects.toThrow(FencedOut);
    expect(await rows('thread')).toBe(0);
  });

  it('come with what was before them, newest first, where that is asked', async () => {
    await placed(mail(0, 1, ['a']), mail(1, 1, ['b', 'a']));
    const course = { tenant: tenant.id, channel: 0, sequence: 1, how: 'set' as const };
    await inTransaction(database.pool, (client) => noteCourses(client, [{ ...course, targets: [4, 5] }]));
    const [third, fourth, fifth] = await store.placeInThreads([
      mail(0, 2, ['c', 'b']),
      mail(0, 3, ['d', 'c'], { asks: false, content: null }),
      mail(2, 1, ['e', 'd']),
    ]);
    expect(third).toEqual({
      id: 1,
      number: 3,
      before: [
        { channel: 1, sequence: 1, number: 2, party: hash('account 1'), targets: null, missed: [], content: TEXT },
        {
          channel: 0,
          sequence: 1,
          number: 1,
          party: hash('account 0'),
          targets: [4, 5],
          missed: [],
          content: TEXT,
        },
      ],
    });
    expect(fourth?.before).toEqual([]);
    expect(fifth?.before.map(({ number, content }) => [number, content === null])).toEqual([
      [4, true],
      [3, false],
      [2, false],
      [1, false],
    ]);
  });

  it('say which targets did not take what was before: it failed there, and nothing of it is under way', async () => {
    await placed(mail(0, 1, ['a']));
    const deliveries: [target: number, number: number, state: string][] = [
      [4, 1, 'failed'],
      [5, 1, 'failed'],
      [5, 2, 'delivered'],
      [6, 1, 'failed'],
      [6, 2, 'pending'],
      [7, 1, 'delivered'],
    ];
    for (const delivery of deliveries) {
      await database.pool.query(
        `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state)
         values ($1, $2, 0, 1, $3, 1, 1, 0, '{}', $4)`,
        [tenant.id, ...delivery],
      );
    }
    const [second] = await store.placeInThreads([mail(0, 2, ['b', 'a'])]);
    expect(second?.before.map(({ missed }) => missed)).toEqual([[4]]);
  });

  it('go where plans and people say', async () => {
    await placed(mail(0, 1, ['a']));
    const say = (how: 'set' | 'add' | 'remove', ...targets: number[]) => ({
      ...{ tenant: tenant.id, channel: 0, sequence: 1 },
      targets,
      how,
    });
    const course = async (...courses: ReturnType<typeof say>[]) => {
      await inTransaction(database.pool, (client) => noteCourses(client, courses));
      const { rows } = await database.pool.query<{ targets: number[] }>('select targets from thread_message');
      return rows[0]?.targets;
    };
    expect(await course(say('add', 3))).toEqual([3]);
    expect(await course(say('set'))).toEqual([]);
    expect(await course(say('add', 5), say('add', 2, 5), say('remove', 5))).toEqual([2]);
  });
});

const TEXT = { fields: null, text: hash('text'), html: null, parts: [] };

it('concurrent processes give each number once, without gaps, and wait for each other without a deadlock', async () => {
  const random = seeded(7);
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const sequences = new Array<number>(CHANNELS).fill(0);
  const batch = (channel: number) =>
    Array.from({ length: 4 }, () => {
      const sequence = (sequences[channel] ?? 0) + 1;
      sequences[channel] = sequence;
      // In the one order and in the other: whoever comes second meets what the first has not committed.
      const named = random.shuffled(names).slice(0, 1 + random.below(4));
      return mail(channel, sequence, [...named, `${channel} ${sequence}`]);
    });
  const given: { id: number; number: number }[] = [];
  await Promise.all(
    Array.from({ length: CHANNELS }, async (_, channel) => {
      for (let round = 0; round < 10; round++) given.push(...(await store.placeInThreads(batch(channel))));
    }),
  );
  expect(given).toHaveLength(CHANNELS * 40);
  const { rows: threads } = await database.pool.query<{ id: number; last: number; count: number; highest: number }>(
    `select t.id, t.last_number as last, count(*) as count, max(m.number) as highest from thread t
     join thread_message m on m.tenant = t.tenant and m.thread = t.id group by 1, 2 order by 1`,
  );
  for (const { last, count, highest } of threads) expect([last, highest]).toEqual([count, count]);
  for (const { id, last } of threads) {
    const numbers = given.filter((one) => one.id === id).map(({ number }) => number);
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: last }, (__, i) => i + 1));
  }
  expect(threads.reduce((sum, { count }) => sum + count, 0)).toBe(CHANNELS * 40);
}, 60_000);

describe('what is gone', () => {
  /** What a generation held of channel 0 is gone up to a sequence. */
  async function gone(through: number): Promise<void> {
    await database.pool.query(
      'insert into span (tenant, channel, first_sequence, generation) values ($1, 0, 1, 0), ($1, 0, $2, 1)',
      [tenant.id, through + 1],
    );
    for (let from: number | null = 0; from !== null; ) {
      const after: number = from;
      const page = { tenant: tenant.id, channel: 0, from: after, through };
      from = await inTransaction(database.pool, (client) => forgetPage(client, page));
    }
  }

  it('has no place, and a conversation of which all is gone is forgotten with all that leads to it', async () => {
    await placed(mail(0, 1, ['a']), mail(0, 2, ['b']), mail(0, 3, ['c', 'b', 'a']), mail(0, 4, ['d', 'b']));
    expect(await rows('thread_link')).toBe(1);
    await gone(3);
    expect(await rows('thread')).toBe(1);
    expect(await rows('thread_message')).toBe(1);
    expect(await rows('thread_link')).toBe(0);
    expect(await placed(mail(0, 5, ['e', 'd']), mail(0, 6, ['f', 'a']))).toEqual(['2: 4', '3: 1']);
  });

  it('is forgotten beside others who give numbers there', async () => {
    await placed(...Array.from({ length: 50 }, (_, i) => mail(0, i + 1, [`a${i}`])));
    const [numbers] = await Promise.all([
      Promise.all(Array.from({ length: 50 }, (_, i) => store.placeInThreads([mail(1, i + 1, [`b${i}`, `a${i}`])]))),
      gone(50),
    ]);
    for (const [one] of numbers) expect([1, 2]).toContain(one?.number);
    const { rows: lost } = await database.pool.query(
      `select from thread_message m where not exists (select from thread t where t.tenant = m.tenant and t.id = m.thread)
       union all select from thread_reference r where not exists (select from thread t where t.tenant = r.tenant and t.id = r.thread)`,
    );
    expect(lost).toEqual([]);
    expect(await rows('thread_message')).toBe(50);
  });
});
