import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { builtProgram } from '../support/program.js';
import { until } from '../support/until.js';

const TOKEN = 'admin-token-of-this-test';

const CONFIGURATION = `
sources:
  mail: { kind: mail, addresses: ["@example.com"] }
  shop: { kind: webhook, verify: { scheme: token }, account: /customer, type: { from: pointer, pointer: /type } }
  signed: { kind: webhook, verify: { scheme: standard, secrets: [correct-horse-battery] } }
  billing: { kind: events, value: /data/amount }
targets:
  archive: { kind: pull }
rulesFile: rules.yaml
`;

const RULES = `
rules:
  - name: payments
    when: { type: payment.received, value: { numeric: [">", 0] } }
    then: { targets: archive }
`;

let program: string;
let directory: string;
let db: TestDatabase;
let waybill: ChildProcess;
let env: NodeJS.ProcessEnv;

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function launch(argv: readonly string[], extra: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [program, ...argv], { env: { ...env, ...extra } });
  const out = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    out.stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    out.stderr += chunk.toString();
  });
  const ended = new Promise<Ran>((resolve) => child.once('close', (code) => resolve({ code, ...out })));
  return { child, out, ended };
}

async function command(argv: readonly string[], stdin = ''): Promise<Ran> {
  const { child, ended } = launch(argv);
  child.stdin.end(stdin);
  return ended;
}

beforeAll(async () => {
  program = await builtProgram();
  db = await freshDatabase();
  directory = await mkdtemp(join(tmpdir(), 'waybill-cli-'));
  await writeFile(join(directory, 'waybill.yaml'), CONFIGURATION);
  await writeFile(join(directory, 'rules.yaml'), RULES);
  env = { PATH: process.env.PATH, HOME: process.env.HOME };
  const started = launch(['start'], {
    WAYBILL_CONFIG: join(directory, 'waybill.yaml'),
    WAYBILL_DATA: join(directory, 'data'),
    WAYBILL_HTTP: '127.0.0.1:0',
    WAYBILL_SMTP: '127.0.0.1:0',
    WAYBILL_ADMIN_TOKEN: TOKEN,
    DATABASE_URL: db.url,
  });
  waybill = started.child;
  const ready = () =>
    started.out.stdout.includes('\n') ? started.out.stdout : waybill.exitCode === null ? null : '{}';
  const { http, smtp } = JSON.parse(await until(ready, 'Waybill to be ready', 60_000));
  if (!http) throw new Error(`Waybill did not start:\n${started.out.stderr}`);
  env = { ...env, WAYBILL_URL: http, WAYBILL_SMTP: smtp, WAYBILL_TOKEN: TOKEN };
});

afterAll(async () => {
  const ended = new Promise((resolve) => waybill.once('close', resolve));
  waybill.kill('SIGTERM');
  expect(await ended).toBe(0);
  await db.drop();
  await rm(directory, { recursive: true });
});

