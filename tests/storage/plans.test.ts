import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Run } from '../../src/delivery/plan.js';
import type { Tenant } from '../../src/message/tenant.js';
import type { Held, NewPlan, OwnerStore } from '../../src/owner/ports.js';
import { createLeaseStore } from '../../src/storage/lease.js';
import { createOwnerStore } from '../../src/storage/owner.js';
import { insertProcess, insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let tenant: Tenant;
let store: OwnerStore;
let held: Held;

beforeEach(async () => {
  database = await freshDatabase();
  tenant = await insertTenant(database.pool, 'one');
  const process = await insertProcess(database.pool, randomUUID());
  const leases = createLeaseStore(database.pool, process, 1);
  await leases.take(await leases.leases());
  const [lease] = await leases.leases();
  held = { tenant: tenant.id, channel: lease?.channel ?? 0, term: lease?.term ?? 0 };
  store = createOwnerStore(database.pool, process, 1);
});
afterEach(() => database.drop());

const NONE = {
  pending: [],
  standings: [],
  views: [],
  threads: [],
  attempts: [],
  doneBatches: [],
  decisions: [],
  cancelled: [],
  resumed: [],
};

function plan(kind: NewPlan['kind'], number: number, first: number, last: number): NewPlan {
  const run: Run = { s: first, n: last - first + 1, r: 0, m: 'wait', d: { by: 'rules', set: 1, rules: [] }, t: [] };
  const chain = kind === 'stream' ? Buffer.alloc(32, number) : null;
  const sequences = { firstSequence: first, lastSequence: last };
  return { held, number, kind, ...sequences, runs: [run], chain, open: false, ...NONE, poison: [] };
}

async function begun() {
  const [channel] = await store.begin([held]);
  return channel?.reader;
}

it.each([
  ['before', [plan.bind(null, 'extra', 4, 2, 2), plan.bind(null, 'stream', 5, 4, 9)]],
  ['after', [plan.bind(null, 'stream', 4, 4, 9), plan.bind(null, 'extra', 5, 2, 2)]],
  [
    'around',
    [plan.bind(null, 'extra', 4, 1, 1), plan.bind(null, 'stream', 5, 4, 9), plan.bind(null, 'extra', 6, 2, 2)],
  ],
] as const)(
  'of a channel with extra plans %s its stream’s, the reader takes the last number and the stream’s end',
  async (_, plans) => {
    await store.writePlans([plan('stream', 3, 1, 3)], []);
    const written = plans.map((make) => make());
    await store.writePlans(written, []);
    const stream = written.find(({ kind }) => kind === 'stream');
    expect(await begun()).toMatchObject({
      planned: 9,
      lastPlan: Math.max(...written.map(({ number }) => number)),
      chain: stream?.chain,
    });
  },
);

it('an extra plan alone moves the number, and nothing else', async () => {
  await store.writePlans([plan('stream', 1, 1, 3)], []);
  await store.writePlans([plan('extra', 2, 2, 2)], []);
  expect(await begun()).toMatchObject({ planned: 3, lastPlan: 2, chain: Buffer.alloc(32, 1) });
});
