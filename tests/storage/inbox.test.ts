import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Place } from '../../src/message/id.js';
import type { Tenant } from '../../src/message/tenant.js';
import type { Action } from '../../src/routing/person.js';
import { decide } from '../../src/storage/decisions.js';
import { allInInbox, inboxPlaces } from '../../src/storage/inbox.js';
import { inboxCounts, sumUpCounts } from '../../src/storage/inbox-counts.js';
import { decideQuarantined } from '../../src/storage/quarantine.js';
import { addMessage, addSource, plan, quarantined } from '../routes/seed.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let tenant: Tenant;
let other: Tenant;
let source: number;

beforeEach(async () => {
  database = await freshDatabase();
  tenant = await insertTenant(database.pool, 'one');
  other = await insertTenant(database.pool, 'other');
  source = await addSource(database.pool, tenant, 'mail', 'mail');
});
afterEach(() => database.drop());

async function waiting(channel = 0): Promise<Place> {
  const place = await addMessage(database.pool, tenant, { source, channel });
  await plan(database.pool, tenant, place, { mode: 'wait' });
  return place;
}

function does(place: Place, action: Action, until: Date | null = null) {
  const wish = { action, who: 'anna', version: null, reason: 'x', until, hold: 0, idempotencyKey: null };
  return decide(database.pool, tenant.id, place, { ...wish, ...(action === 'assign' && { targets: [7] }) });
}

/** Counted one by one. */
async function counted(): Promise<Record<string, number>> {
  const { rows } = await database.pool.query<{ need: string; n: number }>(
    `select case when snoozed_until > now() then 'snoozed' else 'unrouted' end as need, count(*) as n from standing
       where tenant = $1 and state = 'waiting' group by 1
     union all select cause, count(*) from quarantine where tenant = $1 and state = 'held' group by 1`,
    [tenant.id],
  );
  return Object.fromEntries(rows.map(({ need, n }) => [need, n]));
}

async function kept(of = tenant): Promise<Record<string, number>> {
  const { waiting: needs, snoozed } = await inboxCounts(database.pool, of.id);
  return { ...Object.fromEntries(needs), ...(snoozed > 0 && { snoozed }) };
}

const HOUR = 3_600_000;

describe('counts', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('arrive' as const), channel: fc.nat(1) }),
    fc.record({ kind: fc.constant('hold' as const), cause: fc.constantFrom('conflict' as const, 'expired' as const) }),
    fc.record({ kind: fc.constant('discard' as const), at: fc.nat(9) }),
    fc.record({
      kind: fc.constant('decide' as const),
      at: fc.nat(9),
      action: fc.constantFrom<Action>('assign', 'close', 'snooze', 'reopen', 'note', 'unassign'),
      inMs: fc.constantFrom(20, 40_000, HOUR),
    }),
    fc.record({ kind: fc.constant('passes' as const) }),
    fc.record({ kind: fc.constant('sum' as const) }),
  );

  it('are what counting one by one gives, whatever people and owners do', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 25 }), async (steps) => {
        const places: Place[] = [];
        const numbers: number[] = [];
        for (const one of steps) {
          const place = 'at' in one ? places[one.at % Math.max(1, places.length)] : undefined;
          if (one.kind === 'arrive') places.push(await waiting(one.channel));
          if (one.kind === 'hold') numbers.push(await quarantined(database.pool, tenant, source, one.cause));
          if (one.kind === 'discard' && numbers.length > 0) {
            const number = numbers[one.at % numbers.length] ?? 0;
            await decideQuarantined(database.pool, tenant.id, number, 'anna', { action: 'discard', reason: null });
          }
          if (one.kind === 'decide' && place) {
            await does(place, one.action, one.action === 'snooze' ? new Date(Date.now() + one.inMs) : null);
          }
          if (one.kind === 'passes') {
            const snoozed = `tenant = $1 and state = 'waiting' and snoozed_until > now()`;
            await database.pool.query(`update standing set snoozed_until = now() where ${snoozed}`, [tenant.id]);
          }
          if (one.kind === 'sum') await sumUpCounts(database.pool);
          // Both look at one moment: a snoozed one's time may come between two.
          const [before, now, after] = [await counted(), await kept(), await counted()];
          expect([before, after]).toContainEqual(now);
        }
        expect(await kept(other)).toEqual({});
      }),
      { numRuns: 15 },
    );
  }, 120_000);

  it('stay right while they are summed up, and then are few rows', async () => {
    const places: Place[] = [];
    for (let i = 0; i < 40; i++) places.push(await waiting());
    await Promise.all(places.map((place) => does(place, 'close')));
    await Promise.all(places.slice(0, 30).map((place) => does(place, 'reopen')));
    await Promise.all([sumUpCounts(database.pool), sumUpCounts(database.pool), does(places[35] as Place, 'reopen')]);
    expect(await kept()).toEqual({ unrouted: 31 });
    await sumUpCounts(database.pool);
    const { rows } = await database.pool.query('select from inbox_count');
    expect(rows.length).toBeLessThan(64);
  });

  it('are left alone where they are many only because they come at many times', async () => {
    await database.pool.query(
      `insert into inbox_count (tenant, need, due, n)
         select $1, 'unrouted', due_minute(now() + n * interval '1 hour'), 1 from generate_series(1, 100) n`,
      [tenant.id],
    );
    const rows = async () => (await database.pool.query('select ctid::text, * from inbox_count order by due')).rows;
    const before = await rows();
    await sumUpCounts(database.pool);
    expect(await rows()).toEqual(before);
  });
});

describe('the list', () => {
  it('gives everything once, in order, whatever the size of a page', async () => {
    for (let i = 0; i < 7; i++) await waiting(i % 2);
    for (let i = 0; i < 4; i++) await quarantined(database.pool, tenant, source, 'conflict');
    // Some at the same moment.
    await database.pool.query(
      `update standing set since = date_trunc('minute', now()) where tenant = $1 and channel = 0`,
      [tenant.id],
    );
    await database.pool.query(`update quarantine set since = date_trunc('minute', now()) where number > 2`);
    const all = await inboxPlaces(database.pool, tenant.id, { which: 'waiting' }, 50, null);
    expect([all.items.length, all.next]).toEqual([11, null]);
    const times = all.items.map(({ since }) => since);
    expect(times).toEqual(times.toSorted().toReversed());
    for (const size of [1, 2, 3, 5]) {
      const seen = [];
      for (let mark = null as (typeof all)['next']; ; ) {
        const page = await inboxPlaces(database.pool, tenant.id, { which: 'waiting' }, size, mark);
        seen.push(...page.items);
        mark = page.next;
        if (mark === null) break;
      }
      expect(seen).toEqual(all.items);
    }
    const filtered = await inboxPlaces(database.pool, tenant.id, { which: 'waiting', account: 'acme' }, 3, null);
    expect(filtered.items).toEqual(all.items.slice(0, 3));
    expect((await inboxPlaces(database.pool, other.id, { which: 'waiting' }, 50, null)).items).toEqual([]);
  });

  it('is walked whole for all that match', async () => {
    for (let i = 0; i < 5; i++) await waiting(0);
    const found = [];
    for await (const { places } of allInInbox(database.pool, tenant.id, { which: 'waiting', source }))
      found.push(...places);
    expect(found).toHaveLength(5);
    expect(found.every(({ version }) => version === 1)).toBe(true);
  });
});
