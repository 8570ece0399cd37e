import type { Response } from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { settableClock } from '../support/clock.js';
import { always, cli, problem, type Recorder, startRecorder } from './harness.js';

let server: Recorder;
beforeEach(async () => {
  server = await startRecorder();
});
afterEach(() => server.close());

const TEXT = 'rules: []\n';
const asked = () =>
  server.seen.map(({ method, path, body }) => [method, path, body.length > 0 ? JSON.parse(body.toString()) : null]);

function lines(response: Response, ...events: readonly object[]): void {
  response.status(200).type('application/x-ndjson');
  response.end(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
}

describe('waybill rules', () => {
  it('lists versions', async () => {
    const version = {
      version: 4,
      hash: 'x',
      managedBy: 'file',
      active: true,
      who: 'anna',
      why: 'more',
      createdAt: '2026-01-31T12:00:00.000Z',
    };
    server.answer = always({ items: [version, { ...version, version: 3, active: false, why: null }], next: null });
    const { code, stdout } = await cli(server, ['rules', '--limit', '2']);
    expect([code, asked()]).toEqual([0, [['GET', '/v1/rules?limit=2', null]]]);
    expect(stdout.split('\n')).toEqual([
      'VERSION  IN FORCE          SINCE                     WHO   WHY',
      '4        yes, by the file  2026-01-31T12:00:00.000Z  anna  more',
      '3                          2026-01-31T12:00:00.000Z  anna',
      '',
    ]);
    server.answer = always({ items: [], next: null });
    expect((await cli(server, ['rules', 'list'])).stdout).toBe('there are no rules: everything waits in the inbox\n');
  });

  it('puts a version in force', async () => {
    server.answer = always({ version: 3, active: true });
    const { code, stdout } = await cli(server, ['rules', 'activate', '3']);
    expect([code, stdout, asked()]).toEqual([0, 'version 3 is in force\n', [['POST', '/v1/rules/3/activate', null]]]);
    server.answer = (_, response) => problem(response, 409, 'managed_by_file', 'The file names the rules.');
    expect((await cli(server, ['rules', 'activate', '3'])).code).toBe(1);
  });

  it('says what is wrong with a file, and ends with 1 where it can not be kept', async () => {
    const warning = {
      severity: 'warning',
      code: 'shadowed',
      rule: 'a',
      line: 3,
      column: 11,
      message: '"a" never decides',
    };
    server.answer = always({ problems: [warning] });
    const warned = await cli(server, ['rules', 'lint', '-'], { stdin: TEXT });
    expect(warned).toEqual({ code: 0, stderr: '', stdout: 'stdin:3:11: warning: "a" never decides\n' });
    expect(asked()).toEqual([['POST', '/v1/rules/lint', { text: TEXT }]]);
    server.answer = always({ problems: [warning, { ...warning, severity: 'error', message: 'it is\u001b wrong' }] });
    const wrong = await cli(server, ['rules', 'lint', '-'], { stdin: TEXT });
    expect(wrong).toEqual({
      code: 1,
      stderr: 'waybill: These rules can not be kept: 1 errors.\n',
      stdout: 'stdin:3:11: warning: "a" never decides\nstdin:3:11: error: it is\ufffd wrong\n',
    });
    server.answer = always({ problems: [] });
    expect((await cli(server, ['rules', 'lint', '-'], { stdin: TEXT })).stdout).toBe('nothing is wrong\n');
    expect((await cli(server, ['rules', 'lint', '/nowhere/rules.yaml'])).stderr).toContain('there is no such file');
  });

  it('shows what a file would make of a message', async () => {
    const step = { rule: 'a', state: 'matched', why: 'Everything it asks for holds.', terms: [] };
    server.answer = always({
      version: null,
      outcome: { do: 'deliver', targets: ['erp', 'crm'] },
      rules: ['a'],
      steps: [step],
    });
    const { code, stdout } = await cli(server, ['rules', 'test', '-', '7-12'], { stdin: TEXT });
    expect([code, stdout, asked()]).toEqual([
      0,
      'it would go to erp, crm\n  + a: Everything it asks for holds.\n',
      [['POST', '/v1/rules/test', { text: TEXT, message: '7-12' }]],
    ]);
    server.answer = always({ outcome: { do: 'wait' }, steps: [] });
    expect((await cli(server, ['rules', 'test', '-', '7-12'], { stdin: TEXT })).stdout).toBe(
      'it would wait in the inbox\n',
    );
    server.answer = always({ outcome: { do: 'close', reason: 'spam' }, steps: [] });
    expect((await cli(server, ['rules', 'test', '-', '7-12'], { stdin: TEXT })).stdout).toBe(
      'it would be closed: spam\n',
    );
  });

  const none = { added: 0, removed: 0, examples: { added: [], removed: [] } };
  const result = {
    event: 'result',
    messages: 1234,
    changed: 15,
    gone: 2,
    targets: [
      {
        target: 'erp',
        added: 12,
        removed: 0,
        examples: { added: ['7-1', '7-2', '7-3', '7-4', '7-5', '7-6'], removed: [] },
      },
      { target: 'crm', added: 0, removed: 3, examples: { added: [], removed: ['1-1', '1-2', '1-3'] } },
    ],
    waiting: { ...none, removed: 1, examples: { added: [], removed: ['2-9'] } },
    closed: none,
    rules: [
      { rule: 'a', hits: 3 },
      { rule: 'b', hits: 0 },
    ],
  };

  it('backtests a file', async () => {
    server.answer = (_, response) => lines(response, { event: 'progress', done: 0, total: 1236 }, result);
    const clock = settableClock(Date.UTC(2026, 0, 31, 12));
    const options = [
      '--against',
      '3',
      '--after',
      '30d',
      '--before',
      '2026-01-30T00:00:00Z',
      '--waiting',
      '--limit',
      '9',
    ];
    const { code, stdout, stderr } = await cli(server, ['rules', 'backtest', '-', ...options], { stdin: TEXT, clock });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.split('\n')).toEqual([
      '1,234 messages, of which 15 would come to something else',
      '2 more are no longer kept',
      '+12 erp: 7-1, 7-2, 7-3, 7-4, 7-5 …',
      '−3 crm: 1-1, 1-2, 1-3',
      '−1 waiting in the inbox: 2-9',
      'never hit: b',
      '',
    ]);
    const body = {
      text: TEXT,
      against: 3,
      after: '2026-01-01T12:00:00.000Z',
      before: '2026-01-30T00:00:00Z',
      state: 'waiting',
      limit: 9,
    };
    expect(asked()).toEqual([['POST', '/v1/rules/backtest', body]]);
    const json = await cli(server, ['--json', 'rules', 'backtest', '-'], { stdin: TEXT });
    expect(JSON.parse(json.stdout)).toEqual(result);
  });

  it('says so when a backtest was cut off', async () => {
    server.answer = (_, response) => lines(response, { event: 'progress', done: 0, total: 1236 });
    const { code, stdout, stderr } = await cli(server, ['rules', 'backtest', '-'], { stdin: TEXT });
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain('cut off');
  });

  it.each([
    [['rules', 'activate', 'x']],
    [['rules', 'test', '-']],
    [['rules', 'backtest']],
    [['rules', 'backtest', '-', '--after', 'yesterday']],
    [['rules', 'backtest', '-', '--against', 'active']],
  ])('%j is wrong usage', async (argv) => {
    const { code } = await cli(server, argv);
    expect([code, server.seen]).toEqual([2, []]);
  });
});

describe('waybill apply --dry-run', () => {
  it('says what would change', async () => {
    const changes = [{ kind: 'target', name: 'erp', what: 'added' }];
    server.answer = always({ tenants: [{ tenant: 'default', changes }] });
    const { stdout } = await cli(server, ['apply', '--dry-run']);
    expect([stdout, asked()]).toEqual([
      'default: target erp would be added\n',
      [['POST', '/v1/apply?dryRun=true', null]],
    ]);
    const released = { kind: 'rules', name: '3', what: 'released' };
    server.answer = always({ tenants: [{ tenant: 'default', changes: [released] }] });
    expect((await cli(server, ['apply'])).stdout).toBe(
      'default: rules version 3 no longer named by the file; in force as before, and free to be changed\n',
    );
    server.answer = always({ tenants: [] });
    expect((await cli(server, ['apply', '--dry-run'])).stdout).toBe('nothing would change\n');
  });
});
