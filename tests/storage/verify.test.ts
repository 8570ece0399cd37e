import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FindingCode } from '../../src/delivery/chain.js';
import { decide } from '../../src/storage/decisions.js';
import { type VerifyEvent, type VerifyWish, verifyTenant } from '../../src/storage/verify.js';
import { type Keeper, keepBooks } from '../support/books.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let books: Keeper;

beforeEach(async () => {
  database = await freshDatabase({ max: 16 });
  books = await keepBooks(database.pool);
});
afterEach(async () => {
  await books.stop();
  await database.drop();
});

interface Verified {
  readonly result: Extract<VerifyEvent, { event: 'result' }>;
  /** `code: detail` of each. */
  readonly said: string[];
  readonly progress: Extract<VerifyEvent, { event: 'progress' }>[];
}

async function verify(wish: VerifyWish = {}): Promise<Verified> {
  const said: string[] = [];
  const progress: Verified['progress'] = [];
  for await (const event of verifyTenant(database.pool, books.tenant, wish)) {
    if (event.event === 'finding') said.push(`${event.code}: ${event.detail}`);
    if (event.event === 'progress') progress.push(event);
    if (event.event === 'result') return { result: event, said, progress };
  }
  throw new Error('no result');
}

function decideAbout(action: 'assign' | 'replay', sequence: number, target: number, version: number) {
  const wish = { action, who: 'anna', targets: [target], version, reason: null, until: null, hold: 0 };
  return decide(database.pool, books.tenant.id, { channel: 0, sequence }, { ...wish, idempotencyKey: null });
}

/** Ten messages in each channel, a plan each; two assigned from the inbox, one sent again. */
async function fill(): Promise<void> {
  for (const channel of [0, 1]) {
    await books.take(books.account('erp', channel), ...['a', 'b', 'c', 'd'].map((id) => `${channel}${id}`));
    await books.take(books.account('inbox', channel), ...['e', 'f', 'g'].map((id) => `${channel}${id}`));
    await books.take(books.account('shelf', channel), ...['h', 'i', 'j'].map((id) => `${channel}${id}`));
  }
  for (const sequence of [5, 6]) await decideAbout('assign', sequence, books.shelf, 1);
  await decideAbout('replay', 1, books.erp, 1);
  books.wake();
  await books.settled();
}

describe('true books', () => {
  it('hold, with everything counted', async () => {
    await fill();
    const { result, said, progress } = await verify();
    expect(said).toEqual([]);
    expect(result).toMatchObject({ ok: true, channels: 2, messages: 20, plans: 23, keys: 20, erased: 0, findings: 0 });
    expect(result.signer).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/);
    expect(progress.at(-1)).toMatchObject({ doing: 'keys', done: 20, total: 20 });
  });

  it('hold in part: a channel, a range, what came since', async () => {
    await fill();
    expect((await verify({ channel: 1 })).result).toMatchObject({ ok: true, channels: 1, messages: 10 });
    expect((await verify({ channel: 0, from: 4, to: 6 })).result).toMatchObject({ ok: true, messages: 3, plans: 3 });
    expect((await verify({ channel: 0, from: 9 })).result).toMatchObject({ ok: true, messages: 2, plans: 5 });
    expect((await verify({ since: new Date(Date.now() + 3_600_000) })).result).toMatchObject({ ok: true, messages: 0 });
    expect((await verify({ since: new Date(0) })).result).toMatchObject({ ok: true, messages: 20 });
  });

  it('hold while messages come in, and in large plans', async () => {
    const accounts = [0, 1].map((channel) => books.account('erp', channel));
    let sending = true;
    const sender = (async () => {
      for (let n = 0; sending; n++) {
        await books.accept(
          Array.from({ length: 300 }, (_, i) => books.arrival(`${n}.${i}`, accounts[i % 2] as string)),
        );
      }
    })();
    try {
      for (let again = 0; again < 5; again++) expect((await verify()).said).toEqual([]);
    } finally {
      sending = false;
      await sender;
    }
    await books.settled();
    const { result, said } = await verify();
    expect(said).toEqual([]);
    expect(result.messages).toBe(result.keys);
  });

  it('are read a page at a time, whatever their size', async () => {
    const account = books.account('erp', 0);
    for (let n = 0; n < 10; n++) {
      await books.accept(Array.from({ length: 500 }, (_, i) => books.arrival(`${n}.${i}`, account)));
    }
    await books.settled();
    const { result, said, progress } = await verify({ channel: 0 });
    expect(said).toEqual([]);
    expect(result).toMatchObject({ messages: 5000, keys: 5000 });
    expect(progress.filter(({ doing }) => doing === 'messages').length).toBeGreaterThan(2);
  });
});

