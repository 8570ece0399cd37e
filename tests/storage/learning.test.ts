import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { accountHash, channelOf } from '../../src/channel/partition.js';
import type { Decider } from '../../src/delivery/plan.js';
import type { Place } from '../../src/message/id.js';
import type { Tenant } from '../../src/message/tenant.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { featuresOf } from '../../src/routing/learning/features.js';
import { putTarget } from '../../src/storage/definitions.js';
import { openDirectory } from '../../src/storage/directory.js';
import { eraseAccount } from '../../src/storage/erase.js';
import { learningBegins, modelOf, newestModel, saveModel } from '../../src/storage/learning.js';
import { createLeaseStore } from '../../src/storage/lease.js';
import { createOwnerStore } from '../../src/storage/owner.js';
import { createTenant } from '../../src/storage/tenants.js';
import { addMessage, addSource, plan } from '../routes/seed.js';
import { message } from '../routing/messages.js';
import { insertProcess } from '../support/arrivals.js';
import { addDecision, learnNow } from '../support/learning.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let db: TestDatabase;
let tenant: Tenant;
let source: number;
let erp: number;
let crm: number;

beforeEach(async () => {
  db = await freshDatabase();
  tenant = await made('one');
  source = await addSource(db.pool, tenant, 'feed');
  erp = await target('erp', { threshold: 0.6 });
  crm = await target('crm', { threshold: 0.8 });
});
afterEach(() => db.drop());

async function made(name: string): Promise<Tenant> {
  const created = await createTenant(db.pool, name, 4, 'test');
  if (created.result !== 'ok') throw new Error(created.result);
  return created.tenant;
}

async function target(
  name: string,
  automatic?: { threshold: number; decisions?: number },
  of = tenant,
): Promise<number> {
  const definition = {
    kind: 'pull',
    body: 'message',
    inlineParts: false,
    order: 'channel',
    leaseSeconds: 60,
    ...(automatic && { automatic: { decisions: 20, ...automatic } }),
  } as const;
  const put = await putTarget(db.pool, of, name, definition, { expected: 'any', who: 'test' });
  if (put.result !== 'ok') throw new Error(put.result);
  return put.target.id;
}

/** An event that waited, or was given targets by the program. */
async function event(type: string, had: readonly number[] = [], by?: Decider, account = 'acme'): Promise<Place> {
  const raw = JSON.stringify({ specversion: '1.0', id: randomUUID(), source: '/s', type, data: { note: type } });
  const channel = channelOf(accountHash(account), tenant.channels);
  const place = await addMessage(db.pool, tenant, { source, channel, type, account, raw });
  await db.pool.query('update message set meta = null where channel = $1 and sequence = $2', [channel, place.sequence]);
  await plan(db.pool, tenant, place, {
    targets: had.map((one) => [one, 1, 'later'] as const),
    ...(by && { by }),
  });
  return place;
}

/** People send so many orders to `erp`, and close as many others. */
async function teach(count: number, ago = (i: number) => 1000 - i): Promise<void> {
  for (let i = 0; i < count; i++) {
    const order = await event('order.placed');
    await addDecision(db.pool, tenant, order, { action: 'assign', targets: [erp], ago: ago(i) });
    await addDecision(db.pool, tenant, await event('noise.made'), { action: 'close', ago: ago(i) });
  }
}
const now = () => 0;

const order = message({
  source: 'feed',
  account: 'acme',
  type: 'order.placed',
  view: { data: { note: 'order.placed' } },
});
const noise = message({ source: 'feed', account: 'acme', type: 'noise.made', view: { data: { note: 'noise.made' } } });

const versions = async () =>
  (await db.pool.query<{ version: number }>('select version from learning_model order by version')).rows.map(
    ({ version }) => version,
  );
const NOTHING_LEARNT = { format: 1, salt: 'x', features: [], targets: [] } as const;

async function measureOf(id: number) {
  const head = await newestModel(db.pool, tenant.id);
  return head?.measures.find((one) => one.target === id);
}

