import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { settableClock } from '../support/clock.js';
import { until } from '../support/until.js';
import { cli, problem, type Recorder, running, type Seen, startRecorder } from './harness.js';

let server: Recorder;
beforeAll(async () => {
  server = await startRecorder();
});
beforeEach(() => {
  server.seen.length = 0;
  server.answer = (seen, response) => void response.status(202).json({ results: linesOf(seen).map(sequenced) });
});
afterAll(() => server.close());

function linesOf({ body }: Seen): string[] {
  return body.toString().trimEnd().split('\n');
}

function sequenced(_: unknown, index: number) {
  return { index, id: `e${index}`, verdict: 'sequenced', message: `7-${index + 1}`, channel: 7, sequence: index + 1 };
}

const event = (id: string) => `{"specversion":"1.0","id":"${id}","source":"/x","type":"t","data":{"n":1.000}}`;

describe('samples', () => {
  it('one, and what became of it', async () => {
    const { code, stdout, stderr } = await cli(server, ['send', 'event', '--type', 'a"b', '--subject', 'cust']);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'sequenced as 7-1\n', stderr: '' });
    const [seen] = server.seen;
    expect(seen).toMatchObject({
      method: 'POST',
      path: '/v1/events',
      headers: { 'content-type': 'application/x-ndjson' },
    });
    expect(JSON.parse(String(seen?.body))).toMatchObject({
      specversion: '1.0',
      type: 'a"b',
      subject: 'cust',
      time: '2026-01-01T00:00:00.000Z',
    });
  });

  it('many, a thousand a request, each with an id of its own', async () => {
    const { stdout } = await cli(server, ['send', 'event', '--count', '2500']);
    expect(stdout).toBe('2,500 events: 2,500 sequenced\n');
    expect(server.seen.map((seen) => linesOf(seen).length)).toEqual([1000, 1000, 500]);
    const ids = server.seen.flatMap(linesOf).map((line) => (JSON.parse(line) as { id: string }).id);
    expect(new Set(ids).size).toBe(2500);
    await cli(server, ['send', 'event']);
    expect(ids).not.toContain(JSON.parse(String(server.seen.at(-1)?.body)).id);
  });

  it('show how far they are: on a terminal in place, elsewhere now and then', async () => {
    for (const terminal of [true, false]) {
      const clock = settableClock();
      server.answer = (seen, response) => {
        clock.advance(3_000);
        response.status(202).json({ results: linesOf(seen).map(sequenced) });
      };
      const argv = ['send', 'event', '--count', '4', '--batch', '1'];
      const { stderr } = await cli(server, argv, { terminal, clock });
      const line = (n: number) => `events sent: ${n} of 4 (${n * 25} %)`;
      const clear = '\r\u001b[2K';
      expect(stderr).toBe(
        terminal ? `${[1, 2, 3, 4].map((n) => clear + line(n)).join('')}${clear}` : `${line(2)}\n${line(4)}\n`,
      );
    }
  });
});

describe('an input', () => {
  it.each([
    ['NDJSON', `${event('a')}\n\n  \r\n${event('b')}\r\n`, [event('a'), `${event('b')}\r`]],
    ['NDJSON without an end, after a byte order mark', `\ufeff${event('a')}\n${event('b')}`, [event('a'), event('b')]],
    ['NDJSON with one bad line', `${event('a')}\n{bad\n`, [event('a'), '{bad']],
    ['one object over several lines', event('a').replaceAll(',', ',\n'), [event('a')]],
    ['an array', `[${event('a')},\n ${event('b')}]`, [event('a'), event('b')]],
    ['an array on one line', `[${event('a')},${event('b')}]`, [event('a'), event('b')]],
  ])('of %s goes out with its digits', async (_, stdin, lines) => {
    const { code } = await cli(server, ['send', 'event', '-'], { stdin });
    expect(server.seen.flatMap((seen) => seen.body.toString().slice(0, -1).split('\n'))).toEqual(lines);
    expect(code).toBe(0);
  });

  it('may be a file', async () => {
    const file = join(tmpdir(), `events-${randomUUID()}.ndjson`);
    await writeFile(file, `${event('a')}\n`.repeat(1500));
    const { stdout } = await cli(server, ['send', 'event', file]);
    await rm(file);
    expect(stdout).toBe('1,500 events: 1,500 sequenced\n');
    expect(server.seen).toHaveLength(2);
  });

  it('may begin badly where --ndjson says what it is', async () => {
    await cli(server, ['send', 'event', '-', '--ndjson'], { stdin: `{bad\n${event('a')}\n` });
    expect(server.seen.flatMap(linesOf)).toEqual(['{bad', event('a')]);
  });

  it('that is nothing of it is not sent', async () => {
    const { code, stderr } = await cli(server, ['send', 'event', '-'], { stdin: '{bad\n' });
    expect(stderr).toMatch(/^waybill: The input is neither JSON nor one JSON object a line: /);
    expect({ code, calls: server.seen.length }).toEqual({ code: 1, calls: 0 });
  });

  it('that is empty sends nothing', async () => {
    const { code, stdout } = await cli(server, ['send', 'event', '-'], { stdin: ' \n\n' });
    expect({ code, stdout, calls: server.seen.length }).toEqual({ code: 0, stdout: '0 events\n', calls: 0 });
  });

  it.each([
    ['/nowhere/at/all', "/nowhere/at/all can't be read: there is no such file."],
    [tmpdir(), "can't be read: it is a directory."],
  ])('%s can not be read', async (file, said) => {
    const { code, stderr } = await cli(server, ['send', 'event', file]);
    expect(stderr).toContain(said);
    expect(code).toBe(1);
  });

  it('of large events goes in requests of 4 MiB', async () => {
    const large = JSON.stringify({ id: 'a', data: 'x'.repeat(1_500_000) });
    await cli(server, ['send', 'event', '-'], { stdin: `${large}\n`.repeat(5) });
    expect(server.seen.map((seen) => linesOf(seen).length)).toEqual([2, 2, 1]);
  });
});

