import { describe, expect, test } from 'vitest';
import { messageId } from '../../../src/message/id.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, plan, quarantined, stand } from '../seed.js';

export function quarantine(get: () => Api): void {
  let made = 0;
  const source = () => addSource(get().pool, get().tenant, `held-${++made}`);
  const act = (number: number, action: string, body?: unknown) =>
    get().call('POST', `/v1/quarantine/q-${number}/${action}`, { body });

  /** A message that nothing could read. */
  async function poison() {
    const api = get();
    const from = await source();
    const place = await addMessage(api.pool, api.tenant, { source: from, channel: 1 });
    await plan(api.pool, api.tenant, place, { mode: 'quarantine' });
    await stand(api.pool, api.tenant, place, 'quarantined');
    return { api, place, number: await quarantined(api.pool, api.tenant, from, 'poison', place) };
  }

  describe('the quarantine', () => {
    test('is listed newest first, by state and cause', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('quarantine-list');
      const from = await addSource(api.pool, tenant, 'feed');
      const of = await addMessage(api.pool, tenant, { source: from });
      await quarantined(api.pool, tenant, from, 'conflict', of);
      await quarantined(api.pool, tenant, from, 'expired');
      await quarantined(api.pool, tenant, from, 'conflict', of);
      await api.pool.query(`update quarantine set state = 'discarded' where tenant = $1 and number = 1`, [tenant.id]);
      const list = async (query: string) => (await api.call('GET', `/v1/quarantine?${query}`, { token })).body;
      expect((await list('')).items.map((one: { id: string }) => one.id)).toEqual(['q-3', 'q-2']);
      expect((await list('cause=expired')).items.map((one: { id: string }) => one.id)).toEqual(['q-2']);
      expect((await list('state=discarded')).items).toMatchObject([
        { id: 'q-1', cause: 'conflict', of: messageId(of), account: 'acme', count: 1 },
      ]);
      const first = await list('limit=1');
      expect([first.items[0].id, (await list(`limit=1&cursor=${first.next}`)).items[0].id]).toEqual(['q-3', 'q-2']);
      expect((await api.call('GET', '/v1/quarantine/q-2', { token })).body).toMatchObject({
        id: 'q-2',
        cause: 'expired',
        of: null,
      });
      expect((await api.call('GET', '/v1/quarantine/q-2/raw', { token })).text).toMatch(/^\{"n":/);
    });

    test.each(['q-999999', 'q-0', '12', 'q-x'])('%s is 404', async (id) => {
      const api = get();
      expect((await api.call('GET', `/v1/quarantine/${id}`)).status).toBe(404);
      expect((await api.call('GET', `/v1/quarantine/${id}/raw`)).status).toBe(404);
    });

    test('lets a conflict in as a message of its own', async () => {
      const api = get();
      const number = await quarantined(api.pool, api.tenant, await source(), 'conflict');
      api.released = { channel: 2, sequence: 77 };
      expect((await act(number, 'release')).body).toEqual({ id: `q-${number}`, state: 'released', message: '2-77' });
      api.released = 'not_held';
      expect((await act(number, 'release')).body).toMatchObject({ status: 409, code: 'decision_changed' });
    });

    test('has a poison message tried again, at once or later', async () => {
      for (const [action, body] of [
        ['requeue', undefined],
        ['delay', { until: new Date(Date.now() + 3_600_000).toISOString() }],
      ] as const) {
        const { api, place, number } = await poison();
        api.woken.length = 0;
        const { status } = await act(number, action, body);
        expect(status).toBe(202);
        const { rows } = await api.pool.query(
          'select state, rung, ready_at <= now() as ready from standing where tenant = $1 and channel = $2 and sequence = $3',
          [api.tenant.id, place.channel, place.sequence],
        );
        expect(rows).toEqual([{ state: 'parked', rung: 0, ready: action === 'requeue' }]);
        expect(api.woken).toEqual([`${api.tenant.id}/1`]);
        expect((await act(number, 'requeue')).body).toMatchObject({
          status: 409,
          code: 'decision_changed',
          state: 'released',
        });
      }
    });

    test('a delay ends in the future, and within a month', async () => {
      const { number } = await poison();
      for (const until of ['2020-01-01T00:00:00Z', '2200-01-01T00:00:00Z']) {
        expect((await act(number, 'delay', { until })).body).toMatchObject({ status: 422, code: 'until_invalid' });
      }
    });

    test('what is discarded is closed, by whom and why', async () => {
      const { api, place, number } = await poison();
      expect((await act(number, 'discard', { reason: 'junk' })).body).toEqual({
        id: `q-${number}`,
        state: 'discarded',
      });
      const { body } = await api.call('GET', `/v1/messages/${messageId(place)}`);
      expect(body).toMatchObject({
        state: 'closed',
        version: 2,
        reason: 'junk',
        decisions: [{ action: 'close', who: 'admin token' }],
      });
      expect((await act(number, 'discard')).body).toMatchObject({
        status: 409,
        code: 'decision_changed',
        state: 'discarded',
      });
    });

    test('what can’t be done with a cause says what can', async () => {
      const api = get();
      const conflict = await quarantined(api.pool, api.tenant, await source(), 'conflict');
      const { number } = await poison();
      expect((await act(conflict, 'requeue')).body).toMatchObject({
        status: 409,
        code: 'wrong_cause',
        cause: 'conflict',
      });
      expect((await act(conflict, 'delay', { until: new Date(Date.now() + 1e6).toISOString() })).body.code).toBe(
        'wrong_cause',
      );
      expect((await act(number, 'release')).body).toMatchObject({ status: 409, code: 'wrong_cause', cause: 'poison' });
    });

    test('of two who decide at once one wins', async () => {
      const { number } = await poison();
      const statuses = (
        await Promise.all([act(number, 'discard'), act(number, 'requeue'), act(number, 'discard')])
      ).map(({ status }) => status);
      expect(statuses.filter((status) => status === 409)).toHaveLength(2);
    });
  });

  describe('GET /v1/refusals', () => {
    test('shows a tenant its own, and who runs the installation what was nobody’s', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('refusals');
      for (const [of, code, minutes] of [
        [tenant.id, 'bad_signature', 1],
        [tenant.id, 'unknown_source', 2],
        [null, 'nobodys', 3],
        [api.tenant.id, 'ours', 4],
      ] as const) {
        await api.pool.query(
          `insert into refusal (tenant, ingress, peer, envelope, code, why, count, first_at, last_at)
           values ($1, 'hooks', '192.0.2.1', '{"source":"x"}', $2, 'Because.', 2, now(), now() - $3 * interval '1 min')`,
          [of, code, minutes],
        );
      }
      const first = await api.call('GET', '/v1/refusals?limit=1', { token });
      const second = await api.call('GET', `/v1/refusals?limit=1&cursor=${first.body.next}`, { token });
      expect([...first.body.items, ...second.body.items].map((one: { code: string }) => one.code)).toEqual([
        'bad_signature',
        'unknown_source',
      ]);
      expect(second.body.next).toBeNull();
      expect((await api.call('GET', '/v1/refusals')).body.items.map((one: { code: string }) => one.code)).toEqual([
        'nobodys',
        'ours',
      ]);
    });
  });

  describe('GET /v1/channels', () => {
    test('says how far each is read and by whom', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('channels');
      const from = await addSource(api.pool, tenant, 'feed');
      const place = await addMessage(api.pool, tenant, { source: from, channel: 2 });
      await plan(api.pool, tenant, place);
      const parked = await addMessage(api.pool, tenant, { source: from, channel: 2 });
      await stand(api.pool, tenant, parked, 'parked');
      const process = '7f6e4a52-0000-4000-8000-000000000001';
      await api.pool.query(`insert into process (id, name, roles) values ($1, 'node-1', '{owner}')`, [process]);
      await api.pool.query('update lease set holder = $1, term = 3 where tenant = $2 and channel = 2', [
        process,
        tenant.id,
      ]);
      const { status, body } = await api.call('GET', '/v1/channels', { token });
      expect([status, body.items.length, body.filters]).toEqual([200, 4, []]);
      expect(body.items[2]).toEqual({
        channel: 2,
        lastSequence: 2,
        readUpTo: 1,
        owner: 'node-1',
        term: 3,
        duplicates: 0,
        conflicts: 0,
        expired: 0,
        parked: 1,
      });
      expect(body.items[1]).toMatchObject({ channel: 1, lastSequence: 0, owner: null });
    });
  });
}
