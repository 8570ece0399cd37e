import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { isLeft } from '../../src/owner/dispatch.js';
import type { Ready } from '../../src/owner/state.js';
import { decide } from '../../src/storage/decisions.js';
import { type EraseEvent, type EraseResult, type EraseWish, eraseAccount } from '../../src/storage/erase.js';
import { createFreshWords } from '../../src/storage/fresh-words.js';
import { findMessage } from '../../src/storage/messages.js';
import { createOwnerStore } from '../../src/storage/owner.js';
import { createPullStore } from '../../src/storage/pull.js';
import { fillSearch } from '../../src/storage/search.js';
import { lookUpUnseen } from '../../src/storage/unseen.js';
import { type VerifyEvent, verifyTenant } from '../../src/storage/verify.js';
import { insertProcess } from '../support/arrivals.js';
import { type Keeper, keepBooks } from '../support/books.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { addUnseen } from '../support/unseen.js';
import { until } from '../support/until.js';

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

async function erase(account: string, source: EraseWish['source'] = null): Promise<EraseResult> {
  for await (const event of erasing(account, source)) if (event.event === 'result') return event;
  throw new Error('no result');
}

function erasing(account: string, source: EraseWish['source'] = null, patienceMs = 10_000): AsyncGenerator<EraseEvent> {
  const deps = { pool: database.pool, wake: () => books.wake(), patienceMs };
  return eraseAccount(deps, books.tenant, { account, source, who: 'anna', reason: 'asked to' });
}

async function verify() {
  const said: string[] = [];
  for await (const event of verifyTenant(database.pool, books.tenant, {})) {
    if (event.event === 'finding') said.push(`${event.code}: ${event.detail}`);
    if (event.event === 'result') return { said, result: event as Extract<VerifyEvent, { event: 'result' }> };
  }
  throw new Error('no result');
}

/** Every place in the database where a text stands, as `table.column`. */
async function placesOf(text: string): Promise<string[]> {
  const { rows: columns } = await database.pool.query<{ name: string; column: string }>(
    `select c.relname as name, a.attname as column from pg_class c join pg_attribute a on a.attrelid = c.oid
     where c.relnamespace = 'waybill'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped order by 1, 2`,
  );
  const places = [];
  for (const { name, column } of columns) {
    const { rows } = await database.pool.query(
      `select from "${name}" t where position(convert_to($1, 'UTF8') in convert_to(t."${column}"::text, 'UTF8')) > 0
         or position(encode(convert_to($1, 'UTF8'), 'hex') in t."${column}"::text) > 0 limit 1`,
      [text],
    );
    if (rows.length > 0) places.push(`${name}.${column}`);
  }
  return places;
}

function mailOf(id: string, account: string) {
  return {
    ...books.arrival(id, account),
    kind: 'mail' as const,
    raw: Buffer.from(`Subject: ${id}\r\n\r\nDear ${account}`),
  };
}

