import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import type { Authentication } from '../../routes/authentication.js';
import type { Route } from '../../routes/route.js';
import { createServer } from '../../routes/server.js';
import type { UnreadLimits } from '../../routes/unread.js';
import type { Principal } from '../../src/access/principal.js';
import { silent } from '../support/log.js';
import { until } from '../support/until.js';

/* Clients that are slow, or stop: what they hold in memory is bounded, and others are served. */

const MB = 1024 * 1024;
const large: Route = {
  method: 'get',
  path: '/large',
  permission: 'public',
  summary: '',
  replies: {},
  handler: () => ({ status: 200, body: Buffer.alloc(16 * MB) }),
};

async function serve(routes: Route[], unread?: UnreadLimits, principals: Record<string, Principal> = {}) {
  const authentication = {
    principal: ({ authorization = '' }: { authorization?: string }) => principals[authorization] ?? null,
  } as unknown as Authentication;
  const server = createServer({
    routes,
    authentication,
    refused: () => undefined,
    log: silent,
    settings: { trustedProxies: [], publicUrl: null, maxConnections: 200 },
    ...(unread && { unread }),
  });
  const { port } = await server.listen('127.0.0.1', 0);
  onTestFinished(() => server.close(0));
  return { port, http: server.http };
}

/** Asks for the large answer, and reads nothing of it. */
async function slow(port: number): Promise<{ socket: Socket; closed: () => boolean }> {
  const socket = connect(port, '127.0.0.1');
  let closed = false;
  socket
    .on('error', () => undefined)
    .on('close', () => {
      closed = true;
    });
  socket.pause();
  await once(socket, 'connect');
  socket.write('GET /large HTTP/1.1\r\nhost: x\r\n\r\n');
  onTestFinished(() => {
    socket.destroy();
  });
  return { socket, closed: () => closed };
}

/** Whether the server has let the connection go: what is left of the answer is short. */
async function bytesLeft({ socket }: { socket: Socket }): Promise<number> {
  const chunks = buffer(socket).catch(() => Buffer.alloc(0));
  return (await chunks).length;
}

async function read(port: number): Promise<number> {
  const headers = { connection: 'close' };
  return (await (await fetch(`http://127.0.0.1:${port}/large`, { headers })).arrayBuffer()).byteLength;
}

test('a client that reads nothing for long is let go, one that reads is not', async () => {
  const { port, http } = await serve([large], { maxBytes: 1000 * MB, idleMs: 1_500 });
  const connections = () => new Promise<number>((resolve) => http.getConnections((_, count) => resolve(count)));
  await slow(port);
  await until(async () => (await connections()) === 1, 'the client to be connected');
  expect(await read(port)).toBe(16 * MB);
  await until(async () => (await connections()) === 0, 'the client to be let go');
});

test('answers that nobody reads are bounded together: the slowest goes first', async () => {
  const { port } = await serve([large], { maxBytes: 40 * MB, idleMs: 60_000 });
  const clients = [];
  for (let i = 0; i < 4; i++) clients.push(await slow(port));
  const [first, second, ...others] = clients;
  // The first two had to go for the last two to have room.
  for (const gone of [first, second]) if (gone) expect(await bytesLeft(gone)).toBeLessThan(16 * MB);
  for (const other of others) expect(other.closed()).toBe(false);
  expect(await read(port)).toBe(16 * MB);
});

test('bodies that are on their way are bounded, by tenant: others are served', async () => {
  const principal = (id: number): Principal => ({
    kind: 'token',
    tenant: { id, name: `t${id}`, channels: 4 },
    who: 'token t',
    permissions: new Set(['messages.decide']),
    csrf: null,
  });
  const route: Route = {
    method: 'post',
    path: '/say',
    permission: 'messages.decide',
    summary: '',
    body: 'json',
    bodySchema: z.looseObject({}),
    replies: {},
    handler: () => ({ status: 204 }),
  };
  const { port } = await serve([route], undefined, { one: principal(1), two: principal(2) });
  const begun = [];
  for (let i = 0; i < 32; i++) {
    const outgoing = request({
      port,
      method: 'POST',
      path: '/say',
      headers: { authorization: 'one', 'content-type': 'application/json', 'content-length': MB },
    });
    outgoing.on('error', () => undefined).write('{');
    begun.push(outgoing);
  }
  const status = async (authorization: string, body: string) => {
    const headers = { authorization, 'content-type': 'application/json' };
    const answer = await fetch(`http://127.0.0.1:${port}/say`, { method: 'POST', headers, body });
    return `${answer.status} ${answer.headers.get('retry-after') ?? ''}`.trim();
  };
  const body = JSON.stringify({ note: 'x'.repeat(1000) });
  await until(async () => (await status('one', body)) === '429 1', 'the room for bodies to be full');
  expect(await status('two', body)).toBe('204');
  for (const outgoing of begun) outgoing.destroy();
  await until(async () => (await status('one', body)) === '204', 'the room to be free again');
});
