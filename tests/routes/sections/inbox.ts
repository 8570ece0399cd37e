import { describe, expect, test } from 'vitest';
import { messageId, type Place } from '../../../src/message/id.js';
import type { Tenant } from '../../../src/message/tenant.js';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import { sweepClaims } from '../../../src/storage/claims.js';
import { createFreshWords } from '../../../src/storage/fresh-words.js';
import { fillSearch } from '../../../src/storage/search.js';
import type { Api } from '../harness.js';
import { addDelivery, addMessage, addSource, addTarget, plan, quarantined } from '../seed.js';

const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

export function inbox(get: () => Api): void {
  let made = 0;

  /** A tenant with messages that wait, the oldest first, and one who may do everything there. */
  async function waiting(subjects: readonly string[]) {
    const api = get();
    const { tenant, token } = await api.newTenant(`inbox-${++made}`);
    const source = await addSource(api.pool, tenant, 'mail', 'mail');
    await addTarget(api.pool, tenant, 'crm');
    const places: Place[] = [];
    for (const subject of subjects) places.push(await add(api, tenant, source, subject));
    const ask = (method: string, path: string, body?: unknown) =>
      api.call(method, path, { token, ...(body !== undefined && { body }) });
    const ids = async (query = '') => {
      const { body } = await ask('GET', `/v1/inbox${query}`);
      return body.items.map(({ id }: { id: string }) => id);
    };
    return { api, tenant, token, source, places, ids, ask };
  }

  async function add(api: Api, tenant: Tenant, source: number, subject: string): Promise<Place> {
    const view = {
      ...EMPTY_VIEW,
      subject,
      from: [{ name: 'Ämilie', address: 'amy@sender.example' }],
      text: `Dear all, ${subject} is attached.`,
    };
    const place = await addMessage(api.pool, tenant, {
      source,
      kind: 'mail',
      type: 'mail',
      account: 'desk@example.com',
      view,
    });
    await plan(api.pool, tenant, place, { mode: 'wait' });
    return place;
  }

  describe('GET /v1/inbox', () => {
    test('is one list of what waits and what is held, newest first, page by page', async () => {
      const { api, tenant, token, source, places, ids, ask } = await waiting(['first', 'second']);
      const conflict = await quarantined(api.pool, tenant, source, 'conflict');
      const last = await add(api, tenant, source, 'last');
      const all = [messageId(last), `q-${conflict}`, messageId(places[1] as Place), messageId(places[0] as Place)];
      expect(await ids()).toEqual(all);
      const seen: string[] = [];
      for (let cursor = ''; ; ) {
        const { body } = await ask('GET', `/v1/inbox?limit=1${cursor}`);
        seen.push(...body.items.map(({ id }: { id: string }) => id));
        if (body.next === null) break;
        cursor = `&cursor=${body.next}`;
      }
      expect(seen).toEqual(all);
      const backwards: string[] = [];
      for (let cursor = ''; ; ) {
        const { body } = await ask('GET', `/v1/inbox?limit=1&sort=oldest${cursor}`);
        backwards.push(...body.items.map(({ id }: { id: string }) => id));
        if (body.next === null) break;
        cursor = `&cursor=${body.next}`;
      }
      expect(backwards).toEqual(all.toReversed());
      expect(await ids('?need=conflict')).toEqual([`q-${conflict}`]);
      expect(await ids('?need=unrouted&source=mail')).toHaveLength(3);
      expect((await ask('GET', '/v1/inbox?source=nobody')).status).toBe(422);
      expect((await ask('GET', '/v1/inbox/matching?source=nobody')).status).toBe(422);
      const { body } = await ask('GET', '/v1/inbox/counts');
      expect(body).toMatchObject({ waiting: 4, snoozed: 0, needs: { unrouted: 3, conflict: 1, poison: 0 } });
      const blind = await api.token(['messages.read'], tenant);
      expect((await api.call('GET', '/v1/inbox/counts', { token: blind })).body.waiting).toBe(3);
      expect((await api.call('GET', '/v1/inbox?need=conflict', { token: blind })).body.items).toEqual([]);
      expect((await api.call('GET', '/v1/inbox?cursor=bm8', { token })).status).toBe(400);
    });

    test('has snoozed ones apart until their time comes, and then as what has just come', async () => {
      const { api, tenant, places, ids, ask } = await waiting(['first', 'second']);
      const [first, second] = places.map(messageId);
      const until = new Date(Date.now() + 3_600_000).toISOString();
      expect((await ask('POST', `/v1/messages/${first}/snooze`, { version: 1, until })).status).toBe(200);
      expect(await ids()).toEqual([second]);
      expect(await ids('?state=snoozed')).toEqual([first]);
      expect((await ask('GET', '/v1/inbox/counts')).body).toMatchObject({ waiting: 1, snoozed: 1 });
      await api.pool.query(
        `update standing set snoozed_until = now() - interval '1 millisecond' where tenant = $1 and version = 2`,
        [tenant.id],
      );
      expect(await ids()).toEqual([first, second]);
      expect((await ask('GET', '/v1/inbox/counts')).body).toMatchObject({ waiting: 2, snoozed: 0 });
    });

    test('is searched by words of everything, without accents and case, once they are filled in', async () => {
      const { api, places, ids, ask } = await waiting(['Rechnung für Größe', 'holiday']);
      const [first, second] = places.map(messageId);
      expect((await ask('GET', '/v1/inbox/counts')).body.search.behind).toBe(2);
      await fillSearch(api.pool, ['mail'], createFreshWords(1e6), () => false);
      expect((await ask('GET', '/v1/inbox/counts')).body.search.behind).toBe(0);
      expect(await ids('?q=GROSSE')).toEqual([first]);
      expect(await ids('?q=rech%20dear')).toEqual([first]);
      expect(await ids('?q=amilie')).toEqual([second, first]);
      expect(await ids('?q=holiday%20rechnung')).toEqual([]);
      expect(await ids(`?q=${second}`)).toEqual([second]);
      expect(await ids('?q=%21%21')).toEqual([]);
      const found = await ask('GET', '/v1/messages?q=rechnung');
      expect(found.body.items.map(({ id }: { id: string }) => id)).toEqual([first]);
      const other = await waiting(['Rechnung']);
      await fillSearch(api.pool, ['mail'], createFreshWords(1e6), () => false);
      expect(await other.ids('?q=rechnung')).toEqual([messageId(other.places[0] as Place)]);
    });
  });

  describe('claims', () => {
    test('are made of what is held, too: listed, found, seen by others who may see it, and over with it', async () => {
      const { api, tenant, source, ids, ask } = await waiting(['first']);
      const number = await quarantined(api.pool, tenant, source, 'conflict');
      const id = `q-${number}`;
      const blind = await api.token(['messages.read', 'messages.decide'], tenant);
      const asBlind = (path: string) => api.call('POST', path, { token: blind, body: {} });
      expect((await asBlind(`/v1/quarantine/${id}/claim`)).status).toBe(403);
      const made = await ask('POST', `/v1/quarantine/${id}/claim`, { hours: 2 });
      expect(made.status).toBe(200);
      const listed = await ask('GET', '/v1/inbox?claim=mine');
      expect(listed.body.items.map((one: { id: string; claim: unknown }) => [one.id, one.claim])).toEqual([
        [id, made.body],
      ]);
      expect(await ids('?claim=none')).not.toContain(id);
      const other = await api.token(['messages.read', 'quarantine.read', 'quarantine.decide'], tenant);
      const refused = await api.call('POST', `/v1/quarantine/${id}/claim`, { token: other, body: {} });
      expect([refused.status, refused.body.code]).toEqual([409, 'claimed']);
      expect((await ask('POST', `/v1/quarantine/${id}/unclaim`)).status).toBe(204);
      expect((await api.call('POST', `/v1/quarantine/${id}/claim`, { token: other, body: {} })).status).toBe(200);
      expect((await ask('POST', '/v1/quarantine/q-999/unclaim')).status).toBe(404);
      expect((await ask('POST', '/v1/quarantine/q-999/claim', {})).status).toBe(404);
      expect((await ask('POST', `/v1/quarantine/${id}/discard`, {})).status).toBe(200);
      expect((await ask('POST', `/v1/quarantine/${id}/claim`, {})).body.code).toBe('wrong_state');
      await sweepClaims(api.pool);
      expect((await api.pool.query('select from claim where tenant = $1', [tenant.id])).rowCount).toBe(0);
    });

    test('say who sees to a message, bind nobody, and end with a decision', async () => {
      const { api, tenant, places, ids, ask } = await waiting(['first', 'second']);
      const [first, second] = places.map(messageId);
      const other = await api.token(['messages.read', 'messages.decide'], tenant);
      const asOther = (method: string, path: string, body?: unknown) =>
        api.call(method, path, { token: other, ...(body !== undefined && { body }) });
      expect((await asOther('POST', `/v1/messages/${first}/claim`, { hours: 2 })).status).toBe(200);
      const refused = await ask('POST', `/v1/messages/${first}/claim`, {});
      expect([refused.status, refused.body.code]).toEqual([409, 'claimed']);
      expect(await ids('?claim=none')).toEqual([second]);
      expect(await ids('?claim=mine')).toEqual([]);
      expect((await asOther('GET', '/v1/inbox?claim=mine')).body.items).toHaveLength(1);
      const over = await ask('POST', `/v1/messages/${first}/claim`, { over: true });
      expect([over.status, (await ask('GET', '/v1/inbox')).body.items[1].claim]).toEqual([200, over.body]);
      expect((await ask('POST', `/v1/messages/${first}/unclaim`)).status).toBe(204);
      expect(await ids('?claim=none')).toEqual([second, first]);
      await ask('POST', `/v1/messages/${first}/claim`, {});
      expect((await asOther('POST', `/v1/messages/${first}/close`, { version: 1, reason: 'x' })).status).toBe(200);
      expect((await api.pool.query('select from claim where tenant = $1', [tenant.id])).rowCount).toBe(0);
      expect((await ask('POST', `/v1/messages/${first}/claim`, {})).body.code).toBe('wrong_state');
    });
  });

  test('a target that is removed keeps the messages that wait for it', async () => {
    const { api, tenant, places, ask } = await waiting(['for crm']);
    const [place] = places as [Place];
    const [target] = (await api.pool.query<{ id: number }>('select id from target where tenant = $1', [tenant.id]))
      .rows;
    await addDelivery(api.pool, tenant, place, { target: target?.id ?? 0, number: 1, plan: 1, state: 'pending' });
    const deliveries = async () => (await ask('GET', `/v1/messages/${messageId(place)}`)).body.deliveries;
    const before = await deliveries();
    expect(before).toMatchObject([{ target: 'crm', state: 'pending' }]);
    expect((await ask('DELETE', '/v1/targets/crm')).status).toBe(204);
    expect(await deliveries()).toEqual(before);
    const refused = await ask('POST', `/v1/messages/${messageId(place)}/assign`, { version: 1, targets: ['crm'] });
    expect([refused.status, refused.body.code]).toEqual([422, 'unknown_target']);
    expect((await ask('PUT', '/v1/targets/crm', { kind: 'pull' })).status).toBe(201);
    expect(await deliveries()).toEqual(before);
  });

  describe('POST /v1/inbox/decide', () => {
    test('decides about what matched then, one by one, and leaves what came since', async () => {
      const { api, tenant, source, ids, ask } = await waiting(['one', 'two']);
      const { body: matching } = await ask('GET', '/v1/inbox/matching?source=mail');
      expect(matching).toMatchObject({ count: 2, more: false });
      const conflict = await quarantined(api.pool, tenant, source, 'conflict');
      const later = messageId(await add(api, tenant, source, 'three'));
      const answer = await ask('POST', '/v1/inbox/decide', {
        filter: { source: 'mail' },
        asOf: matching.asOf,
        action: 'close',
        reason: 'all of them',
      });
      expect(lines(answer.text).at(-1)).toEqual({ event: 'result', total: 2, done: 2, left: 0, more: false });
      const { rows } = await api.pool.query('select who, action, reason from decision where tenant = $1', [tenant.id]);
      expect(rows).toHaveLength(2);
      expect(rows[0]).toMatchObject({ action: 'close', reason: 'all of them' });
      expect(await ids()).toEqual([later, `q-${conflict}`]);
    });
  });
}
