import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLedger } from '../../src/app/ledger.js';
import { rateCardSchema, subscriptionSchema } from '../../src/billing/definitions.js';
import type { Statement } from '../../src/billing/statement.js';
import { putBilling } from '../../src/storage/billing.js';
import { statementsOf } from '../../src/storage/statements.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { type UsageBooks, usageBooks } from '../support/usage.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase({ max: 8 });
});
afterEach(() => database.drop());

const HOUR = 3_600_000;
const any = { expected: 'any', who: 'test' } as const;

async function chores(now: { at: number }) {
  return createLedger({
    pool: database.pool,
    say: () => Promise.reject(new Error('nothing is to be said')),
    backfills: { finish: async () => undefined },
    now: () => now.at,
    log: silent,
  });
}

async function subscribe(books: UsageBooks, card: unknown, subscription: object): Promise<void> {
  const put = async (kind: 'rate-card' | 'subscription', name: string, definition: never) =>
    expect(await putBilling(database.pool, books.tenant, kind, name, definition, any)).toMatchObject({ result: 'ok' });
  await put('rate-card', 'basic', rateCardSchema.parse(card) as never);
  const wanted = { account: 'acme', rateCard: 'basic', currency: 'EUR', ...subscription };
  await put('subscription', 'acme', subscriptionSchema.parse(wanted) as never);
}

async function statements(books: UsageBooks): Promise<Statement[]> {
  const stored = await statementsOf(database.pool, books.tenant.id, 'acme', 100);
  return stored.map(({ body }) => JSON.parse(body) as Statement).reverse();
}

const used = (n: string, time: string) => ({ account: 'acme', data: `{"n":${n},"r":"eu"}`, time });
const EACH = {
  currency: 'EUR',
  versions: [{ from: '2020-01-01', prices: [{ model: 'per_unit', meter: 'gb', price: '1' }] }],
};

describe('periods', () => {
  it('stay open for their grace time: what comes by then is in them, what comes later in the next one', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    await books.meter('gb', { type: 'usage', aggregation: 'sum', value: '/data/n' });
    await subscribe(books, EACH, { from: '2025-02-01', zone: 'Europe/Berlin', graceHours: 36 });
    const now = { at: 0 };
    const ledger = await chores(now);
    const take = async (n: string, time: string) => {
      await books.store([used(n, time)]);
      await books.planAll();
      await ledger.take();
    };
    await take('1', '2025-02-10T12:00:00Z');
    const end = Date.parse('2025-02-28T23:00:00Z');
    now.at = end + 36 * HOUR - 1;
    await ledger.close();
    expect(await statements(books)).toEqual([]);
    await take('2', '2025-02-28T22:59:59.999999Z');
    await take('4', '2025-02-28T23:00:00Z');
    now.at++;
    await ledger.close();
    const [february] = await statements(books);
    expect(february).toMatchObject({ period: { name: '2025-02' }, total: '3.00', complete: true });
    await take('8', '2025-02-20T12:00:00Z');
    now.at = Date.parse('2025-03-31T22:00:00Z') + 36 * HOUR;
    await ledger.close();
    const [again, march, ...more] = await statements(books);
    expect(more).toEqual([]);
    expect(again).toEqual(february);
    expect(march?.lines).toMatchObject([
      { kind: 'usage', quantity: '4', amount: '4.00' },
      { kind: 'adjustment', period: '2025-02', quantity: '8', events: 1, amount: '8.00' },
    ]);
  });

  it('of days are cut at the account’s midnights, on both changes of the clock', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    await books.meter('gb', { type: 'usage', aggregation: 'sum', value: '/data/n' });
    for (const [from, until, events] of [
      [
        '2025-03-29',
        '2025-04-01',
        // 23 hours: 29 March ends at 23:00 UTC, 30 March at 22:00.
        ['2025-03-29T22:59:59.999999Z', '2025-03-29T23:00:00Z', '2025-03-30T21:59:59.999999Z', '2025-03-30T22:00:00Z'],
      ],
      [
        '2025-10-25',
        '2025-10-28',
        // 25 hours: 25 October ends at 22:00 UTC, 26 October at 23:00; 02:30 comes twice.
        ['2025-10-25T21:59:59.999999Z', '2025-10-26T00:30:00Z', '2025-10-26T01:30:00Z', '2025-10-26T23:00:00Z'],
      ],
    ] as const) {
      await database.pool.query('delete from statement');
      await subscribe(books, EACH, { from, until, zone: 'Europe/Berlin', period: 'day', graceHours: 0 });
      const now = { at: Date.parse(`${until}T12:00:00Z`) };
      const ledger = await chores(now);
      await books.store(events.map((time, i) => used(String(10 ** i), time)));
      await books.planAll();
      await ledger.take();
      await ledger.close();
      expect((await statements(books)).map(({ total }) => total)).toEqual(['1.00', '110.00', '1000.00']);
    }
  });
});

