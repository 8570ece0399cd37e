import { describe, expect, test } from 'vitest';
import { accountHash, channelOf } from '../../../src/channel/partition.js';
import { Ledger } from '../../../src/storage/ledger.js';
import { addUnseen } from '../../support/unseen.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, plan } from '../seed.js';

const CARD = {
  currency: 'EUR',
  versions: [
    {
      from: '2026-01-01',
      prices: [
        {
          model: 'graduated',
          meter: 'gb',
          tiers: [
            { upTo: '10', price: '1' },
            { upTo: null, price: '0.50' },
          ],
        },
        { model: 'flat', name: 'Base', amount: '5' },
      ],
    },
  ],
};

/** A tenant with a meter, a price and an account that has used 4.5 and 8 in March. */
export async function billed(api: Api, name: string) {
  const { tenant, token } = await api.newTenant(name);
  const call = (method: string, path: string, body?: unknown, headers = {}) =>
    api.call(method, path, { token, headers, ...(body !== undefined && { body }) });
  const gb = { type: 'used', aggregation: 'sum', value: '/data/n', unit: 'GB', dimensions: { region: '/data/region' } };
  expect((await call('PUT', '/v1/meters/gb', gb)).status).toBe(201);
  expect((await call('PUT', '/v1/rate-cards/basic', CARD)).status).toBe(201);
  const subscription = {
    account: 'acme/1',
    rateCard: 'basic',
    currency: 'EUR',
    from: '2026-03-01',
    zone: 'Europe/Berlin',
  };
  expect((await call('PUT', '/v1/subscriptions/acme', subscription)).status).toBe(201);
  const source = await addSource(api.pool, tenant, 'feed');
  const channel = channelOf(accountHash('acme/1'), tenant.channels);
  const ledger = new Ledger({ pool: api.pool });
  const take = () => ledger.take({ tenant: tenant.id, book: 1, channel });
  const use = async (n: string, day: string, region = 'eu') => {
    const raw = `{"specversion":"1.0","id":"1","subject":"acme/1","data":{"n":${n},"region":"${region}"}}`;
    const arrivedAt = new Date(`${day}T12:00:00Z`);
    const place = await addMessage(api.pool, tenant, {
      source,
      channel,
      account: 'acme/1',
      type: 'used',
      raw,
      arrivedAt,
      meta: null,
    });
    await plan(api.pool, tenant, place);
    return `${place.channel}-${place.sequence}`;
  };
  const first = await use('4.50', '2026-03-03');
  const second = await use('8', '2026-03-20', 'us');
  await take();
  return { tenant, call, subscription, use, take, first, second, channel };
}

const OF = '/v1/accounts/acme%2F1';
const MARCH = 'from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z';

