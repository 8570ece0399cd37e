import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import pino from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { Authentication } from '../../routes/authentication.js';
import { Problem, type Route } from '../../routes/route.js';
import { createServer, type ServerDeps, type WaybillServer } from '../../routes/server.js';
import { Busy, Unavailable } from '../../src/message/verdict.js';
import { createPool } from '../../src/storage/pool.js';
import { settableClock } from '../support/clock.js';
import { silent } from '../support/log.js';

const ADMIN = 'admin-token-of-the-test';
const NOBODY = { method: 'get', permission: 'public', summary: '', replies: {} } as const;

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** A server over some routes, without a database. */
async function serve(
  routes: Route[],
  more: Partial<ServerDeps> = {},
): Promise<{ server: WaybillServer; origin: string; port: number }> {
  const pool = createPool({ url: 'postgres://127.0.0.1:1/nowhere', applicationName: 'test', max: 1, log: silent });
  const clock = settableClock();
  const tenant = { id: 1, name: 'default', channels: 4 };
  const authentication = new Authentication({ pool, clock, random: randomBytes, admin: { token: ADMIN, tenant } });
  const server = createServer({
    routes,
    authentication,
    refused: () => undefined,
    log: silent,
    settings: { trustedProxies: [], publicUrl: null, maxConnections: 100 },
    ...more,
  });
  const { port } = await server.listen('127.0.0.1', 0);
  open.push(
    () => server.close(0),
    () => pool.end(),
  );
  return { server, port, origin: `http://127.0.0.1:${port}` };
}

/** What comes back for bytes that a client of ours would never send. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(bytes);
  return text(socket);
}

describe('the table', () => {
  const route: Route = { ...NOBODY, path: '/x', handler: () => ({ status: 200 }) };
  const build = (routes: Route[]) => () =>
    createServer({
      routes,
      authentication: undefined as never,
      refused: () => undefined,
      log: silent,
      settings: { trustedProxies: [], publicUrl: null, maxConnections: 1 },
    });

  test('must name a permission for each route', () => {
    expect(build([{ ...route, permission: undefined as never }])).toThrow('get /x names no permission');
  });
  test('has no route twice', () => {
    expect(build([route, route])).toThrow('get /x stands in the table twice');
  });
});

test('a request and its answer have the prototypes of express from the beginning, since changing them is slow', async () => {
  const { server, origin } = await serve([{ ...NOBODY, path: '/x', handler: () => ({ status: 204 }) }]);
  const atFirst: unknown[] = [];
  const later: unknown[] = [];
  server.http.prependListener('request', (incoming, answer) => {
    atFirst.push(Object.getPrototypeOf(incoming), Object.getPrototypeOf(answer));
    answer.once('finish', () => later.push(Object.getPrototypeOf(incoming), Object.getPrototypeOf(answer)));
  });
  expect((await fetch(`${origin}/x`)).status).toBe(204);
  const { request: itsRequest, response: itsAnswer } = server.app as unknown as Record<'request' | 'response', object>;
  expect(atFirst[0]).toBe(itsRequest);
  expect(atFirst[1]).toBe(itsAnswer);
  expect(later[0]).toBe(itsRequest);
  expect(later[1]).toBe(itsAnswer);
});

describe('an error', () => {
  const failing = (path: string, error: unknown): Route => ({
    ...NOBODY,
    path,
    handler: () => {
      throw error;
    },
  });

  test('is a problem with a stable code, and the request that the log names', async () => {
    const { origin } = await serve([
      failing('/known', new Problem(409, 'decision_changed', 'Ben was faster.', { version: 3 }, { 'x-more': '1' })),
    ]);
    const response = await fetch(`${origin}/known`);
    expect([response.status, response.headers.get('content-type'), response.headers.get('x-more')]).toEqual([
      409,
      'application/problem+json',
      '1',
    ]);
    expect(await response.json()).toEqual({
      type: 'urn:waybill:problem:decision_changed',
      title: 'Decision changed',
      status: 409,
      detail: 'Ben was faster.',
      code: 'decision_changed',
      version: 3,
      instance: `urn:uuid:${response.headers.get('x-request-id')}`,
    });
  });

  test('of ours tells the log all, and the caller nothing but where to look', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(line) });
    const { origin } = await serve([failing('/fault', new TypeError('secret detail'))], { log });
    const response = await fetch(`${origin}/fault`);
    const body = await response.text();
    expect(response.status).toBe(500);
    expect(body).not.toMatch(/secret|TypeError|\.ts|node_modules/);
    expect(lines.join()).toContain('secret detail');
    expect(lines.join()).toContain(response.headers.get('x-request-id'));
  });

  test.each([
    [new Busy(7), 429, 'busy', '7'],
    [new Unavailable('no disk'), 503, 'storage_unavailable', '2'],
    [Object.assign(new Error('connect'), { syscall: 'connect' }), 503, 'storage_unavailable', '2'],
  ])('that passes says when to try again: %s', async (error, status, code, after) => {
    const { origin } = await serve([failing('/later', error)]);
    const response = await fetch(`${origin}/later`);
    const body = await response.json();
    expect([response.status, (body as { code: string }).code, response.headers.get('retry-after')]).toEqual([
      status,
      code,
      after,
    ]);
  });

  test('in the middle of an answer cuts it off, so that nobody takes it for whole', async () => {
    const { origin } = await serve([
      {
        ...NOBODY,
        path: '/half',
        handler: () => ({
          stream: async (response) => {
            response.writeHead(200, { 'content-length': '100' });
            response.write('half');
            throw new Error('broke');
          },
        }),
      },
    ]);
    await expect(fetch(`${origin}/half`).then((response) => response.text())).rejects.toThrow();
  });

  test('is a page for who asked for one outside of /v1', async () => {
    const { origin } = await serve(
      [
        failing('/page', new Problem(404, 'not_found', 'No.')),
        failing('/v1/call', new Problem(404, 'not_found', 'No.')),
      ],
      {
        problemPage: async (problem, { url }) => ({
          status: problem.status,
          type: 'text/html',
          body: `<h1>${problem.code} ${url}`,
        }),
      },
    );
    const ask = (path: string, accept: string) =>
      fetch(origin + path, { headers: { accept } }).then((response) => response.text());
    expect(await ask('/page?a=1', 'text/html,*/*;q=0.8')).toBe('<h1>not_found /page?a=1');
    expect(await ask('/page', 'application/json')).toContain('"code":"not_found"');
    expect(await ask('/page', '*/*')).toContain('"code":"not_found"');
    expect(await ask('/v1/call', 'text/html')).toContain('"code":"not_found"');
    expect(await ask('/nowhere', 'text/html')).toBe('<h1>not_found /nowhere');
  });

  test.each(['/%E0%A4%A', '/nowhere'])('%s is no address', async (path) => {
    const { origin } = await serve([
      { ...NOBODY, path: '/:name', params: z.object({ name: z.literal('x') }), handler: () => ({ status: 200 }) },
    ]);
    expect([400, 404]).toContain((await fetch(origin + path)).status);
  });
});