describe('a statement', () => {
  it('is what the rate card comes to by hand, for every model at the edges of its tiers', async () => {
    const books = await usageBooks(database.pool, 'one', 1);
    const prices: object[] = [{ model: 'flat', name: 'Base', amount: '9.995' }];
    const tiers = [
      { upTo: '10', price: '0.50', flat: '3' },
      { upTo: '20', price: '0.25' },
      { price: '0.125', flat: '1' },
    ];
    const cases = [
      // Quantity, by hand: per unit with 5 free, graduated, by volume.
      ['0.5', '0.00', '3.25', '3.25'],
      ['5', '0.00', '5.50', '5.50'],
      ['5.1', '0.01', '5.55', '5.55'],
      ['10', '0.52', '8.00', '8.00'],
      ['10.1', '0.53', '8.02', '2.52'],
      ['20', '1.56', '10.50', '5.00'],
      ['20.4', '1.60', '11.55', '3.55'],
      ['-2', '-0.21', '-1.00', '-1.00'],
    ] as const;
    for (const [i] of cases.entries()) {
      for (const model of ['per', 'grad', 'vol']) {
        await books.meter(`${model}${i}`, { type: `${model}${i}`, aggregation: 'sum', value: '/data/n' });
      }
      prices.push({ model: 'per_unit', meter: `per${i}`, price: '0.104', free: '5' });
      prices.push({ model: 'graduated', meter: `grad${i}`, tiers });
      prices.push({ model: 'volume', meter: `vol${i}`, tiers });
    }
    await books.meter('by', { type: 'by', aggregation: 'count', dimensions: { r: '/data/r' } });
    prices.push({ model: 'per_unit', meter: 'by', where: { r: 'us' }, price: '0.01' });
    prices.push({ model: 'per_unit', meter: 'by', per: ['r'], price: '0.10', free: '1' });
    const rounding = { digits: 2, mode: 'half_even' };
    await subscribe(
      books,
      { currency: 'EUR', rounding, versions: [{ from: '2020-01-01', prices }] },
      { from: '2025-05-01' },
    );
    const at = (type: string, data: string) => ({ account: 'acme', type, data, time: '2025-05-10T00:00:00Z' });
    await books.store([
      ...cases.flatMap(([n], i) => ['per', 'grad', 'vol'].map((model) => at(`${model}${i}`, `{"n":${n}}`))),
      ...['eu', 'eu', 'us', 'us', 'us', 'uk'].map((r) => at('by', `{"r":"${r}"}`)),
    ]);
    await books.planAll();
    const ledger = await chores({ at: Date.parse('2025-06-02T01:00:00Z') });
    await ledger.take();
    await ledger.close();
    const [may] = await statements(books);
    const amounts = new Map(may?.lines.map(({ what, dimensions, amount }) => [`${what}${dimensions.r ?? ''}`, amount]));
    expect(amounts.get('Base')).toBe('10.00');
    for (const [i, [, per, grad, vol]] of cases.entries())
      expect([i, ...['per', 'grad', 'vol'].map((model) => amounts.get(`${model}${i}`))]).toEqual([i, per, grad, vol]);
    expect([amounts.get('byus'), amounts.get('byeu'), amounts.get('byuk')]).toEqual(['0.03', '0.10', '0.00']);
    // 10.00 and all the lines above, in hundredths.
    const hundredths = cases
      .flatMap(([, ...each]) => each)
      .reduce((sum, text) => sum + Math.round(Number(text) * 100), 1013);
    expect(may?.total).toBe((hundredths / 100).toFixed(2));
  });
});
