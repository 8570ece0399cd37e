import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { messageId } from '../../src/message/id.js';
import { decide } from '../../src/storage/decisions.js';
import { createFreshWords } from '../../src/storage/fresh-words.js';
import { loadInstallation } from '../../src/storage/installation.js';
import { findMessage } from '../../src/storage/messages.js';
import { type RetentionObserver, retain } from '../../src/storage/retention.js';
import { fillSearch } from '../../src/storage/search.js';
import { type VerifyEvent, type VerifyWish, verifyTenant } from '../../src/storage/verify.js';
import { type Keeper, keepBooks } from '../support/books.js';
import { realClock } from '../support/clock.js';
import { silent } from '../support/log.js';
import { median } from '../support/median.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { until } from '../support/until.js';

const DAY = 86_400_000;

let database: TestDatabase;
let books: Keeper;

beforeEach(async () => {
  database = await freshDatabase({ max: 24 });
  books = await keepBooks(database.pool);
});
afterEach(async () => {
  await books.stop();
  await database.drop();
});

interface Seen {
  moved: number;
  dropped: number;
  found: number;
}

async function keep(given: { steady?: boolean; stopping?: AbortSignal } = {}): Promise<Seen> {
  const seen: Seen = { moved: 0, dropped: 0, found: 0 };
  const observe: RetentionObserver = {
    moved: (messages) => {
      seen.moved += messages;
    },
    dropped: () => {
      seen.dropped++;
    },
    found: (findings) => {
      seen.found += findings;
    },
  };
  await retain({
    pool: database.pool,
    installation: await loadInstallation(database.pool),
    settings: { contentMs: 90 * DAY },
    clock: realClock,
    steady: () => given.steady ?? true,
    log: silent,
    observe,
    stopping: given.stopping ?? new AbortController().signal,
  });
  return seen;
}

async function verify(wish: VerifyWish = {}) {
  const said: string[] = [];
  for await (const event of verifyTenant(database.pool, books.tenant, wish)) {
    if (event.event === 'finding') said.push(`${event.code}: ${event.detail}`);
    if (event.event === 'result') return { said, result: event as Extract<VerifyEvent, { event: 'result' }> };
  }
  throw new Error('no result');
}

/** Sequences of a channel that can still be read. */
async function there(channel: number): Promise<number[]> {
  const { rows } = await database.pool.query<{ last: number }>(
    'select last_sequence as last from channel where channel = $1',
    [channel],
  );
  const found = [];
  for (let sequence = 1; sequence <= (rows[0]?.last ?? 0); sequence++) {
    const message = await findMessage(database.pool, books.tenant.id, { channel, sequence });
    if (typeof message === 'object') found.push(sequence);
    else expect([messageId({ channel, sequence }), message]).toEqual([messageId({ channel, sequence }), 'gone']);
  }
  return found;
}

