import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Place } from '../../src/message/id.js';
import type { Tenant } from '../../src/message/tenant.js';
import { TOP } from '../../src/message/view.js';
import type { Held, NewAttempt, NewPlan, OwnerStore, Quarantined } from '../../src/owner/ports.js';
import { DecisionMoved } from '../../src/owner/ports.js';
import { keepCrash, sweepCrashes } from '../../src/storage/crashes.js';
import { createLeaseStore } from '../../src/storage/lease.js';
import { createOwnerStore } from '../../src/storage/owner.js';
import {
  decideLikes,
  decideQuarantined,
  dropDecided,
  findQuarantined,
  listQuarantine,
  type PutBack,
} from '../../src/storage/quarantine.js';
import { addMessage, addSource } from '../routes/seed.js';
import { insertProcess, insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { until } from '../support/until.js';

let database: TestDatabase;
let tenant: Tenant;
let store: OwnerStore;
let held: Held;
let source: number;
let plans: number;

beforeEach(async () => {
  database = await freshDatabase();
  tenant = await insertTenant(database.pool, 'one');
  const process = await insertProcess(database.pool, randomUUID());
  const leases = createLeaseStore(database.pool, process, 1);
  await leases.take(await leases.leases());
  const lease = (await leases.leases()).find(({ channel }) => channel === 0);
  held = { tenant: tenant.id, channel: 0, term: lease?.term ?? 0 };
  store = createOwnerStore(database.pool, process, 1);
  source = await addSource(database.pool, tenant, 'mail', 'mail');
  plans = 0;
});
afterEach(() => database.drop());

const ONE = Buffer.alloc(32, 1);
const TWO = Buffer.alloc(32, 2);
const HEX = ONE.toString('hex');
const PUT_BACK: PutBack = { action: 'requeue', rung: { number: 0, name: 'full' }, from: null, reason: null };
const DISCARD = { action: 'discard', reason: null } as const;

const mail = () => addMessage(database.pool, tenant, { source, kind: 'mail', raw: 'Subject: x\r\n\r\nbody' });

/** A try of it, as its owner writes it down. */
async function tried({ sequence }: Place, crashHash: Buffer | null, rung = 0): Promise<number> {
  const attempt: NewAttempt = {
    ...{ held, first: sequence, last: sequence, rung, blamed: [], stage: 'begun', try: 1, crashHash, tryMs: 1000 },
  };
  const [id] = await store.beginAttempts([attempt]);
  return id ?? 0;
}

/** An extra plan that says where messages stand; some of them are poison. */
function plan(
  places: readonly Place[],
  state: 'parked' | 'quarantined',
  resumed: readonly Place[] = [],
): Promise<readonly Quarantined[]> {
  const sequences = places.map(({ sequence }) => sequence);
  const place = state === 'parked' ? TOP : null;
  const written: NewPlan = {
    ...{ held, number: ++plans, kind: 'extra', chain: null, open: false },
    firstSequence: Math.min(...sequences),
    lastSequence: Math.max(...sequences),
    runs: sequences.map((s) => ({ s, n: 1, r: 0, m: 'wait', d: { by: 'rules', set: 1, rules: [] }, t: [] })),
    ...{ pending: [], views: [], attempts: [], doneBatches: [], decisions: [], cancelled: [], threads: [] },
    resumed: resumed.map(({ sequence }) => sequence),
    standings: sequences.map((sequence) => ({ sequence, state, version: 1, reason: null, place })),
    poison: state === 'quarantined' ? sequences : [],
  };
  return store.writePlans([written], []);
}

async function poisoned(crashHash: Buffer | null = ONE): Promise<Place & { readonly number: number }> {
  const place = await mail();
  await tried(place, crashHash);
  const [entry] = await plan([place], 'quarantined');
  return { ...place, number: entry?.number ?? 0 };
}

async function states(): Promise<string[]> {
  const { rows } = await database.pool.query(
    `select q.number, q.state, s.state as stands from quarantine q
      join standing s on s.tenant = q.tenant and s.channel = q.of_channel and s.sequence = q.of_sequence
      where q.tenant = $1 order by q.number`,
    [tenant.id],
  );
  return rows.map(({ number, state, stands }) => `${number} ${state} ${stands}`);
}

async function audited() {
  const { rows } = await database.pool.query('select action, object, detail from audit where tenant = $1 order by id', [
    tenant.id,
  ]);
  return rows;
}

describe('a message that no rung could read', () => {
  it('has the crash hash of its newest try, and says whether its like was there before', async () => {
    const place = await mail();
    await tried(place, TWO);
    await tried(place, ONE);
    await tried(place, null);
    expect(await plan([place], 'quarantined')).toEqual([{ tenant: tenant.id, number: 1, crashHash: ONE, first: true }]);
    const like = await mail();
    await tried(like, ONE);
    const other = await mail();
    await tried(other, TWO);
    const told = await plan([like, other], 'quarantined');
    expect(told.map(({ first }) => first)).toEqual([false, true]);
    const { entries } = await listQuarantine(database.pool, tenant.id, { crash: HEX }, 10, null);
    expect(entries.map(({ number, crash }) => [number, crash])).toEqual([
      [2, HEX],
      [1, HEX],
    ]);
  });

  it('is not new when it comes back', async () => {
    const { number, ...place } = await poisoned(null);
    await decideQuarantined(database.pool, tenant.id, number, 'anna', PUT_BACK);
    await tried(place, TWO);
    expect(await plan([place], 'quarantined')).toEqual([{ tenant: tenant.id, number, crashHash: TWO, first: false }]);
    expect(await findQuarantined(database.pool, tenant.id, number)).toMatchObject({ state: 'held', count: 2 });
  });

  it('is nobody’s first of another tenant', async () => {
    await poisoned();
    const others = await insertTenant(database.pool, 'two');
    await database.pool.query('update quarantine set tenant = $1', [others.id]);
    const place = await mail();
    await tried(place, ONE);
    expect(await plan([place], 'quarantined')).toMatchObject([{ first: true }]);
  });
});

describe('what a person has read again', () => {
  it('is known as such until it fails there, or is planned', async () => {
    const { number, ...place } = await poisoned();
    const parked = () => store.parkedOne(held, place.sequence);
    await decideQuarantined(database.pool, tenant.id, number, 'anna', {
      ...PUT_BACK,
      rung: { number: 6, name: 'files' },
    });
    const chosen = { sequence: place.sequence, place: { ...TOP, rung: 6 }, byHand: true };
    expect(await parked()).toEqual({ ...chosen, version: 1 });
    await store.park(held, chosen, 'no child could be had', 0);
    expect((await parked())?.byHand).toBe(true);
    await store.park(held, { ...chosen, byHand: false }, 'it failed', 0);
    expect((await parked())?.byHand).toBe(false);
    await store.park(held, chosen, 'again', 0);
    await plan([place], 'parked');
    expect((await parked())?.byHand).toBe(false);
  });

  it('goes the way of its likes once one of them has failed again', async () => {
    await keepCrash(database.pool, { tenant: tenant.id, hash: ONE, place: { ...TOP, rung: 6 } });
    const entries = [await poisoned(), await poisoned()];
    await decideLikes(database.pool, tenant.id, HEX, 'anna', PUT_BACK);
    const byHand = async () =>
      Promise.all(entries.map(async ({ sequence }) => (await store.parkedOne(held, sequence))?.byHand));
    expect(await byHand()).toEqual([true, true]);
    await keepCrash(database.pool, { tenant: tenant.id, hash: TWO, place: { ...TOP, rung: 6 } });
    expect(await byHand()).toEqual([true, true]);
    await keepCrash(database.pool, { tenant: tenant.id, hash: ONE, place: { ...TOP, rung: 7 } });
    expect(await byHand()).toEqual([false, false]);
  });

  it('begins without the interruptions of before', async () => {
    const { number, ...place } = await poisoned();
    const interrupted = async () => {
      const id = await tried(place, ONE);
      await store.endAttempts(held, [{ id, outcome: 'interrupted', reason: null, child: null }]);
    };
    await interrupted();
    await interrupted();
    await decideQuarantined(database.pool, tenant.id, number, 'anna', PUT_BACK);
    expect((await store.parkedOne(held, place.sequence))?.place.interruptions).toBe(0);
    await interrupted();
    expect((await store.parkedOne(held, place.sequence))?.place.interruptions).toBe(1);
  });
});

describe('all of one crash hash', () => {
  it('are decided about a few at a time, all in the end, in one line of the audit', async () => {
    for (let n = 0; n < 5; n++) await poisoned();
    await poisoned(TWO);
    const done = await decideLikes(database.pool, tenant.id, HEX, 'anna', PUT_BACK, 2);
    expect(done).toEqual({ done: 5, skipped: 0, channels: [0] });
    expect(await states()).toEqual([
      ...[1, 2, 3, 4, 5].map((number) => `${number} released parked`),
      '6 held quarantined',
    ]);
    expect(await audited()).toEqual([
      { action: 'quarantine.requeue', object: `crash ${HEX}`, detail: { rung: 'full', done: 5, skipped: 0 } },
    ]);
    expect(await decideLikes(database.pool, tenant.id, HEX, 'anna', DISCARD)).toMatchObject({ done: 0, skipped: 0 });
    expect(await audited()).toHaveLength(1);
  });

  it('are closed as one’s decision when they are discarded; their bytes stay', async () => {
    await poisoned();
    await poisoned();
    await decideLikes(database.pool, tenant.id, HEX, 'anna', { action: 'discard', reason: 'spam' });
    expect(await states()).toEqual(['1 discarded closed', '2 discarded closed']);
    const { rows } = await database.pool.query(
      `select d.who, d.action, d.reason, octet_length(q.raw) > 0 as kept from decision d
        join quarantine q on q.tenant = d.tenant and q.of_channel = d.channel and q.of_sequence = d.sequence`,
    );
    const one = { who: 'anna', action: 'close', reason: 'spam', kept: true };
    expect(rows).toEqual([one, one]);
  });

  it('but for those that somebody else decides about meanwhile', async () => {
    const [first, second] = [await poisoned(), await poisoned()];
    const client = await database.pool.connect();
    await client.query('begin; set local idle_in_transaction_session_timeout = 0');
    await client.query(`update quarantine set state = 'discarded' where tenant = $1 and number = $2`, [
      tenant.id,
      first.number,
    ]);
    const deciding = decideLikes(database.pool, tenant.id, HEX, 'anna', PUT_BACK);
    await until(async () => {
      const { rowCount } = await database.pool.query(
        `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return rowCount === 1;
    }, 'the decision to wait');
    await client.query('commit');
    client.release();
    expect(await deciding).toMatchObject({ done: 1, skipped: 1 });
    expect((await findQuarantined(database.pool, tenant.id, second.number))?.state).toBe('released');
    expect((await findQuarantined(database.pool, tenant.id, first.number))?.state).toBe('discarded');
  });
});

describe('a retention of the quarantine', () => {
  it('drops what was decided so long ago, and nothing that is held', async () => {
    for (let n = 0; n < 4; n++) await poisoned();
    await decideQuarantined(database.pool, tenant.id, 1, 'anna', DISCARD);
    await decideQuarantined(database.pool, tenant.id, 2, 'anna', PUT_BACK);
    await decideQuarantined(database.pool, tenant.id, 3, 'anna', DISCARD);
    await database.pool.query(
      `update quarantine set arrived_at = now() - interval '1 year', decided_at = decided_at - case when number = 3
        then interval '29 days' else interval '31 days' end`,
    );
    expect(await dropDecided(database.pool, 30, new AbortController().signal)).toBe(2);
    expect((await states()).map((one) => one.split(' ').slice(0, 2).join(' '))).toEqual(['3 discarded', '4 held']);
  });

  it('counts anew for what came back', async () => {
    const { number, ...place } = await poisoned();
    await decideQuarantined(database.pool, tenant.id, number, 'anna', PUT_BACK);
    await plan([place], 'quarantined');
    const { rows } = await database.pool.query('select state, decided_at from quarantine');
    expect(rows).toEqual([{ state: 'held', decided_at: null }]);
  });
});

describe('a plan that carries a parked message on', () => {
  it('is undone where somebody settled it meanwhile', async () => {
    const place = await mail();
    await plan([place], 'parked');
    await plan([place], 'parked', [place]);
    await database.pool.query(`update standing set state = 'closed' where sequence = $1`, [place.sequence]);
    await expect(plan([place], 'parked', [place])).rejects.toThrow(DecisionMoved);
    const { rows } = await database.pool.query('select state from standing where sequence = $1', [place.sequence]);
    expect(rows).toEqual([{ state: 'closed' }]);
  });
});

describe('what is remembered of mails that failed', () => {
  it('goes when their likes have not failed for long', async () => {
    for (const hash of [ONE, TWO]) {
      await keepCrash(database.pool, { tenant: tenant.id, hash, place: { ...TOP, rung: 6 } });
    }
    await database.pool.query(`update crash set last_at = now() - interval '91 days' where hash = $1`, [ONE]);
    await database.pool.query(`update crash set last_at = now() - interval '89 days' where hash = $1`, [TWO]);
    expect(await sweepCrashes(database.pool)).toBe(1);
    const { rows } = await database.pool.query('select hash from crash');
    expect(rows).toEqual([{ hash: TWO }]);
  });
});
