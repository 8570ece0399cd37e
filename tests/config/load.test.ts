import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { loadClientSettings, loadSettings } from '../../src/config/load.js';
import { FILE, load, loaded, problemsOf, said } from './harness.js';

const ref = (inner: string) => `\${${inner}}`;

describe('the files as shipped', () => {
  test('hold, without any environment', () => {
    const result = loaded(loadSettings({ env: {} }));
    expect(result.warnings).toEqual([]);
    const [tenant, ...others] = result.definitions;
    expect(others).toEqual([]);
    expect(tenant?.tenant).toBe('default');
    expect(tenant?.sources.map(({ definition }) => definition.kind).sort()).toEqual(['events', 'mail', 'webhook']);
    expect(tenant?.targets.map(({ definition }) => definition.kind).sort()).toEqual([
      'email',
      'pull',
      'queue',
      'webhook',
    ]);
    const targets = new Set(tenant?.targets.map(({ name }) => name));
    expect(tenant?.rules?.mentions.filter(({ target }) => !targets.has(target))).toEqual([]);
    expect(tenant?.rules?.mentions.length).toBeGreaterThan(4);
  });

  test('send nothing off this machine, and name no secret', () => {
    const [tenant] = loaded(loadSettings({ env: {} })).definitions;
    const hosts = (tenant?.targets ?? []).flatMap(({ definition }) =>
      definition.kind === 'webhook'
        ? [new URL(definition.url).hostname]
        : definition.kind === 'email'
          ? [new URL(definition.server).hostname]
          : [],
    );
    expect(hosts).toEqual(['127.0.0.1', '127.0.0.1']);
    expect(JSON.stringify(tenant?.sources)).not.toContain('secrets');
  });

  test('the example of a larger one holds with its variables, and names those that are missing', () => {
    const file = 'config/examples/production.yaml';
    const env = {
      WAYBILL_CONFIG: file,
      DATABASE_URL: 'postgres://waybill@db/waybill',
      AMQP_URL: 'amqp://waybill@mq',
      GITHUB_WEBHOOK_SECRET: 'a-secret-of-github',
      STRIPE_WEBHOOK_SECRET: 'a-secret-of-stripe',
      PLAIN_WEBHOOK_SECRET: 'a-secret-of-others',
      CRM_WEBHOOK_SECRET: 'whsec_MDEyMzQ1Njc4OWFiY2RlZg==',
      CRM_API_KEY: 'key',
      SMTP_RELAY: 'smtps://relay.example.com',
    };
    const certificates = problemsOf(loadSettings({ env }));
    expect(certificates.map(({ path }) => path)).toEqual(['smtp.tls.certificate', 'smtp.tls.key']);
    const { SMTP_RELAY: _, ...without } = env;
    expect(said(loadSettings({ env: without })).join()).toContain('SMTP_RELAY');
  });
});

