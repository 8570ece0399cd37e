import type { BillingDefinition, BillingKind } from '../../src/billing/definitions.js';
import { accountHash, channelOf } from '../../src/channel/partition.js';
import type { Arrival } from '../../src/message/arrival.js';
import { messageId, type Place } from '../../src/message/id.js';
import { openBackfill } from '../../src/storage/backfills.js';
import { BILLING_SCHEMAS, putBilling } from '../../src/storage/billing.js';
import { Ledger } from '../../src/storage/ledger.js';
import { addMessage, type PlanSeed, plan } from '../routes/seed.js';
import type { TestSite } from './harness.js';

const DAY_MS = 86_400_000;

type UseSeed = PlanSeed & {
  readonly type?: string /** Of the event; by default all have the same. */;
  readonly id?: string;
};

/** A site whose accounts use something, with what tests say about it. */
export interface Billed {
  /** The middle of the month before this one, and its name. */
  readonly lastMonth: Date;
  readonly lastPeriod: string;
  define(kind: BillingKind, name: string, definition: object): Promise<void>;
  /** Sequences an event of an account and plans it. */
  use(account: string, data: object, at: Date, planned?: UseSeed): Promise<Place>;
  /** Sequences an event of last month after its period was final, which a meter then holds. */
  hold(account: string): Promise<Place>;
  /** Opens a backfill and sends events of last month to it. */
  fill(account: string, ids: readonly string[]): Promise<{ readonly id: number }>;
  /** Has the ledger take what came. */
  take(): Promise<void>;
}

/** Meters `gb` (sum, by region), `calls` (count) and `seats` (count, which holds what is late), the rate card `basic`. */
export async function addBilling({ pool, tenant, sources, backfills }: TestSite): Promise<Billed> {
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
  await define('meter', 'seats', { type: 'seat.*', aggregation: 'count', late: 'quarantine' });
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
  const lastPeriod = lastMonth.toISOString().slice(0, 7);
  const begin = (month: number) => new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + month, 1));
  const eventOf = (id: string, type: string, account: string, at: Date, data: object) => {
    const head = { specversion: '1.0', id, source: '/shop', type };
    return JSON.stringify({ ...head, subject: account, time: at.toISOString(), data });
  };
  const use: Billed['use'] = async (account, data, at, { type = 'storage.used', id = 'u', ...planned } = {}) => {
    const channel = channelOf(accountHash(account), tenant.channels);
    const place = await addMessage(pool, tenant, {
      source: sources.billing,
      channel,
      account,
      type,
      raw: eventOf(id, type, account, at, data),
      arrivedAt: at,
      meta: null,
    });
    await plan(pool, tenant, place, planned);
    return place;
  };
  return {
    lastMonth,
    lastPeriod,
    define,
    use,
    hold: async (account) => {
      await pool.query(
        `insert into statement (tenant, account, period_from, period_to, channel, through, body, hash, made_by)
         values ($1, $2, $3, $4, 0, 0, $5, '', 'test')`,
        [tenant.id, account, begin(-1), begin(0), JSON.stringify({ period: { name: lastPeriod } })],
      );
      return use(account, {}, lastMonth, { type: 'seat.used' });
    },
    fill: async (account, ids) => {
      const range = { from: begin(-1).getTime(), to: begin(0).getTime(), account: null };
      const by = { who: 'test', why: 'the exporter was down' };
      const opened = await openBackfill(pool, tenant, range, by);
      if (opened.result !== 'ok') throw new Error('too many backfills are open');
      const { id } = opened.backfill;
      await backfills.send(
        tenant,
        id,
        ids.map((event): Arrival => {
          const raw = eventOf(event, 'storage.used', account, lastMonth, { n: 2, region: 'eu' });
          return {
            ...{
              tenant,
              source: { id: sources.billing, name: 'billing' },
              kind: 'event',
              account,
              type: 'storage.used',
            },
            ...{ externalId: event, value: null, eventTime: lastMonth.toISOString(), arrivedAt: 0, peer: 'test' },
            ...{ meta: null, identity: Buffer.from(event), digest: '\0'.repeat(16), onOtherContent: 'conflict' },
            raw: Buffer.from(raw),
          };
        }),
      );
      return { id };
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