describe('what is not in', () => {
  const mixed = [
    { index: 0, id: 'a', verdict: 'sequenced', message: '7-1' },
    { index: 1, id: 'a', verdict: 'duplicate', message: null, of: '7-1' },
    { index: 2, id: 'a', verdict: 'conflict', message: 'q-1', of: '7-1' },
    { index: 3, id: 'b', verdict: 'expired', message: 'q-2' },
    { index: 4, id: null, verdict: 'rejected', message: null, code: 'id_missing', reason: 'It has no id.' },
  ];
  const stdin = `${event('a')}\n`.repeat(5);

  it('is told one by one, and the command has failed', async () => {
    server.answer = (_, response) => void response.status(422).json({ results: mixed });
    const { code, stdout, stderr } = await cli(server, ['send', 'event', '-'], { stdin });
    expect(stdout).toBe(`5 events: 1 sequenced, 1 duplicate, 1 conflict, 1 expired, 1 rejected
  event 3: conflict with 7-1, held as q-1
  event 4: expired, held as q-2
  event 5: rejected (id_missing): It has no id.
`);
    expect(stderr).toBe('waybill: 3 of 5 events are not in.\n');
    expect(code).toBe(1);
  });

  it('is counted over all requests', async () => {
    server.answer = (_, response) => void response.status(422).json({ results: mixed });
    const { stdout } = await cli(server, ['--json', 'send', 'event', '-', '--batch', '5'], { stdin: stdin.repeat(2) });
    expect(JSON.parse(stdout)).toMatchObject({
      sent: 10,
      verdicts: { sequenced: 2, duplicate: 2, conflict: 2, expired: 2, rejected: 2 },
      troubles: [2, 3, 4, 7, 8, 9].map((index) => ({ index })),
    });
  });

  it('because the server says no, is an error that says what was answered before', async () => {
    server.answer = (seen, response) => {
      if (server.seen.length > 1) problem(response, 413, 'body_too_large', 'Too large.');
      else response.status(202).json({ results: linesOf(seen).map(sequenced) });
    };
    const { code, stderr } = await cli(server, ['send', 'event', '--count', '3', '--batch', '2']);
    expect(stderr).toBe(
      'waybill: Too large. (body_too_large)\n  2 events were answered before; sending all of them again is safe.\n',
    );
    expect(code).toBe(1);
  });

  it('because of a 422 that is a problem, is an error', async () => {
    server.answer = (_, response) => problem(response, 422, 'odd', 'It is odd.');
    const { code, stderr } = await cli(server, ['send', 'event']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'waybill: It is odd.\n' });
  });
});

describe('a busy server', () => {
  const busy = (after: string) => (response: Parameters<Recorder['answer']>[1]) => {
    response.setHeader('retry-after', after);
    problem(response, 429, 'busy', 'Too much is waiting.');
  };

  it('is asked again with the same, after the time it says', async () => {
    server.answer = (seen, response) => {
      if (server.seen.length < 3) busy('0')(response);
      else response.status(202).json({ results: linesOf(seen).map(sequenced) });
    };
    const { code, stdout } = await cli(server, ['send', 'event']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'sequenced as 7-1\n' });
    expect(new Set(server.seen.map(({ body }) => body.toString())).size).toBe(1);
  });

  it('is not waited for when the user is tired of it', async () => {
    const user = new AbortController();
    server.answer = (_, response) => busy('3600')(response);
    const command = running(server, ['send', 'event'], { interrupted: user.signal });
    await until(() => command.stderr().includes('Too much is waiting. (busy) Waiting 60 s …'), 'the wait to begin');
    user.abort();
    expect((await command.ended).code).toBe(1);
    expect(server.seen).toHaveLength(1);
  });

  it('is given up when it stays busy', async () => {
    server.answer = (_, response) => busy('0')(response);
    const { code } = await cli(server, ['send', 'event']);
    expect({ code, calls: server.seen.length }).toEqual({ code: 1, calls: 30 });
  });
});
