import { describe, expect, test } from 'vitest';
import { messageId } from '../../../src/message/id.js';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import type { Api } from '../harness.js';
import { addDelivery, addMessage, addSource, addTarget, plan } from '../seed.js';

export function configuration(get: () => Api): void {
  describe('sources and targets', () => {
    const webhook = {
      kind: 'webhook',
      verify: { scheme: 'standard', secrets: ['whsec_first-secret', 'whsec_second-secret'] },
    };
    const hook = {
      kind: 'webhook',
      url: 'https://hooks.example.com/in?key=hidden-key',
      secrets: ['whsec_c2VjcmV0'],
      headers: { authorization: 'Bearer hidden-header' },
    };

    test.each([
      ['sources', webhook, { ...webhook, account: '/data/customer' }],
      ['targets', hook, { ...hook, timeoutSeconds: 3 }],
    ])('%s are made, shown, changed and removed', async (what, definition, changed) => {
      const api = get();
      const at = `/v1/${what}/cycle`;
      const created = await api.call('PUT', at, { body: definition });
      expect([created.status, created.body.version, created.headers.get('etag')]).toEqual([201, 1, '"1"']);
      expect((await api.call('PUT', at, { body: changed, headers: { 'if-match': '"1"' } })).body.version).toBe(2);
      expect((await api.call('PUT', at, { body: changed })).status).toBe(200);
      const stale = await api.call('PUT', at, { body: definition, headers: { 'if-match': '"1"' } });
      expect([stale.status, stale.body.code, stale.body.version]).toEqual([412, 'version_mismatch', 2]);
      expect((await api.call('PUT', at, { body: changed, headers: { 'if-none-match': '*' } })).status).toBe(412);
      expect((await api.call('PUT', at, { body: changed, headers: { 'if-match': 'x' } })).body.code).toBe(
        'if_match_invalid',
      );
      expect((await api.call('GET', `/v1/${what}`)).body.items.map((one: { name: string }) => one.name)).toContain(
        'cycle',
      );
      expect((await api.call('DELETE', at, { headers: { 'if-match': '"1"' } })).status).toBe(412);
      expect((await api.call('DELETE', at, { headers: { 'if-match': '"2"' } })).status).toBe(204);
      expect([(await api.call('GET', at)).status, (await api.call('DELETE', at)).status]).toEqual([404, 404]);
    });

    test('never show a secret, and keep those that are sent back as they were shown', async () => {
      const api = get();
      for (const [at, definition] of [
        ['/v1/sources/secretive', webhook],
        ['/v1/targets/secretive', hook],
      ] as const) {
        const created = await api.call('PUT', at, { body: definition });
        expect(created.text + (await api.call('GET', at)).text).not.toMatch(/whsec|hidden/);
        const sent = await api.call('PUT', at, { body: created.body.definition });
        expect([sent.status, sent.body.version]).toEqual([200, 1]);
      }
      const { rows } = await api.pool.query(`select definition from target where name = 'secretive'`);
      expect(rows[0].definition).toMatchObject({ url: hook.url, secrets: hook.secrets, headers: hook.headers });
    });

    test('say where a definition is wrong', async () => {
      const { status, body } = await get().call('PUT', '/v1/targets/wrong', { body: { ...hook, timeoutSeconds: 900 } });
      expect([status, body.code, body.errors[0].pointer]).toEqual([422, 'invalid_body', '/timeoutSeconds']);
    });

    test('that a file names are changed in the file alone', async () => {
      const api = get();
      await addSource(api.pool, api.tenant, 'filed');
      await addTarget(api.pool, api.tenant, 'filed');
      await api.pool.query(`update source set managed_by = 'file' where name = 'filed'`);
      await api.pool.query(`update target set managed_by = 'file' where name = 'filed'`);
      for (const [method, path, body] of [
        ['PUT', '/v1/sources/filed', { kind: 'events' }],
        ['DELETE', '/v1/sources/filed', undefined],
        ['PUT', '/v1/targets/filed', { kind: 'pull' }],
        ['DELETE', '/v1/targets/filed', undefined],
      ] as const) {
        const answer = await api.call(method, path, { body });
        expect([answer.status, answer.body.code]).toEqual([409, 'managed_by_file']);
      }
    });

    test('a name that can be none is 404', async () => {
      expect((await get().call('PUT', '/v1/targets/UPPER', { body: hook })).status).toBe(404);
    });
  });

  describe('a target', () => {
    test('is paused and goes on, and says how it is doing', async () => {
      const api = get();
      const id = await addTarget(api.pool, api.tenant, 'pausing');
      const health = async () => (await api.call('GET', '/v1/targets/pausing')).body.health;
      expect(await health()).toMatchObject({ state: 'ok', pending: 0 });
      const source = await addSource(api.pool, api.tenant, 'pausing');
      const place = await addMessage(api.pool, api.tenant, { source });
      const number = await plan(api.pool, api.tenant, place, { targets: [[id, 1, 'later']] });
      await addDelivery(api.pool, api.tenant, place, { target: id, number: 1, plan: number, state: 'pending' });
      expect(await health()).toMatchObject({ state: 'waiting', pending: 1 });
      await api.pool.query(
        `update delivery set attempts = 2, code = 'http_500', reason = 'it broke' where target = $1`,
        [id],
      );
      expect(await health()).toMatchObject({ state: 'failing', code: 'http_500', reason: 'it broke' });
      const paused = await api.call('POST', '/v1/targets/pausing/pause', { body: { reason: 'moving house' } });
      expect([paused.status, paused.body.health.state, paused.body.paused]).toMatchObject([
        200,
        'paused',
        { by: 'admin token', reason: 'moving house' },
      ]);
      expect((await api.call('POST', '/v1/targets/pausing/pause')).body.paused.reason).toBe('moving house');
      const resumed = await api.call('POST', '/v1/targets/pausing/resume');
      expect([resumed.status, resumed.body.paused]).toEqual([200, null]);
    });

    test('is recovered: what failed goes again in order, once, and not what somebody dealt with', async () => {
      const api = get();
      const id = await addTarget(api.pool, api.tenant, 'recovering');
      const source = await addSource(api.pool, api.tenant, 'recovering');
      const failed = async (minute: number) => {
        const place = await addMessage(api.pool, api.tenant, { source, channel: minute % 2 });
        const number = await plan(api.pool, api.tenant, place, { targets: [[id, minute, 'later']] });
        await addDelivery(api.pool, api.tenant, place, {
          target: id,
          number: minute,
          plan: number,
          state: 'failed',
          at: new Date(Date.UTC(2025, 0, 1, 0, minute)),
        });
        return place;
      };
      await failed(1);
      const places = [await failed(11), await failed(12), await failed(13)];
      const dealt = await failed(14);
      await api.call('POST', `/v1/messages/${messageId(dealt)}/replay`, {
        body: { version: 1, targets: ['recovering'] },
      });
      const recover = () =>
        api.call('POST', '/v1/targets/recovering/recover', { body: { since: '2025-01-01T00:10:00Z' } });
      api.woken.length = 0;
      const first = await recover();
      expect([first.status, first.body]).toEqual([202, { recovered: 3, more: false }]);
      expect(api.woken.toSorted()).toEqual([`${api.tenant.id}/0`, `${api.tenant.id}/1`]);
      const { rows } = await api.pool.query(
        `select channel, sequence, action, plan from decision where tenant = $1 and targets = array[$2]::int[] and reason = 'recovered' order by decided_at`,
        [api.tenant.id, id],
      );
      expect(rows).toEqual(places.map((place) => ({ ...place, action: 'replay', plan: null })));
      expect((await recover()).body.recovered).toBe(0);
      expect(
        (await api.call('GET', `/v1/messages/${messageId(places[0] ?? { channel: 0, sequence: 0 })}`)).body.version,
      ).toBe(2);
    });
  });

  describe('rules', () => {
    const rules = (target: string, name = 'orders') =>
      `rules:\n  - name: ${name}\n    when: { type: order.placed }\n    then: { targets: ${target} }\n`;

    test('are kept by version, put in force, and put in force again', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('rules');
      await addTarget(api.pool, tenant, 'crm');
      const call = (method: string, path: string, body?: unknown, headers = {}) =>
        api.call(method, path, { token, body, headers });
      expect((await call('GET', '/v1/rules/active')).status).toBe(404);
      expect((await call('PUT', '/v1/rules', { text: rules('crm') })).body).toEqual({ version: 1, active: true });
      const second = await call(
        'PUT',
        '/v1/rules',
        { text: rules('crm', 'other'), why: 'better name' },
        { 'if-match': '"1"' },
      );
      expect([second.status, second.body, second.headers.get('etag')]).toEqual([
        200,
        { version: 2, active: true },
        '"2"',
      ]);
      const stale = await call('PUT', '/v1/rules', { text: rules('crm') }, { 'if-match': '"1"' });
      expect([stale.status, stale.body.code, stale.body.version]).toEqual([412, 'version_mismatch', 2]);
      expect((await call('GET', '/v1/rules/active')).body).toMatchObject({
        version: 2,
        text: rules('crm', 'other'),
        why: 'better name',
        who: expect.stringMatching(/^token /),
      });
      const listed = await call('GET', '/v1/rules?limit=1');
      expect(listed.body.items.map((one: { version: number }) => one.version)).toEqual([2]);
      expect((await call('GET', `/v1/rules?limit=1&cursor=${listed.body.next}`)).body).toMatchObject({
        items: [{ version: 1, active: false }],
        next: null,
      });
      expect((await call('POST', '/v1/rules/1/activate', undefined, { 'if-match': '"1"' })).status).toBe(412);
      expect((await call('POST', '/v1/rules/1/activate')).body).toEqual({ version: 1, active: true });
      expect((await call('GET', '/v1/rules/1')).body).toMatchObject({ active: true, text: rules('crm') });
      expect([(await call('GET', '/v1/rules/9')).status, (await call('POST', '/v1/rules/9/activate')).status]).toEqual([
        404, 404,
      ]);
      expect((await call('DELETE', '/v1/targets/crm')).body.code).toBe('in_use');
      await call('PUT', '/v1/rules', { text: 'rules: []\n' });
      await call('DELETE', '/v1/targets/crm');
      expect((await call('POST', '/v1/rules/1/activate')).body).toMatchObject({
        status: 422,
        code: 'unknown_target',
        targets: ['crm'],
      });
      await api.pool.query(`update rule_set set managed_by = 'file' where tenant = $1 and active`, [tenant.id]);
      expect((await call('PUT', '/v1/rules', { text: rules('crm') })).body.code).toBe('managed_by_file');
      expect((await call('POST', '/v1/rules/1/activate')).body).toMatchObject({ status: 409, code: 'managed_by_file' });
    });

    test('that are wrong say line and column, and the old ones stay', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('wrong-rules');
      await addTarget(api.pool, tenant, 'crm');
      const wrong = await api.call('PUT', '/v1/rules', {
        token,
        body: { text: 'rules:\n  - name: x\n    whem: {}\n    then: { targets: crm }\n' },
      });
      expect([wrong.status, wrong.body.code]).toEqual([422, 'rules_invalid']);
      expect(wrong.body.problems).toContainEqual(expect.objectContaining({ line: 3, column: 5, didYouMean: 'when' }));
      const unknown = await api.call('PUT', '/v1/rules', { token, body: { text: rules('crn') } });
      expect(unknown.body.problems[0]).toMatchObject({ line: 4, didYouMean: 'crm' });
      expect((await api.call('GET', '/v1/rules', { token })).body.items).toEqual([]);
    });

    test('are tried on a message or a sample, and nothing comes of it', async () => {
      const api = get();
      const source = await addSource(api.pool, api.tenant, 'tried', 'mail');
      const view = { ...EMPTY_VIEW, subject: 'Hello' };
      const place = await addMessage(api.pool, api.tenant, { source, kind: 'mail', view });
      const tryOn = (body: unknown) => api.call('POST', '/v1/rules/test', { body });
      const text =
        'rules:\n  - name: hello\n    when: { subject: [{ prefix: Hell }] }\n    then: { close: greeting }\n';
      const found = await tryOn({ text, message: messageId(place) });
      expect([found.status, found.body.outcome, found.body.rules]).toEqual([
        200,
        { do: 'close', reason: 'greeting' },
        ['hello'],
      ]);
      expect((await tryOn({ text, sample: { kind: 'mail', subject: 'Bye' } })).body).toMatchObject({
        version: null,
        outcome: { do: 'wait' },
        steps: [{ state: 'not_matched' }],
      });
      expect(
        (await tryOn({ text: rules('nowhere'), sample: { kind: 'event', type: 'order.placed', data: { a: 1 } } })).body
          .outcome,
      ).toEqual({ do: 'deliver', targets: ['nowhere'] });
      expect((await tryOn({ text: 'rules: 5', sample: { kind: 'mail' } })).body.code).toBe('rules_invalid');
      expect((await tryOn({ text })).body.code).toBe('invalid_body');
      expect((await tryOn({ text, message: '3-99999' })).status).toBe(404);
      expect((await tryOn({ version: 99_999, sample: { kind: 'mail' } })).status).toBe(404);
      const gone = await addMessage(api.pool, api.tenant, { source, dropped: true });
      expect((await tryOn({ text, message: messageId(gone) })).status).toBe(410);
    });

    test('are looked through before they are kept', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('linting');
      await addTarget(api.pool, tenant, 'crm');
      const lint = async (text: string) => (await api.call('POST', '/v1/rules/lint', { token, body: { text } })).body;
      expect(await lint(rules('crm'))).toEqual({ problems: [] });
      expect(await lint('rules:\n  - name: all\n    when: {}\n    then: { targets: crn }\n')).toEqual({
        problems: [
          {
            severity: 'warning',
            code: 'matches_everything',
            rule: 'all',
            line: 2,
            column: 11,
            message: '"all" matches every message',
          },
          {
            severity: 'error',
            code: 'target_unknown',
            rule: 'all',
            line: 4,
            column: 22,
            message: 'there is no target "crn"; define it first, or name another; did you mean "crm"?',
          },
        ],
      });
      await api.call('POST', '/v1/targets/crm/pause', { token, body: { reason: 'moving house' } });
      expect((await lint(rules('crm'))).problems).toMatchObject([{ code: 'target_paused', rule: 'orders' }]);
      expect((await lint('rules: 5')).problems).toMatchObject([{ severity: 'error', code: 'invalid', rule: null }]);
    });
  });
}