async function tables(): Promise<string[]> {
  const { rows } = await database.pool.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = 'waybill'::regnamespace and relname ~ '^(message|view)_\\d+$' order by 1`,
  );
  return rows.map(({ name }) => name);
}

function decideAbout(
  action: 'assign' | 'replay' | 'reopen' | 'close',
  sequence: number,
  version: number,
  targets?: number[],
) {
  const wish = { action, who: 'anna', targets, version, reason: 'x', until: null, hold: 0 };
  return decide(database.pool, books.tenant.id, { channel: 0, sequence }, { ...wish, idempotencyKey: null });
}

/** Ten messages in channel 0, three in channel 1, all 100 days old, with another generation open. */
async function old(): Promise<void> {
  await books.take(books.account('erp', 0), 'a', 'b', 'c', 'd');
  await books.take(books.account('inbox', 0), 'e', 'f', 'g');
  await books.take(books.account('shelf', 0), 'h', 'i', 'j');
  await books.take(books.account('erp', 1), 'k', 'l', 'm');
  await books.generations.rotate();
  await books.age(100);
}

describe('content that is old enough', () => {
  it('goes with its places in conversations; one of which something is left goes on with its numbers', async () => {
    const [gone, open] = [books.account('erp', 0), books.account('inbox', 0)];
    await books.take(gone, 'thread-a', 'thread-b');
    await books.take(open, 'thread-c');
    await books.take(books.account('erp', 1), 'thread-d');
    await books.generations.rotate();
    await books.age(100);
    await keep();
    const left = async (table: string) => (await database.pool.query(`select from ${table}`)).rowCount;
    expect([await left('thread'), await left('thread_message'), await left('thread_reference')]).toEqual([1, 1, 1]);
    await books.take(gone, 'thread-e');
    await books.take(open, 'thread-f');
    const { rows } = await database.pool.query('select sequence, number from thread_message order by sequence');
    expect(rows).toEqual([
      { sequence: 3, number: 1 },
      { sequence: 4, number: 1 },
      { sequence: 5, number: 2 },
    ]);
    expect((await verify()).said).toEqual([]);
  });

  it('goes with its tables, but for what is open, which moves on', async () => {
    await old();
    const before = await database.pool.query(
      'select sequence, to_jsonb(m) - $1::text as message from message m where channel = 0 order by sequence',
      ['generation'],
    );
    expect(await keep()).toEqual({ moved: 6, dropped: 1, found: 0 });
    expect(await there(0)).toEqual([5, 6, 7, 8, 9, 10]);
    expect(await there(1)).toEqual([]);
    expect(await tables()).toEqual(['message_2', 'view_2']);
    const after = await database.pool.query(
      'select sequence, to_jsonb(m) - $1::text as message from message m where channel = 0 order by sequence',
      ['generation'],
    );
    expect(after.rows).toEqual(before.rows.filter(({ sequence }) => sequence >= 5));
    expect((await verify()).said).toEqual([]);
    expect(await keep()).toEqual({ moved: 0, dropped: 0, found: 0 });
  });

  it('takes its words along, but for those of what stays', async () => {
    await old();
    await fillSearch(database.pool, ['event'], createFreshWords(1e6), () => false);
    const words = 'select channel, sequence from search_words order by channel, sequence';
    expect((await database.pool.query(words)).rows).toHaveLength(13);
    await keep();
    const left = (await database.pool.query(words)).rows.map(({ channel, sequence }) => [channel, sequence]);
    expect(left).toEqual([5, 6, 7, 8, 9, 10].map((sequence) => [0, sequence]));
  });

  it('stays while it is not, or nobody knows how old it is', async () => {
    await old();
    expect(await keep({ steady: false })).toEqual({ moved: 0, dropped: 0, found: 0 });
    await books.age(-20);
    expect(await keep()).toEqual({ moved: 0, dropped: 0, found: 0 });
    expect(await there(0)).toHaveLength(10);
  });

  it('is found in one probe after that, and channels go on with their numbers', async () => {
    await old();
    await keep();
    await books.take(books.account('erp', 0), 'n');
    await books.take(books.account('erp', 1), 'o');
    expect(await there(0)).toEqual([5, 6, 7, 8, 9, 10, 11]);
    expect(await there(1)).toEqual([4]);
    const { rows } = await database.pool.query(
      'select channel, first_sequence as first, generation, moved from span order by channel, first_sequence',
    );
    expect(rows).toEqual([
      { channel: 0, first: 1, generation: 0, moved: false },
      { channel: 0, first: 5, generation: 2, moved: true },
      { channel: 0, first: 11, generation: 2, moved: false },
      { channel: 1, first: 1, generation: 0, moved: false },
      { channel: 1, first: 4, generation: 2, moved: false },
    ]);
    expect((await verify()).said).toEqual([]);
  });

  it('goes generation by generation, while what stays open moves on and on', async () => {
    await old();
    await keep();
    await books.take(books.account('erp', 0), 'n', 'o');
    await books.take(books.account('inbox', 0), 'p');
    await decideAbout('close', 6, 1);
    await decideAbout('assign', 5, 1, [books.erp]);
    books.wake();
    await books.settled();
    await books.generations.rotate();
    await books.age(100);
    expect(await keep()).toEqual({ moved: 5, dropped: 1, found: 0 });
    expect(await there(0)).toEqual([7, 8, 9, 10, 13]);
    expect((await verify()).said).toEqual([]);
    await books.take(books.account('erp', 0), 'q');
    expect((await verify()).result).toMatchObject({ ok: true, messages: 6, checkpoints: 2 });
    // Extra plans that came before and after what they speak of was dropped.
    await decideAbout('assign', 7, 1, [books.erp]);
    books.wake();
    await books.settled();
    expect((await verify()).said).toEqual([]);
    await books.generations.rotate();
    await books.age(100);
    await keep();
    expect(await there(0)).toEqual([8, 9, 10, 13]);
    expect((await verify()).said).toEqual([]);
  });

  it('of a plan that straddles the border is checked by the hashes that were kept of it', async () => {
    const account = books.account('erp', 0);
    // An owner that has no lease yet would wait for that instead.
    await until(
      async () => (await database.pool.query('select from lease where holder is null')).rows.length === 0,
      'all channels to be held',
    );
    const held = await database.pool.connect();
    await held.query('begin; set local idle_in_transaction_session_timeout = 0');
    await held.query('select from lease for update');
    await books.accept([books.arrival('a', account)]);
    // Planned already, and not written: what comes now makes one plan, over two generations.
    await until(
      async () =>
        (
          await database.pool.query(
            `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
               and query like '%write_plans%'`,
          )
        ).rows.length > 0,
      'the owner to wait',
    );
    await books.accept(['b', 'c', 'd'].map((id) => books.arrival(id, account)));
    await books.generations.rotate();
    await books.accept(['e', 'f'].map((id) => books.arrival(id, account)));
    await held.query('commit');
    held.release();
    await books.settled();
    await books.age(100);
    await keep();
    expect(await there(0)).toEqual([5, 6]);
    const { rows } = await database.pool.query(
      'select k.plan, k.planned, k.through, p.first_sequence as first, p.last_sequence as last from checkpoint k join plan p on p.number = k.plan + 1',
    );
    expect(rows).toEqual([{ plan: 1, planned: 1, through: 4, first: 2, last: 6 }]);
    expect((await verify()).said).toEqual([]);
    expect((await verify({ channel: 0, from: 5 })).said).toEqual([]);
    await database.pool.query("update message set raw = 'x', sha256 = sha256('x') where sequence = 5");
    expect((await verify()).said.join()).toMatch(/chain_broken: The running hash of plan 2 \(0-2 to 0-6\)/);
  });

  it('that nobody has planned yet moves on, and is planned in its order', async () => {
    await old();
    await books.stopOwner();
    const accounts = ['erp', 'inbox'].map((kind) => books.account(kind as 'erp', 0));
    const arrivals = Array.from({ length: 500 }, (_, i) => books.arrival(`u${i}`, accounts[i % 2] as string));
    await books.accept(arrivals);
    await books.generations.rotate();
    await books.accept(['v', 'w'].map((id) => books.arrival(id, accounts[0] as string)));
    await books.age(100);
    expect(await keep()).toEqual({ moved: 6 + 500, dropped: 2, found: 0 });
    expect((await verify()).said).toEqual([]);
    books = await books.again();
    await books.settled();
    expect((await there(0)).slice(-4)).toEqual([509, 510, 511, 512]);
    expect((await verify()).result).toMatchObject({ ok: true, messages: 508 });
  });
});

describe('dropping content', () => {
  it('is done once when several processes do it at once', async () => {
    await old();
    const seen = await Promise.all([keep(), keep(), keep()]);
    expect(seen.map(({ dropped }) => dropped).toSorted()).toEqual([0, 0, 1]);
    expect((await verify()).said).toEqual([]);
  });

  it('may be cut off anywhere, and goes on where it was', async () => {
    await old();
    await database.pool.query(
      `create function cut_off() returns trigger language plpgsql as $$ begin
         if new.channel = 1 then raise exception 'cut off'; end if; return new; end $$;
       create trigger cut_off before insert on checkpoint for each row execute function cut_off()`,
    );
    await expect(keep()).rejects.toThrow('cut off');
    expect(await there(0)).toEqual([5, 6, 7, 8, 9, 10]);
    expect(await there(1)).toEqual([1, 2, 3]);
    expect((await verify()).said).toEqual([]);
    await database.pool.query('drop trigger cut_off on checkpoint');
    const stopping = new AbortController();
    stopping.abort();
    expect(await keep({ stopping: stopping.signal })).toEqual({ moved: 0, dropped: 0, found: 0 });
    expect(await keep()).toEqual({ moved: 0, dropped: 1, found: 0 });
    expect(await there(1)).toEqual([]);
    expect((await verify()).said).toEqual([]);
  });

  it('holds up nobody: not who accepts, and not behind somebody who reads for long', async () => {
    await old();
    const reader = await database.pool.connect();
    await reader.query('begin; set local idle_in_transaction_session_timeout = 0');
    await reader.query('select count(*) from message');
    const accounts = [0, 1].map((channel) => books.account('erp', channel));
    /** How many milliseconds it took. */
    async function accept(name: string): Promise<number> {
      const begun = performance.now();
      const some = Array.from({ length: 20 }, (_, i) => books.arrival(`${name}.${i}`, accounts[i % 2] as string));
      await books.accept(some);
      return performance.now() - begun;
    }
    const alone: number[] = [];
    for (let n = 0; n < 10; n++) alone.push(await accept(`before ${n}`));
    const beside: number[] = [];
    let accepted = 0;
    let going = true;
    const accepting = (async () => {
      for (let n = 0; going; n++) {
        beside.push(await accept(`${n}`));
        accepted += 20;
      }
    })();
    const keeping = keep();
    const gone = async () =>
      (await database.pool.query('select from generation where content_dropped_at is not null')).rows.length;
    await until(async () => (await gone()) === 1, 'the content to be gone');
    // The table itself waits for the reader.
    await until(() => accepted >= 200, 'messages to be accepted meanwhile');
    expect(await tables()).toContain('message_1');
    expect((await verify()).said).toEqual([]);
    await reader.query('commit');
    reader.release();
    expect(await keeping).toMatchObject({ dropped: 1 });
    going = false;
    await accepting;
    await books.settled();
    // Most of them not at all. One may wait for a tenth of a second, as long as who wants the table to itself waits for that,
    // and for a machine that does much else; none waits for the reader, who reads on until enough were accepted.
    expect(median(beside)).toBeLessThan(3 * median(alone) + 100);
    expect(Math.max(...beside)).toBeLessThan(Math.max(2_000, 10 * Math.max(...alone)));
    expect((await verify()).said).toEqual([]);
  });

  it('takes turns with people: what they decide about is there, or they are told that it is not', async () => {
    const account = books.account('erp', 0);
    await books.accept(Array.from({ length: 6 }, (_, i) => books.arrival(`e${i}`, account)));
    await books.settled();
    await books.generations.rotate();
    await books.age(100);
    await database.pool.query(
      `create function slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return new; end $$;
       create trigger slowly before insert on checkpoint for each row execute function slowly()`,
    );
    // An owner could carry it out before the cut looks, and the message would rightly go.
    await books.stopOwner();
    expect((await decideAbout('replay', 1, 1, [books.erp])).result).toBe('decided');
    const keeping = keep();
    const cutting =
      "select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep' and query like '%insert into checkpoint%'";
    await until(async () => (await database.pool.query(cutting)).rows.length > 0, 'the cut');
    // Asked while the cut goes on.
    const during = await Promise.all([2, 3].map((sequence) => decideAbout('replay', sequence, 1, [books.erp])));
    expect(during).toEqual([{ result: 'gone' }, { result: 'gone' }]);
    await keeping;
    expect((await decideAbout('reopen', 4, 1)).result).toBe('gone');
    books = await books.again();
    await books.settled();
    expect(await there(0)).toEqual([1]);
    expect((await verify()).said).toEqual([]);
  });

  it('goes on while everything is verified, and is never taken for a loss', async () => {
    const accounts = [0, 1].map((channel) => books.account('erp', channel));
    for (let n = 0; n < 6; n++) {
      await books.accept(Array.from({ length: 400 }, (_, i) => books.arrival(`${n}.${i}`, accounts[i % 2] as string)));
    }
    await books.settled();
    await books.generations.rotate();
    await books.age(100);
    let going = true;
    const verifying = (async () => {
      const said: string[] = [];
      while (going) said.push(...(await verify()).said);
      return said;
    })();
    await keep();
    going = false;
    expect(await verifying).toEqual([]);
  });
});

/** What is done once messages have been dropped, and what is found. */
const WRONGS: readonly (readonly [what: string, sql: string, said: RegExp])[] = [
  [
    'a checkpoint altered',
    "update checkpoint set chain = sha256('x') where channel = 0",
    /checkpoint_altered: The checkpoint of the channel is not the one that was signed/,
  ],
  ['a checkpoint moved on', 'update checkpoint set through = through + 1 where channel = 0', /checkpoint_altered/],
  [
    'what a checkpoint found taken out',
    'update checkpoint set findings = \'["x"]\' where channel = 0',
    /checkpoint_altered/,
  ],
  ['a checkpoint removed', 'delete from checkpoint where channel = 0', /message_missing: Message 0-1 is missing/],
  [
    'a hash beside the checkpoint altered',
    "update checkpoint_hash set sha256 = sha256('x') where channel = 0 and sequence = 5",
    /hashes kept beside the checkpoint are not those that were signed/,
  ],
  [
    'a hash beside the checkpoint removed',
    'delete from checkpoint_hash where sequence = 5',
    /hashes kept beside the checkpoint/,
  ],
  ['an early plan removed', 'delete from plan where channel = 0 and number = 2', /plan_missing: Plan 2 is missing/],
  [
    'an early plan’s hash altered',
    "update plan set chain = sha256('x') where channel = 0 and number = 2",
    /plan_altered: One of the plans 1 to \d+ has been altered/,
  ],
  [
    'what an early plan decided altered',
    `update plan set runs = replace(runs::text, '"rules":["erp"]', '"rules":["other"]')::json where channel = 0 and number = 2`,
    /plan_altered: One of the plans 1 to \d+ has been altered/,
  ],
  [
    'an early plan’s sequence altered',
    `update plan set runs = replace(runs::text, '"s":2', '"s":1')::json where channel = 0 and number = 2`,
    /planned_twice: Plan 2 speaks of 0-1/,
  ],
  [
    'a moved message removed',
    'delete from message where channel = 0 and sequence = 6',
    /message_missing: Message 0-6 is missing/,
  ],
  [
    'a moved message altered, and its hash',
    "update message set raw = 'x', sha256 = sha256('x') where channel = 0 and sequence = 6",
    /message_altered: The hash of 0-6 is not the one the checkpoint has/,
  ],
  [
    'a moved message altered',
    "update message set raw = 'x' where channel = 0 and sequence = 6",
    /message_altered: The bytes of 0-6/,
  ],
  [
    'a key of another installation',
    'update installation set signing_key = (select signing_key from kept.other)',
    /checkpoint_altered/,
  ],
];

describe('after content was dropped', () => {
  it('what was tampered with is found out, and named', async () => {
    await old();
    await decideAbout('assign', 5, 1, [books.erp]);
    books.wake();
    await books.settled();
    await keep();
    await books.stop();
    const names = ['message', 'plan', 'checkpoint', 'checkpoint_hash', 'installation'];
    const { signingKey } = await otherInstallation();
    for (const [what, sql, said] of WRONGS) {
      await database.pool.query('drop schema if exists kept cascade; create schema kept');
      for (const name of names) await database.pool.query(`create table kept.${name} as select * from ${name}`);
      await database.pool.query('create table kept.other (signing_key bytea)');
      await database.pool.query('insert into kept.other values ($1)', [signingKey]);
      await database.pool.query(sql);
      expect((await verify()).said.join('\n'), what).toMatch(said);
      await database.pool.query(
        `begin; truncate ${names.join(', ')}; ${names.map((name) => `insert into ${name} select * from kept.${name}`).join(';')}; commit`,
      );
      expect((await verify()).said, `undone: ${what}`).toEqual([]);
    }
  }, 60_000);

  it('what was wrong before is still told, by the checkpoint', async () => {
    await old();
    await database.pool.query("update message set raw = 'x' where channel = 0 and sequence = 2");
    await database.pool.query('delete from message where channel = 1 and sequence = 3');
    expect(await keep()).toMatchObject({ dropped: 1, found: 2 });
    expect((await verify()).said).toEqual([
      'found_before: The bytes of 0-2 are not those of its hash.',
      'found_before: Message 1-3 is missing.',
    ]);
    await books.take(books.account('erp', 0), 'n');
    await books.generations.rotate();
    await books.age(100);
    await keep();
    expect((await verify()).said).toEqual([
      'found_before: The bytes of 0-2 are not those of its hash.',
      'found_before: Message 1-3 is missing.',
    ]);
  });
});

/** Another one's key. */
async function otherInstallation() {
  const other = await freshDatabase();
  try {
    return await loadInstallation(other.pool);
  } finally {
    await other.drop();
  }
}
