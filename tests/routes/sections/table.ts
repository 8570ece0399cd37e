import { describe, expect, test } from 'vitest';
import { openapiPath, usualProblems } from '../../../routes/openapi.js';
import type { Route } from '../../../routes/route.js';
import { PERMISSIONS } from '../../../src/access/permission.js';
import { messageId } from '../../../src/message/id.js';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import type { Api } from '../harness.js';
import { addDelivery, addMessage, addSource, addTarget, addThread, placeIn, plan, quarantined } from '../seed.js';

const name = (route: Route) => `${route.method} ${route.path}`;
const isTenants = (route: Route) => route.path.startsWith('/v1/') && route.permission !== 'public';
const hasBody = (route: Route) => route.body === 'json' || route.body === 'form';

/** A body that each route takes: what another tenant's object is asked with must not fail for another reason. */
const BODIES: Readonly<Record<string, unknown>> = {
  'post /v1/messages/:id/assign': { version: 1, targets: ['shared'] },
  'post /v1/messages/:id/unassign': { version: 1 },
  'post /v1/messages/:id/close': { version: 1, reason: 'x' },
  'post /v1/messages/:id/snooze': { version: 1, until: new Date(Date.now() + 3_600_000).toISOString() },
  'post /v1/messages/:id/reopen': { version: 1 },
  'post /v1/messages/:id/note': { version: 1, reason: 'x' },
  'post /v1/messages/:id/replay': { version: 1, targets: ['shared'] },
  'post /v1/messages/:id/claim': {},
  'put /v1/sources/:name': { kind: 'events', accepts: ['/isolation'] },
  'put /v1/targets/:name': { kind: 'pull' },
  'post /v1/targets/:name/pause': {},
  'post /v1/targets/:name/recover': { since: '2020-01-01T00:00:00Z' },
  'post /v1/quarantine/:id/claim': {},
  'post /v1/quarantine/:id/discard': {},
  'post /v1/quarantine/:id/requeue': {},
  'post /v1/quarantine/:id/delay': { until: new Date(Date.now() + 3_600_000).toISOString() },
  'put /v1/users/:name': { role: 'viewer' },
  'put /v1/meters/:name': { type: 'shared', aggregation: 'count' },
  'put /v1/rate-cards/:name': { currency: 'EUR', versions: [{ from: '2026-01-01', prices: [] }] },
  'put /v1/subscriptions/:name': { account: 'own', rateCard: 'shared', currency: 'EUR', from: '2026-01-01' },
  'post /v1/accounts/:account/corrections': { void: '3-1', why: 'x' },
  'post /v1/accounts/:account/statements/:period/close': {},
  'post /v1/backfills/:id/close': {},
  'post /v1/backfills/:id/revert': { why: 'x' },
  'post /v1/ledger/held/:id/accept': { why: 'x' },
  'post /v1/ledger/held/:id/discard': { why: 'x' },
};

/** A PUT under another tenant's name makes an object of one's own. */
const MAKES_OWN = new Set(
  ['sources', 'targets', 'meters', 'rate-cards', 'subscriptions'].map((what) => `put /v1/${what}/:name`),
);