describe('settings', () => {
  test('have defaults, so that an empty file will do', () => {
    const { settings, definitions } = loaded(load(''));
    expect(settings.http).toEqual({
      listen: { host: '127.0.0.1', port: 8420 },
      trustedProxies: [],
      maxConnections: 5000,
      maxBody: 32 * 1024 * 1024,
      maxEventsPerRequest: 1000,
    });
    expect(settings.smtp.listen).toEqual({ host: '127.0.0.1', port: 2525 });
    expect(settings.smtp.maxMessage).toBe(25_000_000);
    expect(settings.roles).toEqual(['ingress', 'owner', 'web', 'ledger']);
    expect(settings.database.url).toBeUndefined();
    expect(definitions).toEqual([
      { tenant: 'default', channels: null, sources: [], targets: [], billing: [], rules: null },
    ]);
  });

  test('of a group that stands there empty are the defaults', () => {
    expect(loaded(load('smtp:\nhttp:\n  publicUrl:\nsources:\n')).settings).toEqual(loaded(load('')).settings);
  });

  test('come from the environment before the file', () => {
    const yaml =
      'roles: [web]\ndata: here\nhttp:\n  listen: 10.0.0.1:80\n  maxBody: 1 MiB\ndatabase:\n  url: postgres://file/x';
    const env = {
      WAYBILL_HTTP: '[::1]:0',
      WAYBILL_SMTP: 'localhost:25',
      WAYBILL_ROLES: 'owner, ingress',
      WAYBILL_DATA: 'there',
      DATABASE_URL: 'postgres://env/x',
      AMQP_URL: 'amqps://mq/v',
      WAYBILL_ADMIN_TOKEN: 'sixteen-letters-or-more',
    };
    const { settings } = loaded(load(yaml, { env }));
    expect(settings.http.listen).toEqual({ host: '::1', port: 0 });
    expect(settings.http.maxBody).toBe(1024 * 1024);
    expect(settings.smtp.listen).toEqual({ host: 'localhost', port: 25 });
    expect(settings.roles).toEqual(['owner', 'ingress']);
    expect(settings.data).toBe(resolve('there'));
    expect(settings.database.url).toBe('postgres://env/x');
    expect(settings.broker.url).toBe('amqps://mq/v');
    expect(settings.access.adminToken).toBe('sixteen-letters-or-more');
  });

  test('that the environment has wrong are told by the name of the variable, with what the file says unharmed', () => {
    const result = load('http:\n  listen: 10.0.0.1:80', { env: { WAYBILL_HTTP: '80', WAYBILL_ROLES: 'web,ownr' } });
    expect(said(result)).toEqual([
      'environment: WAYBILL_HTTP: must be an address with a port, such as 127.0.0.1:8420 or [::1]:8420',
      'environment: WAYBILL_ROLES: must be one of ingress, owner, web, ledger; did you mean "owner"?',
    ]);
  });

  test('a variable that is empty is not set', () => {
    const { settings, warnings } = loaded(
      load('', { env: { DATABASE_URL: '', WAYBILL_HTTP: '', WAYBILL_NOTHING: '' } }),
    );
    expect(settings.database.url).toBeUndefined();
    expect(warnings).toEqual([]);
  });

  test('paths are meant from the file, or from where the program was started', () => {
    const files = { [resolve('conf/mx.pem')]: 'x', '/etc/mx.key': 'x' };
    const yaml = 'data: store\nsmtp:\n  tls: {certificate: mx.pem, key: /etc/mx.key}';
    expect(loaded(load(yaml, { files })).settings).toMatchObject({
      data: resolve('conf/store'),
      smtp: { tls: { certificate: resolve('conf/mx.pem'), key: '/etc/mx.key' } },
    });
    expect(loaded(load('')).settings.data).toBe(resolve('data'));
  });

  test('any size is as many bytes as it says', () => {
    const units = { B: 1, kB: 1e3, MB: 1e6, KiB: 1024, MiB: 1024 ** 2 };
    const unit = fc.constantFrom(...(Object.keys(units) as (keyof typeof units)[]));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), unit, fc.boolean(), (n, name, space) => {
        const bytes = n * units[name];
        fc.pre(bytes >= 1024 && bytes <= 1024 ** 3);
        const { settings } = loaded(load(`http: {maxBody: ${n}${space ? ' ' : ''}${name}}`));
        expect(settings.http.maxBody).toBe(bytes);
        expect(loaded(load(`http: {maxBody: ${bytes}}`)).settings.http.maxBody).toBe(bytes);
      }),
    );
  });

  test('any settings, written down, are read as they were', () => {
    const shape = fc.record(
      {
        roles: fc.uniqueArray(fc.constantFrom('ingress', 'owner', 'web', 'ledger'), { minLength: 1 }),
        http: fc.record({
          maxBody: fc.integer({ min: 1024, max: 1e9 }),
          trustedProxies: fc.array(fc.ipV4(), { maxLength: 3 }),
        }),
        smtp: fc.record({ loopbackLogin: fc.boolean(), idleSeconds: fc.integer({ min: 1, max: 3600 }) }),
        content: fc.record({ trySeconds: fc.double({ min: 0.1, max: 600, noNaN: true }) }),
        log: fc.record({ level: fc.constantFrom('trace', 'info', 'silent') }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(shape, (given) => {
        expect(loaded(load(stringify(given))).settings).toMatchObject(given);
      }),
    );
  });
});

