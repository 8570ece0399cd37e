import type { BillingDefinition, BillingKind } from '../../src/billing/definitions.js';
import { accountHash, channelOf } from '../../src/channel/partition.js';
import { messageId, type Place } from '../../src/message/id.js';
import { BILLING_SCHEMAS, putBilling } from '../../src/storage/billing.js';
import { Ledger } from '../../src/storage/ledger.js';
import { addMessage, type PlanSeed, plan } from '../routes/seed.js';
import type { TestSite } from './harness.js';

const DAY_MS = 86_400_000;

/** A site whose accounts use something, with what tests say about it. */
export interface Billed {
  /** The middle of the month before this one, and its name. */
  readonly lastMonth: Date;
  readonly lastPeriod: string;
  define(kind: BillingKind, name: string, definition: object): Promise<void>;
  /** Sequences an event of an account and plans it. */
  use(account: string, data: object, at: Date, planned?: PlanSeed & { readonly type?: string }): Promise<Place>;
  /** Has the ledger take what came. */
  take(): Promise<void>;
}

/** Meters `gb` (sum, by region) and `calls` (count), the rate card `basic`; accounts use nothing yet. */
export async function addBilling({ pool, tenant, sources }: TestSite): Promise<Billed> {
  const today = new Date();
  const lastMonth = new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() - 1, 15, 12));
  const ledger = new Ledger({ pool });
  const define: Billed['define'] = async (kind, name, definition) => {
    const value = BILLING_SCHEMAS[kind].parse(definition) as BillingDefinition;
    const put = await putBilling(pool, tenant, kind, name, value, { expected: 'any', who: 'test' });
    if (put.result !== 'ok') throw new Error(`${name}: ${JSON.stringify(put)}`);
  };
  await define('meter', 'gb', {
    type: 'storage.used',
    aggregation: 'sum',
    value: '/data/n',
    unit: 'GB',
    dimensions: { region: '/data/region' },
  });
  await define('meter', 'calls', { type: 'storage.*', aggregation: 'count' });
  await define('rate-card', 'basic', {
    currency: 'EUR',
    versions: [
      {
        from: '2020-01-01',
        prices: [
          { model: 'flat', name: 'Base', amount: '5' },
          {
            model: 'graduated',
            meter: 'gb',
            per: ['region'],
            tiers: [
              { upTo: '10', price: '1', flat: '2' },
              { upTo: null, price: '0.50' },
            ],
          },
          { model: 'per_unit', meter: 'calls', price: '0.01', free: '1' },
        ],
      },
    ],
  });
  return {
    lastMonth,
    lastPeriod: lastMonth.toISOString().slice(0, 7),
    define,
    use: async (account, data, at, { type = 'storage.used', ...planned } = {}) => {
      const event = {
        specversion: '1.0',
        id: 'u',
        source: '/shop',
        type,
        subject: account,
        time: at.toISOString(),
        data,
      };
      const channel = channelOf(accountHash(account), tenant.channels);
      const place = await addMessage(pool, tenant, {
        source: sources.billing,
        channel,
        account,
        type,
        raw: JSON.stringify(event),
        arrivedAt: at,
        meta: null,
      });
      await plan(pool, tenant, place, planned);
      return place;
    },
    take: async () => {
      for (let channel = 0; channel < tenant.channels; channel += 1) {
        const place = { tenant: tenant.id, book: 1, channel };
        for (let taken = await ledger.take(place); taken?.more; ) taken = await ledger.take(place);
      }
    },
  };
}

/** An account with a subscription, usage of three regions over the last weeks and of the last month, and something of everything. */
export async function addUsage(billed: Billed, account: string): Promise<{ readonly last: string }> {
  const { lastMonth, lastPeriod, use, define, take } = billed;
  await define('subscription', account.replace(/[^a-z0-9]/g, '-'), {
    account,
    rateCard: 'basic',
    currency: 'EUR',
    from: `${lastPeriod}-01`,
    thresholds: [{ meter: 'gb', of: '100', percent: [50, 100] }],
  });
  await use(account, { n: 12.5, region: 'eu' }, lastMonth);
  await use(account, { n: 3, region: 'us' }, lastMonth);
  const regions = ['eu', 'us', 'ap-south'];
  const now = Date.now();
  for (let i = 25; i >= 1; i -= 1) {
    const n = `${((i * 7) % 11) + 1}.${i}`;
    await use(account, { n, region: regions[i % 3] }, new Date(now - i * DAY_MS));
  }
  const last = await use(account, { n: '0.000000000000000001', region: 'eu' }, new Date(now - 60_000));
  await use(account, { n: 'much', region: 'eu' }, new Date(now - 50_000));
  await use(account, {}, new Date(now - 40_000), { type: 'never.metered' });
  await use(account, { n: 4, region: 'eu' }, new Date(now - 30_000), { mode: 'park' });
  await take();
  return { last: messageId(last) };
}