/** What is done to the books, what is found, and the words that name it. */
const WRONGS: readonly (readonly [what: string, sql: string, code: FindingCode, said: RegExp])[] = [
  [
    'a message deleted',
    'delete from message where channel = 0 and sequence = 3',
    'message_missing',
    /Message 0-3 is missing/,
  ],
  [
    'the last message deleted',
    'delete from message where channel = 0 and sequence = 10',
    'message_missing',
    /Message 0-10 is missing/,
  ],
  [
    'bytes altered',
    "update message set raw = raw || ' '::bytea where channel = 0 and sequence = 3",
    'message_altered',
    /bytes of 0-3 /,
  ],
  [
    'a hash altered',
    "update message set sha256 = sha256('x'::bytea) where channel = 0 and sequence = 3",
    'message_altered',
    /bytes of 0-3 /,
  ],
  [
    'bytes and their hash altered',
    "update message set raw = 'x'::bytea, sha256 = sha256('x'::bytea) where channel = 0 and sequence = 3",
    'chain_broken',
    /plan \d+ \(0-3\) is another/,
  ],
  [
    'bytes and their hash altered, of one that was sent again',
    "update message set raw = 'x'::bytea, sha256 = sha256('x'::bytea) where channel = 0 and sequence = 5",
    'chain_broken',
    /plan \d+ \(0-5\) is another/,
  ],
  [
    'an account altered',
    'update message set account = (select account from message where channel = 1 limit 1) where channel = 0 and sequence = 3',
    'account_altered',
    /account of 0-3 /,
  ],
  [
    'a message put elsewhere',
    'update message set generation = 2 where channel = 0 and sequence = 3',
    'message_misplaced',
    /0-3 lies in generation 2, its channel says in generation 1/,
  ],
  [
    'a message there twice',
    `insert into message select 2, tenant, channel, sequence, source, kind, account, type,
       external_id, value, event_time, arrived_at, peer, meta, sha256, batch, raw from message where channel = 0 and sequence = 3`,
    'message_misplaced',
    /more than one message 0-3/,
  ],
  [
    'the start of a channel’s numbers altered',
    'update span set first_sequence = 4 where channel = 0',
    'message_misplaced',
    /0-3 lies in generation 1, its channel says nowhere/,
  ],
  ['a plan removed', 'delete from plan where channel = 0 and number = 3', 'plan_missing', /Plan 3 is missing/],
  ['a plan removed', 'delete from plan where channel = 0 and number = 3', 'not_planned', /Message 0-3 is in no plan/],
  [
    'the last plans removed',
    'delete from plan where channel = 0 and number > 11',
    'plan_missing',
    /Plans 12 to 13 are missing at the end/,
  ],
  [
    'a run’s sequence altered',
    `update plan set runs = replace(runs::text, '"s":3,', '"s":2,')::json where channel = 0 and number = 3`,
    'planned_twice',
    /Plan 3 speaks of 0-2, which the plans before it had passed/,
  ],
  [
    'a run’s length altered',
    `update plan set runs = replace(runs::text, '"n":1,', '"n":2,')::json where channel = 0 and number = 3`,
    'plan_altered',
    /Plan 3 says it speaks of 0-3 to 0-3, and speaks of 0-3 to 0-4/,
  ],
  [
    'runs without end',
    `update plan set runs = replace(runs::text, '"n":1,', '"n":900000000000,')::json where channel = 0 and number = 3`,
    'plan_altered',
    /What plan 3 did can not be read/,
  ],
  ['runs that are none', `update plan set runs = '{"s":1}' where channel = 0 and number = 3`, 'plan_altered', /plan 3/],
  [
    'a plan’s hash altered',
    "update plan set chain = sha256('x'::bytea) where channel = 0 and number = 3",
    'chain_broken',
    /plan 3 \(0-3\)/,
  ],
  [
    'an extra plan’s hash altered',
    "update plan set chain = sha256('x'::bytea) where channel = 0 and number = 12",
    'chain_broken',
    /plan 12 \(0-\d+\)/,
  ],
  [
    'an extra plan that speaks of another message',
    `update plan set runs = replace(runs::text, '"s":5,', '"s":4,')::json, first_sequence = 4, last_sequence = 4
       where channel = 0 and kind = 'extra' and first_sequence = 5`,
    'chain_broken',
    /\(0-4\)/,
  ],
  [
    'the kind of a plan altered',
    "update plan set kind = 'extra' where channel = 0 and number = 3",
    'plan_altered',
    /Plan 3 speaks of 0-3, which no plan had read before it/,
  ],
  [
    'a delivery number altered',
    `update plan set runs = regexp_replace(runs::text, '"t":\\[\\[(\\d+),3,', '"t":[[\\1,4,')::json where channel = 0 and number = 3`,
    'delivery_missing',
    /gives 0-3 delivery 4 to target \d+ where 3 comes next/,
  ],
  [
    'a delivery number altered',
    `update plan set runs = regexp_replace(runs::text, '"t":\\[\\[(\\d+),3,', '"t":[[\\1,4,')::json where channel = 0 and number = 3`,
    'delivery_reused',
    /gives 0-4 delivery 4 to target \d+ where 5 comes next/,
  ],
  [
    'a delivery’s row altered',
    'update delivery set sequence = 9 where channel = 0 and number = 1',
    'delivery_reused',
    /is 0-9 in its row, and another in its plan/,
  ],
  [
    'what was planned altered',
    'update reader set planned = 9 where channel = 0',
    'channel_altered',
    /says 0-9 was planned last, its plans say 0-10/,
  ],
  [
    'the running hash altered',
    "update reader set chain = sha256('x'::bytea) where channel = 0",
    'channel_altered',
    /running hash of the channel is not/,
  ],
  [
    'the second running hash altered',
    "update reader set extra_chain = sha256('x'::bytea) where channel = 0",
    'channel_altered',
    /extra plans is not/,
  ],
  [
    'the last delivery number altered',
    'update line set last_number = last_number + 1 where channel = 0',
    'channel_altered',
    /says delivery \d+ to target/,
  ],
  ['a key removed', 'delete from key where channel = 0 and sequence = 3', 'key_missing', /key of 0-3 is missing/],
  [
    'a key altered',
    'update key set sequence = 4 where channel = 0 and sequence = 3',
    'key_without_message',
    /more than one key for 0-4/,
  ],
  [
    'a key put into another generation',
    'update key set generation = 2 where channel = 0 and sequence = 3',
    'key_without_message',
    /A key names 0-3, which does not lie in its generation/,
  ],
];

