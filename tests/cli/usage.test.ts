import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { always, cli, problem, type Recorder, running, startRecorder } from './harness.js';

let server: Recorder;
beforeAll(async () => {
  server = await startRecorder();
});
beforeEach(() => {
  server.seen.length = 0;
});
afterAll(() => server.close());

describe('wrong usage ends with 2', () => {
  it.each([
    [[], 'Usage: waybill'],
    [['nonsense'], "unknown command 'nonsense'"],
    [['target'], 'Did you mean targets?'],
    [['targets', '--jason'], "unknown option '--jason'"],
    [['explain'], "missing required argument 'id'"],
    [['send'], 'Usage: waybill send'],
    [['send', 'event', '--count', '0'], 'It must be a whole number from 1 to 100000000.'],
    [['send', 'event', 'file', '--count', '2'], '--count, --type and --subject are for samples'],
    [['send', 'mail', '--smtp', 'nowhere'], 'It must be host:port'],
    [['send', 'mail', '--user', 'ci'], '--user logs in with WAYBILL_TOKEN'],
    [['send', 'hook', '--scheme', 'hmac', '--secret', 'x'], '--scheme hmac needs --header'],
    [['send', 'hook', '--scheme', 'rsa'], 'Allowed choices are'],
    [['send', 'hook', '--secret', 'a', '--secret-file', 'b'], 'give either --secret or --secret-file'],
    [['user', 'add', 'anna'], "required option '--role <role>' not specified"],
    [['user', 'add', 'anna', '--role', 'king'], 'Allowed choices are owner, operator, viewer.'],
    [['token', 'create', 'ci'], "required option '--permission <permission>' not specified"],
    [['token', 'create', 'ci', '--permission', 'events.sent'], 'did you mean events.send?'],
    [['token', 'create', 'ci', '--permission', 'everything'], 'there are events.send, hooks.send,'],
    [['targets', 'recover', 'erp', '--since', 'yesterday'], 'It must be a time such as'],
    [['pull', 'archive', '--keep', '--follow'], 'cannot be used with option'],
    [['quarantine', 'requeue'], 'Say which: ids such as q-12, or --crash.'],
    [['quarantine', 'discard', 'q-1', '--crash', 'ab'.repeat(32)], 'Give either ids or --crash.'],
    [['quarantine', 'release', '--crash', 'q-1'], 'It must be the 64 hexadecimal digits'],
    [['quarantine', 'requeue', 'q-1', '--rung', 'No 3'], 'It must be a rung, such as files or 6.'],
    [['quarantine', 'delay', 'q-1'], "required option '--until <time>' not specified"],
    [['quarantine', 'delay', 'q-1', '--until', 'tomorrow'], 'or in how long: 30m, 12h, 7d.'],
    [['quarantine', '--state', 'lost'], 'Allowed choices are held, released, discarded.'],
    [['quarantine', 'show'], "missing required argument 'id'"],
  ])('%j', async (argv, said) => {
    const { code, stdout, stderr } = await cli(server, argv, { env: { WAYBILL_TOKEN: '' } });
    expect(stderr).toContain(said);
    expect({ code, stdout, calls: server.seen.length }).toEqual({ code: 2, stdout: '', calls: 0 });
  });

  it.each([
    [{ WAYBILL_URL: 'ftp://example.com' }, 'WAYBILL_URL'],
    [{ WAYBILL_TOKEN_FILE: '/nowhere/at/all', WAYBILL_TOKEN: '' }, 'WAYBILL_TOKEN'],
  ])('with the environment %j', async (env, said) => {
    const { code, stderr } = await cli(server, ['targets'], { env });
    expect(stderr).toContain(said);
    expect(code).toBe(2);
  });

  it('with WAYBILL_SMTP that is no address', async () => {
    const { code, stderr } = await cli(server, ['send', 'mail'], { env: { WAYBILL_SMTP: 'mx' } });
    expect(stderr).toContain('WAYBILL_SMTP: It must be host:port');
    expect(code).toBe(2);
  });
});

