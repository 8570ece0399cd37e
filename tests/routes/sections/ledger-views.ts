import { describe, expect, test } from 'vitest';
import { accountHash, channelOf } from '../../../src/channel/partition.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, plan } from '../seed.js';
import { billed } from './billing.js';

const OF = '/v1/accounts/acme%2F1';
const MARCH = 'from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z';

export function ledgerViews(get: () => Api): void {
  describe('GET /v1/accounts', () => {
    test('lists accounts by name, from a beginning on, page by page', async () => {
      const { call, subscription, tenant, take } = await billed(get(), 'lists-accounts');
      for (const account of ['acme', 'acme/10', 'acme/2', 'Acme', 'zeta', 'ümlaut']) {
        const name = `s-${Buffer.from(account).toString('hex')}`;
        expect((await call('PUT', `/v1/subscriptions/${name}`, { ...subscription, account })).status).toBe(201);
      }
      const all = (await call('GET', '/v1/accounts')).body;
      const named = all.items.map(({ account }: { account: string }) => account);
      expect(named.toSorted()).toEqual(['Acme', 'acme', 'acme/1', 'acme/10', 'acme/2', 'zeta', 'ümlaut'].toSorted());
      expect(all.next).toBeNull();
      const seen: string[] = [];
      let next: string | null = '';
      for (let pages = 0; next !== null && pages < 10; pages += 1) {
        const { body } = await call('GET', `/v1/accounts?prefix=acme&limit=2${next === '' ? '' : `&cursor=${next}`}`);
        seen.push(...body.items.map(({ account }: { account: string }) => account));
        next = body.next;
      }
      expect(seen).toEqual(['acme', 'acme/1', 'acme/10', 'acme/2']);
      expect((await call('GET', '/v1/accounts?prefix=no%25e_')).body).toEqual({ items: [], next: null });
      expect((await call('GET', '/v1/accounts?cursor=AAAA')).body.code).toBe('invalid_cursor');

      // The first instant of this period: nobody has used anything at that of the one before.
      const channel = channelOf(accountHash('acme/1'), tenant.channels);
      const source = await addSource(get().pool, tenant, 'now');
      const raw = '{"subject":"acme/1","data":{"n":0.1}}';
      const arrivedAt = new Date((await call('GET', '/v1/accounts?prefix=acme/1&limit=1')).body.items[0].period.from);
      const seed = { source, channel, account: 'acme/1', type: 'used', raw, arrivedAt, meta: null };
      await plan(get().pool, tenant, await addMessage(get().pool, tenant, seed));
      await take();
      const [one] = (await call('GET', '/v1/accounts?prefix=acme/1&limit=1')).body.items;
      expect(one).toMatchObject({
        period: { zone: 'Europe/Berlin' },
        usage: [{ meter: 'gb', unit: 'GB', quantity: '0.1', events: 1, before: '0' }],
        moreMeters: 0,
        complete: true,
      });
    });
  });

  describe('GET /v1/accounts/{account}/events', () => {
    test('names every event behind a quantity, the latest first, and what became of it', async () => {
      const { call, first, second, use, take } = await billed(get(), 'lists-events');
      const third = await use('8', '2026-03-20', 'us');
      await take();
      const made = await call('POST', `${OF}/corrections`, { void: first, why: 'wrong' });
      const amended = await call('POST', `${OF}/corrections`, { amend: third, set: { '/data/n': '9' }, why: 'wrong' });
      await take();
      const { items, next } = (await call('GET', `${OF}/events?meter=gb&${MARCH}`)).body;
      expect(next).toBeNull();
      expect(items).toMatchObject([
        { message: amended.body.id, value: '9', state: 'counted', amends: third, correctedBy: null },
        { message: third, value: '8', state: 'corrected', correctedBy: amended.body.id },
        { message: second, value: '8', state: 'counted', dimensions: { region: 'us' } },
        { message: first, value: '4.5', state: 'corrected', correctedBy: made.body.id, amends: null },
      ]);
      const told: string[] = [];
      let cursor: string | null = '';
      for (let pages = 0; cursor !== null && pages < 10; pages += 1) {
        const more: string = cursor === '' ? '' : `&cursor=${cursor}`;
        const { body } = await call('GET', `${OF}/events?meter=gb&${MARCH}&limit=1${more}`);
        told.push(...body.items.map(({ message }: { message: string }) => message));
        cursor = body.next;
      }
      expect(told).toEqual([amended.body.id, third, second, first]);
      const where = async (value: string) =>
        (await call('GET', `${OF}/events?meter=gb&${MARCH}&where=${value}`)).body.items.length;
      expect([await where('region=eu'), await where('region=us'), await where('region'), await where('tier')]).toEqual([
        1, 3, 0, 4,
      ]);
      expect((await call('GET', `${OF}/events?meter=none&${MARCH}`)).body.items).toEqual([]);
      const backwards = `${OF}/events?meter=gb&from=2026-04-01T00:00:00Z&to=2026-03-01T00:00:00Z`;
      expect((await call('GET', backwards)).status).toBe(400);
      expect((await call('GET', `${OF}/events?from=2026-03-20T00:00:00Z`)).body.items).toHaveLength(3);
    });
  });

  describe('what was not counted', () => {
    test('is told of each message, of events that no meter could count, and of types that no meter is for', async () => {
      const { call, tenant, channel, first, second, take } = await billed(get(), 'lists-uncounted');
      const { pool } = get();
      const source = await addSource(pool, tenant, 'second');
      const send = async (type: string, n: string, mode?: 'park') => {
        const raw = `{"subject":"acme/1","data":{"n":${n}}}`;
        const arrivedAt = new Date('2026-03-10T12:00:00Z');
        const seed = { source, channel, account: 'acme/1', type, raw, arrivedAt, meta: null };
        const place = await addMessage(pool, tenant, seed);
        await plan(pool, tenant, place, mode ? { mode } : {});
        return `${place.channel}-${place.sequence}`;
      };
      const odd = [await send('used', '"NaN"'), await send('used', '9'.repeat(400))];
      const unmetered = [await send('other', '1'), await send('other', '2'), await send('another', '3')];
      const parked = await send('used', '1', 'park');
      await take();
      const unseen = await send('used', '1');
      const made = await call('POST', `${OF}/corrections`, { void: first, why: 'wrong' });
      const usage = async (id: string) => (await call('GET', `/v1/messages/${id}/usage`)).body;
      expect(await usage(unseen)).toMatchObject({ verdict: 'not_seen', entries: [] });
      await take();
      expect(await usage(second)).toMatchObject({ verdict: 'counted', entries: [{ meter: 'gb', value: '8' }] });
      expect(await usage(first)).toMatchObject({
        verdict: 'not_counted',
        entries: [{ state: 'corrected' }],
        corrections: [{ id: made.body.id, action: 'void', why: 'wrong' }],
      });
      expect(await usage(made.body.id)).toMatchObject({ verdict: 'correction', entries: [] });
      expect(await usage(odd[0] ?? '')).toMatchObject({
        verdict: 'problem',
        problems: [{ meter: 'gb', code: 'value_not_a_number' }],
      });
      expect(await usage(parked)).toMatchObject({ verdict: 'gap', gap: 'parked' });
      expect(await usage(unmetered[0] ?? '')).toMatchObject({ verdict: 'unmetered' });
      expect((await call('GET', '/v1/messages/3-99/usage')).status).toBe(404);

      const pageOne = (await call('GET', '/v1/ledger/problems?limit=1')).body;
      const pageTwo = (await call('GET', `/v1/ledger/problems?limit=1&cursor=${pageOne.next}`)).body;
      expect([...pageOne.items, ...pageTwo.items]).toMatchObject([
        { message: odd[0], meter: 'gb', code: 'value_not_a_number', account: 'acme/1' },
        { message: odd[1], code: 'value_too_long' },
      ]);
      const types = (await call('GET', '/v1/ledger/unmetered?limit=1')).body;
      expect(types.items).toEqual([
        { type: 'another', events: 1, firstDay: '2026-03-10', lastDay: '2026-03-10', latest: unmetered[2] },
      ]);
      const more = (await call('GET', `/v1/ledger/unmetered?cursor=${types.next}`)).body;
      expect(more).toEqual({
        items: [{ type: 'other', events: 2, firstDay: '2026-03-10', lastDay: '2026-03-10', latest: unmetered[1] }],
        next: null,
      });
    });

    test('is nothing where there is no meter', async () => {
      const { tenant, token } = await get().newTenant('meterless');
      const source = await addSource(get().pool, tenant, 'plain');
      const place = await addMessage(get().pool, tenant, { source, channel: 0 });
      const { body } = await get().call('GET', `/v1/messages/${place.channel}-${place.sequence}/usage`, { token });
      expect(body.verdict).toBe('nothing_metered');
    });
  });
}
