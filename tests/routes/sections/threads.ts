import { describe, expect, test } from 'vitest';
import { messageId } from '../../../src/message/id.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, addTarget, addThread, placeIn, plan } from '../seed.js';

function content(amount: string, text = 'text') {
  return { fields: { amount }, text, html: null, parts: [] };
}

export function threads(get: () => Api): void {
  describe('GET /v1/threads/{id}', () => {
    test('lists its messages by their numbers, a page at a time, with what is linked', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'threads');
      const thread = await addThread(api.pool, api.tenant);
      const linked = await addThread(api.pool, api.tenant);
      await api.pool.query('insert into thread_link (tenant, thread, other) values ($1, $2, $3)', [
        api.tenant.id,
        thread,
        linked,
      ]);
      const ids = [];
      // Of two channels, and the second one first.
      for (const [i, channel] of [1, 0, 1].entries()) {
        const place = await addMessage(api.pool, api.tenant, { source, channel });
        await placeIn(api.pool, api.tenant, place, { thread, number: i + 1 });
        ids.push(messageId(place));
      }
      const first = await api.call('GET', `/v1/threads/${thread}?limit=2`);
      expect(first.status).toBe(200);
      expect(first.body).toMatchObject({
        ...{ id: thread, of: 3, links: [{ id: linked, of: 0 }] },
        items: [
          { number: 1, id: ids[0], source: 'threads' },
          { number: 2, id: ids[1] },
        ],
      });
      const { body } = await api.call('GET', `/v1/threads/${thread}?limit=2&cursor=${first.body.next}`);
      expect([body.items.map(({ id }: { id: string }) => id), body.next]).toEqual([[ids[2]], null]);
      expect((await api.call('GET', `/v1/threads/${linked}`)).body.links).toEqual([{ id: thread, of: 3 }]);
      expect((await api.call('GET', `/v1/messages/${ids[1]}`)).body.thread).toEqual({ id: thread, number: 2, of: 3 });
    });

    test.each(['0', 'x', '-1', '99999999999999999999', '999999'])('%s is not there', async (id) => {
      expect((await get().call('GET', `/v1/threads/${id}`)).status).toBe(404);
    });
  });

  test('explain says what a message followed, what it was compared with, and what was new', async () => {
    const api = get();
    const source = await addSource(api.pool, api.tenant, 'follows');
    const erp = await addTarget(api.pool, api.tenant, 'thread-erp');
    const crm = await addTarget(api.pool, api.tenant, 'thread-crm');
    const thread = await addThread(api.pool, api.tenant);
    const [first, second] = [
      await addMessage(api.pool, api.tenant, { source }),
      await addMessage(api.pool, api.tenant, { source }),
    ];
    const targets = [erp, crm];
    await placeIn(api.pool, api.tenant, first, { thread, number: 1, content: content('one'), targets });
    await placeIn(api.pool, api.tenant, second, { thread, number: 2, content: content('two', 'other'), targets });
    await plan(api.pool, api.tenant, first, { targets: [[erp, 1, 'later']] });
    await plan(api.pool, api.tenant, second, {
      targets: [[erp, 2, 'later']],
      by: { by: 'thread', set: 1, thread, number: 1 },
      updated: { [erp]: ['amount'] },
    });
    const { body } = await api.call('GET', `/v1/messages/${messageId(second)}/explain`);
    expect(body.plans).toMatchObject([
      { by: `thread ${thread}: after 1`, targets: [{ target: 'thread-erp', updated: ['amount'] }] },
    ]);
    expect(body.thread).toEqual({
      ...{ id: thread, number: 2, of: 2, followed: 1 },
      compared: [
        { target: 'thread-erp', with: [1], sent: 'fields', fields: ['amount'] },
        { target: 'thread-crm', with: [1], sent: 'nothing', fields: [] },
      ],
      changed: { since: 1, fields: [{ type: 'amount', change: 'updated' }], text: 'other', newParts: 0 },
    });
    const alone = await addMessage(api.pool, api.tenant, { source });
    await plan(api.pool, api.tenant, alone);
    expect((await api.call('GET', `/v1/messages/${messageId(alone)}/explain`)).body.thread).toBeNull();
  });
}
