import { describe, expect, test } from 'vitest';
import { messageId } from '../../../src/message/id.js';
import type { Api } from '../harness.js';
import { addDelivery, addMessage, addSource, addTarget, plan } from '../seed.js';

export function deliveries(get: () => Api): void {
  /** A tenant with deliveries of every kind: in plans alone, with rows, under way. */
  async function filled(name: string) {
    const api = get();
    const { tenant, token } = await api.newTenant(name);
    const source = await addSource(api.pool, tenant, 'feed');
    const a = await addTarget(api.pool, tenant, 'a');
    const b = await addTarget(api.pool, tenant, 'b');
    const at = (minute: number) => new Date(Date.UTC(2025, 3, 1, 10, minute));
    const place = (channel: number) => addMessage(api.pool, tenant, { source, channel });
    const m1 = await place(1);
    await place(1);
    const m3 = await place(1);
    const m4 = await place(2);
    const m5 = await place(2);
    const m6 = await place(2);
    // Two at once to a, a third to both, of which b failed; on another channel one under way, one cancelled, one pending.
    await plan(api.pool, tenant, m1, { n: 2, targets: [[a, 1, 'now']], at: at(1) });
    const failing = await plan(api.pool, tenant, m3, {
      targets: [
        [a, 3, 'now'],
        [b, 1, 'later'],
      ],
      at: at(3),
    });
    await addDelivery(api.pool, tenant, m3, { target: b, number: 1, plan: failing, state: 'failed', at: at(3) });
    const cancelling = await plan(api.pool, tenant, m4, { targets: [[b, 1, 'later']], at: at(2) });
    await addDelivery(api.pool, tenant, m4, { target: b, number: 1, plan: cancelling, state: 'cancelled', at: at(2) });
    const waiting = await plan(api.pool, tenant, m5, { targets: [[b, 2, 'later']], at: at(4) });
    await addDelivery(api.pool, tenant, m5, { target: b, number: 2, plan: waiting, state: 'pending', at: at(4) });
    await plan(api.pool, tenant, m6, { targets: [[a, 1, 'now']], at: at(5), open: true });
    const list = async (query: string) => {
      const ids: string[] = [];
      for (let cursor: string | null = ''; cursor !== null; ) {
        const { status, body } = await api.call('GET', `/v1/deliveries?${query}${cursor && `&cursor=${cursor}`}`, {
          token,
        });
        expect(status).toBe(200);
        ids.push(...body.items.map((one: { id: string; state: string }) => `${one.id} ${one.state}`));
        cursor = body.next;
      }
      return ids;
    };
    return { api, tenant, token, m3, list, b };
  }

  const ALL = [
    '1.a.2-1 pending',
    '1.b.2-2 pending',
    '1.a.1-3 delivered',
    '1.b.1-1 failed',
    '1.b.2-1 cancelled',
    '1.a.1-2 delivered',
    '1.a.1-1 delivered',
  ];

  describe('GET /v1/deliveries', () => {
    test('merges those with rows and those in plans alone, newest first, once each, whatever the page', async () => {
      const { list } = await filled('deliveries-all');
      for (const limit of [1, 2, 3, 50]) expect(await list(`limit=${limit}`)).toEqual(ALL);
    });

    test('is narrowed by state, target, time and message', async () => {
      const { list, m3 } = await filled('deliveries-narrow');
      for (const limit of [1, 50]) {
        expect(await list(`limit=${limit}&state=delivered`)).toEqual([
          '1.a.1-3 delivered',
          '1.a.1-2 delivered',
          '1.a.1-1 delivered',
        ]);
        expect(await list(`limit=${limit}&state=failed`)).toEqual(['1.b.1-1 failed']);
        expect(await list(`limit=${limit}&state=cancelled`)).toEqual(['1.b.2-1 cancelled']);
        expect(await list(`limit=${limit}&state=pending`)).toEqual(['1.a.2-1 pending', '1.b.2-2 pending']);
        expect(await list(`limit=${limit}&target=b`)).toEqual([
          '1.b.2-2 pending',
          '1.b.1-1 failed',
          '1.b.2-1 cancelled',
        ]);
        expect(await list(`limit=${limit}&state=pending&target=a`)).toEqual(['1.a.2-1 pending']);
      }
      expect(await list('after=2025-04-01T10:03:00Z&before=2025-04-01T10:05:00Z')).toEqual(ALL.slice(1, 4));
      expect(await list('state=failed&before=2025-04-01T10:03:00Z')).toEqual([]);
      expect((await list(`message=${messageId(m3)}`)).toSorted()).toEqual(['1.a.1-3 delivered', '1.b.1-1 failed']);
      expect(await list('message=nonsense')).toEqual([]);
    });

    test('says what was probably meant by an unknown target', async () => {
      const { api, token } = await filled('deliveries-unknown');
      expect((await api.call('GET', '/v1/deliveries?target=aa', { token })).body).toMatchObject({
        status: 422,
        code: 'unknown_target',
        suggestion: 'a',
      });
    });
  });

  describe('one delivery', () => {
    test('is found by its name, with its tries, whether it has a row or not', async () => {
      const { api, tenant, token, b } = await filled('delivery-one');
      await api.pool.query(
        `insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result, code)
         select $1, $2, 1, 1, 1, n, 'message', now() + n * interval '1 s', 5, 'retry', 'http_500' from generate_series(1, 3) n`,
        [tenant.id, b],
      );
      const failed = await api.call('GET', '/v1/deliveries/1.b.1-1/attempts', { token });
      expect([
        failed.status,
        failed.body.delivery.state,
        failed.body.items.map((one: { attempt: number }) => one.attempt),
      ]).toEqual([200, 'failed', [1, 2, 3]]);
      for (const [id, state] of [
        ['1.a.1-1', 'delivered'],
        ['1.a.1-2', 'delivered'],
        ['1.a.1-3', 'delivered'],
        ['1.a.2-1', 'pending'],
      ] as const) {
        const { body } = await api.call('GET', `/v1/deliveries/${id}/attempts`, { token });
        expect([body.delivery.id, body.delivery.state, body.items]).toEqual([id, state, []]);
      }
    });

    test.each(['1.a.1-4', '2.a.1-1', '1.a.0-1', '1.c.1-1', 'x', '1.a.1-0', '0.a.1-1'])('%s is 404', async (id) => {
      const { api, token } = await filled(`delivery-none-${id.replace(/[^a-z0-9]/g, '-')}`);
      expect((await api.call('GET', `/v1/deliveries/${id}/attempts`, { token })).status).toBe(404);
      expect((await api.call('POST', `/v1/deliveries/${id}/retry`, { token })).status).toBe(404);
    });

    test('is sent again as a decision of a person', async () => {
      const { api, tenant, token, m3 } = await filled('delivery-retry');
      api.woken.length = 0;
      const { status, body } = await api.call('POST', '/v1/deliveries/1.b.1-1/retry', { token });
      expect([status, body]).toMatchObject([
        202,
        { message: messageId(m3), action: 'replay', targets: ['b'], version: 2 },
      ]);
      expect(api.woken).toEqual([`${tenant.id}/1`]);
      expect((await api.call('POST', '/v1/deliveries/1.a.1-2/retry', { token })).status).toBe(202);
    });

    test('is not sent again while it is tried, nor to a target that is no more, nor without content', async () => {
      const { api, tenant, token } = await filled('delivery-not');
      expect((await api.call('POST', '/v1/deliveries/1.b.2-2/retry', { token })).body).toMatchObject({
        status: 409,
        code: 'still_pending',
      });
      await api.pool.query('delete from message where tenant = $1 and channel = 1', [tenant.id]);
      expect((await api.call('POST', '/v1/deliveries/1.a.1-2/retry', { token })).body).toMatchObject({
        status: 410,
        code: 'content_gone',
      });
      await api.pool.query(`update target set removed_at = now() where tenant = $1 and name = 'b'`, [tenant.id]);
      expect((await api.call('POST', '/v1/deliveries/1.b.1-1/retry', { token })).body).toMatchObject({
        status: 409,
        code: 'target_removed',
      });
    });
  });
}
