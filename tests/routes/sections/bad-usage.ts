import { describe, expect, test } from 'vitest';
import { accountHash, channelOf } from '../../../src/channel/partition.js';
import { Ledger } from '../../../src/storage/ledger.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, plan } from '../seed.js';

const OF = '/v1/accounts/acme';
const SPAN = 'from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z';

async function used(api: Api, name: string) {
  const { tenant, token } = await api.newTenant(name);
  const call = (method: string, path: string, body?: unknown) =>
    api.call(method, path, { token, ...(body !== undefined && { body }) });
  const meter = { type: 'used', aggregation: 'sum', value: '/data/n', unit: 'GB', unitFrom: '/data/u' };
  expect((await call('PUT', '/v1/meters/gb', meter)).status).toBe(201);
  const source = await addSource(api.pool, tenant, 'feed');
  const ledger = new Ledger({ pool: api.pool });
  const take = async () => {
    for (let channel = 0; channel < tenant.channels; channel++)
      await ledger.take({ tenant: tenant.id, book: 1, channel });
  };
  const use = async (data: string, { account = 'acme', type = 'used', day = '2026-01-10', subject = true } = {}) => {
    const channel = channelOf(accountHash(account), tenant.channels);
    const head = { specversion: '1.0', id: '1', source: '/s', type, ...(subject && { subject: account }) };
    const raw = `${JSON.stringify(head).slice(0, -1)},"data":${data}}`;
    const arrivedAt = new Date(`${day}T12:00:00Z`);
    const place = await addMessage(api.pool, tenant, { source, channel, account, type, raw, arrivedAt, meta: null });
    await plan(api.pool, tenant, place);
    return `${place.channel}-${place.sequence}`;
  };
  const sum = async () => (await call('GET', `${OF}/usage?${SPAN}`)).body.items[0]?.quantity;
  return { tenant, call, use, take, sum };
}

/** A stable code, a sentence that says what to do, and nothing of it counted. */
export function badUsage(get: () => Api): void {
  describe('bad input of billing', () => {
    test('is kept and not counted: values, units and accounts', async () => {
      const { tenant, use, take, sum } = await used(get(), 'spoils');
      await use('{"n":0.10,"u":"GB"}');
      const spoilt = [
        ['{"n":"many","u":"GB"}', 'value_not_a_number'],
        ['{"n":"NaN","u":"GB"}', 'value_not_a_number'],
        ['{"n":true,"u":"GB"}', 'value_not_a_number'],
        [`{"n":${'9'.repeat(400)},"u":"GB"}`, 'value_too_long'],
        ['{"u":"GB"}', 'value_missing'],
        ['{"n":1,"u":"MB"}', 'unit_wrong'],
        ['{"n":1}', 'unit_wrong'],
      ] as const;
      const codes = new Map<string, string>();
      for (const [data, code] of spoilt) codes.set(await use(data), code);
      codes.set(await use('{"n":1,"u":"GB"}', { account: 'feed', subject: false }), 'account_missing');
      await use('{"n":1}', { type: 'unheard.of' });
      await take();
      expect(await sum()).toBe('0.1');
      const { rows } = await get().pool.query<{ message: string; code: string }>(
        "select channel || '-' || sequence as message, code from usage_problem where tenant = $1",
        [tenant.id],
      );
      expect(new Map(rows.map(({ message, code }) => [message, code]))).toEqual(codes);
      const unmetered = await get().pool.query('select type, events from usage_unmetered where tenant = $1', [
        tenant.id,
      ]);
      expect(unmetered.rows).toEqual([{ type: 'unheard.of', events: 1 }]);
    });

    test('is refused: corrections of what is not there, is another’s, or is final', async () => {
      const { call, use, take, sum } = await used(get(), 'refuses');
      const stranger = await used(get(), 'is-strange');
      const [mine, theirs] = [await use('{"n":1,"u":"GB"}'), await stranger.use('{"n":7,"u":"GB"}')];
      await stranger.use('{"n":8,"u":"GB"}');
      const last = await stranger.use('{"n":16,"u":"GB"}');
      await take();
      await stranger.take();
      const correct = async (body: object) =>
        (await call('POST', `${OF}/corrections`, { why: 'a test', ...body })).body as { code: string; detail: string };
      expect(await correct({ void: '0-999' })).toMatchObject({ status: 404, code: 'event_unknown' });
      // Of the same account's name, and of the same place as one's own or not: it is only ever one's own that is meant.
      expect(theirs).toBe(mine);
      expect(await correct({ void: last })).toMatchObject({
        code: 'event_unknown',
        detail: expect.stringContaining(last),
      });
      expect(await correct({ amend: last, set: { '/data/n': '9' } })).toMatchObject({ code: 'event_unknown' });
      const price = { model: 'per_unit', meter: 'gb', price: '1' };
      const versions = [{ from: '2026-01-01', prices: [price] }];
      await call('PUT', '/v1/rate-cards/basic', { currency: 'EUR', versions });
      const subscription = { account: 'acme', rateCard: 'basic', currency: 'EUR', from: '2026-01-01' };
      await call('PUT', '/v1/subscriptions/acme', subscription);
      const final = await call('POST', `${OF}/statements/2026-01/close`, {});
      expect(await correct({ amend: mine, set: { '/data/n': '9' } })).toMatchObject({
        ...{ status: 409, code: 'period_final', period: '2026-01', detail: expect.stringContaining('"adjust": true') },
      });
      const open = await use('{"n":2,"u":"GB"}', { day: '2026-02-10' });
      await take();
      expect(await correct({ amend: open, time: '2026-01-31T00:00:00Z' })).toMatchObject({ code: 'period_final' });
      await take();
      expect([await sum(), await stranger.sum()]).toEqual(['3', '31']);
      expect((await call('GET', `${OF}/statements/2026-01`)).body).toEqual(final.body);

      const put = async (path: string, body: object) => (await call('PUT', `/v1/${path}`, body)).body;
      const twice = [...versions, ...versions];
      expect(await put('rate-cards/basic', { currency: 'EUR', versions: twice })).toMatchObject({
        ...{ status: 422, code: 'invalid_body', detail: expect.stringContaining('must be after 2026-01-01') },
      });
      expect(await put('subscriptions/again', { ...subscription, from: '2026-02-01' })).toMatchObject({
        ...{ status: 409, code: 'subscription_overlaps', detail: expect.stringContaining('"acme" from 2026-01-01') },
      });
    });
  });
}
