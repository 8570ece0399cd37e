import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { always, cli, type Handler, problem, type Recorder, startRecorder } from './harness.js';

let server: Recorder;
beforeAll(async () => {
  server = await startRecorder();
});
beforeEach(() => {
  server.seen.length = 0;
});
afterAll(() => server.close());

/** What was called: method, path, and the JSON sent along. */
function calls() {
  return server.seen.map(({ method, path, body }) => [
    method,
    path,
    body.length === 0 ? null : JSON.parse(body.toString()),
  ]);
}

const CRASH = 'ab'.repeat(32);
const entry = {
  ...{ id: 'q-12', cause: 'poison', state: 'held', reason: null, of: '7-10', crash: CRASH, source: 'mail' },
  ...{ kind: 'mail', account: 'anna@example.com', type: null, received: '2026-01-01T00:00:00.000Z', peer: '192.0.2.1' },
  ...{ count: 2, size: 4096 },
};

describe('waybill quarantine', () => {
  it('lists what is held, and what else is asked for', async () => {
    server.answer = always({ items: [entry, { ...entry, id: 'q-11', crash: null, reason: 'no id\u001b[31m' }] });
    const { code, stdout } = await cli(server, ['quarantine', '--cause', 'poison', '--crash', CRASH, '--limit', '7']);
    expect(code).toBe(0);
    expect(stdout).toBe(
      `entry  cause   state  kind  source  account           received                  crash         about
q-12   poison  held   mail  mail    anna@example.com  2026-01-01T00:00:00.000Z  abababababab
q-11   poison  held   mail  mail    anna@example.com  2026-01-01T00:00:00.000Z                no id\ufffd[31m
`,
    );
    expect(calls()).toEqual([['GET', `/v1/quarantine?cause=poison&crash=${CRASH}&limit=7`, null]]);
  });

  it('shows one with the tries of reading it', async () => {
    const rungs = [{ rung: 0, name: 'full', means: 'everything is there' }];
    const same = { stage: 'begun', try: 1, started: 't1' };
    const attempts = [
      { ...same, rung: 0, name: 'full', blamed: [], outcome: 'failed', reason: 'file of part 3: crashed\u202e' },
      { ...same, rung: 1, name: 'blamed', blamed: [3], outcome: null, reason: null },
    ];
    server.answer = (seen, response) =>
      always(seen.path.endsWith('/attempts') ? { items: attempts } : { ...entry, rungs })(seen, response);
    const { code, stdout } = await cli(server, ['quarantine', 'show', 'q-12']);
    expect(code).toBe(0);
    expect(stdout).toBe(`q-12 is held: poison (7-10)
received 2026-01-01T00:00:00.000Z from 192.0.2.1, 2 times, 4096 bytes
mail of mail for anna@example.com
crash hash ${CRASH}
try 1 on rung 0, full (begun), t1: failed: file of part 3: crashed\ufffd
try 1 on rung 1, blamed without part 3 (begun), t1: under way
rung 0, full: everything is there
`);
    const asJson = await cli(server, ['--json', 'quarantine', 'show', 'q-12']);
    expect(JSON.parse(asJson.stdout)).toEqual({ entry: { ...entry, rungs }, attempts });
  });

  it('shows what a rung makes of one, every digit kept', async () => {
    const rung = '"rung":6,"name":"files","means":"attachments are only named"';
    server.answer = always(`{${rung},"view":{"subject":"Hi\\u001b[2J","n":1.10}}`);
    const { stdout } = await cli(server, ['quarantine', 'show', 'q-12', '--rung', 'files']);
    expect(stdout.split('\n')).toEqual([
      'q-12 on rung 6, files: attachments are only named',
      '{',
      expect.stringMatching(/^ {2}"subject": "Hi.*\[2J",$/),
      '  "n": 1.10',
      '}',
      '',
    ]);
    expect(stdout).not.toContain('\u001b');
    expect(calls()).toEqual([['GET', '/v1/quarantine/q-12/views/files', null]]);
    server.answer = always(`{${rung},"failed":{"failure":"killed_time","stage":"file","leaf":3,"reason":"too long"}}`);
    const failed = await cli(server, ['quarantine', 'show', 'q-12', '--rung', '6']);
    expect(failed.stdout).toContain('it can not be read there: killed_time at file: too long\n');
  });

  it.each<[string[], unknown[], unknown, string]>([
    [
      ['requeue', 'q-12'],
      ['POST', '/v1/quarantine/q-12/requeue', {}],
      { id: 'q-12', state: 'released' },
      'q-12 will be read again\n',
    ],
    [
      ['requeue', 'q-12', '--rung', 'files', '--reason', 'mended'],
      ['POST', '/v1/quarantine/q-12/requeue', { rung: 'files', reason: 'mended' }],
      { id: 'q-12', state: 'released' },
      'q-12 will be read again\n',
    ],
    [
      ['delay', 'q-12', '--until', '12h', '--rung', '6'],
      ['POST', '/v1/quarantine/q-12/delay', { until: '2026-01-01T12:00:00.000Z', rung: 6 }],
      { id: 'q-12', state: 'released' },
      'q-12 will be read again, later\n',
    ],
    [
      ['release', 'q-12'],
      ['POST', '/v1/quarantine/q-12/release', null],
      { id: 'q-12', state: 'released', message: '7-10' },
      'q-12 goes on as 7-10\n',
    ],
    [
      ['discard', 'q-12', '--reason', 'spam'],
      ['POST', '/v1/quarantine/q-12/discard', { reason: 'spam' }],
      { id: 'q-12', state: 'discarded' },
      'q-12 is discarded\n',
    ],
    [
      ['requeue', '--crash', CRASH, '--rung', '2'],
      ['POST', '/v1/quarantine/bulk', { action: 'requeue', crash: CRASH, rung: 2 }],
      { done: 50, skipped: 0 },
      '50 done\n',
    ],
    [
      ['delay', '--crash', CRASH, '--until', '2026-02-01T00:00:00Z'],
      ['POST', '/v1/quarantine/bulk', { action: 'delay', crash: CRASH, until: '2026-02-01T00:00:00Z' }],
      { done: 50, skipped: 0 },
      '50 done\n',
    ],
    [
      ['discard', '--crash', CRASH],
      ['POST', '/v1/quarantine/bulk', { action: 'discard', crash: CRASH }],
      { done: 3, skipped: 2 },
      '3 done, 2 left: somebody else decided about them\n',
    ],
    [
      ['release', '--crash', CRASH],
      ['POST', '/v1/quarantine/bulk', { action: 'release', crash: CRASH }],
      { done: 1, skipped: 0 },
      '1 done\n',
    ],
  ])('%j', async (argv, call, answer, shown) => {
    server.answer = always(answer);
    const { code, stdout, stderr } = await cli(server, ['quarantine', ...argv]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: shown, stderr: '' });
    expect(calls()).toEqual([call]);
    const asJson = await cli(server, ['--json', 'quarantine', ...argv]);
    expect(() => JSON.parse(asJson.stdout)).not.toThrow();
  });

  /** Everything is done but q-2. */
  const notTheSecond: Handler = (seen, response) => {
    const id = seen.path.split('/')[3] ?? '';
    if (id === 'q-2') problem(response, 409, 'decision_changed', 'Not done: somebody was faster.');
    else always({ id, state: 'discarded' })(seen, response);
  };

  it('goes on after one that can’t be done, and ends with 1', async () => {
    server.answer = notTheSecond;
    const { code, stdout, stderr } = await cli(server, ['quarantine', 'discard', 'q-1', 'q-2', 'q-3']);
    expect([code, stdout]).toEqual([1, 'q-1 is discarded\nq-3 is discarded\n']);
    expect(stderr).toBe(
      'waybill: 1 of 3 could not be done.\n  q-2: Not done: somebody was faster. (decision_changed)\n',
    );
  });

  it('says why the only one can’t be done', async () => {
    server.answer = notTheSecond;
    const { code, stdout, stderr } = await cli(server, ['quarantine', 'discard', 'q-2']);
    expect({ code, stdout, stderr }).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: 'waybill: Not done: somebody was faster. (decision_changed)\n',
    });
  });
});