describe('books that were tampered with', () => {
  it('are found out, and what is wrong is named', async () => {
    await fill();
    await books.generations.rotate();
    // The owner must not write over what is tampered with.
    await books.stop();
    for (const [what, sql, code, said] of WRONGS) {
      await database.pool.query('drop schema if exists kept cascade; create schema kept');
      const tables = ['message', 'plan', 'delivery', 'reader', 'line', 'key', 'span'];
      for (const table of tables) await database.pool.query(`create table kept.${table} as select * from ${table}`);
      await database.pool.query(sql);
      const found = await verify();
      expect(found.result.ok, what).toBe(false);
      const lines = found.said.filter((line) => line.startsWith(`${code}: `));
      expect(lines.join('\n'), `${what}:\n${found.said.join('\n')}`).toMatch(said);
      await database.pool.query(`begin; truncate ${tables.join(', ')};
        ${tables.map((table) => `insert into ${table} select * from kept.${table}`).join(';')}; commit`);
      expect((await verify()).said, `undone: ${what}`).toEqual([]);
    }
  }, 60_000);

  it('name two messages that changed places, and nothing else, though each is whole', async () => {
    const account = books.account('erp', 0);
    await books.accept(Array.from({ length: 50 }, (_, i) => books.arrival(`e${i}`, account)));
    await books.settled();
    await database.pool.query(
      `update message m set raw = o.raw, sha256 = o.sha256 from message o
       where m.channel = 0 and o.channel = 0 and (m.sequence, o.sequence) in ((7, 31), (31, 7))`,
    );
    const { said } = await verify();
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/^chain_broken: .* 0-7 and 0-31 have changed places\.$/);
  });

  it('are told of up to a hundred times a channel, and counted on', async () => {
    const account = books.account('erp', 0);
    await books.accept(Array.from({ length: 300 }, (_, i) => books.arrival(`e${i}`, account)));
    await books.settled();
    await database.pool.query("update message set raw = 'x'::bytea where channel = 0");
    const { said, result } = await verify();
    expect(said).toHaveLength(100);
    expect(result.findings).toBe(300);
  });

  it('are found out by a range that holds the wrong place, and not by one that does not', async () => {
    await fill();
    await books.stop();
    await database.pool.query(
      "update message set raw = 'x'::bytea, sha256 = sha256('x'::bytea) where channel = 0 and sequence = 3",
    );
    expect((await verify({ channel: 0, from: 2, to: 4 })).said.join()).toMatch(/chain_broken: .*\(0-3\)/);
    expect((await verify({ channel: 0, from: 4, to: 8 })).said).toEqual([]);
    expect((await verify({ channel: 1 })).said).toEqual([]);
  });
});
