import type { Response } from 'express';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { cli, problem, type Recorder, running, startRecorder } from './harness.js';

let server: Recorder;
beforeAll(async () => {
  server = await startRecorder();
});
afterAll(() => server.close());

interface Message {
  id: string;
  state: string;
  version: number;
  received?: string;
  kind?: string;
  source?: string;
  account?: string;
  type?: string | null;
  subject?: string | null;
}

const BASE = {
  received: '2026-01-01T00:00:00.000Z',
  kind: 'mail',
  source: 'mail',
  account: 'a@example.com',
  type: null,
  subject: 'Hello',
};

/** What the server has: the latest messages, newest first, and others that are further back. */
let latest: Message[];
let older: Message[];
let streams: Response[];

beforeEach(() => {
  server.seen.length = 0;
  latest = [];
  older = [];
  streams = [];
  server.answer = ({ path }, response) => {
    const url = new URL(path, server.url);
    const id = /^\/v1\/messages\/(.+)$/.exec(url.pathname)?.[1];
    if (url.pathname === '/v1/stream') {
      response.setHeader('content-type', 'text/event-stream');
      response.flushHeaders();
      streams.push(response);
      tell([]);
    } else if (id === undefined) {
      const limit = Number(url.searchParams.get('limit'));
      response.json({ items: latest.slice(0, limit).map((one) => ({ ...BASE, ...one })), next: null });
    } else {
      const one = older.find((each) => each.id === id);
      if (one) response.json({ ...BASE, ...one });
      else problem(response, 404, 'not_found', 'There is no such message.');
    }
  };
});

function tell(messages: readonly string[]): void {
  const change = `: beat\n\nevent: change\ndata: ${JSON.stringify({ messages, more: false, inbox: 0 })}\n\n`;
  // In two pieces, as networks may.
  streams.at(-1)?.write(change.slice(0, 20));
  streams.at(-1)?.write(change.slice(20));
}

const message = (id: string, state = 'routed', version = 1): Message => ({ id, state, version });
const line = (id: string, state: string) =>
  `2026-01-01T00:00:00.000Z ${id.padEnd(9)} ${state.padEnd(8)} mail    mail a@example.com Hello\n`;

it('shows the latest, then what comes and what changes, each state once, until it is told to end', async () => {
  const user = new AbortController();
  latest = [message('7-3', 'accepted', 0), message('7-2'), message('7-1')];
  const tail = running(server, ['tail', '-n', '2'], { interrupted: user.signal });
  await until(() => tail.stdout().includes('7-3'), 'the latest');
  expect(tail.stdout()).toBe(line('7-2', 'routed') + line('7-3', 'accepted'));

  latest = [message('7-4', 'accepted', 0), message('7-3'), message('7-2'), message('7-1')];
  older = [message('7-0', 'closed', 2)];
  tell(['7-4', '7-3', '7-2', '7-0', '6-1']);
  await until(() => tail.stdout().includes('7-4'), 'what came');
  tell(['7-4']);
  latest = [message('7-4', 'waiting'), ...latest.slice(1)];
  tell(['7-4']);
  await until(() => tail.stdout().includes('waiting'), 'what changed');
  user.abort();
  expect(await tail.ended).toEqual({
    code: 0,
    stdout: [
      line('7-2', 'routed'),
      line('7-3', 'accepted'),
      line('7-0', 'closed'),
      line('7-3', 'routed'),
      line('7-4', 'accepted'),
      line('7-4', 'waiting'),
    ].join(''),
    stderr: '',
  });
});

it('shows what it was asked for alone, as JSON where that is wanted', async () => {
  const user = new AbortController();
  const argv = ['tail', '-n', '0', '--source', 'mail', '--state', 'waiting', '--json'];
  const tail = running(server, argv, { interrupted: user.signal });
  await until(() => streams.length > 0, 'the stream');
  older = [message('7-0', 'waiting'), message('6-1', 'closed'), { ...message('5-1', 'waiting'), source: 'shop' }];
  tell(['5-1', '6-1', '7-0']);
  await until(() => tail.stdout() !== '', 'the message');
  user.abort();
  expect(JSON.parse((await tail.ended).stdout)).toEqual({ ...BASE, ...message('7-0', 'waiting') });
  expect(server.seen.map(({ path }) => path)).toContain('/v1/messages?limit=200&source=mail&state=waiting');
});

it('comes back when the stream ends, with what it has missed', async () => {
  const user = new AbortController();
  latest = [message('7-1')];
  const tail = running(server, ['tail', '-n', '1'], { interrupted: user.signal });
  await until(() => tail.stdout().includes('7-1'), 'the latest');
  latest = [message('7-3'), message('7-2'), message('7-1')];
  streams[0]?.destroy();
  await until(() => tail.stdout().includes('7-3'), 'what was missed');
  user.abort();
  const { code, stdout } = await tail.ended;
  expect({ code, stdout }).toEqual({ code: 0, stdout: ['7-1', '7-2', '7-3'].map((id) => line(id, 'routed')).join('') });
});

it('ends with 1 where it may not look at all', async () => {
  server.answer = (_, response) => problem(response, 403, 'forbidden', 'This takes the permission messages.read.');
  expect(await cli(server, ['tail'])).toEqual({
    code: 1,
    stdout: '',
    stderr: 'waybill: This takes the permission messages.read. (forbidden)\n',
  });
});

it('ends with 1 once it may look no more', async () => {
  const tail = running(server, ['tail', '-n', '0']);
  await until(() => streams.length > 0, 'the stream');
  await until(() => streams[0]?.writableLength === 0, 'the first event');
  server.answer = (_, response) => problem(response, 401, 'token_invalid', 'The token was revoked.');
  streams[0]?.end();
  expect(await tail.ended).toMatchObject({ code: 1, stderr: 'waybill: The token was revoked. (token_invalid)\n' });
});
