import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough, Readable, Writable } from 'node:stream';
import express from 'express';
import type { Start } from '../../src/cli/commands/start.js';
import { run } from '../../src/cli/run.js';
import { type SettableClock, settableClock } from '../support/clock.js';

export interface Seen {
  readonly method: string;
  /** Path with its query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export type Handler = (seen: Seen, response: express.Response) => void;

export interface Recorder {
  readonly url: string;
  readonly seen: Seen[];
  /** What answers from now on. */
  answer: Handler;
  close(): Promise<void>;
}

/** A real HTTP server that notes every request and answers as the test says. */
export async function startRecorder(): Promise<Recorder> {
  const seen: Seen[] = [];
  const app = express();
  app.use(express.raw({ type: () => true, limit: '64mb' }));
  app.use((request, response) => {
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    const one = { method: request.method, path: request.url, headers: request.headers, body };
    seen.push(one);
    recorder.answer(one, response);
  });
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const recorder: Recorder = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    answer: (_, response) => void response.status(500).end(),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return recorder;
}

/** An error as Waybill gives it. */
export function problem(
  response: express.Response,
  status: number,
  code: string,
  detail: string,
  extra: object = {},
): void {
  response.status(status).type('application/problem+json');
  response.end(JSON.stringify({ type: `urn:waybill:problem:${code}`, title: code, status, detail, code, ...extra }));
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Given {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Buffer;
  readonly terminal?: boolean;
  /** Nobody reads what goes to stdout any more. */
  readonly seenEnough?: boolean;
  readonly clock?: SettableClock;
  readonly interrupted?: AbortSignal;
  readonly start?: Start;
}

export interface Running {
  readonly ended: Promise<Ran>;
  /** What has gone out so far. */
  stdout(): string;
  stderr(): string;
}

/** Runs a command line within this process, against a server where one is given. */
export function running(server: Recorder | null, argv: readonly string[], given: Given = {}): Running {
  const written = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr') => {
    const through = new PassThrough();
    through.on('data', (chunk: Buffer) => {
      written[name] += chunk.toString();
    });
    return Object.assign(through, { isTTY: given.terminal ?? false });
  };
  const io = {
    env: { WAYBILL_TOKEN: 'secret', ...(server && { WAYBILL_URL: server.url }), ...given.env },
    stdin: Readable.from(given.stdin === undefined ? [] : [Buffer.from(given.stdin)]),
    stdout: given.seenEnough ? closedPipe() : stream('stdout'),
    stderr: stream('stderr'),
    clock: given.clock ?? settableClock(),
    interrupted: given.interrupted ?? new AbortController().signal,
  };
  const start = given.start ?? (() => Promise.reject(new Error('not started in this test')));
  return {
    ended: run(argv, io, start).then((code) => ({ code, ...written })),
    stdout: () => written.stdout,
    stderr: () => written.stderr,
  };
}

function closedPipe(): Writable {
  const error = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
  // As in the program, where a listener ends what goes on.
  return new Writable({ write: (_chunk, _encoding, done) => done(error) }).on('error', () => undefined);
}

export function cli(server: Recorder | null, argv: readonly string[], given: Given = {}): Promise<Ran> {
  return running(server, argv, given).ended;
}

/** Answers every request with this as JSON. */
export function always(body: unknown, status = 200): Handler {
  return (_, response) =>
    void response
      .status(status)
      .type('json')
      .end(typeof body === 'string' ? body : JSON.stringify(body));
}