describe('learning', () => {
  it('takes people’s assignments and closes, and scores a new message by them', async () => {
    await teach(15);
    await learnNow(db.pool);
    expect(await newestModel(db.pool, tenant.id)).toMatchObject({ version: 1, decisions: 30 });
    expect(await measureOf(erp)).toMatchObject({ yes: 15, no: 15, learnt: true });
    const model = await modelOf(db.pool, tenant.id, 1);
    expect(model?.score(featuresOf(order))[0]?.probability).toBeGreaterThan(0.8);
    expect(model?.score(featuresOf(noise))[0]?.probability).toBeLessThan(0.2);
    expect(model?.explain(featuresOf(order))[0]?.evidence).toContainEqual({
      field: 'type',
      word: 'order.placed',
      odds: expect.any(Number),
      decisions: 15,
      chosen: 15,
    });
  });

  it('never takes what rules or it itself chose for a person’s choice', async () => {
    await teach(10);
    await learnNow(db.pool);
    const bySuggestion: Decider = { by: 'suggestion', set: 1, model: 1, scores: [[erp, 0.9, 0.6]] };
    for (let i = 0; i < 30; i++) {
      await event('order.placed', [erp], bySuggestion);
      await event('order.placed', [erp]);
      // Somebody adds a target: that the other one stays confirms nothing.
      const added = await event('order.placed', [erp], bySuggestion);
      await addDecision(db.pool, tenant, added, { action: 'assign', targets: [crm] });
    }
    await learnNow(db.pool);
    expect(await newestModel(db.pool, tenant.id)).toMatchObject({ version: 2, decisions: 50 });
    expect(await measureOf(erp)).toMatchObject({ yes: 10, no: 10 });
    expect(await measureOf(crm)).toMatchObject({ yes: 30, no: 20 });
  });

  it('takes what it chose and a person took back for a refusal', async () => {
    await teach(10);
    const bySuggestion: Decider = { by: 'suggestion', set: 1, model: 1, scores: [[erp, 0.9, 0.6]] };
    for (let i = 0; i < 5; i++) {
      const taken = await event('order.placed', [erp, crm], bySuggestion);
      await addDecision(db.pool, tenant, taken, { action: 'unassign', targets: [erp] });
    }
    await learnNow(db.pool);
    expect(await measureOf(erp)).toMatchObject({ yes: 10, no: 15 });
    // Nobody said anything of the other one.
    expect((await measureOf(crm))?.no ?? 0).toBe(0);
  });

  it('looks at mail by its view, and at nothing that is gone, erased, never read or still held', async () => {
    await teach(10);
    const view = { ...EMPTY_VIEW, subject: 'Invoice', from: [{ name: '', address: 'anna@example.com' }], text: 'Pay.' };
    const mail = (seen?: typeof view) =>
      addMessage(db.pool, tenant, { source, kind: 'mail', type: 'mail', raw: 'x', ...(seen && { view: seen }) });
    for (let i = 0; i < 4; i++) {
      await addDecision(db.pool, tenant, await mail(view), { action: 'assign', targets: [crm] });
    }
    await addDecision(db.pool, tenant, await mail(), { action: 'assign', targets: [crm] });
    const erased = await mail(view);
    await db.pool.query(`update message set erased_at = now(), raw = '' where channel = $1 and sequence = $2`, [
      erased.channel,
      erased.sequence,
    ]);
    await addDecision(db.pool, tenant, erased, { action: 'assign', targets: [crm] });
    const gone = await addMessage(db.pool, tenant, { source, dropped: true });
    await addDecision(db.pool, tenant, gone, { action: 'assign', targets: [crm] });
    await addDecision(db.pool, tenant, await mail(view), { action: 'assign', targets: [crm], hold: 60 });
    await learnNow(db.pool);
    expect(await measureOf(crm)).toMatchObject({ yes: 4, no: 20 });
    const model = await modelOf(db.pool, tenant.id, 1);
    const [, score] = model?.explain(['subject:invoice', 'from:anna@example.com', 'text:pay']) ?? [];
    expect(score?.evidence.map(({ field, word, chosen }) => `${field} ${word} ${chosen}`).sort()).toEqual([
      'from anna@example.com 4',
      'subject invoice 4',
      'text pay 4',
    ]);
  });

  it('learns anew when enough is new, goes on counting versions, and is one at a time', async () => {
    await teach(10);
    await Promise.all([learnNow(db.pool), learnNow(db.pool)]);
    await learnNow(db.pool);
    expect(await newestModel(db.pool, tenant.id)).toMatchObject({ version: 1 });
    await teach(2, now);
    await learnNow(db.pool);
    expect(await newestModel(db.pool, tenant.id)).toMatchObject({ version: 1, decisions: 20 });
    // Hourly, when any came.
    await db.pool.query(`update learning_model set made_at = now() - interval '61 minutes'`);
    await learnNow(db.pool);
    expect(await newestModel(db.pool, tenant.id)).toMatchObject({ version: 2, decisions: 24 });
  });

  it('keeps a tenant’s decisions to itself', async () => {
    const other = await made('other');
    await target('erp', { threshold: 0.6 }, other);
    await teach(10);
    await learnNow(db.pool);
    expect(await newestModel(db.pool, other.id)).toBeUndefined();
    expect(await modelOf(db.pool, other.id, 1)).toBeUndefined();
  });

  it('lets go of old models but those that decided something, and of those when messages go', async () => {
    await teach(10);
    const again = async () => {
      await teach(10, now);
      await db.pool.query(`update learning_model set made_at = made_at - interval '2 hours'`);
      await learnNow(db.pool);
    };
    await learnNow(db.pool);
    await db.pool.query('update learning_model set used = true');
    await again();
    await again();
    expect(await versions()).toEqual([1, 2, 3]);
    await again();
    expect(await versions()).toEqual([1, 3, 4]);
    await db.pool.query(`update learning_model set made_at = made_at - interval '91 days'`);
    await again();
    expect(await versions()).toEqual([4, 5]);
  });

  it('is not stopped by a message it can’t make sense of', async () => {
    await teach(10);
    const broken = await addMessage(db.pool, tenant, { source, raw: '{"data":' });
    await addDecision(db.pool, tenant, broken, { action: 'assign', targets: [crm] });
    await learnNow(db.pool);
    expect(await measureOf(crm)).toMatchObject({ yes: 1, no: 20 });
  });
});

