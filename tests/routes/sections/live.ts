import { get as httpGet, type IncomingMessage } from 'node:http';
import { Counter } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { messageId } from '../../../src/message/id.js';
import { until } from '../../support/until.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, plan, quarantined } from '../seed.js';

interface Change {
  readonly messages: string[];
  readonly more: boolean;
  readonly inbox: number;
  readonly open: { readonly message: string; readonly who: string }[];
}

/** A stream that is being read: what it has said so far, and whether it has ended. */
async function listen(api: Api, token: string, query = '') {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpGet(
      `${api.origin}/v1/stream${query}`,
      { headers: { authorization: `Bearer ${token}` }, agent: false },
      resolve,
    ).on('error', reject);
  });
  let text = '';
  const state = { ended: false };
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    text += chunk;
  });
  response.on('close', () => {
    state.ended = true;
  });
  const changes = (): Change[] =>
    [...text.matchAll(/^event: change\ndata: (.*)$/gm)].map(([, data = '']) => JSON.parse(data));
  return { response, changes, state, text: () => text, close: () => response.destroy() };
}

export function live(get: () => Api): void {
  describe('GET /v1/stream', () => {
    test('tells at once what waits, then what is decided, and soon what other processes do', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('stream');
      const source = await addSource(api.pool, tenant, 'feed');
      const place = await addMessage(api.pool, tenant, { source });
      await plan(api.pool, tenant, place);
      const stream = await listen(api, token);
      api.seen.add('get /v1/stream 200');
      try {
        expect([stream.response.statusCode, stream.response.headers['content-type']]).toEqual([
          200,
          'text/event-stream',
        ]);
        await until(() => stream.changes().length >= 1, 'the first event');
        expect(stream.changes()[0]).toEqual({ messages: [], more: false, inbox: 1, open: [] });
        await api.call('POST', `/v1/messages/${messageId(place)}/close`, { token, body: { version: 1, reason: 'x' } });
        const named = () => stream.changes().filter(({ messages }) => messages.includes(messageId(place)));
        await until(() => named().length > 0, 'the decision');
        expect(named()).toEqual([{ messages: [messageId(place)], more: false, inbox: 0, open: [] }]);
        const second = await addMessage(api.pool, tenant, { source, channel: 3 });
        await until(
          () => stream.changes().some(({ messages }) => messages.includes(messageId(second))),
          'what another process took in',
        );
      } finally {
        stream.close();
      }
    });

    test('says who has a message open, while they have, and to nobody of another tenant', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('stream-open');
      const stranger = await listen(api, (await api.newTenant('stream-else')).token);
      const source = await addSource(api.pool, tenant, 'feed');
      const place = await addMessage(api.pool, tenant, { source });
      await plan(api.pool, tenant, place);
      const watching = await listen(api, token);
      const reader = await listen(api, await api.token(['messages.read'], tenant), `?open=${messageId(place)}`);
      const openNow = () => watching.changes().at(-1)?.open ?? [];
      try {
        await until(() => openNow().length === 1, 'the reader to be seen');
        expect(openNow()[0]).toMatchObject({ message: messageId(place), who: expect.stringMatching(/^token t-/) });
        const listed = await api.call('GET', '/v1/inbox', { token });
        expect(listed.body.items[0]).toMatchObject({ id: messageId(place), open: [openNow()[0]?.who] });
        reader.close();
        await until(() => openNow().length === 0, 'the reader to be gone');
        expect(stranger.changes().every(({ open }) => open.length === 0)).toBe(true);
      } finally {
        for (const stream of [watching, stranger]) stream.close();
      }
    });

    test('says who has an entry of the quarantine open to those who may see it alone', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('stream-held');
      const source = await addSource(api.pool, tenant, 'feed');
      const id = `q-${await quarantined(api.pool, tenant, source, 'conflict')}`;
      const watching = await listen(api, token);
      const blind = await listen(api, await api.token(['messages.read'], tenant), `?open=${id}`);
      const reader = await listen(api, await api.token(['messages.read', 'quarantine.read'], tenant), `?open=${id}`);
      try {
        const openNow = () => watching.changes().at(-1)?.open ?? [];
        await until(() => openNow().length === 1, 'the reader to be seen');
        expect(openNow()).toMatchObject([{ message: id }]);
        const listed = await api.call('GET', '/v1/inbox', { token });
        expect(listed.body.items[0]).toMatchObject({ id, open: [openNow()[0]?.who] });
        expect(blind.changes().every(({ open }) => open.length === 0)).toBe(true);
      } finally {
        for (const stream of [watching, blind, reader]) stream.close();
      }
    });

    test('tells nobody of another tenant’s messages', async () => {
      const api = get();
      const { token } = await api.newTenant('stream-apart');
      const stream = await listen(api, token);
      try {
        await until(() => stream.changes().length >= 1, 'the first event');
        const { tenant, token: own } = await api.newTenant('stream-busy');
        const source = await addSource(api.pool, tenant, 'feed');
        const busy = await listen(api, own);
        try {
          await addMessage(api.pool, tenant, { source });
          api.notices.publish(tenant.id, ['0-1']);
          await until(() => busy.changes().length >= 2, 'the busy tenant to be told');
          expect(stream.changes()).toHaveLength(1);
        } finally {
          busy.close();
        }
      } finally {
        stream.close();
      }
    });

    test('beats, and ends when its token is revoked', async () => {
      const api = get();
      const token = await api.token(['messages.read']);
      const stream = await listen(api, token);
      await until(() => stream.text().includes(': \n\n'), 'a beat');
      await api.pool.query('update token set revoked_at = now() where hash = sha256($1)', [Buffer.from(token)]);
      api.clock.advance(1000);
      await until(() => stream.state.ended, 'the end');
    });

    test('has room for so many of one caller', async () => {
      const api = get();
      const { token } = await api.newTenant('stream-crowd');
      const streams = await Promise.all(Array.from({ length: 3 }, () => listen(api, token)));
      try {
        await until(() => streams.every((one) => one.changes().length >= 1), 'all to be told');
        const { status, body, headers } = await api.call('GET', '/v1/stream', { token });
        expect([status, body.code, headers.get('retry-after')]).toEqual([429, 'too_many_streams', '30']);
      } finally {
        for (const stream of streams) stream.close();
      }
    });
  });

  describe('health', () => {
    test('is alive, ready, or not', async () => {
      const api = get();
      expect((await api.call('GET', '/healthz', { token: null })).body).toEqual({ alive: true });
      api.health = { accepting: true, degraded: ['RabbitMQ is away'] };
      expect(await api.call('GET', '/readyz', { token: null })).toMatchObject({
        status: 200,
        body: { accepting: true, degraded: ['RabbitMQ is away'] },
      });
      api.health = { accepting: false, degraded: ['the database is away'] };
      expect((await api.call('GET', '/readyz', { token: null })).status).toBe(503);
    });

    test('metrics are for who runs the installation', async () => {
      const api = get();
      new Counter({ name: 'waybill_test_total', help: 'x', registers: [api.metrics] }).inc(3);
      const { status, text, headers } = await api.call('GET', '/metrics');
      expect([status, headers.get('content-type')]).toEqual([200, expect.stringContaining('text/plain')]);
      expect(text).toContain('waybill_test_total 3');
      expect((await api.call('GET', '/metrics', { token: api.stranger })).status).toBe(403);
    });
  });
}