it('help ends with 0 and goes to stdout', async () => {
  const { code, stdout, stderr } = await cli(server, ['--help']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  for (const command of [
    'start',
    'apply',
    'send',
    'tail',
    'pull',
    'explain',
    'targets',
    'deliveries',
    'quarantine',
    'user',
    'token',
    'tenant',
  ]) {
    expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
  }
});

it('docs/cli.md names every command', async () => {
  const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
  const commandsOf = async (above: readonly string[]): Promise<string[]> => {
    const { stdout } = await cli(server, [...above, '--help']);
    const [, listed = ''] = stdout.split('Commands:\n');
    const names = [...listed.matchAll(/^ {2}([a-z]+)(?: .*)?$/gm)].map((match) => String(match[1]));
    const found = names.filter((name) => !['help', 'list'].includes(name)).map((name) => [...above, name]);
    const below = await Promise.all(found.filter((path) => path.length === 1).map(commandsOf));
    return [...found.map((path) => path.join(' ')), ...below.flat()];
  };
  const commands = await commandsOf([]);
  expect(commands).toContain('token create');
  for (const command of commands) expect(page).toContain(`waybill ${command}`);
});

it('start ends with the exit code of the program', async () => {
  expect((await cli(null, ['start'], { start: async () => 0 })).code).toBe(0);
  expect((await cli(null, ['start'], { start: async () => 1 })).code).toBe(1);
  const failed = await cli(null, ['start'], { start: () => Promise.reject(new Error('no such disk')) });
  expect(failed).toEqual({ code: 1, stdout: '', stderr: 'waybill: no such disk\n' });
});

describe('a call that fails ends with 1 and a sentence', () => {
  it('of a problem: its detail and code', async () => {
    server.answer = (_, response) => problem(response, 404, 'not_found', 'There is no such message.');
    const { code, stdout, stderr } = await cli(server, ['explain', '7-1']);
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr: 'waybill: There is no such message. (not_found)\n',
    });
  });

  it('with --json: as JSON on stderr', async () => {
    server.answer = (_, response) => problem(response, 403, 'forbidden', 'This takes the permission rules.write.');
    const { code, stdout, stderr } = await cli(server, ['--json', 'targets']);
    expect({ code, stdout, error: JSON.parse(stderr) }).toEqual({
      code: 1,
      stdout: '',
      error: {
        error: { code: 'forbidden', message: 'This takes the permission rules.write. (forbidden)', details: [] },
      },
    });
  });

  it('without a token: what to set', async () => {
    server.answer = (_, response) => problem(response, 401, 'unauthenticated', 'Say who you are.');
    const { stderr } = await cli(server, ['targets'], { env: { WAYBILL_TOKEN: '' } });
    expect(stderr).toBe(
      'waybill: Say who you are. Set WAYBILL_TOKEN, or WAYBILL_DATA to the data directory of the Waybill that runs on this machine. (unauthenticated)\n',
    );
    expect(server.seen[0]?.headers.authorization).toBeUndefined();
  });

  it('without a token: with the login that a Waybill here has left, for itself and for no other', async () => {
    const data = await mkdtemp(join(tmpdir(), 'waybill-login-'));
    server.answer = (_, response) => void response.json({ items: [], next: null });
    const asked = async (env: Record<string, string>) => {
      await cli(server, ['targets'], { env: { WAYBILL_TOKEN: '', WAYBILL_DATA: data, ...env } });
      return server.seen.splice(0)[0]?.headers.authorization;
    };
    const leave = (url: string) =>
      writeFile(join(data, 'client.json'), JSON.stringify({ url, token: 'left', smtp: null }));
    await leave(server.url);
    expect(await asked({})).toBe('Bearer left');
    expect(await asked({ WAYBILL_URL: server.url.replace('127.0.0.1', 'localhost') })).toBe('Bearer left');
    expect(await asked({ WAYBILL_URL: '' })).toBe('Bearer left');
    expect(await asked({ WAYBILL_TOKEN: 'mine' })).toBe('Bearer mine');
    await leave(server.url.replace(/\d+$/, '1'));
    expect(await asked({})).toBeUndefined();
    await rm(data, { recursive: true });
  });

  it('with every fault where there are several', async () => {
    const errors = [
      { pointer: '/name', detail: 'too long' },
      { pointer: '/role', detail: 'unknown' },
    ];
    server.answer = (_, response) => problem(response, 422, 'invalid_body', '/name: too long', { errors });
    const { stderr } = await cli(server, ['tenant', 'add', 'x']);
    expect(stderr).toBe('waybill: /name: too long (invalid_body)\n  /name: too long\n  /role: unknown\n');
  });

  it('with every problem of a configuration, where it stands', async () => {
    const problems = ['config/waybill.yaml:3:1: unknown key', 'config/rules.yaml:6:7: there is no field "subjct"'];
    server.answer = (_, response) =>
      problem(response, 422, 'configuration_invalid', `nothing was changed:\n${problems.join('\n')}`, { problems });
    const { code, stderr } = await cli(server, ['apply']);
    expect(stderr).toBe(
      `waybill: nothing was changed. (configuration_invalid)\n${problems.map((line) => `  ${line}\n`).join('')}`,
    );
    expect(code).toBe(1);
  });

  it('with every problem of rules', async () => {
    const problems = [
      { line: 6, column: 7, path: 'rules[0].when.x', message: 'there is no field', didYouMean: 'text' },
    ];
    server.answer = (_, response) => problem(response, 422, 'rules_invalid', 'wrong', { problems });
    const { stderr } = await cli(server, ['targets']);
    expect(stderr).toContain('  6:7: rules[0].when.x: there is no field; did you mean "text"?\n');
  });

  it.each([
    [
      'a page',
      (response: { status(n: number): { end(t: string): void } }) => response.status(502).end('<html>bad gateway'),
      'gives status 502 and no explanation: is WAYBILL_URL right?',
    ],
    [
      'a page with 200',
      (response: { status(n: number): { end(t: string): void } }) => response.status(200).end('<html>'),
      'gives an answer that is not JSON: is WAYBILL_URL right?',
    ],
    [
      'a redirect',
      (response: { redirect(t: string): void }) => response.redirect('https://elsewhere.example/'),
      'gives a redirect to https://elsewhere.example/: is WAYBILL_URL right?',
    ],
    ['nothing', (response: { destroy(): void }) => response.destroy(), "can't be reached: "],
    // biome-ignore lint/suspicious/noExplicitAny: each takes the part of a response that it uses
  ] as [string, (response: any) => void, string][])('for %s', async (_, answer, said) => {
    server.answer = (_seen, response) => answer(response);
    const { code, stderr } = await cli(server, ['targets']);
    expect(stderr).toContain(said);
    expect(code).toBe(1);
  });

  it('where nothing listens', async () => {
    const gone = await startRecorder();
    await gone.close();
    const { code, stderr } = await cli(gone, ['targets']);
    expect(stderr).toBe(
      `waybill: Nothing answers at ${gone.url}: start Waybill with "waybill start", or set WAYBILL_URL.\n`,
    );
    expect(code).toBe(1);
  });

  it('when the user has waited long enough', async () => {
    const user = new AbortController();
    server.answer = () => user.abort();
    expect(await cli(server, ['targets'], { interrupted: user.signal })).toEqual({
      code: 1,
      stdout: '',
      stderr: 'waybill: interrupted\n',
    });
  });
});

describe('what messages bring', () => {
  it('does nothing to a terminal', async () => {
    const evil = 'a\u001b[2Jb\u0007\u009bc\u202ed\r\ne';
    server.answer = always({ items: [{ name: evil, role: 'owner', disabled: false }] });
    const { stdout } = await cli(server, ['user']);
    expect(stdout).toBe('person         role\na\ufffd[2Jb\ufffd\ufffdc\ufffdd e  owner\n');
  });

  it('goes out as it came with --json, digits and all', async () => {
    const text = '{"items": [{"name":"a","amount":1.00000000000000000000}]}';
    server.answer = always(text);
    expect((await cli(server, ['--json', 'user'])).stdout).toBe(`${text}\n`);
    expect((await cli(server, ['user', '--json'])).stdout).toBe(`${text}\n`);
  });
});

it('the token goes along, the path of WAYBILL_URL is kept', async () => {
  server.answer = always({ items: [] });
  const { ended } = running(server, ['tenant'], { env: { WAYBILL_URL: `${server.url}/behind/a/proxy/` } });
  expect((await ended).code).toBe(0);
  expect(server.seen[0]).toMatchObject({
    path: '/behind/a/proxy/v1/tenants',
    headers: { authorization: 'Bearer secret' },
  });
});
