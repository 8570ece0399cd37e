import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { accountHash, channelOf } from '../../../src/channel/partition.js';
import { messageId } from '../../../src/message/id.js';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import type { Api } from '../harness.js';
import { addDelivery, addMessage, addSource, addTarget, plan, stand } from '../seed.js';

/** Every page of a list, one after the other. */
async function pages(api: Api, path: string, token = api.admin): Promise<{ ids: string[]; pages: number }> {
  const ids: string[] = [];
  let count = 0;
  for (let cursor: string | null = ''; cursor !== null; count++) {
    const { status, body } = await api.call('GET', `${path}${cursor && `&cursor=${cursor}`}`, { token });
    expect(status).toBe(200);
    ids.push(...body.items.map((item: { id: string }) => item.id));
    cursor = body.next;
  }
  return { ids, pages: count };
}

export function messages(get: () => Api): void {
  describe('GET /v1/messages', () => {
    test('gives all of them once, newest first, over all channels and pages', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'list-all');
      const start = Date.UTC(2025, 0, 1);
      const ids: string[] = [];
      for (let i = 0; i < 23; i++) {
        const place = await addMessage(api.pool, api.tenant, {
          source,
          channel: (i * 7) % 3,
          arrivedAt: new Date(start + i * 1000),
        });
        ids.push(messageId(place));
      }
      const seen = await pages(api, '/v1/messages?limit=5&source=list-all');
      expect(seen.ids).toEqual(ids.toReversed());
      expect(seen.pages).toBeGreaterThanOrEqual(5);
    });

    test('finds by account, type, channel, time and text', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('find');
      const source = await addSource(api.pool, tenant, 'find', 'mail');
      const at = (minute: number) => new Date(Date.UTC(2024, 5, 1, 12, minute));
      const own = { account: 'find-own', channel: channelOf(accountHash('find-own'), 4) };
      const view = {
        ...EMPTY_VIEW,
        subject: 'Invoice 100% of_it',
        from: [{ name: 'Anna', address: 'anna@example.com' }],
      };
      const first = messageId(
        await addMessage(api.pool, tenant, { source, ...own, kind: 'mail', arrivedAt: at(1), view }),
      );
      const second = messageId(
        await addMessage(api.pool, tenant, { source, ...own, arrivedAt: at(2), type: 'other.type' }),
      );
      const list = async (query: string) => (await pages(api, `/v1/messages?source=find&${query}`, token)).ids;
      expect(await list('account=find-own')).toEqual([second, first]);
      expect(await list('type=other.type')).toEqual([second]);
      expect(await list(`channel=${own.channel}`)).toEqual([second, first]);
      expect(await list(`channel=${(own.channel + 1) % 4}`)).toEqual([]);
      expect(await list('after=2024-06-01T12:02:00Z')).toEqual([second]);
      expect(await list('before=2024-06-01T12:02:00Z')).toEqual([first]);
      expect(await list('after=2024-06-01T14:01:00%2B02:00&before=2024-06-01T12:01:30Z')).toEqual([first]);
      expect(await list('q=100%25%20OF_it')).toEqual([first]);
      expect(await list('q=100__of')).toEqual([]);
      expect(await list('q=FIND-own')).toEqual([second, first]);
    });

    test('finds by where they stand', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'states');
      const target = await addTarget(api.pool, api.tenant, 'states');
      const ids: Record<string, string> = {};
      for (const state of ['waiting', 'snoozed', 'closed', 'parked', 'quarantined', 'routed']) {
        const place = await addMessage(api.pool, api.tenant, { source, channel: 3 });
        await plan(api.pool, api.tenant, place, { targets: [[target, 1, 'now']] });
        if (state !== 'routed') await stand(api.pool, api.tenant, place, state === 'snoozed' ? 'waiting' : state);
        if (state === 'snoozed') {
          await api.pool.query(
            `update standing set snoozed_until = now() + interval '1 hour' where tenant = $1 and channel = 3 and sequence = $2`,
            [api.tenant.id, place.sequence],
          );
        }
        ids[state] = messageId(place);
      }
      ids.accepted = messageId(await addMessage(api.pool, api.tenant, { source, channel: 3 }));
      for (const [state, id] of Object.entries(ids)) {
        expect((await pages(api, `/v1/messages?source=states&state=${state}`)).ids).toEqual([id]);
        expect((await api.call('GET', `/v1/messages/${id}`)).body.state).toBe(state);
      }
    });

    test('gives the inbox by when it began to wait, newest first', async () => {
      const api = get();
      const source = await addSource(api.pool, api.other, 'inbox');
      const ids: string[] = [];
      for (let i = 0; i < 5; i++) {
        const place = await addMessage(api.pool, api.other, { source, channel: 2 });
        await plan(api.pool, api.other, place);
        ids.unshift(messageId(place));
      }
      const list = async (cursor: string) =>
        (await api.call('GET', `/v1/messages?state=waiting&limit=2${cursor}`, { token: api.stranger })).body;
      const first = await list('');
      const second = await list(`&cursor=${first.next}`);
      const third = await list(`&cursor=${second.next}`);
      expect([first, second, third].flatMap((page) => page.items.map((item: { id: string }) => item.id))).toEqual(ids);
      expect(third.next).toBeNull();
    });

    test('finds by target, also what lives in plans alone and what was sent later', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'by-target');
      const target = await addTarget(api.pool, api.tenant, 'by-target');
      const places = [];
      for (let i = 0; i < 4; i++) places.push(await addMessage(api.pool, api.tenant, { source, channel: 1 }));
      const [a, b, c, d] = places as [(typeof places)[0], (typeof places)[0], (typeof places)[0], (typeof places)[0]];
      await plan(api.pool, api.tenant, a, { n: 2, targets: [[target, 1, 'now']] });
      await plan(api.pool, api.tenant, c, {});
      await plan(api.pool, api.tenant, d, {});
      await plan(api.pool, api.tenant, d, { kind: 'extra', targets: [[target, 3, 'now']] });
      expect((await pages(api, '/v1/messages?target=by-target')).ids).toEqual([d, b, a].map(messageId));
    });

    test('says what was probably meant by an unknown source or target', async () => {
      const api = get();
      await addTarget(api.pool, api.tenant, 'warehouse');
      const { status, body } = await api.call('GET', '/v1/messages?target=warehose');
      expect([status, body.code, body.suggestion]).toEqual([422, 'unknown_target', 'warehouse']);
    });

    test.each([
      'limit=0',
      'limit=1e1',
      'state=lost',
      'after=yesterday',
      'colour=red',
      'account=%00',
      'channel=-1',
      'limit=1&limit=2',
    ])('refuses ?%s', async (query) => {
      const { status, body } = await get().call('GET', `/v1/messages?${query}`);
      expect([status, body.code]).toEqual([400, 'invalid_query']);
    });

    test.each([
      'abc',
      Buffer.from('["messages","x y"]').toString('base64url'),
      Buffer.from('["quarantine",5]').toString('base64url'),
    ])('refuses the cursor %s', async (cursor) => {
      const { status, body } = await get().call('GET', `/v1/messages?limit=1&cursor=${cursor}`);
      expect([status, body.code]).toEqual([400, 'invalid_cursor']);
    });
  });

  describe('one message', () => {
    test('comes with every digit of its numbers, its envelope and its standing', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'one');
      const raw = '{"data":{"amount":1234567890.123456789012345678,"n":1.00}}';
      const place = await addMessage(api.pool, api.tenant, { source, raw });
      await plan(api.pool, api.tenant, place);
      const { status, body, text } = await api.call('GET', `/v1/messages/${messageId(place)}`);
      expect(status).toBe(200);
      expect(text).toContain('{"amount":1234567890.123456789012345678,"n":1.00}');
      expect(body).toMatchObject({
        id: messageId(place),
        source: 'one',
        account: 'acme',
        state: 'waiting',
        version: 1,
        size: raw.length,
        envelope: { from: 'a@example.com' },
        decisions: [],
        deliveries: [],
        sha256: createHash('sha256').update(raw).digest('hex'),
      });
    });

    test('that is mail and not read yet has no view, and then the stored one', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'unread', 'mail');
      const unread = await addMessage(api.pool, api.tenant, { source, kind: 'mail', raw: 'From: a\r\n\r\nx' });
      expect((await api.call('GET', `/v1/messages/${messageId(unread)}`)).body.view).toBeNull();
      const view = { ...EMPTY_VIEW, subject: 'Hello', headers: [['waybill-id', 'forged']] as const };
      const read = await addMessage(api.pool, api.tenant, { source, kind: 'mail', raw: 'From: a\r\n\r\nx', view });
      const { body } = await api.call('GET', `/v1/messages/${messageId(read)}`);
      expect([body.subject, body.view.subject, body.view.headers]).toEqual([
        'Hello',
        'Hello',
        [['untrusted-waybill-id', 'forged']],
      ]);
    });

    test('gives its bytes as a download that no browser shows', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'raw', 'mail');
      const mail = await addMessage(api.pool, api.tenant, {
        source,
        kind: 'mail',
        raw: 'Subject: <b>\r\n\r\n<script>',
      });
      const { status, headers, text } = await api.call('GET', `/v1/messages/${messageId(mail)}/raw`);
      expect([status, text]).toEqual([200, 'Subject: <b>\r\n\r\n<script>']);
      expect(headers.get('content-type')).toBe('message/rfc822');
      expect(headers.get('content-disposition')).toBe(
        `attachment; filename="${messageId(mail)}.eml"; filename*=UTF-8''${messageId(mail)}.eml`,
      );
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('content-security-policy')).toContain('sandbox');
      const event = await addMessage(api.pool, api.tenant, { source });
      expect((await api.call('GET', `/v1/messages/${messageId(event)}/raw`)).headers.get('content-type')).toBe(
        'application/octet-stream',
      );
    });

    test('gives a part under a name that can break nothing', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'parts', 'mail');
      const part = {
        n: 1,
        path: '1',
        name: 'x',
        type: 'text/html',
        size: 4,
        sha256: '',
        inline: false,
        contentId: null,
      };
      const place = await addMessage(api.pool, api.tenant, {
        source,
        kind: 'mail',
        raw: 'x',
        view: { ...EMPTY_VIEW, parts: [part] },
      });
      const { status, headers, text } = await api.call('GET', `/v1/messages/${messageId(place)}/parts/1`);
      expect([status, text, headers.get('content-type')]).toEqual([200, 'part', 'application/octet-stream']);
      expect(headers.get('content-disposition')).toBe(
        `attachment; filename="a_b___.txt"; filename*=UTF-8''a%22b%0D%0A%E2%82%AC.txt`,
      );
      expect((await api.call('GET', `/v1/messages/${messageId(place)}/parts/2`)).status).toBe(404);
    });

    test.each(['', '/raw', '/parts/1', '/explain'])('whose content is dropped is 410 at %s', async (rest) => {
      const api = get();
      const place = await addMessage(api.pool, api.tenant, { source: 1, dropped: true });
      const { status, body } = await api.call('GET', `/v1/messages/${messageId(place)}${rest}`);
      expect([status, body.code]).toEqual([410, 'content_gone']);
    });

    test.each(['0-999999', '9-1', '0-0', 'x', '00-1', '0-9007199254740993', '%00', '0-1%00'])(
      '%s is 404',
      async (id) => {
        const { status, body } = await get().call('GET', `/v1/messages/${id}`);
        expect([status, body.code]).toEqual([404, 'not_found']);
      },
    );
  });

  describe('GET /v1/messages/{id}/explain', () => {
    test('tells the whole story', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'story');
      const target = await addTarget(api.pool, api.tenant, 'story');
      const text = 'rules:\n  - name: orders\n    when: { type: order.placed }\n    then: { targets: story }\n';
      const { body: rules } = await api.call('PUT', '/v1/rules', { body: { text, activate: false } });
      const place = await addMessage(api.pool, api.tenant, { source, channel: 2 });
      const number = await plan(api.pool, api.tenant, place, {
        targets: [[target, 7, 'later']],
        by: { by: 'rules', set: rules.version, rules: ['orders'] },
      });
      await addDelivery(api.pool, api.tenant, place, { target, number: 7, plan: number, state: 'failed' });
      await api.pool.query(
        `insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result, code, reason, answer)
         values ($1, $2, 2, 1, 7, 1, 'message', now(), 12, 'refused', 'http_422', 'no', 'nope')`,
        [api.tenant.id, target],
      );
      await api.pool.query(
        `insert into attempt (tenant, channel, first_sequence, last_sequence, rung, stage, try, process, outcome, ended_at)
         values ($1, 2, $2, $2, 0, 'parse', 1, gen_random_uuid(), 'processed', now())`,
        [api.tenant.id, place.sequence],
      );
      const id = messageId(place);
      await api.call('POST', `/v1/messages/${id}/note`, { body: { version: 1, reason: 'odd' } });
      const { status, body } = await api.call('GET', `/v1/messages/${id}/explain`);
      expect(status).toBe(200);
      expect(body).toMatchObject({
        message: id,
        accepted: { verdict: 'sequenced', channel: 2, sequence: place.sequence },
        state: 'routed',
        version: 2,
        content: [{ rung: 0, stage: 'parse', outcome: 'processed' }],
        plans: [
          {
            plan: number,
            did: 'deliver',
            by: `rules ${rules.version}: orders`,
            targets: [{ target: 'story', number: 7, sent: 'later' }],
          },
        ],
        rules: { version: rules.version, rules: ['orders'], outcome: { do: 'deliver', targets: ['story'] } },
        decisions: [{ version: 2, action: 'note', who: 'admin token', reason: 'odd' }],
        deliveries: [
          { id: `1.story.2-7`, state: 'failed', tries: [{ attempt: 1, result: 'refused', answer: 'nope' }] },
        ],
      });
      expect(body.rules.steps[0].terms[0].clauses[0]).toMatchObject({
        path: 'type',
        result: 'true',
        actual: { values: ['"order.placed"'] },
      });
    });
  });
}
