import type { Response } from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { settableClock } from '../support/clock.js';
import { until } from '../support/until.js';
import { cli, problem, type Recorder, running, startRecorder } from './harness.js';

let server: Recorder;
beforeEach(async () => {
  server = await startRecorder();
});
afterEach(() => server.close());

const RESULT = {
  event: 'result',
  ok: true,
  channels: 2,
  messages: 1234,
  erased: 0,
  plans: 56,
  keys: 1200,
  findings: 0,
  checkpoints: 0,
  signer: 'SHA256:abc',
};
const FINDING = {
  event: 'finding',
  code: 'message_missing',
  channel: 7,
  message: '7-3',
  plan: null,
  detail: 'Message 7-3 is missing.\u001b[31m',
};

function lines(response: Response, ...events: readonly object[]): void {
  response.status(200).type('application/x-ndjson');
  response.end(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
}

const asked = () => server.seen.map(({ method, path, body }) => [method, path, JSON.parse(body.toString())]);

describe('waybill verify', () => {
  it('says what was read and that it holds', async () => {
    server.answer = (_, response) =>
      lines(response, { event: 'progress', doing: 'messages', done: 5, total: 9 }, RESULT);
    expect(await cli(server, ['verify'])).toEqual({
      code: 0,
      stderr: '',
      stdout:
        '1,234 messages, 56 plans and 1,200 keys of 2 channels: all of it holds\ncheckpoints are signed with SHA256:abc\n',
    });
    expect(asked()).toEqual([['POST', '/v1/verify', {}]]);
  });

  it('names what is wrong, and ends with 1', async () => {
    const result = { ...RESULT, ok: false, findings: 1, erased: 3, checkpoints: 2 };
    server.answer = (_, response) => lines(response, FINDING, result);
    const { code, stdout, stderr } = await cli(server, ['verify', '--channel', '7']);
    expect(code).toBe(1);
    expect(stdout.split('\n')).toEqual([
      'message_missing: Message 7-3 is missing.\ufffd[31m',
      '1,234 messages, 56 plans and 1,200 keys of 2 channels: not all of it holds',
      'of 3 messages an erased account left only the hash',
      'what 2 channels have dropped is held by checkpoints',
      'checkpoints are signed with SHA256:abc',
      '',
    ]);
    expect(stderr).toBe('waybill: 1 found that should not be so.\n');
  });

  it('gives lines of JSON', async () => {
    server.answer = (_, response) => lines(response, FINDING, { ...RESULT, ok: false, findings: 1 });
    const { code, stdout, stderr } = await cli(server, ['--json', 'verify']);
    expect(code).toBe(1);
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).event),
    ).toEqual(['finding', 'result']);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'verify_failed' } });
  });

  it('asks for a part', async () => {
    server.answer = (_, response) => lines(response, RESULT);
    const clock = settableClock(Date.UTC(2026, 0, 31, 12));
    await cli(server, ['verify', '--channel', '7', '--from', '5', '--to', '9', '--since', '12h'], { clock });
    expect(asked()[0]?.[2]).toEqual({ channel: 7, from: 5, to: 9, since: '2026-01-31T00:00:00.000Z' });
  });

  it.each([
    [['verify', '--from', '5'], '--channel'],
    [['verify', '--channel', 'x'], '--channel'],
    [['verify', '--channel', '1', '--to', '0'], '--to'],
    [['verify', '--since', 'yesterday'], '--since'],
  ])('%j is wrong usage', async (argv, says) => {
    const { code, stderr } = await cli(server, argv);
    expect([code, server.seen]).toEqual([2, []]);
    expect(stderr).toContain(says);
  });

  it('shows how far it is', async () => {
    const clock = settableClock();
    let go: (() => void) | undefined;
    server.answer = (_, response) => {
      response.status(200).type('application/x-ndjson');
      response.write(`${JSON.stringify({ event: 'progress', doing: 'messages', done: 0, total: 2000 })}\n`);
      response.write(`${JSON.stringify(FINDING)}\n`);
      go = () => {
        clock.advance(6_000);
        response.write(`${JSON.stringify({ event: 'progress', doing: 'messages', done: 500, total: 2000 })}\n`);
        response.end(`${JSON.stringify(RESULT)}\n`);
      };
    };
    const one = running(server, ['verify'], { clock });
    await until(() => one.stdout().includes('7-3'), 'what came first to be shown');
    go?.();
    expect((await one.ended).stderr).toBe('messages verified: 500 of 2,000 (25 %)\n');
  });

  it('fails when it is cut off, and when it is refused', async () => {
    server.answer = (_, response) => lines(response, { event: 'progress', doing: 'messages', done: 5, total: 9 });
    const cut = await cli(server, ['verify']);
    expect([cut.code, cut.stdout]).toEqual([1, '']);
    expect(cut.stderr).toContain('was cut off before its end');
    server.answer = (_, response) => problem(response, 429, 'verify_running', 'A verification is going on already.');
    expect((await cli(server, ['verify'])).stderr).toBe(
      'waybill: A verification is going on already. (verify_running)\n',
    );
  });

  it('ends when it is interrupted', async () => {
    const interrupted = new AbortController();
    server.answer = (_, response) => {
      response.status(200).type('application/x-ndjson');
      response.write(`${JSON.stringify({ event: 'progress', doing: 'messages', done: 0, total: 2000 })}\n`);
    };
    const one = running(server, ['verify'], { interrupted: interrupted.signal });
    await until(() => server.seen.length === 1, 'the question');
    interrupted.abort();
    expect(await one.ended).toMatchObject({ code: 1, stderr: 'waybill: interrupted\n' });
  });
});

describe('waybill erase', () => {
  const result = {
    event: 'result',
    pseudonym: 'erased-abc',
    messages: 1200,
    closed: 3,
    cancelling: 0,
    quarantined: 1,
    refusals: 0,
    left: 0,
  };

  it('erases, and says what that came to', async () => {
    server.answer = (_, response) => lines(response, { event: 'progress', done: 5, total: 9, erased: 1 }, result);
    const argv = ['erase', '--account', 'anna@example.com', '--source', 'feed', '--reason', 'asked to', '--yes'];
    expect(await cli(server, argv)).toEqual({
      code: 0,
      stderr: '',
      stdout:
        "1,200 messages erased; erased-abc stands in the account's place\n3 that waited for a person, or to be read, are closed\n1 entries of the quarantine erased\n",
    });
    const json = { account: 'anna@example.com', reason: 'asked to', source: 'feed' };
    expect(asked()).toEqual([['POST', '/v1/accounts/erase', json]]);
  });

  it('does nothing without being told that it is meant', async () => {
    const { code, stderr } = await cli(server, ['erase', '--account', 'a', '--reason', 'x']);
    expect([code, server.seen]).toEqual([2, []]);
    expect(stderr).toContain('--yes');
  });

  it('says so when something is left, or it was cut off', async () => {
    server.answer = (_, response) => lines(response, { ...result, left: 2 });
    const argv = ['erase', '--account', 'a', '--reason', 'x', '--yes'];
    const left = await cli(server, argv);
    expect([left.code, left.stderr]).toEqual([
      1,
      'waybill: 2 messages are not planned yet, and can not be erased before that: ask for it again.\n',
    ]);
    server.answer = (_, response) => lines(response, { event: 'progress', done: 5, total: 9, erased: 1 });
    expect((await cli(server, argv)).stderr).toContain('it goes on where it was');
  });
});
