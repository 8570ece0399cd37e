import { describe, expect, test } from 'vitest';
import { messageId } from '../../../src/message/id.js';
import { addDecision, learnNow } from '../../support/learning.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, addTarget, plan } from '../seed.js';

/** What was learnt: suggestions for a message, and how well a target is known. */
export function learning(get: () => Api): void {
  describe('GET /v1/messages/{id}/suggestions and /v1/targets/{name}/learning', () => {
    test('say nothing before anything was learnt, and then what people decided, with the words that counted', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('learns');
      const { pool } = api;
      const source = await addSource(pool, tenant, 'feed');
      const target = await addTarget(pool, tenant, 'erp');
      await addTarget(pool, tenant, 'crm');
      const waiting = async (type: string) => {
        const place = await addMessage(pool, tenant, { source, type });
        await plan(pool, tenant, place, { mode: 'wait' });
        return place;
      };
      const asked = messageId(await waiting('order.placed'));
      const suggestions = async () => (await api.call('GET', `/v1/messages/${asked}/suggestions`, { token })).body;
      const learnt = async (name: string) => (await api.call('GET', `/v1/targets/${name}/learning`, { token })).body;
      expect(await suggestions()).toEqual({ message: asked, model: null, items: [] });
      expect(await learnt('erp')).toMatchObject({ automatic: null, on: false, model: null, chosen: 0, measured: null });

      for (let i = 0; i < 20; i++) {
        const ago = 1000 - i;
        await addDecision(pool, tenant, await waiting('order.placed'), { action: 'assign', targets: [target], ago });
        await addDecision(pool, tenant, await waiting('noise.made'), { action: 'close', ago });
      }
      await learnNow(pool);
      const { model, items } = await suggestions();
      expect(model).toMatchObject({ version: 1, decisions: 40 });
      expect(items).toHaveLength(1);
      expect(items[0]).toMatchObject({ target: 'erp', threshold: null });
      expect(items[0].probability).toBeGreaterThan(0.8);
      expect(items[0].base).toBeGreaterThan(0.2);
      expect(items[0].evidence).toContainEqual({
        field: 'type',
        word: 'order.placed',
        odds: expect.any(Number),
        decisions: 20,
        chosen: 20,
      });
      const definition = { kind: 'pull', automatic: { threshold: 0.65 } };
      expect((await api.call('PUT', '/v1/targets/erp', { token, body: definition })).status).toBe(200);
      const known = await learnt('erp');
      expect(known).toMatchObject({
        target: 'erp',
        automatic: { threshold: 0.65, decisions: 20 },
        on: true,
        chosen: 20,
        refused: 20,
        measured: { decisions: 10 },
      });
      expect(known.measured.thresholds.map(({ threshold }: { threshold: number }) => threshold)).toEqual([
        0.5, 0.6, 0.65, 0.7, 0.8, 0.9, 0.95,
      ]);
      expect(known.measured.thresholds[2]).toEqual({
        threshold: 0.65,
        sent: 5,
        right: 5,
        wanted: 5,
        precision: 1,
        recall: 1,
      });
      await api.call('PUT', '/v1/targets/erp', {
        token,
        body: { kind: 'pull', automatic: { threshold: 0.65, decisions: 50 } },
      });
      expect(await learnt('erp')).toMatchObject({ on: false, why: 'needs 50 decisions, has 40' });
      expect(await learnt('crm')).toMatchObject({ on: false, chosen: 0, measured: null });
    });

    test('a threshold is a hundredth between 0 and 1', async () => {
      const api = get();
      for (const threshold of [0, 1, 0.605, -0.5, '0.6', null]) {
        const body = { kind: 'pull', automatic: { threshold } };
        const answer = await api.call('PUT', '/v1/targets/never-made', { body });
        expect([threshold, answer.status]).toEqual([threshold, 422]);
      }
    });

    test('of content that is gone there is nothing to suggest', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'unlearnt');
      const place = await addMessage(api.pool, api.tenant, { source, channel: 1, dropped: true });
      const { status, body } = await api.call('GET', `/v1/messages/${messageId(place)}/suggestions`);
      expect([status, body.code]).toEqual([410, 'content_gone']);
    });

    test('a plan by probability is explained with what it had to exceed, also when nothing was', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'scored');
      const target = await addTarget(api.pool, api.tenant, 'scored');
      const place = await addMessage(api.pool, api.tenant, { source });
      const scores = [[target, 0.6, 0.6]] as const;
      await plan(api.pool, api.tenant, place, { mode: 'wait', by: { by: 'suggestion', set: 1, model: 99, scores } });
      const { status, body } = await api.call('GET', `/v1/messages/${messageId(place)}/explain`);
      expect(status).toBe(200);
      // The model is gone: what it said is not.
      expect(body.automatic).toEqual({
        model: 99,
        scores: [
          {
            target: 'scored',
            probability: 0.6,
            threshold: 0.6,
            exceeded: false,
            recomputed: null,
            evidence: [],
            further: 0,
          },
        ],
      });
      expect(body.plans).toMatchObject([{ did: 'wait', by: 'suggestion 99' }]);
    });
  });
}
