import { parse } from 'lossless-json';
import { describe, expect, test } from 'vitest';
import type { MessageDeps } from '../../../routes/messages.js';
import { waitingMatches } from '../../../routes/rules-waiting.js';
import type { Principal } from '../../../src/access/principal.js';
import { messageId, type Place } from '../../../src/message/id.js';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, addTarget, plan } from '../seed.js';

const RULES = `rules:
  - name: orders
    when: { type: order.placed, data.amount: { numeric: [">", 10] } }
    then: { targets: crm }
  - name: hello
    when: { subject: Hello }
    then: { close: greeting }
`;

/** What waits and would match the rules in force. */
export function rulesWaiting(get: () => Api): void {
  describe('what waits and would match', () => {
    async function fresh(name: string) {
      const api = get();
      const { tenant, token } = await api.newTenant(name);
      const source = await addSource(api.pool, tenant, 'feed');
      await addTarget(api.pool, tenant, 'crm');
      return {
        tenant,
        token,
        source,
        waiting: (query = '') => api.call('GET', `/v1/rules/waiting${query}`, { token }),
        activate: () => api.call('PUT', '/v1/rules', { token, body: { text: RULES } }),
        async event(amount: number): Promise<Place> {
          const place = await addMessage(api.pool, tenant, { source, raw: `{"data":{"amount":${amount}}}` });
          await plan(api.pool, tenant, place, { mode: 'wait' });
          return place;
        },
      };
    }

    test('is nothing without rules, then each with what it would get and the version to decide with', async () => {
      const api = get();
      const { tenant, token, source, waiting, activate, event } = await fresh('waiting-matches');
      const large = await event(11);
      await event(9);
      const mail = await addMessage(api.pool, tenant, {
        source,
        kind: 'mail',
        type: 'mail',
        raw: 'Subject: Hello\r\n\r\n',
        view: { ...EMPTY_VIEW, subject: 'Hello' },
      });
      await plan(api.pool, tenant, mail, { mode: 'wait' });
      expect((await waiting()).body).toEqual({ items: [], next: null, rules: null, looked: 0 });
      await activate();
      const { status, body } = await waiting();
      expect([status, body.rules, body.looked, body.next]).toEqual([200, 1, 3, null]);
      expect(body.items).toEqual([
        {
          message: messageId(mail),
          version: 1,
          outcome: { do: 'close', reason: 'greeting' },
          rules: ['hello'],
          reason: 'greeting',
        },
        {
          message: messageId(large),
          version: 1,
          outcome: { do: 'deliver', targets: ['crm'] },
          rules: ['orders'],
          reason: 'as orders of rule set 1 says',
        },
      ]);
      const [, { message, version, outcome, reason }] = body.items;
      const assigned = await api.call('POST', `/v1/messages/${message}/assign`, {
        token,
        body: { version, targets: outcome.targets, reason },
      });
      expect([assigned.status, assigned.body.reason]).toEqual([202, reason]);
      const left = await waiting();
      expect(left.body.items.map((one: { message: string }) => one.message)).toEqual([messageId(mail)]);
    });

    test('holds no content of what matches, and lets others have their turn meanwhile', async () => {
      const api = get();
      const { tenant, source, activate } = await fresh('waiting-held');
      await activate();
      for (let n = 0; n < 3; n++) {
        const raw = `{"data":{"amount":20,"note":"${'x'.repeat(100_000)}"}}`;
        await plan(api.pool, tenant, await addMessage(api.pool, tenant, { source, raw }), { mode: 'wait' });
      }
      let turns = 0;
      const turnsSeen: number[] = [];
      const deps: MessageDeps = {
        pool: api.pool,
        rules: api.rules,
        hostname: 'mx.example.com',
        extractorsOf: () => [],
        partOf: async () => undefined,
        async contentOf({ raw }) {
          turnsSeen.push(turns);
          setImmediate(() => turns++);
          const until = performance.now() + 15;
          while (performance.now() < until);
          return { ...EMPTY_VIEW, ...(parse(Buffer.from(raw).toString()) as { data: unknown }) };
        },
      };
      const by: Principal = { kind: 'token', tenant, who: 'token test', permissions: new Set(), csrf: null };
      const { matches } = await waitingMatches(deps, by, { limit: Number.POSITIVE_INFINITY });
      expect(matches).toHaveLength(3);
      expect(JSON.stringify(matches).length).toBeLessThan(3_000);
      expect(turnsSeen).toEqual([0, 1, 2]);
    });

    test('goes on where the last page ended, and leaves out what is snoozed, gone or erased', async () => {
      const api = get();
      const { tenant, source, waiting, activate, event } = await fresh('waiting-pages');
      await activate();
      const places: Place[] = [];
      for (let n = 0; n < 205; n++) places.push(await event(20));
      const [snoozed, erased] = places;
      await api.pool.query(
        `update standing set snoozed_until = now() + interval '1 hour' where tenant = $1 and sequence = $2`,
        [tenant.id, snoozed?.sequence],
      );
      await api.pool.query('update message set erased_at = now() where tenant = $1 and sequence = $2', [
        tenant.id,
        erased?.sequence,
      ]);
      const gone = await addMessage(api.pool, tenant, { source, dropped: true });
      await plan(api.pool, tenant, gone, { mode: 'wait' });
      const ids: string[] = [];
      let cursor: string | null = '';
      for (let pages = 0; cursor !== null && pages < 10; pages++) {
        const { body }: Awaited<ReturnType<typeof waiting>> = await waiting(
          `?limit=50${cursor === '' ? '' : `&cursor=${cursor}`}`,
        );
        ids.push(...body.items.map((one: { message: string }) => one.message));
        cursor = body.next;
      }
      const wanted = places.slice(2).map(messageId);
      expect(ids.filter((id) => wanted.includes(id as (typeof wanted)[number]))).toHaveLength(wanted.length);
      expect(new Set(ids).size).toBe(ids.length);
      for (const left of [snoozed, erased, gone]) expect(ids).not.toContain(left && messageId(left));
      expect((await waiting('?cursor=bm9uZQ')).body.code).toBe('invalid_cursor');
    });
  });
}
