import { describe, expect, test } from 'vitest';
import { PERMISSIONS } from '../../../src/access/permission.js';
import { takeSample } from '../../../src/storage/samples.js';
import { addUnseen } from '../../support/unseen.js';
import type { Api } from '../harness.js';
import { addTarget } from '../seed.js';

export function overview(get: () => Api): void {
  describe('GET /v1/overview', () => {
    test('tells whether all is well, what flows, what waits, and how it was', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('flows');
      const target = await addTarget(api.pool, tenant, 'erp');
      const now = Math.floor(api.clock.now() / 60_000) * 60_000 + 60_000;
      const each = (at: number, sequence: number) =>
        api.pool
          .query('update channel set last_sequence = $2, duplicates = $2 where tenant = $1 and channel = 0', [
            tenant.id,
            sequence,
          ])
          .then(() => takeSample(api.pool, at));
      await each(now - 60_000, 600);
      await api.pool.query('insert into line values ($1, $2, 0, 1, 3)', [tenant.id, target]);
      await api.pool.query(
        `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state, created_at)
         values ($1, $2, 0, 1, 2, 1, 1, 0, '{}', 'pending', $3)`,
        [tenant.id, target, new Date(now - 30_000)],
      );
      await each(now, 1200);
      api.clock.advance(now + 1_000 - api.clock.now());
      const { status, body } = await api.call('GET', '/v1/overview', { token });
      expect(status).toBe(200);
      expect(body).toMatchObject({
        at: new Date(now + 1_000).toISOString(),
        verdict: 'One thing is not well.',
        findings: [{ code: 'channel_unowned', severity: 'bad', href: '/overview#channels' }],
        rates: { accepted: 20, sequenced: 10, routed: 0, delivered: 1 / 60 },
        totals: { sequenced: 1200, unread: 1200, parked: 0, duplicates: 1200, conflicts: 0, expired: 0 },
        targets: [
          { name: 'erp', paused: false, waiting: 2, more: false, oldest: new Date(now - 30_000).toISOString() },
        ],
        inbox: { waiting: 0, oldest: null },
        filters: [],
        maybe: [],
      });
      const { hour, day } = body.series;
      expect([hour.from, hour.step, day.step]).toEqual([new Date(now - 3_600_000).toISOString(), 60, 900]);
      expect([hour.sequenced.length, day.sequenced.length]).toEqual([60, 96]);
      expect(hour.sequenced.slice(-2)).toEqual([null, 10]);
      expect(hour.waiting.slice(-2)).toEqual([0, 2]);
    });

    test('tells of sources that take a filter’s word, as /v1/channels does', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('words');
      const maybe = { threshold: '10.00', below: 'duplicate' };
      const put = (name: string, definition: object) =>
        api.call('PUT', `/v1/sources/${name}`, {
          token,
          body: { kind: 'events', accepts: [`/${name}`], ...definition },
        });
      expect((await put('cheap', { value: '/data/n', maybe })).status).toBe(201);
      expect((await put('plain', {})).status).toBe(201);
      expect((await api.call('GET', '/v1/sources/cheap', { token })).body.definition.maybe).toEqual(maybe);
      const refused = await put('wrong', { maybe });
      expect(refused).toMatchObject({ status: 422, body: { errors: [{ pointer: '/maybe' }] } });
      const arrivedAt = new Date(api.clock.now() - 660_000);
      const { rows } = await api.pool.query("select id from source where tenant = $1 and name = 'cheap'", [tenant.id]);
      await addUnseen(api.pool, tenant, { source: rows[0].id, account: 'acme', arrivedAt, count: 3 });
      await api.pool.query(`insert into unseen_count values ($1, $2, 7, 2, 12345678901234567890.50, 1)`, [
        tenant.id,
        rows[0].id,
      ]);
      const said = [
        {
          source: 'cheap',
          policy: maybe,
          saved: 10,
          waiting: 3,
          oldest: arrivedAt.toISOString(),
          falsePositives: { events: 2, value: '12345678901234567890.50' },
          conflicts: 1,
        },
      ];
      expect((await api.call('GET', '/v1/channels', { token })).body.maybe).toEqual(said);
      const { body } = await api.call('GET', '/v1/overview', { token });
      expect(body.maybe).toEqual(said);
      expect(body.findings.map(({ code }: { code: string }) => code)).toContain('unseen_old');
      expect(
        (await api.call('GET', '/v1/channels', { token: await api.token(['channels.read']) })).body.maybe,
      ).toBeNull();
    });

    test('shows no more than the caller may see', async () => {
      const api = get();
      const token = await api.token(['channels.read']);
      const { body } = await api.call('GET', '/v1/overview', { token });
      expect([body.targets, body.inbox, body.maybe]).toEqual([null, null, null]);
      expect([body.series.hour.inbox, body.series.day.waiting]).toEqual([null, null]);
      const all = await api.call('GET', '/v1/overview', { token: await api.token(PERMISSIONS) });
      expect(all.body.targets).toBeInstanceOf(Array);
      expect([all.body.series.hour.inbox.length, all.body.series.day.waiting.length]).toEqual([60, 96]);
    });
  });
}