export function table(get: () => Api): void {
  describe('every route', () => {
    test('of a tenant without credentials is 401, and without its permission 403, which names it', async () => {
      const api = get();
      for (const route of api.routes.filter((one) => one.permission !== 'public')) {
        const path = route.path.replace(/:[A-Za-z]+/g, '1');
        const nobody = await api.call(route.method.toUpperCase(), path, { token: null });
        expect([name(route), nobody.status, nobody.body.code]).toEqual([name(route), 401, 'unauthenticated']);
        const token = await api.token(PERMISSIONS.filter((one) => one !== route.permission));
        const lacking = await api.call(route.method.toUpperCase(), path, { token });
        expect([name(route), lacking.status, lacking.body.permission]).toEqual([name(route), 403, route.permission]);
      }
    });

    test('about another tenant’s object is 404, and leaves it as it was', async () => {
      const api = get();
      const place = await filled(api);
      const stranger = await api.token(PERMISSIONS, (await api.newTenant('isolated')).tenant);
      const before = await everythingOf(api);
      const ofTenants = api.routes.filter((one) => isTenants(one) && one.params && one.permission !== 'tenants.manage');
      const makersLast = [...ofTenants].sort((a, b) => Number(MAKES_OWN.has(name(a))) - Number(MAKES_OWN.has(name(b))));
      for (const route of makersLast) {
        const body = BODIES[name(route)];
        if (hasBody(route) && body === undefined) throw new Error(`say in BODIES what ${name(route)} takes`);
        const answer = await api.call(route.method.toUpperCase(), pathTo(route, place), { token: stranger, body });
        expect([name(route), answer.status]).toEqual([name(route), MAKES_OWN.has(name(route)) ? 201 : 404]);
      }
      expect(await everythingOf(api)).toEqual(before);
    });

    test('that lists lists nothing of another tenant', async () => {
      const api = get();
      await filled(api);
      const { token } = await api.newTenant('looks');
      const lists = api.routes.filter(
        (one) =>
          isTenants(one) &&
          one.method === 'get' &&
          !one.params &&
          one.permission !== 'tenants.manage' &&
          one.path !== '/v1/stream',
      );
      for (const route of lists) {
        const { status, text, body } = await api.call('GET', route.path, { token });
        const own = route.path === '/v1/tokens' ? 1 : route.path === '/v1/channels' ? 4 : 0;
        expect([name(route), status, body.items?.length ?? own]).toEqual([
          name(route),
          status === 404 ? 404 : 200,
          own,
        ]);
        expect(text).not.toContain('isolated-account');
      }
    });

    test('answers other methods 405 with those it takes', async () => {
      const api = get();
      for (const path of new Set(api.routes.map((one) => one.path))) {
        const taken = new Set(api.routes.filter((one) => one.path === path).map((one) => one.method.toUpperCase()));
        const { status, body, headers } = await api.call('PATCH', path.replace(/:[A-Za-z]+/g, '1'));
        expect([path, status, body.code]).toEqual([path, 405, 'method_not_allowed']);
        for (const method of taken) expect(headers.get('allow')).toContain(method);
        if (!taken.has('OPTIONS'))
          expect((await api.call('OPTIONS', path.replace(/:[A-Za-z]+/g, '1'))).status).toBe(204);
      }
    });

    test('that takes a body refuses what is too large, no JSON, of another type, or wrong', async () => {
      const api = get();
      const place = await filled(api);
      for (const route of api.routes.filter((one) => isTenants(one) && one.body === 'json')) {
        const ask = (body: string, type = 'application/json') =>
          api.call(route.method.toUpperCase(), pathTo(route, place), { body, headers: { 'content-type': type } });
        const answers = [
          await ask(`"${'x'.repeat(1_100_000)}"`),
          await ask('{"a":'),
          await ask('x', 'text/plain'),
          await ask('{"nonsense":1}'),
          await ask('[]'),
        ];
        expect([name(route), ...answers.map(({ status, body }) => `${status} ${body.code}`)]).toEqual([
          name(route),
          '413 body_too_large',
          '400 json_malformed',
          '415 media_type_unsupported',
          '422 invalid_body',
          '422 invalid_body',
        ]);
      }
    });
  });

  describe('/openapi.json', () => {
    test('has every call with its method, permission, parameters and statuses, and no other', async () => {
      const api = get();
      const { status, body } = await api.call('GET', '/openapi.json', { token: null });
      expect([status, body.openapi]).toEqual([200, '3.1.0']);
      const described = Object.entries<Record<string, unknown>>(body.paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method} ${path}`),
      );
      const calls = api.routes.filter((one) => /^\/(v1\/|healthz|readyz|metrics|openapi)/.test(one.path));
      expect(described.toSorted()).toEqual(calls.map((one) => `${one.method} ${openapiPath(one.path)}`).toSorted());
      for (const route of calls) {
        const operation = body.paths[openapiPath(route.path)][route.method];
        const statuses = new Set([...Object.keys(route.replies), ...usualProblems(route).map(String)]);
        expect(Object.keys(operation.responses).toSorted()).toEqual([...statuses].toSorted());
        const inPath = (operation.parameters ?? [])
          .filter((one: { in: string }) => one.in === 'path')
          .map((one: { name: string }) => one.name);
        expect(inPath).toEqual([...route.path.matchAll(/:([A-Za-z]+)/g)].map(([, parameter]) => parameter));
        expect(operation.security).toEqual(route.permission === 'public' ? [] : [{ bearer: [] }, { session: [] }]);
        expect(operation.requestBody !== undefined).toBe(hasBody(route) || route.body === 'raw');
      }
      expect(new Set(calls.map((one) => body.paths[openapiPath(one.path)][one.method].operationId)).size).toBe(
        calls.length,
      );
    });
  });
}

/** Fails where a route answered what its line in the table doesn't say, or a documented answer was never given. */
export function holdToTable(api: Api): void {
  const calls = api.routes.filter(
    (one) => one.path.startsWith('/v1/') || /^\/(healthz|readyz|metrics|openapi|sign)/.test(one.path),
  );
  const documented = new Map(calls.map((one) => [name(one), new Set(Object.keys(one.replies))]));
  const unsaid = [...api.seen].filter((line) => {
    const [method, path, status = ''] = line.split(' ');
    const route = calls.find((one) => name(one) === `${method} ${path}`);
    return route && !documented.get(name(route))?.has(status) && !usualProblems(route).includes(Number(status));
  });
  expect(unsaid, 'answers that the table does not name').toEqual([]);
  const unused = calls
    .flatMap((one) => Object.keys(one.replies).map((status) => `${name(one)} ${status}`))
    .filter((line) => !api.seen.has(line));
  expect(unused, 'documented answers that no test has seen').toEqual([]);
}

interface Filled {
  readonly message: string;
  readonly delivery: string;
  readonly quarantine: string;
  readonly thread: string;
  readonly backfill: string;
}

let once: Promise<Filled> | undefined;

/** One of everything in tenant `default`, all called `shared`. */
function filled(api: Api): Promise<Filled> {
  once ??= fill(api);
  return once;
}

async function fill(api: Api): Promise<Filled> {
  const { pool, tenant } = api;
  const source = await addSource(pool, tenant, 'shared', 'mail');
  const target = await addTarget(pool, tenant, 'shared');
  const part = { n: 1, path: '1', name: 'x', type: 'text/plain', size: 4, sha256: '', inline: false, contentId: null };
  const view = { ...EMPTY_VIEW, parts: [part] };
  const place = await addMessage(pool, tenant, { source, account: 'isolated-account', channel: 3, kind: 'mail', view });
  const number = await plan(pool, tenant, place, { targets: [[target, 1, 'later']] });
  await addDelivery(pool, tenant, place, { target, number: 1, plan: number, state: 'failed' });
  const thread = await addThread(pool, tenant);
  await placeIn(pool, tenant, place, { thread, number: 1 });
  const held = await quarantined(pool, tenant, source, 'poison', place);
  await api.call('POST', '/v1/users', { body: { name: 'shared', role: 'viewer' } });
  await api.call('POST', '/v1/tokens', { body: { name: 'shared', permissions: ['messages.read'] } });
  await api.call('PUT', '/v1/rules', { body: { text: 'rules: []\n' } });
  for (const what of ['meters', 'rate-cards', 'subscriptions']) {
    const made = BODIES[`put /v1/${what}/:name`] as object;
    const body = what === 'subscriptions' ? { ...made, account: 'shared' } : made;
    await api.call('PUT', `/v1/${what}/shared`, { body });
  }
  const range = { from: '2026-01-01T00:00:00Z', to: '2026-02-01T00:00:00Z' };
  const opened = await api.call('POST', '/v1/backfills', { body: { ...range, why: 'shared' } });
  const backfill = String(opened.body.id);
  return {
    backfill,
    message: messageId(place),
    delivery: '1.shared.3-1',
    quarantine: `q-${held}`,
    thread: String(thread),
  };
}

function pathTo(route: Route, { message, delivery, quarantine, thread, backfill }: Filled): string {
  const id = route.path.startsWith('/v1/deliveries')
    ? delivery
    : route.path.startsWith('/v1/quarantine')
      ? quarantine
      : route.path.startsWith('/v1/threads')
        ? thread
        : route.path.startsWith('/v1/backfills')
          ? backfill
          : message;
  return route.path
    .replace(':id', id)
    .replace(':name', 'shared')
    .replace(':account', 'shared')
    .replace(':period', '2026-03')
    .replace(':n', '1')
    .replace(':version', '1')
    .replace(':rung', '0');
}

async function everythingOf({ pool, tenant }: Api): Promise<string> {
  const tables = [
    'source',
    'target',
    'rule_set',
    'person',
    'token',
    'standing',
    'decision',
    'delivery',
    'quarantine',
    'message',
    'billing_definition',
    'statement',
    'backfill',
  ];
  const rows = await Promise.all(
    tables.map((table) =>
      pool.query(
        `select jsonb_agg(to_jsonb(t) - 'last_used_at' order by t::text) as rows from ${table} t where tenant = $1`,
        [tenant.id],
      ),
    ),
  );
  return JSON.stringify(rows.map((one) => one.rows[0].rows));
}