describe('erasing an account', () => {
  it('leaves nothing of it anywhere, and the books hold', async () => {
    const [erp, shelf, inbox] = (['erp', 'shelf', 'inbox'] as const).map((kind) => books.account(kind, 0)) as [
      string,
      string,
      string,
    ];
    await books.take(erp, 'a', 'b');
    await books.take(inbox, 'secret-c', 'secret-d');
    await books.accept([mailOf('secret-e', inbox)]);
    await books.take(shelf, 'f');
    // The same id with other content: held in quarantine.
    await books.accept([{ ...books.arrival('secret-c', inbox), digest: '\x02'.repeat(16) }]);
    const about = { channel: 0, sequence: 3 };
    const wish = {
      who: 'otto',
      targets: undefined,
      reason: `${inbox} said so`,
      until: null,
      hold: 0,
      idempotencyKey: null,
    };
    await decide(database.pool, books.tenant.id, about, { ...wish, action: 'note', version: 1 });
    await database.pool.query(
      `insert into refusal (tenant, ingress, peer, envelope, code, why, count, first_at, last_at)
       values ($1, 'events', 'x', json_build_object('recipient', $2::text), 'x', 'x', 1, now(), now())`,
      [books.tenant.id, inbox],
    );
    expect(await placesOf(inbox)).toEqual([
      'decision.reason',
      'message_1.account',
      'message_1.meta',
      'message_1.raw',
      'quarantine.account',
      'quarantine.meta',
      'quarantine.raw',
      'refusal.envelope',
      'view_1.body',
    ]);

    await fillSearch(database.pool, ['mail', 'event'], createFreshWords(1e6), () => false);
    expect(await placesOf('secret')).toContain('search_words.words');

    const result = await erase(inbox);
    expect(result).toMatchObject({ messages: 3, closed: 3, cancelling: 0, quarantined: 1, refusals: 1, left: 0 });
    expect(await placesOf(inbox)).toEqual([]);
    expect(await placesOf('secret')).toEqual([]);
    const { rows } = await database.pool.query(
      `select account, external_id, peer, meta, length(raw) as size, type, value, source, kind, erased_at is not null as erased
       from message where sequence = 3`,
    );
    expect(rows).toEqual([
      {
        account: result.pseudonym,
        external_id: null,
        peer: 'erased',
        meta: null,
        size: 0,
        type: 'usage',
        value: '1.50',
        source: books.source,
        kind: 'event',
        erased: true,
      },
    ]);
    expect((await verify()).said).toEqual([]);
    expect((await verify()).result).toMatchObject({ ok: true, erased: 3, messages: 6 });
    const other = await findMessage(database.pool, books.tenant.id, { channel: 0, sequence: 1 });
    expect(other).toMatchObject({ message: { account: erp } });
  });

  it('leaves its number in its conversation, and nothing to compare others with', async () => {
    const erp = books.account('erp', 0);
    await books.take(erp, 'thread-a', 'thread-b');
    const kept = async () =>
      (await database.pool.query('select number, content is null as empty from thread_message order by 1')).rows;
    expect(await kept()).toEqual([
      { number: 1, empty: false },
      { number: 2, empty: false },
    ]);
    await erase(erp);
    expect(await placesOf(erp)).toEqual([]);
    expect(await placesOf('thread-a')).toEqual([]);
    expect(await kept()).toEqual([
      { number: 1, empty: true },
      { number: 2, empty: true },
    ]);
    expect((await verify()).said).toEqual([]);
  });

  it('waits for what nobody has looked up, and says what is left of that', async () => {
    const erp = books.account('erp', 0);
    const seed = { source: books.source, arrivedAt: new Date() };
    await addUnseen(database.pool, books.tenant, { ...seed, account: erp });
    await addUnseen(database.pool, books.tenant, { ...seed, account: 'another' });
    for await (const event of erasing(erp, null, 0))
      expect(event).toMatchObject({ event: 'result', messages: 0, left: 1 });
    expect(await placesOf(erp)).toContain('unseen.raw');
    const running = erase(erp);
    await lookUpUnseen({
      pool: database.pool,
      process: await insertProcess(database.pool, randomUUID()),
      secret: Buffer.alloc(32),
      randomId: () => 1,
    });
    expect(await running).toMatchObject({ messages: 1, left: 0 });
    expect(await placesOf(erp)).toEqual([]);
  });

  it('says who did it and why, without the name, and closes what waited as a decision of theirs', async () => {
    const inbox = books.account('inbox', 0);
    await books.take(inbox, 'a');
    const { pseudonym } = await erase(inbox);
    const audit = await database.pool.query('select who, action, object, detail from audit order by id');
    expect(audit.rows).toMatchObject([
      { who: 'anna', action: 'account.erase', object: pseudonym, detail: { reason: 'asked to', source: null } },
      { who: 'anna', action: 'account.erased', object: pseudonym, detail: { messages: 1 } },
    ]);
    const standing = await database.pool.query('select state, version, reason from standing');
    expect(standing.rows).toEqual([{ state: 'closed', version: 2, reason: 'erased' }]);
    const decision = await database.pool.query('select who, action, version, reason, plan from decision');
    expect(decision.rows).toEqual([{ who: 'anna', action: 'close', version: 2, reason: 'asked to', plan: 0 }]);
  });

  it('keeps what a duplicate is told by: the same again is a duplicate, also of what it erased', async () => {
    const erp = books.account('erp', 0);
    await books.take(erp, 'a');
    await erase(erp);
    expect(await books.accept([books.arrival('a', erp)])).toMatchObject([
      { verdict: 'duplicate', of: { channel: 0, sequence: 1 } },
    ]);
    expect(await findMessage(database.pool, books.tenant.id, { channel: 0, sequence: 1 })).toBe('erased');
  });

  it('cancels what waits, with the notices of the numbers due', async () => {
    const shelf = books.account('shelf', 0);
    await books.take(shelf, 'a', 'b');
    const result = await erase(shelf);
    expect(result).toMatchObject({ messages: 2, cancelling: 2, closed: 0 });
    await books.settled();
    const { rows } = await database.pool.query('select state, void, reason from delivery order by number');
    expect(rows).toEqual([
      { state: 'cancelled', void: 'due', reason: 'taken back by a person' },
      { state: 'cancelled', void: 'due', reason: 'taken back by a person' },
    ]);
    expect((await verify()).said).toEqual([]);
  });

  it('leaves what a consumer holds to it, and gives it out no more', async () => {
    const shelf = books.account('shelf', 0);
    await books.take(shelf, 'a');
    const pull = createPullStore(database.pool);
    const target = { tenant: books.tenant.id, id: books.shelf, channels: 2, inLine: true, leaseSeconds: 60 };
    expect(await pull.lease(target, { who: 'crm', lease: '1' }, 10)).toHaveLength(1);
    expect(await erase(shelf)).toMatchObject({ messages: 1, cancelling: 1 });
    await books.settled();
    const state = async () => (await database.pool.query('select state, void from delivery')).rows[0];
    expect(await state()).toEqual({ state: 'pending', void: null });
    // Its lease is over: what would go out now is nothing but the notice.
    const store = createOwnerStore(database.pool, '00000000-0000-0000-0000-000000000000', 1);
    const [found] = await store.readWithViews(books.tenant.id, [{ channel: 0, sequence: 1 }]);
    if (!found) throw new Error('it is not found');
    expect(found).toMatchObject({ view: EMPTY_VIEW, message: { erased: true, raw: Buffer.alloc(0) } });
    const ready = { ...found, view: EMPTY_VIEW, canonical: {} as Ready['canonical'] };
    expect([isLeft({ what: 'message' }, ready), isLeft({ what: 'void' }, ready)]).toEqual([false, true]);
    expect((await verify()).said).toEqual([]);
  });

  it('strikes out what was assigned and not yet planned', async () => {
    const inbox = books.account('inbox', 0);
    await books.take(inbox, 'a');
    const wish = {
      who: 'otto',
      action: 'assign' as const,
      targets: [books.erp],
      version: 1,
      reason: null,
      until: null,
    };
    await decide(
      database.pool,
      books.tenant.id,
      { channel: 0, sequence: 1 },
      { ...wish, hold: 3600, idempotencyKey: null },
    );
    expect(await erase(inbox)).toMatchObject({ messages: 1, closed: 1 });
    const { rows } = await database.pool.query('select action, targets, plan from decision order by version');
    expect(rows).toEqual([
      { action: 'assign', targets: [], plan: 0 },
      { action: 'close', targets: [], plan: 0 },
    ]);
    expect(
      await decide(
        database.pool,
        books.tenant.id,
        { channel: 0, sequence: 1 },
        { ...wish, version: 3, hold: 0, idempotencyKey: null },
      ),
    ).toEqual({ result: 'erased' });
  });

  it('may be narrowed to a source, cut off, and done again', async () => {
    const erp = books.account('erp', 0);
    await books.accept(Array.from({ length: 250 }, (_, i) => books.arrival(`a${i}`, erp)));
    await books.settled();
    expect(await erase(erp, { id: books.source + 1, name: 'other' })).toMatchObject({ messages: 0 });
    const events = erasing(erp);
    await events.next();
    await events.return(undefined);
    const left = async () => (await database.pool.query('select from message where erased_at is null')).rows.length;
    const halfway = await left();
    expect(halfway).toBeGreaterThan(0);
    expect(halfway).toBeLessThan(250);
    expect((await verify()).said).toEqual([]);
    expect(await erase(erp, { id: books.source, name: 'feed' })).toMatchObject({ messages: halfway });
    expect(await left()).toBe(0);
    expect((await verify()).result).toMatchObject({ ok: true, erased: 250 });
  });

  it('waits for what is not planned yet, and says what it could not wait for', async () => {
    const erp = books.account('erp', 0);
    const held = await database.pool.connect();
    await held.query('begin; set local idle_in_transaction_session_timeout = 0');
    await held.query('select from lease for update');
    await books.accept([books.arrival('a', erp)]);
    const erased = erase(erp);
    await until(
      async () => (await database.pool.query("select from audit where action = 'account.erase'")).rows.length > 0,
      'the erasing to begin',
    );
    await held.query('commit');
    held.release();
    expect(await erased).toMatchObject({ messages: 1, left: 0 });
    expect((await verify()).result).toMatchObject({ ok: true, erased: 1 });
    await books.stopOwner();
    await books.accept([books.arrival('b', erp)]);
    const events = [];
    for await (const event of erasing(erp, null, 0)) events.push(event);
    expect(events.at(-1)).toMatchObject({ messages: 0, left: 1 });
    expect((await verify()).result).toMatchObject({ ok: true, erased: 1, messages: 2 });
  });

  it('takes the reason why a message was set aside out of its plans, and leaves their hashes right', async () => {
    const erp = books.account('erp', 0);
    await books.take(erp, 'a', 'b');
    await database.pool.query(
      `update plan set runs = replace(runs::text, '"m":"deliver"', '"m":"park","why":"parse: Dear ${erp}"')::json`,
    );
    await database.pool.query(
      `insert into standing (tenant, channel, sequence, state, version) select tenant, channel, 1, 'routed', 1 from channel where channel = 0`,
    );
    await database.pool.query(
      `update plan set runs = replace(runs::text, 'parse: Dear ${erp}', 'a rule''s own words')::json where number = 2`,
    );
    await erase(erp);
    const { rows } = await database.pool.query<{ runs: { why: string }[] }>('select runs from plan order by number');
    expect(rows.map(({ runs }) => runs[0]?.why)).toEqual(['erased', "a rule's own words"]);
    expect((await verify()).said).toEqual([]);
  });
});
