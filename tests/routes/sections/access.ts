import { describe, expect, test } from 'vitest';
import { until } from '../../support/until.js';
import type { Api } from '../harness.js';

export function access(get: () => Api): void {
  describe('tokens', () => {
    test('are made with their secret shown once, listed without, and revoked', async () => {
      const api = get();
      const made = await api.call('POST', '/v1/tokens', {
        body: { name: 'ci', permissions: ['messages.read', 'messages.read'] },
      });
      expect([made.status, made.body.permissions, made.body.createdBy]).toEqual([
        201,
        ['messages.read'],
        'admin token',
      ]);
      const token = made.body.token;
      expect((await api.call('GET', '/v1/messages', { token })).status).toBe(200);
      expect((await api.call('GET', '/v1/tokens', { token })).body).toMatchObject({
        status: 403,
        code: 'forbidden',
        permission: 'tokens.manage',
      });
      const listed = await api.call('GET', '/v1/tokens');
      expect(listed.text).not.toContain(token);
      expect(listed.body.items.find((one: { name: string }) => one.name === 'ci')).toMatchObject({
        revokedAt: null,
        lastUsedAt: expect.any(String),
      });
      expect(
        (await api.call('POST', '/v1/tokens', { body: { name: 'ci', permissions: ['messages.read'] } })).body,
      ).toMatchObject({ status: 409, code: 'name_taken' });
      expect((await api.call('DELETE', '/v1/tokens/ci')).status).toBe(204);
      expect((await api.call('GET', '/v1/messages', { token })).body).toMatchObject({
        status: 401,
        code: 'token_invalid',
      });
      expect(
        (await api.call('POST', '/v1/tokens', { body: { name: 'ci', permissions: ['messages.read'] } })).status,
      ).toBe(201);
      expect((await api.call('DELETE', '/v1/tokens/nobody')).status).toBe(404);
    });

    test('and people of a tenant are bounded, as they are listed whole', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('crowded');
      await api.pool.query(
        `insert into token (tenant, name, hash, permissions, created_by)
         select $1, 't-' || n, sha256(('crowded ' || n)::bytea), '{}', 'test' from generate_series(1, 1000) n`,
        [tenant.id],
      );
      await api.pool.query(
        `insert into person (tenant, name, role) select $1, 'p-' || n, 'viewer' from generate_series(1, 10000) n`,
        [tenant.id],
      );
      const make = (path: string, body: object) => api.call('POST', path, { token, body });
      const permissions = ['messages.read'];
      const full = { status: 409, code: 'too_many' };
      expect((await make('/v1/tokens', { name: 'one-more', permissions })).body).toMatchObject(full);
      expect((await make('/v1/users', { name: 'one-more', role: 'viewer' })).body).toMatchObject(full);
    });

    test('store nothing but the hash', async () => {
      const api = get();
      const { body } = await api.call('POST', '/v1/tokens', {
        body: { name: 'hashed', permissions: ['messages.read'] },
      });
      const { rows } = await api.pool.query(
        `select row_to_json(t)::text as all, t.hash = sha256($1) as same from token t where name = 'hashed'`,
        [Buffer.from(body.token)],
      );
      expect(rows[0].same).toBe(true);
      expect(rows[0].all).not.toContain(body.token);
    });

    test('give nobody more than its maker holds', async () => {
      const api = get();
      const token = await api.token(['tokens.manage', 'messages.read']);
      const more = await api.call('POST', '/v1/tokens', {
        token,
        body: { name: 'more', permissions: ['messages.read', 'rules.write'] },
      });
      expect(more.body).toMatchObject({ status: 403, code: 'not_held', permissions: ['rules.write'] });
      expect(
        (await api.call('POST', '/v1/tokens', { token, body: { name: 'same', permissions: ['tokens.manage'] } }))
          .status,
      ).toBe(201);
    });

    test('of other tenants never hold what concerns all tenants, whatever their row says', async () => {
      const api = get();
      const { body } = await api.call('GET', '/v1/tenants', {
        token: await api.token(['tenants.manage', 'metrics.read'], api.other),
      });
      expect(body).toMatchObject({ status: 403, permission: 'tenants.manage' });
    });

    test('end by themselves', async () => {
      const api = get();
      const past = await api.call('POST', '/v1/tokens', {
        body: { name: 'past', permissions: ['messages.read'], expiresAt: '2020-01-01T00:00:00Z' },
      });
      expect(past.body).toMatchObject({ status: 422, code: 'expiry_invalid' });
      const { body } = await api.call('POST', '/v1/tokens', {
        body: {
          name: 'short',
          permissions: ['messages.read'],
          expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
        },
      });
      expect((await api.call('GET', '/v1/messages', { token: body.token })).status).toBe(200);
      await api.pool.query(`update token set expires_at = now() - interval '1 min' where name = 'short'`);
      api.clock.advance(1000);
      expect((await api.call('GET', '/v1/messages', { token: body.token })).status).toBe(401);
    });

    test('revoked by another process are refused within a second', async () => {
      const api = get();
      const token = await api.token(['messages.read']);
      expect((await api.call('GET', '/v1/messages', { token })).status).toBe(200);
      await api.pool.query('update token set revoked_at = now() where hash = sha256($1)', [Buffer.from(token)]);
      api.clock.advance(1000);
      expect((await api.call('GET', '/v1/messages', { token })).status).toBe(401);
    });
  });

  describe('people', () => {
    test('are added with a one-time link, shown, changed, disabled and let in again', async () => {
      const api = get();
      const added = await api.call('POST', '/v1/users', { body: { name: 'anna', role: 'viewer' } });
      expect(added.body).toMatchObject({
        name: 'anna',
        role: 'viewer',
        disabled: false,
        signIn: expect.stringMatching(new RegExp(`^${api.origin}/sign-in/[\\w-]{43}$`)),
      });
      expect((await api.call('POST', '/v1/users', { body: { name: 'anna', role: 'viewer' } })).body).toMatchObject({
        status: 409,
        code: 'name_taken',
      });
      expect((await api.call('PUT', '/v1/users/anna', { body: { role: 'operator' } })).body).toEqual({
        name: 'anna',
        role: 'operator',
        disabled: false,
      });
      expect((await api.call('GET', '/v1/users/anna')).body.role).toBe('operator');
      expect((await api.call('POST', '/v1/users/anna/sign-in')).status).toBe(201);
      expect((await api.call('DELETE', '/v1/users/anna')).status).toBe(204);
      expect((await api.call('POST', '/v1/users/anna/sign-in')).body).toMatchObject({
        status: 409,
        code: 'person_disabled',
      });
      expect((await api.call('GET', '/v1/users')).body.items).toContainEqual({
        name: 'anna',
        role: 'operator',
        disabled: true,
      });
      expect((await api.call('PUT', '/v1/users/anna', { body: { disabled: false } })).body.disabled).toBe(false);
      for (const [method, path] of [
        ['GET', '/v1/users/nobody'],
        ['DELETE', '/v1/users/nobody'],
        ['PUT', '/v1/users/nobody'],
        ['POST', '/v1/users/nobody/sign-in'],
      ] as const) {
        expect((await api.call(method, path, method === 'PUT' ? { body: {} } : {})).status).toBe(404);
      }
    });

    test('the last owner stays, also when two owners disable each other at once', async () => {
      const api = get();
      const { token } = await api.newTenant('owners');
      const call = (method: string, path: string, body?: unknown) => api.call(method, path, { token, body });
      for (const name of ['one', 'two'])
        expect((await call('POST', '/v1/users', { name, role: 'owner' })).status).toBe(201);
      const statuses = (await Promise.all([call('DELETE', '/v1/users/one'), call('DELETE', '/v1/users/two')])).map(
        ({ status }) => status,
      );
      expect(statuses.toSorted()).toEqual([204, 409]);
      const left = (await call('GET', '/v1/users')).body.items.find((one: { disabled: boolean }) => !one.disabled).name;
      expect((await call('PUT', `/v1/users/${left}`, { role: 'viewer' })).body).toMatchObject({
        status: 409,
        code: 'last_owner',
      });
    });

    test('nobody makes, changes or signs in as somebody with more rights', async () => {
      const api = get();
      await api.call('POST', '/v1/users', { body: { name: 'boss', role: 'owner' } });
      const token = await api.token(['people.manage', 'messages.read']);
      for (const [method, path, body] of [
        ['POST', '/v1/users', { name: 'me', role: 'owner' }],
        ['PUT', '/v1/users/boss', { role: 'viewer' }],
        ['DELETE', '/v1/users/boss', undefined],
        ['POST', '/v1/users/boss/sign-in', undefined],
      ] as const) {
        expect((await api.call(method, path, { token, body })).body).toMatchObject({ status: 403, code: 'not_held' });
      }
    });
  });

  describe('a session', () => {
    const cookieOf = (headers: Headers) => headers.get('set-cookie')?.split(';')[0] ?? '';

    async function signedIn(name: string, role = 'owner') {
      const api = get();
      const { body } = await api.call('POST', '/v1/users', { body: { name, role } });
      const path = new URL(body.signIn).pathname;
      const answer = await api.call('POST', path, { token: null });
      const cookie = cookieOf(answer.headers);
      const { rows } = await api.pool.query(
        'select s.csrf from session s join person p on p.tenant = s.tenant and p.id = s.person where p.name = $1',
        [name],
      );
      const call = (method: string, to: string, headers: Record<string, string> = {}, sent?: unknown) =>
        api.call(method, to, { token: null, body: sent, headers: { cookie, ...headers } });
      return { api, path, answer, cookie, csrf: String(rows[0]?.csrf), call };
    }

    test('begins by the button behind a link, once', async () => {
      const { api, path, answer, call } = await signedIn('begins');
      expect([answer.status, answer.headers.get('location')]).toEqual([303, '/']);
      expect(answer.headers.get('set-cookie')).toMatch(
        /^waybill_session=[\w-]{43}; Path=\/; Max-Age=1209600; HttpOnly; SameSite=Lax$/,
      );
      expect((await call('GET', '/v1/messages')).status).toBe(200);
      expect((await api.call('POST', path, { token: null })).body).toMatchObject({ status: 410, code: 'link_used' });
    });

    test('does not begin from another site, which would leave the link unused', async () => {
      const api = get();
      const { body } = await api.call('POST', '/v1/users', { body: { name: 'lured', role: 'viewer' } });
      const path = new URL(body.signIn).pathname;
      expect(
        (await api.call('POST', path, { token: null, headers: { origin: 'https://evil.example' } })).body,
      ).toMatchObject({ status: 403, code: 'csrf' });
      expect((await api.call('POST', path, { token: null, headers: { origin: api.origin } })).status).toBe(303);
    });

    test('does not begin by a link that ran out', async () => {
      const api = get();
      const { body } = await api.call('POST', '/v1/users', { body: { name: 'late', role: 'viewer' } });
      await api.pool.query('update sign_in set expires_at = $1', [new Date(api.clock.now())]);
      expect((await api.call('POST', new URL(body.signIn).pathname, { token: null })).status).toBe(410);
    });

    test('changes nothing without its CSRF token, nor from another origin', async () => {
      const { api, csrf, call } = await signedIn('guarded');
      const body = { name: 'made-by-session', permissions: ['messages.read'] };
      for (const headers of [
        {},
        { 'x-csrf-token': 'wrong' },
        { 'x-csrf-token': csrf, origin: 'https://evil.example' },
        { 'x-csrf-token': csrf, 'sec-fetch-site': 'cross-site' },
      ]) {
        expect((await call('POST', '/v1/tokens', headers as Record<string, string>, body)).body).toMatchObject({
          status: 403,
          code: 'csrf',
        });
      }
      const made = await call('POST', '/v1/tokens', { 'x-csrf-token': csrf, origin: api.origin }, body);
      expect([made.status, made.body.createdBy]).toEqual([201, 'guarded']);
    });

    test('holds what its person’s role holds, from the next request on', async () => {
      const { api, call } = await signedIn('demoted', 'owner');
      await api.call('POST', '/v1/users', { body: { name: 'other-owner', role: 'owner' } });
      expect((await call('GET', '/v1/tokens')).status).toBe(200);
      expect((await api.call('PUT', '/v1/users/demoted', { body: { role: 'viewer' } })).status).toBe(200);
      expect((await call('GET', '/v1/tokens')).status).toBe(403);
      expect((await call('GET', '/v1/messages')).status).toBe(200);
    });

    test('ends with its person, with signing out, and with time', async () => {
      const disabled = await signedIn('disabled', 'viewer');
      await disabled.api.call('DELETE', '/v1/users/disabled');
      expect((await disabled.call('GET', '/v1/messages')).body).toMatchObject({ status: 401, code: 'session_ended' });
      const out = await signedIn('goes-out', 'viewer');
      const answer = await out.call('POST', '/sign-out');
      expect([answer.status, cookieOf(answer.headers)]).toEqual([303, 'waybill_session=']);
      expect((await out.call('GET', '/v1/messages')).status).toBe(401);
      const idle = await signedIn('idle', 'viewer');
      await idle.api.pool.query('update session set expires_at = $1', [new Date(idle.api.clock.now())]);
      expect((await idle.call('GET', '/v1/messages')).status).toBe(401);
    });

    test('moves its end on while it is used', async () => {
      const { api, call } = await signedIn('busy', 'viewer');
      const end = async () =>
        (
          await api.pool.query(
            `select s.expires_at from session s join person p on p.id = s.person where p.name = 'busy'`,
          )
        ).rows[0].expires_at.getTime();
      const before = await end();
      await api.pool.query(`update session set expires_at = expires_at - interval '2 hours'`);
      await call('GET', '/v1/messages');
      expect(await end()).toBeGreaterThanOrEqual(before);
    });
  });

  describe('tenants', () => {
    test('are made with their first owner’s link, and only by who runs the installation', async () => {
      const api = get();
      const made = await api.call('POST', '/v1/tenants', { body: { name: 'acme', channels: 2 } });
      expect(made.body).toMatchObject({ name: 'acme', channels: 2, signIn: expect.stringContaining('/sign-in/') });
      expect((await api.call('POST', new URL(made.body.signIn).pathname, { token: null })).status).toBe(303);
      expect((await api.call('POST', '/v1/tenants', { body: { name: 'acme' } })).body).toMatchObject({
        status: 409,
        code: 'name_taken',
      });
      expect((await api.call('GET', '/v1/tenants/acme')).body).toEqual({ name: 'acme', channels: 2 });
      expect((await api.call('GET', '/v1/tenants/nobody')).status).toBe(404);
      expect((await api.call('GET', '/v1/tenants')).body.items).toContainEqual({ name: 'other', channels: 4 });
      expect((await api.call('GET', '/v1/tenants', { token: api.stranger })).status).toBe(403);
    });
  });

  test('every change and every refusal is in the audit, and no secret', async () => {
    const api = get();
    const { tenant, token } = await api.newTenant('audited');
    const made = await api.call('POST', '/v1/tokens', {
      token,
      body: { name: 'seen', permissions: ['messages.read'] },
    });
    for (let i = 0; i < 3; i++) await api.call('GET', '/v1/tokens', { token: made.body.token });
    await api.call('DELETE', '/v1/tokens/seen', { token });
    await api.call('POST', '/v1/users', { token, body: { name: 'ann', role: 'viewer' } });
    const rows = await until(async () => {
      const sql = 'select who, action, object, detail from audit where tenant = $1';
      const found = await api.pool.query(sql, [tenant.id]);
      return found.rows.length >= 6 && found.rows;
    }, 'six lines of the audit');
    expect(rows.map(({ action, object }) => `${action} ${object}`).toSorted()).toEqual([
      'person.create ann',
      'person.link ann',
      'refused GET /v1/tokens',
      'tenant.create audited',
      'token.create seen',
      'token.revoke seen',
    ]);
    expect(JSON.stringify(rows)).not.toMatch(/wb_|sign-in\//);
  });

  describe('who shows wrong credentials', () => {
    test.each(['Bearer', 'Bearer ', 'Basic YTpi', `Bearer ${'x'.repeat(600)}`, `Bearer wb_${'A'.repeat(43)}`])(
      '%s is refused with a hint',
      async (authorization) => {
        const answer = await get().call('GET', '/v1/messages', { token: null, headers: { authorization } });
        expect([answer.status, answer.body.code, answer.headers.get('www-authenticate')]).toEqual([
          401,
          'token_invalid',
          'Bearer realm="waybill"',
        ]);
      },
    );
  });
}
