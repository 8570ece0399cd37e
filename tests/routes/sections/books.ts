import { describe, expect, test } from 'vitest';
import { messageId } from '../../../src/message/id.js';
import { until } from '../../support/until.js';
import type { Api, Ask } from '../harness.js';
import { addMessage, addSource, plan, quarantined } from '../seed.js';

interface Line {
  readonly event: string;
  readonly [field: string]: unknown;
}

async function ask(
  api: Api,
  path: string,
  given: Ask,
): Promise<{ status: number; lines: Line[]; type: string | null }> {
  const { status, text, headers } = await api.call('POST', path, given);
  const lines = text.trimEnd().split('\n');
  return { status, lines: lines.map((line) => JSON.parse(line)), type: headers.get('content-type') };
}

/** A tenant with two messages of one account. */
async function filled(api: Api, name: string) {
  const { tenant, token } = await api.newTenant(name);
  const source = await addSource(api.pool, tenant, 'feed');
  const place = await addMessage(api.pool, tenant, { source, channel: 2, account: 'account 5' });
  await plan(api.pool, tenant, place);
  await plan(api.pool, tenant, await addMessage(api.pool, tenant, { source, channel: 2, account: 'account 5' }));
  return { tenant, source, token, place };
}

export function books(get: () => Api): void {
  describe('POST /v1/verify', () => {
    test('tells how far it is, what it finds, and in the end what it comes to, of one tenant alone', async () => {
      const api = get();
      const { token } = await filled(api, 'verified');
      const { status, type, lines } = await ask(api, '/v1/verify', { token, body: { channel: 2 } });
      expect([status, type]).toEqual([200, 'application/x-ndjson']);
      expect(lines[0]).toEqual({ event: 'progress', doing: 'messages', done: 2, total: 2 });
      const found = lines.filter(({ event }) => event === 'finding');
      expect(found).toContainEqual({
        event: 'finding',
        code: 'key_missing',
        channel: 2,
        message: '2-1',
        plan: null,
        detail: 'The key of 2-1 is missing: a duplicate of it would be taken for new.',
      });
      expect(lines.at(-1)).toMatchObject({
        event: 'result',
        ok: false,
        channels: 1,
        messages: 2,
        findings: found.length,
      });
      const { token: empty } = await api.newTenant('unverified');
      expect((await ask(api, '/v1/verify', { token: empty, body: {} })).lines.at(-1)).toMatchObject({
        event: 'result',
        ok: true,
        channels: 4,
        messages: 0,
      });
    });

    test.each([
      [{ channel: 4 }, 'unknown_channel'],
      [{ from: 3 }, 'invalid_body'],
      [{ channel: 1, from: 3, to: 2 }, 'invalid_body'],
      [{ channel: 1, from: 0 }, 'invalid_body'],
      [{ since: 'yesterday' }, 'invalid_body'],
    ])('refuses %j', async (body, code) => {
      const { status, body: answered } = await get().call('POST', '/v1/verify', { body });
      expect([status, answered.code]).toEqual([422, code]);
    });

    test('goes on once at a time for a tenant, and stops when its caller hangs up', async () => {
      const api = get();
      const { token } = await filled(api, 'verifying');
      const held = await api.pool.connect();
      await held.query('begin; set local idle_in_transaction_session_timeout = 0; lock table reader');
      const hanging = new AbortController();
      const first = fetch(`${api.origin}/v1/verify`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: '{}',
        signal: hanging.signal,
      });
      const waits =
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%join reader%'";
      await until(async () => (await api.pool.query(waits)).rows.length > 0, 'the first one to read');
      const second = await api.call('POST', '/v1/verify', { token, body: {} });
      expect([second.status, second.body.code, second.headers.get('retry-after')]).toEqual([
        429,
        'verify_running',
        '30',
      ]);
      hanging.abort();
      await expect(first).rejects.toThrow();
      await held.query('commit');
      held.release();
      await until(async () => (await api.call('POST', '/v1/verify', { token, body: {} })).status === 200, 'its end');
    });
  });

  describe('POST /v1/accounts/erase', () => {
    test('erases it in one tenant alone; what is asked of it then is 410', async () => {
      const api = get();
      const { tenant, source, token, place } = await filled(api, 'erased');
      const { place: others, token: other } = await filled(api, 'not-erased');
      await quarantined(api.pool, tenant, source, 'conflict', place);
      await api.pool.query('update quarantine set account = $2 where tenant = $1', [tenant.id, 'account 5']);
      const body = { account: 'account 5', reason: 'asked to', source: 'feed' };
      const { status, type, lines } = await ask(api, '/v1/accounts/erase', { token, body });
      expect([status, type]).toEqual([200, 'application/x-ndjson']);
      expect(lines.at(-1)).toMatchObject({ event: 'result', messages: 2, closed: 2, left: 0 });
      expect(String(lines.at(-1)?.pseudonym)).toMatch(/^erased-/);
      for (const rest of ['', '/raw', '/parts/1', '/explain']) {
        const { status: code, body: answered } = await api.call('GET', `/v1/messages/${messageId(place)}${rest}`, {
          token,
        });
        expect([rest, code, answered.code]).toEqual([rest, 410, 'content_erased']);
      }
      const version = 2;
      const replay = { token, body: { version, targets: ['x'] } };
      expect(
        (await api.call('POST', `/v1/messages/${messageId(place)}/reopen`, { token, body: { version } })).body.code,
      ).toBe('content_erased');
      expect((await api.call('POST', `/v1/messages/${messageId(place)}/replay`, replay)).status).toBe(422);
      const entry = await api.call('GET', '/v1/quarantine?state=discarded', { token });
      const { id, state, size } = entry.body.items[0];
      expect([state, size]).toEqual(['discarded', 0]);
      expect((await api.call('GET', `/v1/quarantine/${id}/raw`, { token })).body.code).toBe('content_erased');
      const pseudonym = encodeURIComponent(String(lines.at(-1)?.pseudonym));
      const listed = await api.call('GET', `/v1/messages?account=${pseudonym}`, { token });
      expect(listed.body.items).toMatchObject([
        { id: '2-2', size: 0, externalId: null, state: 'closed' },
        { id: '2-1', size: 0, externalId: null, state: 'closed' },
      ]);
      expect((await api.call('GET', `/v1/messages/${messageId(others)}/raw`, { token: other })).status).toBe(200);
    });

    test('refuses a source that is none, and wants a reason', async () => {
      const api = get();
      const erase = (body: object) => api.call('POST', '/v1/accounts/erase', { body });
      expect((await erase({ account: 'a', reason: 'x', source: 'nowhere' })).body.code).toBe('unknown_source');
      expect((await erase({ account: 'a' })).body.code).toBe('invalid_body');
    });
  });
}