describe('variables', () => {
  const secretFile = { '/run/secret': 'from-a-file\n' };

  function token(value: string, env: Record<string, string> = {}) {
    return load(`access:\n  adminToken: ${value}`, { env, files: secretFile });
  }

  test('stand anywhere in a text', () => {
    const env = { USER_: 'waybill', HOST: 'db' };
    const { settings } = loaded(
      load(`database: {url: "postgres://${ref('USER_')}@${ref('HOST')}/${ref('NAME:-main')}"}`, { env }),
    );
    expect(settings.database.url).toBe('postgres://waybill@db/main');
  });

  test('come from a file where NAME_FILE names one', () => {
    const { settings } = loaded(token(`the-secret-is-${ref('TOKEN')}`, { TOKEN_FILE: '/run/secret' }));
    expect(settings.access.adminToken).toBe('the-secret-is-from-a-file');
    const direct = loaded(load('', { env: { AMQP_URL_FILE: '/run/amqp' }, files: { '/run/amqp': 'amqp://file\r\n' } }));
    expect(direct.settings.broker.url).toBe('amqp://file');
    expect(direct.warnings).toEqual([]);
  });

  test('hold text and nothing more: neither YAML nor further variables', () => {
    const env = { TOKEN: `{a: 1}\n# ${ref('OTHER')} and more of it` };
    expect(loaded(token(ref('TOKEN'), env)).settings.access.adminToken).toBe(env.TOKEN);
  });

  test('that hold a number or a truth value do where one is wanted', () => {
    const env = { N: '7', F: '1.5', YES: 'true', TOKEN: '12345678901234567890' };
    const yaml = `channel: {windowDays: '${ref('N')}'}\ncontent: {trySeconds: '${ref('F')}'}\nsmtp:\n  loopbackLogin: ${ref('YES')}`;
    expect(loaded(load(yaml, { env })).settings).toMatchObject({
      channel: { windowDays: 7 },
      content: { trySeconds: 1.5 },
      smtp: { loopbackLogin: true },
    });
    expect(loaded(token(ref('TOKEN'), env)).settings.access.adminToken).toBe(env.TOKEN);
    const targets = `targets:\n  t: {kind: pull, leaseSeconds: '${ref('N')}'}`;
    expect(loaded(load(targets, { env })).definitions[0]?.targets[0]?.definition).toMatchObject({ leaseSeconds: 7 });
    expect(said(load(`channel: {windowDays: '${ref('F')}'}`, { env }))).toEqual([
      'conf/waybill.yaml:1:23: channel.windowDays: must be a whole number (it comes from F)',
    ]);
    expect(said(load(`smtp: {loopbackLogin: '${ref('N')}'}`, { env }))).toEqual([
      'conf/waybill.yaml:1:23: smtp.loopbackLogin: must be true or false (it comes from N)',
    ]);
  });

  test.each([
    [
      'that is not set',
      ref('TOKEN'),
      {},
      'variable_missing',
      'the environment variable TOKEN (or TOKEN_FILE) is not set',
    ],
    [
      'written wrongly',
      ref('TO KEN'),
      {},
      'variable_malformed',
      `write ${ref('NAME')} or ${ref('NAME:-default')}, or $${ref('').slice(0, -1)} for a plain ${ref('').slice(0, -1)}`,
    ],
    [
      'set twice',
      ref('TOKEN'),
      { TOKEN: 'x', TOKEN_FILE: '/run/secret' },
      'variable_twice',
      'both TOKEN and TOKEN_FILE are set; keep one of them',
    ],
    [
      'whose file is not there',
      ref('TOKEN'),
      { TOKEN_FILE: '/none' },
      'file_unreadable',
      'the file /none that TOKEN_FILE names is not there',
    ],
  ])('one %s is a problem with its place, told once', (_, value, env, code, message) => {
    const result = token(`"${value}"`, env);
    expect(said(result)).toEqual([`conf/waybill.yaml:2:15: access.adminToken: ${message}`]);
    expect(problemsOf(result)[0]?.code).toBe(code);
  });

  test('of a setting that is given twice, or whose file is not there, are problems of the environment', () => {
    const env = { AMQP_URL: 'amqp://x', AMQP_URL_FILE: '/run/secret', WAYBILL_ADMIN_TOKEN_FILE: '/none' };
    expect(said(load('', { env, files: secretFile }))).toEqual([
      'environment: AMQP_URL: both AMQP_URL and AMQP_URL_FILE are set; keep one of them',
      'environment: WAYBILL_ADMIN_TOKEN: the file /none that WAYBILL_ADMIN_TOKEN_FILE names is not there',
    ]);
  });

  test('that nobody knows are warned of, when they are meant for us', () => {
    const env = {
      WAYBIL_HTTP: 'x',
      WAYBILL_SMTPP: 'x',
      WAYBILL_X: 'x',
      WAYBILL_MINE: 'a-token-of-our-own',
      PATH: '/bin',
      WAYMARK: 'x',
    };
    const result = token(ref('WAYBILL_MINE'), env);
    expect(result.ok).toBe(true);
    expect(said(result)).toEqual([
      'environment: WAYBIL_HTTP: warning: this environment variable is not known and has no effect; did you mean "WAYBILL_HTTP"?',
      'environment: WAYBILL_SMTPP: warning: this environment variable is not known and has no effect; did you mean "WAYBILL_SMTP"?',
      expect.stringMatching(/^environment: WAYBILL_X: warning: this environment variable is not known/),
    ]);
    expect(said(load('', { env: { WAYBILL_URL: 'http://x', WAYBILL_TOKEN_FILE: '/x' } }))).toEqual([]);
  });

  test('whatever they hold comes through as it is, between whatever text', () => {
    const plain = fc.string({ unit: fc.constantFrom('$', '{', '}', 'a', ' ', '"', '\n', ':'), maxLength: 12 });
    const escaped = (text: string) => text.replaceAll(/\$\{/g, (open) => `$${open}`);
    fc.assert(
      fc.property(
        plain,
        plain.filter((value) => value !== ''),
        plain,
        (before, value, after) => {
          const template = `0123456789abcdef${escaped(before)}${ref('V')}${escaped(after)}`;
          // What ends in $ before a reference would escape it.
          fc.pre(!before.endsWith('$'));
          const { settings } = loaded(token(JSON.stringify(template), { V: value }));
          expect(settings.access.adminToken).toBe(`0123456789abcdef${before}${value}${after}`);
        },
      ),
    );
  });

  test('never show in a problem what they hold', () => {
    const yaml = [
      `log:\n  level: ${ref('S')}`,
      `http:\n  maxBody: ${ref('S')}`,
      `smtp:\n  listen: ${ref('S')}`,
      `access:\n  adminToken: ${ref('S')}`,
      `roles:\n  - ${ref('S')}`,
      `sources:\n  s:\n    kind: ${ref('S')}`,
    ].join('\n');
    const result = load(yaml, { env: { S: 'hunter2', DATABASE_URL: 'hunter2', WAYBILL_HTTP: 'hunter2' } });
    expect(problemsOf(result)).toHaveLength(8);
    expect(said(result).join('\n')).not.toContain('hunter2');
  });
});

describe('definitions', () => {
  test('name their tenant and their place', () => {
    const yaml = [
      'targets:',
      '  archive: {kind: pull}',
      'rulesFile: r.yaml',
      'tenants:',
      '  acme:',
      '    channels: 4',
      '    sources:',
      '      feed: {kind: events}',
      '  empty:',
    ].join('\n');
    const rules = 'rules:\n  - name: all\n    when: {}\n    then: {targets: archive}\n';
    expect(loaded(load(yaml, { files: { 'conf/r.yaml': rules } })).definitions).toEqual([
      {
        tenant: 'default',
        channels: null,
        sources: [],
        targets: [expect.objectContaining({ name: 'archive', at: { file: FILE, line: 2, column: 3 } })],
        billing: [],
        rules: {
          file: 'conf/r.yaml',
          text: rules,
          mentions: [{ target: 'archive', line: 4, column: 21, path: 'rules[0].then.targets' }],
        },
      },
      {
        tenant: 'acme',
        channels: { count: 4, at: { file: FILE, line: 6, column: 15 } },
        sources: [{ name: 'feed', definition: { kind: 'events' }, at: { file: FILE, line: 8, column: 7 } }],
        targets: [],
        billing: [],
        rules: null,
      },
      { tenant: 'empty', channels: null, sources: [], targets: [], billing: [], rules: null },
    ]);
  });

  test('of billing are read with their places; numbers that are money are texts', () => {
    const yaml = [
      'meters:',
      '  calls: {type: call, aggregation: count}',
      'rateCards:',
      '  basic:',
      '    currency: EUR',
      '    versions:',
      '      - from: 2026-01-01',
      '        prices:',
      '          - {model: graduated, meter: calls, tiers: [{upTo: "10", price: "1"}, {price: "0.50"}]}',
      'subscriptions:',
      '  acme: {account: acme, rateCard: basic, currency: EUR, from: 2026-01-01}',
    ].join('\n');
    const [tenant] = loaded(load(yaml)).definitions;
    expect(tenant?.billing.map(({ kind, name, at }) => [kind, name, at.line])).toEqual([
      ['meter', 'calls', 2],
      ['rate-card', 'basic', 4],
      ['subscription', 'acme', 11],
    ]);
    expect(tenant?.billing[1]?.definition).toMatchObject({
      versions: [{ prices: [{ tiers: [{ upTo: '10' }, { upTo: null, price: '0.50' }] }] }],
    });
    const wrong = yaml.replace('price: "1"', 'price: 1').replace('aggregation: count', 'aggregation: counts');
    expect(said(load(wrong))).toEqual([
      expect.stringMatching(/:2:\d+: meters\.calls\.aggregation: .*did you mean "count"/),
      expect.stringMatching(/:9:\d+: rateCards\.basic.*price: must be text; put it in quotes/),
    ]);
  });

  test('may be written once and used again', () => {
    const yaml = 'targets:\n  a: &pull {kind: pull, leaseSeconds: 5}\n  b: *pull\n';
    expect(loaded(load(yaml)).definitions[0]?.targets.map(({ definition }) => definition)).toEqual([
      expect.objectContaining({ leaseSeconds: 5 }),
      expect.objectContaining({ leaseSeconds: 5 }),
    ]);
  });

  test('keep their problems apart: the rules of the same file are checked as well', () => {
    const files = { 'conf/r.yaml': 'rules:\n  - name: A\n' };
    const result = load('targets:\n  t: {kind: pul}\nrulesFile: r.yaml', { files });
    expect(problemsOf(result).map(({ code }) => code)).toEqual(
      expect.arrayContaining(['rules_invalid', 'value_invalid']),
    );
  });
});

describe('a target that rules name and the file does not', () => {
  const rules = (extra: string) =>
    `rules:\n  - name: a\n    when: { kind: event${extra} }\n    then: { targets: [archiv] }\n`;
  const config = 'targets:\n  archive: {kind: pull}\nrulesFile: r.yaml';

  test('is told along with every other mistake, with what was probably meant', () => {
    const result = load(config, { files: { 'conf/r.yaml': rules(', subject: [{ prefx: x }]') } });
    expect(problemsOf(result)).toMatchObject([
      { code: 'rules_invalid', severity: 'error' },
      { code: 'reference_unknown', severity: 'warning', place: { line: 4 }, suggestion: 'archive' },
    ]);
    const otherwise = load(`${config}\nsmtp: {hostnam: x}`, { files: { 'conf/r.yaml': rules('') } });
    expect(
      problemsOf(otherwise)
        .map(({ code }) => code)
        .sort(),
    ).toEqual(['key_unknown', 'reference_unknown']);
  });

  test('is left to the database when all else holds: it may have been made over the API', () => {
    const result = load(config, { files: { 'conf/r.yaml': rules('') } });
    expect(loaded(result).warnings).toEqual([]);
  });
});

describe('from a disk', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'waybill-config-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test('file, rules and secrets are found', () => {
    const file = join(directory, 'w.yaml');
    writeFileSync(file, 'targets:\n  t: {kind: pull}\nrulesFile: r.yaml\n');
    writeFileSync(join(directory, 'r.yaml'), 'rules:\n  - name: a\n    when: {}\n    then: {targets: t}\n');
    writeFileSync(join(directory, 'token'), 'a-token-from-a-file\n');
    const env = { WAYBILL_CONFIG: file, WAYBILL_ADMIN_TOKEN_FILE: join(directory, 'token') };
    const { settings, definitions } = loaded(loadSettings({ env }));
    expect(settings.access.adminToken).toBe('a-token-from-a-file');
    expect(definitions[0]?.rules?.mentions).toHaveLength(1);
  });

  test('a folder, and a device without end, are refused', () => {
    expect(said(loadSettings({ env: { WAYBILL_CONFIG: directory } }))[0]).toContain('is a folder');
    expect(said(loadSettings({ env: { WAYBILL_CONFIG: '/dev/zero' } }))[0]).toContain('is larger than 1048576 bytes');
  });
});

describe('of the command', () => {
  test('are where Waybill is and the token', () => {
    expect(loadClientSettings({ env: {} })).toEqual({
      ok: true,
      settings: { url: 'http://127.0.0.1:8420' },
      warnings: [],
    });
    expect(loadClientSettings({ env: { WAYBILL_URL: 'https://w.example.com', WAYBILL_TOKEN: 't' } })).toEqual({
      ok: true,
      settings: { url: 'https://w.example.com', token: 't' },
      warnings: [],
    });
    const wrong = loadClientSettings({ env: { WAYBILL_URL: 'w.example.com' } });
    expect(wrong).toMatchObject({ ok: false, problems: [{ path: 'WAYBILL_URL', code: 'value_invalid' }] });
  });
});