export function billing(get: () => Api): void {
  describe('/v1/meters, /v1/rate-cards and /v1/subscriptions', () => {
    test('are made, read, listed, changed and taken out of use', async () => {
      const { call, subscription } = await billed(get(), 'defines');
      expect((await call('GET', '/v1/meters/gb')).body).toMatchObject({
        name: 'gb',
        version: 1,
        definition: { unit: 'GB' },
      });
      expect((await call('GET', '/v1/rate-cards/basic')).body.definition.rounding).toEqual({
        digits: 2,
        mode: 'half_even',
      });
      expect((await call('GET', '/v1/subscriptions/acme')).body.definition.graceHours).toBe(24);
      for (const what of ['meters', 'rate-cards', 'subscriptions']) {
        expect((await call('GET', `/v1/${what}`)).body).toMatchObject({ items: [{ managedBy: 'api' }], next: null });
        expect((await call('GET', `/v1/${what}/nothing`)).status).toBe(404);
        expect((await call('DELETE', `/v1/${what}/nothing`)).status).toBe(404);
      }
      expect((await call('PUT', '/v1/rate-cards/basic', CARD)).status).toBe(200);
      const meter = { type: 'used', aggregation: 'count' };
      expect((await call('PUT', '/v1/meters/gb', meter)).body).toMatchObject({ status: 409, code: 'meter_fixed' });
      const same = {
        type: 'used',
        aggregation: 'sum',
        value: '/data/n',
        unit: 'GB',
        dimensions: { region: '/data/region' },
      };
      expect((await call('PUT', '/v1/meters/gb', same)).status).toBe(200);
      const stale = { 'if-match': '"7"' };
      for (const [path, body] of [
        ['meters/gb', same],
        ['rate-cards/basic', CARD],
        ['subscriptions/acme', subscription],
      ] as const) {
        expect((await call('PUT', `/v1/${path}`, body, stale)).body.code).toBe('version_mismatch');
        expect((await call('DELETE', `/v1/${path}`, undefined, stale)).body.code).toBe('version_mismatch');
      }
      expect((await call('PUT', '/v1/subscriptions/acme', { ...subscription, graceHours: 1 })).status).toBe(200);
      expect((await call('DELETE', '/v1/meters/gb')).body.code).toBe('in_use');
      expect((await call('DELETE', '/v1/rate-cards/basic')).body.code).toBe('in_use');
      for (const path of ['subscriptions/acme', 'rate-cards/basic', 'meters/gb'])
        expect((await call('DELETE', `/v1/${path}`)).status).toBe(204);
      const { rows } = await get().pool.query(
        "update billing_definition set removed_at = null, managed_by = 'file' where name in ('acme', 'basic', 'gb') returning name",
      );
      expect(rows.length).toBeGreaterThan(2);
      for (const [path, body] of [
        ['meters/gb', same],
        ['rate-cards/basic', CARD],
        ['subscriptions/acme', subscription],
      ] as const) {
        expect((await call('PUT', `/v1/${path}`, body)).body.code).toBe('managed_by_file');
        expect((await call('DELETE', `/v1/${path}`)).body.code).toBe('managed_by_file');
      }
    });

    test('say what does not fit together', async () => {
      const { call, subscription } = await billed(get(), 'misfits');
      const put = async (path: string, body: unknown) => (await call('PUT', `/v1/${path}`, body)).body.code;
      expect(await put('subscriptions/again', { ...subscription, from: '2027-01-01' })).toBe('subscription_overlaps');
      expect(await put('subscriptions/x', { ...subscription, account: 'b', rateCard: 'none' })).toBe(
        'rate_card_unknown',
      );
      expect(await put('subscriptions/x', { ...subscription, account: 'b', currency: 'USD' })).toBe('currency_differs');
      expect(await put('subscriptions/x', { ...subscription, account: 'b', target: 'none' })).toBe('target_unknown');
      expect(await put('subscriptions/x', { ...subscription, account: 'b', zone: 'Mars/Base' })).toBe('invalid_body');
      const until = { ...subscription, until: '2026-06-01' };
      expect(await put('subscriptions/acme', until)).toBeUndefined();
      const next = { ...subscription, from: '2026-06-01' };
      expect(await put('subscriptions/next', { ...next, zone: 'UTC' })).toBe('subscription_overlaps');
      expect(await put('subscriptions/next', next)).toBeUndefined();
      const price = { model: 'per_unit', meter: 'none', price: '1' };
      expect(await put('rate-cards/x', { currency: 'EUR', versions: [{ from: '2026-01-01', prices: [price] }] })).toBe(
        'meter_unknown',
      );
      expect(await put('rate-cards/basic', { ...CARD, currency: 'USD' })).toBe('currency_differs');
    });
  });

  describe('usage of an account', () => {
    test('is told by meter, window and dimension, in its own zone', async () => {
      const { call } = await billed(get(), 'asks');
      const all = await call('GET', `${OF}/usage?${MARCH}`);
      expect(all.body).toMatchObject({ zone: 'Europe/Berlin', complete: true, gaps: [] });
      expect(all.body.items).toMatchObject([{ meter: 'gb', unit: 'GB', quantity: '12.5', events: 2, dimensions: {} }]);
      const by = await call('GET', `${OF}/usage?${MARCH}&meter=gb&groupBy=region`);
      expect(by.body.items).toMatchObject([
        { dimensions: { region: 'eu' }, quantity: '4.5' },
        { dimensions: { region: 'us' }, quantity: '8' },
      ]);
      const days = await call('GET', `${OF}/usage?${MARCH}&window=day`);
      expect(days.body.items).toMatchObject([
        { from: '2026-03-02T23:00:00.000Z', to: '2026-03-03T23:00:00.000Z', quantity: '4.5' },
        { quantity: '8' },
      ]);
      expect((await call('GET', `${OF}/usage?${MARCH}&window=hour&meter=none`)).body.items).toEqual([]);
      expect((await call('GET', `${OF}/usage?from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00Z`)).status).toBe(400);
      const years = 'from=1990-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&window=hour';
      expect((await call('GET', `${OF}/usage?${years}`)).body.code).toBe('too_much_asked');
      expect((await call('GET', `/v1/accounts/nobody/usage?${MARCH}`)).status).toBe(404);
    });

    test('is corrected by messages of its own, once', async () => {
      const { call, first, second, take } = await billed(get(), 'corrects');
      const correct = (body: object) => call('POST', `${OF}/corrections`, { why: 'wrong', ...body });
      const made = await correct({ void: first });
      expect([made.status, made.body.again]).toEqual([202, false]);
      const again = await correct({ void: first });
      expect([again.status, again.body]).toEqual([200, { id: made.body.id, again: true }]);
      await take();
      const sum = async () => (await call('GET', `${OF}/usage?${MARCH}`)).body.items[0].quantity;
      expect(await sum()).toBe('8');
      expect((await correct({ amend: first, set: { '/data/n': '1' } })).body).toMatchObject({
        code: 'corrected_already',
        by: made.body.id,
      });
      const spoilt = await correct({ amend: second, set: { '/data/n': '9'.repeat(41) } });
      expect(spoilt.body).toMatchObject({ status: 422, code: 'not_countable', reason: 'value_too_long' });
      const amended = await correct({ amend: second, set: { '/data/n': '8.00000000000000000001' } });
      expect(amended.status).toBe(202);
      await take();
      expect(await sum()).toBe('8.00000000000000000001');
      const once = await correct({ amend: amended.body.id, set: { '/data/n': '7' }, time: '2026-03-21T00:00:00Z' });
      expect(once.status).toBe(202);
      await take();
      expect(await sum()).toBe('7');
      const { items } = (await call('GET', `${OF}/corrections`)).body;
      expect(items.map(({ action, of, who }: Record<string, string>) => [action, of, who])).toContainEqual([
        'void',
        first,
        expect.any(String),
      ]);
      expect(items).toHaveLength(3);
      expect((await correct({ void: made.body.id })).body.code).toBe('not_usage');
      expect((await correct({ void: '3-999' })).body.code).toBe('event_unknown');
      expect((await call('POST', '/v1/accounts/other/corrections', { why: 'x', void: first })).body.code).toBe(
        'event_unknown',
      );
      expect((await correct({ amend: once.body.id, set: { '/data/n/m': '7' } })).body.code).toBe('not_settable');
      expect((await correct({ void: first, amend: first })).body.code).toBe('invalid_body');
      expect((await correct({ void: 'q-1' })).body.code).toBe('invalid_body');
      expect((await correct({ amend: first })).body.code).toBe('invalid_body');
      await get().pool.query("update message set erased_at = now() where account = 'acme/1'");
      expect((await correct({ amend: once.body.id, set: { '/data/n': '9' } })).status).toBe(410);
    });
  });

  describe('POST /v1/ledger/rebuild', () => {
    test('tells how far it is and what it comes to, once at a time', async () => {
      const { call, tenant } = await billed(get(), 'rebuilds');
      const { text } = await call('POST', '/v1/ledger/rebuild', {});
      expect(JSON.parse(text.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
        event: 'result',
        ok: true,
        swapped: true,
      });
      const { pool } = get();
      const client = await pool.connect();
      await client.query("select pg_advisory_lock(hashtext('waybill ledger rebuild'), $1)", [tenant.id]);
      await client.query(
        "update ledger set rebuilding = 1, rebuilding_since = '2026-03-01T10:00:00Z', rebuilding_by = 'anna' where tenant = $1",
        [tenant.id],
      );
      expect((await call('POST', '/v1/ledger/rebuild', {})).body).toMatchObject({
        code: 'rebuild_running',
        detail:
          'The ledger is being made anew already, since 2026-03-01T10:00:00.000Z, asked for by anna: wait for its end.',
      });
      await client.query("select pg_advisory_unlock(hashtext('waybill ledger rebuild'), $1)", [tenant.id]);
      client.release();
    });
  });

  describe('statements of an account', () => {
    test('are drafts, then final for good; what comes late is in the next one', async () => {
      const { call, use, take, first } = await billed(get(), 'states');
      const march = await call('GET', `${OF}/statements/2026-03`);
      expect(march.body).toMatchObject({
        state: 'draft',
        hash: null,
        statement: { total: '16.25', complete: true, currency: 'EUR' },
      });
      const lines = march.body.statement.lines.map(({ what, quantity, amount }: Record<string, string>) => [
        what,
        quantity,
        amount,
      ]);
      expect(lines).toEqual([
        ['Base', '1', '5.00'],
        ['gb', '12.5', '11.25'],
      ]);
      expect((await call('POST', `${OF}/statements/2026-04/close`, {})).body.code).toBe('out_of_order');
      expect((await call('POST', `${OF}/statements/2199-01/close`, {})).body.code).toBe('not_ended');
      const final = await call('POST', `${OF}/statements/2026-03/close`, {});
      expect(final.body).toMatchObject({ state: 'final', statement: { total: '16.25' } });
      expect(final.body.hash).toMatch(/^[0-9a-f]{64}$/);

      await use('7.50', '2026-03-31');
      await take();
      const refused = await call('POST', `${OF}/corrections`, { why: 'x', void: first });
      expect(refused.body).toMatchObject({ code: 'period_final', period: '2026-03' });
      const adjusted = await call('POST', `${OF}/corrections`, { why: 'x', void: first, adjust: true });
      expect(adjusted.status).toBe(202);
      await take();
      expect((await call('POST', `${OF}/statements/2026-03/close`, {})).body).toEqual(final.body);
      const april = await call('GET', `${OF}/statements/2026-04`);
      // 15.5 GB cost 12.75 by now, where 12.5 were charged at 11.25.
      expect(april.body.statement.lines).toMatchObject([
        { what: 'Base', amount: '5.00' },
        { kind: 'adjustment', period: '2026-03', quantity: '3', events: 0, amount: '1.50' },
      ]);
      expect((await call('POST', `${OF}/statements/2026-04/close`, {})).status).toBe(200);
      const may = await call('GET', `${OF}/statements/2026-05`);
      expect(may.body.statement.total).toBe('5.00');

      const { text, headers } = await get().call('GET', `${OF}/statements/2026-04`, {
        token: await get().token(['billing.read'], await tenantOf('states')),
        headers: { accept: 'text/csv' },
      });
      expect(headers.get('content-type')).toContain('text/csv');
      expect(text.split('\r\n')).toContain(
        'adjustment,gb,,2026-02-28T23:00:00.000Z,2026-03-31T22:00:00.000Z,2026-03,3,GB,0,graduated,1.50,EUR',
      );
      const all = await call('GET', `${OF}/statements`);
      expect(all.body.items.map(({ state }: { state: string }) => state)).toEqual(['draft', 'final', 'final']);
      expect((await call('GET', `${OF}/statements/2026-13`)).status).toBe(404);
      await get().pool.query(
        "update statement set body = replace(body, '16.25', '16.24') where account = 'acme/1' and tenant = $1",
        [(await tenantOf('states')).id],
      );
      const verified = await call('POST', '/v1/verify', {});
      expect(verified.text).toContain('"code":"statement_altered"');
    });

    test('wait for what came in time and may be none of the duplicates it was taken for', async () => {
      const { call, tenant } = await billed(get(), 'unseen');
      const { pool } = get();
      const source = await addSource(pool, tenant, 'second');
      const seed = { source, account: 'acme/1', arrivedAt: new Date('2026-03-10T12:00:00Z') };
      await addUnseen(pool, tenant, { ...seed, arrivedAt: new Date('2026-04-10T12:00:00Z') });
      await addUnseen(pool, tenant, { ...seed, account: 'acme/2' });
      await addUnseen(pool, tenant, seed);
      expect((await call('POST', `${OF}/statements/2026-03/close`, {})).body.code).toBe('behind');
      await pool.query("delete from unseen where account = 'acme/1' and arrived_at < '2026-04-01'");
      expect((await call('POST', `${OF}/statements/2026-03/close`, {})).status).toBe(200);
    });

    test('wait for gaps, unless somebody takes them as they are', async () => {
      const { call, tenant, channel, take } = await billed(get(), 'gapped');
      const { pool } = get();
      const source = await addSource(pool, tenant, 'second');
      const arrivedAt = new Date('2026-03-10T12:00:00Z');
      const raw = '{"subject":"acme/1","data":{"n":1}}';
      const seed = { source, channel, account: 'acme/1', type: 'used', raw, arrivedAt, meta: null };
      const place = await addMessage(pool, tenant, seed);
      const id = `${place.channel}-${place.sequence}`;
      await plan(pool, tenant, place, { mode: 'park' });
      expect((await call('POST', `${OF}/statements/2026-03/close`, {})).body.code).toBe('behind');
      await take();
      const gaps = await call('GET', '/v1/ledger/gaps');
      expect(gaps.body.items).toMatchObject([{ message: id, reason: 'parked', account: 'acme/1' }]);
      expect((await call('GET', `${OF}/usage?${MARCH}`)).body).toMatchObject({
        complete: false,
        gaps: [{ message: id }],
      });
      const refused = await call('POST', `${OF}/statements/2026-03/close`, {});
      expect(refused.body).toMatchObject({ code: 'incomplete', gaps: [id] });
      expect((await call('POST', '/v1/ledger/gaps/ask', { messages: [id] })).body).toEqual({ healed: 0, busy: false });
      expect((await call('POST', '/v1/ledger/gaps/ask', { messages: ['9-1'] })).body.code).toBe('invalid_body');
      const taken = await call('POST', `${OF}/statements/2026-03/close`, { incomplete: true });
      expect(taken.body.statement).toMatchObject({ complete: false, total: '16.25' });
      await plan(pool, tenant, place, { kind: 'extra' });
      expect((await call('POST', '/v1/ledger/gaps/ask', { messages: [id] })).body.healed).toBe(1);
      expect((await call('GET', `${OF}/statements/2026-04`)).body.statement.total).toBe('5.50');
    });
  });

  async function tenantOf(name: string) {
    const { rows } = await get().pool.query('select id, name, channels from tenant where name = $1', [name]);
    return rows[0];
  }
}