describe('the directory', () => {
  const open = () => openDirectory(db.pool, { postmaster: null, pollMs: 3_600_000, log: silent });

  it('chooses by the newest model, as soon as it is there, and only targets that ask for it and have learnt enough', async () => {
    await target('shy');
    const directory = await open();
    expect(directory.current().automatic(tenant.id)).toBeNull();
    await teach(12);
    await learnNow(db.pool);
    expect(await directory.refresh()).toBe(true);
    const automatic = directory.current().automatic(tenant.id);
    expect(automatic?.model).toBe(1);
    const scores = automatic?.score(order) ?? [];
    expect(scores.map((one) => [one.target, one.threshold])).toEqual([[erp, 0.6]]);
    expect(scores[0]?.probability).toBeGreaterThan(0.6);
    // What is known of it is not read again for another change.
    const known = directory.current().model(tenant.id);
    await target('shy', { threshold: 0.5 });
    expect(await directory.refresh()).toBe(true);
    expect(directory.current().model(tenant.id)).toBe(known);
    // Turned off, it is off.
    await target('erp');
    await directory.refresh();
    expect(directory.current().automatic(tenant.id)).toBeNull();
    await directory.close();
  });

  it('is off until there are as many decisions as the target asks for', async () => {
    await target('erp', { threshold: 0.6, decisions: 30 });
    await teach(12);
    await learnNow(db.pool);
    const directory = await open();
    expect(directory.current().automatic(tenant.id)).toBeNull();
    await target('erp', { threshold: 0.6, decisions: 24 });
    await directory.refresh();
    expect(directory.current().automatic(tenant.id)?.model).toBe(1);
    await directory.close();
  });
});