describe('what is not HTTP as it should be', () => {
  test('is answered in the same form, and the connection ends', async () => {
    const { port } = await serve([]);
    const answer = await raw(port, 'NONSENSE\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain('"code":"bad_request"');
  });

  test('headers have a limit', async () => {
    const { port } = await serve([]);
    expect(await raw(port, `GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)).toContain(
      '"code":"headers_too_large"',
    );
  });

  test('slow clients have a limit on their time', async () => {
    const { server } = await serve([]);
    expect([server.http.headersTimeout, server.http.requestTimeout, server.http.maxConnections]).toEqual([
      20_000, 120_000, 100,
    ]);
    expect(server.http.keepAliveTimeout).toBeGreaterThan(60_000);
  });
});

describe('a request', () => {
  const who: Route = {
    ...NOBODY,
    path: '/who',
    handler: ({ peer, headers }) => ({ status: 200, body: { peer, host: headers.host } }),
  };

  test('comes from the peer, whatever it says, unless a trusted proxy says so', async () => {
    const headers = { 'x-forwarded-for': '203.0.113.9, 192.0.2.1' };
    const plain = await serve([who]);
    expect(await (await fetch(`${plain.origin}/who`, { headers })).json()).toMatchObject({ peer: '127.0.0.1' });
    const settings = { trustedProxies: ['127.0.0.0/8', '192.0.2.0/24'], publicUrl: null, maxConnections: 10 };
    const behind = await serve([who], { settings });
    expect(await (await fetch(`${behind.origin}/who`, { headers })).json()).toMatchObject({ peer: '203.0.113.9' });
  });

  test('is answered with headers that keep pages to themselves', async () => {
    const { origin } = await serve([who]);
    const { headers } = await fetch(`${origin}/who`);
    expect(headers.get('content-security-policy')).toBe(
      "default-src 'self';img-src 'self' data:;object-src 'none';base-uri 'none';form-action 'self';frame-ancestors 'self'",
    );
    expect(headers.get('referrer-policy')).toBe('same-origin');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('cache-control')).toBe('no-store');
    expect([headers.get('strict-transport-security'), headers.get('x-powered-by')]).toEqual([null, null]);
    const settings = { trustedProxies: [], publicUrl: 'https://waybill.example.com', maxConnections: 10 };
    const https = await serve([who], { settings });
    expect((await fetch(`${https.origin}/who`)).headers.get('strict-transport-security')).toBe('max-age=31536000');
  });

  test('by HEAD has the headers alone', async () => {
    const { origin } = await serve([who]);
    const response = await fetch(`${origin}/who`, { method: 'HEAD' });
    expect([response.status, Number(response.headers.get('content-length')) > 0, await response.text()]).toEqual([
      200,
      true,
      '',
    ]);
  });

  test('may be a form, which a route that takes JSON refuses', async () => {
    const echo = (path: string, body: 'form' | 'json'): Route => ({
      ...NOBODY,
      method: 'post',
      path,
      body,
      bodySchema: z.object({ a: z.string() }),
      handler: (call) => ({ status: 200, body: call.body }),
    });
    const { origin } = await serve([echo('/form', 'form'), echo('/json', 'json')]);
    const send = async (path: string) =>
      (await fetch(origin + path, { method: 'POST', body: new URLSearchParams({ a: 'x y' }) })).json();
    expect(await send('/form')).toEqual({ a: 'x y' });
    expect(await send('/json')).toMatchObject({ code: 'media_type_unsupported' });
  });

  test('for a file gets it, and none outside of the directory', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'assets-'));
    open.push(() => rm(directory, { recursive: true }));
    await writeFile(join(directory, 'a.css'), 'body{}');
    const { origin, port } = await serve([], { assets: [{ path: '/assets', directory }] });
    expect(await (await fetch(`${origin}/assets/a.css`)).text()).toBe('body{}');
    expect(
      await raw(port, 'GET /assets/../../../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'),
    ).toContain('404');
    expect((await fetch(`${origin}/assets/`)).status).toBe(404);
  });
});

describe('without a database', () => {
  const guarded: Route = {
    ...NOBODY,
    path: '/v1/guarded',
    permission: 'messages.read',
    handler: () => ({ status: 200 }),
  };
  const ask = async (origin: string, token: string) =>
    (await fetch(`${origin}/v1/guarded`, { headers: { authorization: `Bearer ${token}` } })).status;

  test('the admin token holds, others can’t be told from wrong ones', async () => {
    const { origin } = await serve([guarded]);
    expect(await ask(origin, ADMIN)).toBe(200);
    expect(await ask(origin, `wb_${'A'.repeat(43)}`)).toBe(503);
  });

  test('who guesses is told to wait, and who is known goes on', async () => {
    const { origin } = await serve([guarded]);
    const statuses: number[] = [];
    for (let i = 0; i < 33; i++) statuses.push(await ask(origin, `guess-${i}`));
    expect(statuses.filter((status) => status === 401)).toHaveLength(30);
    expect(statuses.slice(30)).toEqual([429, 429, 429]);
    const response = await fetch(`${origin}/v1/guarded`, { headers: { authorization: 'Bearer x' } });
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  test('a token that was good before is no guess', async () => {
    const { origin } = await serve([guarded]);
    expect(await ask(origin, ADMIN)).toBe(200);
    for (let i = 0; i < 33; i++) await ask(origin, `guess-${i}`);
    expect(await ask(origin, ADMIN)).toBe(200);
  });
});

describe('the server', () => {
  test('refuses a port in use', async () => {
    const { port } = await serve([]);
    const second = await serve([]);
    await second.server.close(0);
    await expect(second.server.listen('127.0.0.1', port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  /** A route that waits until it is told to answer, and says when it has begun. */
  function waitingRoute() {
    let begin = () => {};
    let finish = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const handler = async () => {
      begin();
      await finished;
      return { status: 200, body: { whole: true } };
    };
    return { route: { ...NOBODY, path: '/waits', handler }, begun, finish };
  }

  test('ends what is under way before it closes, and keeps no connection', async () => {
    const { route, begun, finish } = waitingRoute();
    const { server, port } = await serve([route]);
    const agent = new Agent({ keepAlive: true });
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      request({ port, path: '/waits', agent }, resolve).on('error', reject).end();
    });
    await begun;
    const closed = server.close(10_000);
    finish();
    const response = await answer;
    expect(response.headers.connection).toBe('close');
    expect(await text(response)).toBe('{"whole":true}');
    await closed;
    agent.destroy();
  });

  test('cuts off what does not end in time', async () => {
    const { route, begun } = waitingRoute();
    const { server, origin } = await serve([route]);
    const answer = fetch(`${origin}/waits`).then(
      () => 'answered',
      () => 'cut off',
    );
    await begun;
    await server.close(10);
    expect(await answer).toBe('cut off');
  });
});