describe('the command, against a running Waybill', () => {
  it('takes a message from being sent to being fetched, and tells its story', async () => {
    const sent = await command(['--json', 'send', 'event']);
    expect(sent).toMatchObject({ code: 0, stderr: '' });
    const id: string = JSON.parse(sent.stdout).results[0].message;
    const pulled = await command(['--json', 'pull', 'archive', '--wait', '20']);
    expect(pulled).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(pulled.stdout)).toMatchObject({
      type: 'payment.received',
      body: { id, data: { amount: 37.07 } },
    });
    const story = await command(['explain', id]);
    expect(story.stdout).toContain(`${id} is routed, version 1\n`);
    expect(story.stdout).toContain('  + payments: Everything it asks for holds.\n');
    expect(story.stdout).toContain('value numeric > 0: true, found "37.07"\n');
    expect(story.stdout).toMatch(/delivery \d+\.archive\.[\d-]+: delivered/);
    const listed = await command(['deliveries', '--message', id]);
    expect(listed.stdout).toMatch(/ delivered /);
  });

  it('sends mail, and webhooks with a token or a signature', async () => {
    expect((await command(['send', 'mail'])).stdout).toMatch(
      /^invoices@example\.com: 250 2\.0\.0 Ok: queued as \d+-\d+\n$/,
    );
    const refused = await command(['send', 'mail', '--to', 'a@elsewhere.example']);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('550');
    expect((await command(['send', 'hook'])).stdout).toMatch(/^sequenced as \d+-\d+\n$/);
    const signed = await command(['send', 'hook', '--source', 'signed', '--secret', 'correct-horse-battery']);
    expect(signed.stdout).toMatch(/^sequenced as \d+-\d+\n$/);
    const forged = await command(['send', 'hook', '--source', 'signed', '--secret', 'guessed-at-random']);
    expect(forged).toMatchObject({ code: 1, stdout: '' });
    expect(forged.stderr).toContain('(signature_invalid)');
  });

  it('tells good events from bad ones', async () => {
    const good = '{"specversion":"1.0","id":"cli-1","source":"/cli","type":"t"}';
    const { code, stdout } = await command(['send', 'event', '-'], `${good}\n{bad\n${good}\n`);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^3 events: 1 sequenced, 1 duplicate, 1 rejected\n {2}event 2: rejected \(json_malformed\): /,
    );
  });

  it('tells what comes, until Ctrl-C', async () => {
    const tail = launch(['tail', '-n', '0', '--source', 'shop']);
    // Nothing shows that it listens; so webhooks go on coming until it has told of one.
    await until(
      async () => {
        await command(['send', 'hook']);
        return tail.out.stdout.includes('shop customer-17 order.placed\n');
      },
      'a webhook to be told of',
      20_000,
    );
    tail.child.kill('SIGINT');
    expect(await tail.ended).toMatchObject({ code: 0, stderr: '' });
  });

  it('manages people, tokens and tenants', async () => {
    expect((await command(['user', 'add', 'anna', '--role', 'operator'])).stdout).toMatch(
      /^http:\/\/\S+\/sign-in\/\S+\n/,
    );
    expect((await command(['user'])).stdout).toMatch(/^anna +operator$/m);
    const made = await command(['token', 'create', 'ci', '--permission', 'targets.read']);
    const own = launch(['targets'], { WAYBILL_TOKEN: made.stdout.trim() });
    expect((await own.ended).stdout).toMatch(/^archive +pull +file/m);
    const barred = launch(['user'], { WAYBILL_TOKEN: made.stdout.trim() });
    expect((await barred.ended).stderr).toContain('(forbidden)');
    expect((await command(['token', 'revoke', 'ci'])).code).toBe(0);
    expect((await command(['tenant', 'add', 'acme', '--channels', '2'])).stdout).toMatch(/^acme has 2 channels\nhttp/);
    expect((await command(['tenant'])).stdout).toMatch(/^acme +2$/m);
  });

  it('has the configuration read again, and says what is wrong with it', async () => {
    await writeFile(join(directory, 'rules.yaml'), RULES.replace('type:', 'tipe:'));
    const wrong = await command(['apply']);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/rules\.yaml:4:13: .*tipe.*did you mean "type"\?\n$/);
    await writeFile(join(directory, 'rules.yaml'), RULES.replace('    when:', '    description: Told.\n    when:'));
    const right = await command(['apply']);
    expect(right).toMatchObject({ code: 0, stderr: '' });
    expect(right.stdout).toMatch(/^default: rules version \d+ (added|changed)\n$/);
    expect((await command(['apply'])).stdout).toBe('nothing has changed\n');
  });

  it('pauses a target and lets it go on', async () => {
    expect((await command(['targets', 'pause', 'archive', '--reason', 'moving'])).stdout).toMatch(/paused .*moving/);
    expect((await command(['targets', 'resume', 'archive'])).stdout).not.toMatch(/paused/);
  });
});

describe('the exit code of the process', () => {
  it.each([
    [['--help'], 0],
    [['targets', 'erp', 'nonsense'], 2],
    [['explain', '0-999999'], 1],
  ])('of %j is %i', async (argv, code) => {
    expect((await command(argv)).code).toBe(code);
  });
});

it('ends quietly when nobody reads on', async () => {
  const tail = launch(['tail', '-n', '0']);
  tail.child.stdout.destroy();
  await until(
    async () => {
      await command(['send', 'hook']);
      return tail.child.exitCode !== null;
    },
    'tail to end',
    20_000,
  );
  expect(await tail.ended).toMatchObject({ code: 0, stderr: '' });
});