describe('what was learnt', () => {
  it('is marked as used by the plan that names it', async () => {
    await teach(10);
    await learnNow(db.pool);
    const process = await insertProcess(db.pool, randomUUID());
    const leases = createLeaseStore(db.pool, process, 1);
    await leases.take(await leases.leases());
    const channel = (channelOf(accountHash('acme'), tenant.channels) + 1) % tenant.channels;
    const lease = (await leases.leases()).find((one) => one.channel === channel);
    const held = { tenant: tenant.id, channel, term: lease?.term ?? 0 };
    const store = createOwnerStore(db.pool, process, 1);
    const scores = [[erp, 0.9, 0.6]] as const;
    const run = {
      s: 1,
      n: 1,
      r: 0,
      m: 'deliver',
      d: { by: 'suggestion', set: 1, model: 1, scores },
      t: [[erp, 1, 'now']],
    } as const;
    await store.writePlans(
      [
        {
          held,
          number: 1,
          kind: 'stream',
          firstSequence: 1,
          lastSequence: 1,
          runs: [run],
          chain: Buffer.alloc(32),
          open: true,
          threads: [],
          pending: [],
          standings: [],
          views: [],
          attempts: [],
          doneBatches: [],
          decisions: [],
          cancelled: [],
          resumed: [],
          poison: [],
        },
      ],
      [],
    );
    const { rows } = await db.pool.query('select used from learning_model');
    expect(rows).toEqual([{ used: true }]);
  });

  it('holds no word of a message, and forgets an account that is erased', async () => {
    for (let i = 0; i < 12; i++) {
      const secret = await event('order.placed', [], undefined, 'secret-account');
      await addDecision(db.pool, tenant, secret, { action: 'assign', targets: [erp] });
    }
    await teach(10);
    await learnNow(db.pool);
    expect(await measureOf(erp)).toMatchObject({ yes: 22 });
    const { rows } = await db.pool.query<{ text: string }>('select body::text as text from learning_model');
    expect(rows[0]?.text).not.toMatch(/secret|order|note/);
    const wish = { account: 'secret-account', source: null, who: 'anna', reason: 'asked to' };
    for await (const _ of eraseAccount({ pool: db.pool, wake: () => undefined, patienceMs: 200 }, tenant, wish));
    await learnNow(db.pool);
    expect(await newestModel(db.pool, tenant.id)).toMatchObject({ version: 2, decisions: 20 });
    expect(await measureOf(erp)).toMatchObject({ yes: 10 });
    // The one before knows its hashes.
    expect(await versions()).toEqual([2]);
  });

  it('keeps no model that learnt from an erased account, whatever it decided, and all that did not', async () => {
    const wish = { account: 'secret-account', source: null, who: 'anna', reason: 'asked to' };
    const erase = async () => {
      for await (const _ of eraseAccount({ pool: db.pool, wake: () => undefined, patienceMs: 200 }, tenant, wish));
    };
    const age = () => db.pool.query(`update learning_model set made_at = made_at - interval '61 minutes', used = true`);
    await teach(10);
    await learnNow(db.pool);
    await teach(1, now);
    const secret = await event('order.placed', [], undefined, 'secret-account');
    await addDecision(db.pool, tenant, secret, { action: 'assign', targets: [erp] });
    await age();
    await learnNow(db.pool);
    await teach(1, now);
    await age();
    await learnNow(db.pool);
    expect(await versions()).toEqual([1, 2, 3]);
    // Somebody learns from it while it is erased.
    const through = await learningBegins(db.pool);
    await erase();
    expect(await versions()).toEqual([1, 3]);
    const learnt = { model: NOTHING_LEARNT, measures: [], through, decisions: 25 };
    expect(await saveModel(db.pool, tenant.id, learnt, { contentMs: 1e9 })).toBe(4);
    expect(await versions()).toEqual([1, 4]);
    await learnNow(db.pool);
    expect(await versions()).toEqual([1, 5]);
  });
});
