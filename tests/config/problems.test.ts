import { describe, expect, test } from 'vitest';
import { load, problemsOf, said } from './harness.js';

const MAIL = 'kind: mail, addresses: [a@example.com]';

describe('each problem names its place', () => {
  const cases: readonly [what: string, yaml: string, says: readonly string[], code: string][] = [
    [
      'an unknown section',
      'smpt:\n  listen: x',
      ['conf/waybill.yaml:1:1: smpt: unknown key; did you mean "smtp"?'],
      'key_unknown',
    ],
    [
      'an unknown section without a value',
      'log: {}\nbrokr:',
      ['conf/waybill.yaml:2:1: brokr: unknown key; did you mean "broker"?'],
      'key_unknown',
    ],
    [
      'an unknown setting',
      'http:\n  maxBody: 1 MiB\n  maxEventPerRequest: 5',
      ['conf/waybill.yaml:3:3: http.maxEventPerRequest: unknown key; did you mean "maxEventsPerRequest"?'],
      'key_unknown',
    ],
    [
      'a key like nothing we know',
      'log:\n  zzzzzz: 1',
      ['conf/waybill.yaml:2:3: log.zzzzzz: unknown key'],
      'key_unknown',
    ],
    [
      'a key that JavaScript treats specially',
      '__proto__: {}',
      ['conf/waybill.yaml:1:1: __proto__: unknown key'],
      'key_unknown',
    ],
    [
      'an unknown key of a definition',
      `sources:\n  m: {${MAIL}, acount: {from: sender}}`,
      ['conf/waybill.yaml:2:47: sources.m.acount: unknown key; did you mean "account"?'],
      'key_unknown',
    ],
    [
      'an unknown key in a choice',
      'sources:\n  w:\n    kind: webhook\n    verify: {scheme: hmac, secrets: [12345678a], header: X, prefx: y}',
      ['conf/waybill.yaml:4:61: sources.w.verify.prefx: unknown key; did you mean "prefix"?'],
      'key_unknown',
    ],
    [
      'a misspelt kind key',
      'targets:\n  t: {knd: pull}',
      ['conf/waybill.yaml:2:7: targets.t.knd: unknown key; did you mean "kind"?'],
      'key_unknown',
    ],
    [
      'an unknown kind',
      'targets:\n  t: {kind: quue}',
      ['conf/waybill.yaml:2:13: targets.t.kind: must be one of queue, pull, webhook, email; did you mean "queue"?'],
      'value_invalid',
    ],
    [
      'a missing kind',
      'sources:\n  s:\n    addresses: []',
      ['conf/waybill.yaml:2:3: sources.s.kind: is missing; it is one of mail, webhook, events, amqp'],
      'value_missing',
    ],
    [
      'a missing key',
      'targets:\n  t:\n    kind: webhook',
      ['conf/waybill.yaml:2:3: targets.t.url: is missing'],
      'value_missing',
    ],
    [
      'a definition without a value',
      'targets:\n  t:',
      ['conf/waybill.yaml:2:3: targets.t: is missing'],
      'value_missing',
    ],
    [
      'an unknown value',
      'log:\n  level: inof',
      [
        'conf/waybill.yaml:2:10: log.level: must be one of trace, debug, info, warn, error, silent; did you mean "info"?',
      ],
      'value_invalid',
    ],
    [
      'text for a number',
      'lease:\n  beatMs: soon',
      ['conf/waybill.yaml:2:11: lease.beatMs: must be a whole number'],
      'value_invalid',
    ],
    [
      'text for a truth value',
      'smtp:\n  loopbackLogin: maybe',
      ['conf/waybill.yaml:2:18: smtp.loopbackLogin: must be true or false'],
      'value_invalid',
    ],
    [
      'a number for text',
      'smtp:\n  hostname: 5',
      ['conf/waybill.yaml:2:13: smtp.hostname: must be text; put it in quotes if it looks like a number'],
      'value_invalid',
    ],
    [
      'a fraction',
      'channel:\n  count: 1.5',
      ['conf/waybill.yaml:2:10: channel.count: must be a whole number'],
      'value_invalid',
    ],
    [
      'too small',
      'channel:\n  count: 0',
      ['conf/waybill.yaml:2:10: channel.count: must be at least 1'],
      'value_invalid',
    ],
    [
      'too large',
      'channel:\n  count: 1025',
      ['conf/waybill.yaml:2:10: channel.count: must be at most 1024'],
      'value_invalid',
    ],
    ['a group for a list', 'roles: {}', ['conf/waybill.yaml:1:8: roles: must be a list'], 'value_invalid'],
    [
      'a list for a group',
      'http: []',
      ['conf/waybill.yaml:1:7: http: must be a group of keys and values'],
      'value_invalid',
    ],
    [
      'an item of a list',
      'roles: [web, ownr]',
      ['conf/waybill.yaml:1:14: roles[1]: must be one of ingress, owner, web, ledger; did you mean "owner"?'],
      'value_invalid',
    ],
    [
      'a list that is empty',
      'roles: []',
      ['conf/waybill.yaml:1:8: roles: must be a list of at least 1'],
      'value_invalid',
    ],
    [
      'a bad address',
      'http:\n  listen: localhost',
      ['conf/waybill.yaml:2:11: http.listen: must be an address with a port, such as 127.0.0.1:8420 or [::1]:8420'],
      'value_invalid',
    ],
    [
      'a port there is none of',
      'http:\n  listen: localhost:65536',
      ['conf/waybill.yaml:2:11: http.listen: must be an address with a port, such as 127.0.0.1:8420 or [::1]:8420'],
      'value_invalid',
    ],
    [
      'a bad size',
      'http:\n  maxBody: 3 miles',
      ['conf/waybill.yaml:2:12: http.maxBody: must be a size such as 512 kB or 32 MiB'],
      'value_invalid',
    ],
    [
      'a bad network',
      'http:\n  trustedProxies: [10.0.0.0/99]',
      ['conf/waybill.yaml:2:20: http.trustedProxies[0]: must be an address or a network such as 10.0.0.0/8 or ::1'],
      'value_invalid',
    ],
    [
      'a bad URL',
      'broker:\n  url: http://broker',
      ['conf/waybill.yaml:2:8: broker.url: must be a URL that begins with amqp:// or amqps://'],
      'value_invalid',
    ],
    [
      "a target's bad URL",
      'targets:\n  t: {kind: webhook, url: "ftp://x"}',
      ['conf/waybill.yaml:2:27: targets.t.url: must be an http:// or https:// URL'],
      'value_invalid',
    ],
    [
      'a short secret',
      'access:\n  adminToken: short',
      ['conf/waybill.yaml:2:15: access.adminToken: must be at least 16 characters long'],
      'value_invalid',
    ],
    [
      'a bad mail address',
      'sources:\n  m: {kind: mail, addresses: [nobody]}',
      ['conf/waybill.yaml:2:31: sources.m.addresses[0]: must be an address such as orders@example.com or @example.com'],
      'value_invalid',
    ],
    [
      'a pattern that does not compile',
      "sources:\n  m:\n    kind: mail\n    addresses: ['@a']\n    account: {from: subject, pattern: '(['}",
      [
        'conf/waybill.yaml:5:39: sources.m.account.pattern: must be a regular expression in RE2 syntax, such as \\[(\\w+)\\]',
      ],
      'value_invalid',
    ],
    [
      'a threshold that is no text',
      'sources:\n  f: {kind: events, value: /data/n, maybe: {threshold: 10.00, below: duplicate}}',
      ['conf/waybill.yaml:2:56: sources.f.maybe.threshold: must be a decimal above 0 in quotes, such as "10.00"'],
      'value_invalid',
    ],
    [
      'a threshold of nothing',
      'sources:\n  f: {kind: events, value: /data/n, maybe: {threshold: "0.00", below: duplicate}}',
      ['conf/waybill.yaml:2:56: sources.f.maybe.threshold: must be a decimal above 0 in quotes, such as "10.00"'],
      'value_invalid',
    ],
    [
      'a policy that says nothing',
      'sources:\n  f: {kind: events, value: /data/n, maybe: {threshold: "10"}}',
      ['conf/waybill.yaml:2:37: sources.f.maybe.below: is missing'],
      'value_missing',
    ],
    [
      'a policy of another kind',
      'sources:\n  f: {kind: events, value: /data/n, maybe: {threshold: "10", below: duplicates}}',
      ['conf/waybill.yaml:2:69: sources.f.maybe.below: must be one of look-up, duplicate; did you mean "duplicate"?'],
      'value_invalid',
    ],
    [
      'a policy without a value to go by',
      'sources:\n  f: {kind: events, maybe: {threshold: "10", below: duplicate}}',
      [
        'conf/waybill.yaml:2:28: sources.f.maybe: must be left out, or stand beside `value`, which says where the number is',
      ],
      'value_invalid',
    ],
    [
      'a policy for mail, which has no value',
      `sources:\n  m: {${MAIL}, maybe: {threshold: "10", below: duplicate}}`,
      ['conf/waybill.yaml:2:47: sources.m.maybe: unknown key'],
      'key_unknown',
    ],
    [
      'a bad name',
      'targets:\n  My Target: {kind: pull}',
      [
        'conf/waybill.yaml:2:3: targets.My Target: must be a name of lower-case letters, digits and hyphens, at most 63, beginning with a letter or digit',
      ],
      'value_invalid',
    ],
    [
      'an expression without a group',
      "sources:\n  m:\n    kind: mail\n    addresses: [a@example.com]\n    extract:\n      - {from: expression, type: x, pattern: 'no group'}",
      [
        'conf/waybill.yaml:6:46: sources.m.extract[0].pattern: must be a regular expression in RE2 syntax with a capture group, such as Order (\\d+)',
      ],
      'value_invalid',
    ],
    [
      'an extractor that is none',
      'sources:\n  e:\n    kind: events\n    extract: [{from: pointr, type: x}]',
      [
        'conf/waybill.yaml:4:22: sources.e.extract[0].from: must be one of pointer, header, expression, lines, calendar; did you mean "pointer"?',
      ],
      'value_invalid',
    ],
    [
      'two types at one place of a target',
      'targets:\n  t:\n    kind: pull\n    fields: {amount: total.gross, date: total}',
      ['conf/waybill.yaml:4:41: targets.t.fields.date: must be a place of its own: "total.gross" is where amount goes'],
      'value_invalid',
    ],
    [
      'a place that is none',
      'targets:\n  t:\n    kind: pull\n    fields: {amount: __proto__.x}',
      [
        'conf/waybill.yaml:4:22: targets.t.fields.amount: must be names joined by dots, such as total.gross: letters, digits, hyphens and underscores',
      ],
      'value_invalid',
    ],
    [
      'beats that are too far apart',
      'lease:\n  beatMs: 1000\n  lostAfterMs: 1500',
      [
        'conf/waybill.yaml:3:16: lease.lostAfterMs: must be at least twice lease.beatMs, or a single late beat counts as a death',
      ],
      'value_invalid',
    ],
    [
      'content that would go before its keys',
      'channel: { windowDays: 100, futureHours: 49 }\nretention:\n  contentDays: 100',
      ['conf/waybill.yaml:3:16: retention.contentDays: must be at least 103, because keys are kept for so many days'],
      'value_invalid',
    ],
    [
      'tenant default named twice',
      'tenants:\n  default: {}',
      [
        'conf/waybill.yaml:2:3: tenants.default: must be another name: what tenant "default" has stands at the top of the file',
      ],
      'value_invalid',
    ],
    [
      'NUL in a text',
      'smtp:\n  hostname: "a\\0b"',
      ['conf/waybill.yaml:2:13: smtp.hostname: must be text without NUL and half surrogates'],
      'value_invalid',
    ],
    [
      'a key that is there twice',
      'log: {}\nhttp: {}\nlog: {}',
      ['conf/waybill.yaml:3:1: log: this key is there twice; only one can count'],
      'key_repeated',
    ],
    [
      'a file that is a list',
      '- a',
      ['conf/waybill.yaml:1:1: the file must be a group of keys and values'],
      'value_invalid',
    ],
    [
      'one mail address twice in a source',
      'sources:\n  m: {kind: mail, addresses: [a@example.com, A@example.com]}',
      [
        'conf/waybill.yaml:2:46: sources.m.addresses[1]: the mail address a@example.com belongs to source "m" (line 2) already',
      ],
      'address_repeated',
    ],
    [
      'one mail address in two sources',
      `sources:\n  m: {${MAIL}}\n  n:\n    kind: mail\n    addresses:\n      - b@example.com\n      - a@EXAMPLE.com`,
      [
        'conf/waybill.yaml:7:9: sources.n.addresses[1]: the mail address a@example.com belongs to source "m" (line 2) already',
      ],
      'address_repeated',
    ],
    [
      'one mail address in two tenants',
      `sources:\n  m: {${MAIL}}\ntenants:\n  acme:\n    sources:\n      n: {${MAIL}}`,
      [
        'conf/waybill.yaml:6:35: tenants.acme.sources.n.addresses[0]: the mail address a@example.com belongs to tenant "default", source "m" (line 2) already',
      ],
      'address_repeated',
    ],
    [
      'two feeds for the same events',
      'sources:\n  a: {kind: events, accepts: [x]}\n  b: {kind: events, accepts: [y, x]}',
      ['conf/waybill.yaml:3:34: sources.b.accepts[1]: is accepted by source "a" (line 2) already'],
      'feed_ambiguous',
    ],
    [
      'two feeds for all the rest',
      'sources:\n  a: {kind: events}\n  b: {kind: events}',
      [
        'conf/waybill.yaml:3:6: sources.b: takes all events that no other feed names, as source "a" (line 2) does already; say what one of them accepts',
      ],
      'feed_ambiguous',
    ],
    [
      'one queue in two tenants',
      'sources:\n  a: {kind: amqp, queue: q}\n  b: {kind: amqp, queue: q, url: "amqp://elsewhere"}\ntenants:\n  acme:\n    sources:\n      c: {kind: amqp, queue: q}',
      [
        'conf/waybill.yaml:7:30: tenants.acme.sources.c.queue: is consumed by tenant "default", source "a" (line 2) already',
      ],
      'queue_repeated',
    ],
    [
      "a queue that is Waybill's own",
      'sources:\n  a: {kind: amqp, queue: waybill.dead}\n  b: {kind: amqp, queue: waybill.default.erp, url: "amqp://elsewhere"}',
      [
        'conf/waybill.yaml:2:26: sources.a.queue: must be a name that does not begin with "waybill": those queues are Waybill\'s own',
      ],
      'value_invalid',
    ],
    [
      'a postmaster who is nobody',
      `smtp:\n  postmaster: {source: office}\nsources:\n  m: {${MAIL}}`,
      [
        'conf/waybill.yaml:2:24: smtp.postmaster.source: warning: this file has no mail source of this name for tenant "default"; until there is one, such mail is refused',
      ],
      'reference_unknown',
    ],
    [
      'a rules file that is not there',
      'rulesFile: rules.yaml',
      ['conf/waybill.yaml:1:12: rulesFile: the file conf/rules.yaml is not there'],
      'file_unreadable',
    ],
    [
      'a certificate that is not there',
      'smtp:\n  tls: {certificate: /x.pem, key: /y.pem}',
      [
        'conf/waybill.yaml:2:22: smtp.tls.certificate: the file /x.pem is not there',
        'conf/waybill.yaml:2:35: smtp.tls.key: the file /y.pem is not there',
      ],
      'file_unreadable',
    ],
    [
      'half a certificate',
      'smtp:\n  tls: {key: /y.pem}',
      [
        'conf/waybill.yaml:2:3: smtp.tls.certificate: is missing',
        'conf/waybill.yaml:2:14: smtp.tls.key: the file /y.pem is not there',
      ],
      'value_missing',
    ],
  ];

  test.each(cases)('%s', (_, yaml, says, code) => {
    const result = load(yaml);
    expect(said(result)).toEqual(says);
    expect(problemsOf(result)[0]?.code).toBe(code);
  });
});

describe('YAML that can not be read', () => {
  const cases: readonly [what: string, yaml: string, says: string][] = [
    [
      'an open quote',
      'log:\n  level: "info',
      'conf/waybill.yaml:2:15: something is missing here: a closing quote, bracket, brace, comma or colon',
    ],
    [
      'an open bracket',
      'roles: [web',
      'conf/waybill.yaml:1:12: the indentation does not fit the lines around it, or a bracket or brace is not closed',
    ],
    ['a tab', 'log:\n\tlevel: info', 'conf/waybill.yaml:2:1: a tab is used as indentation; use spaces'],
    [
      'two documents',
      'log: {}\n---\nlog: {}',
      'conf/waybill.yaml:2:1: a second document begins here (---); everything belongs in one',
    ],
    [
      'an alias of nothing',
      'log: *there',
      'conf/waybill.yaml:1:6: log: this alias (*name) names no anchor (&name) before it; text that begins with * needs quotes',
    ],
    [
      'a tag',
      'log: !secret x',
      'conf/waybill.yaml:1:6: tags such as !name are not used here; text that begins with ! needs quotes',
    ],
    ['a key that is a list', '? [a]\n: b', 'conf/waybill.yaml:1:3: a key must be plain text'],
  ];

  test.each(cases)('%s', (_, yaml, says) => {
    const result = load(yaml);
    expect(said(result)).toContain(says);
    expect(problemsOf(result)[0]?.code).toBe('yaml_malformed');
  });

  test('what is told does not show what the file holds', () => {
    for (const yaml of [
      'a: hunter2 b: hunter2',
      '"hunter2" hunter2',
      '%hunter2\n---\na: b',
      '!hunter2 a: {hunter2',
      'a: @hunter2',
      '- hunter2\nhunter2: 1',
    ]) {
      const result = load(yaml);
      expect(result.ok).toBe(false);
      expect(said(result).join('\n')).not.toContain('hunter2');
    }
  });
});

test('all problems of file, rules and environment come at once, in the order of their places', () => {
  const yaml = [
    'log: {level: loud}',
    'htp: {}',
    'sources:',
    '  Mail: {kind: mail, addresses: [a]}',
    'targets:',
    '  t: {kind: webhook}',
    'rulesFile: rules.yaml',
  ].join('\n');
  const rules = 'rules:\n  - name: a\n    when: {subjct: x}\n    then: {targets: t}\n';
  const result = load(yaml, {
    files: { 'conf/rules.yaml': rules },
    env: { WAYBILL_HTTP: 'nowhere', WAYBILL_SMPT: '127.0.0.1:25', AMQP_URL_FILE: '/missing' },
  });
  expect(result.ok).toBe(false);
  expect(said(result).map((line) => line.split(': ').slice(0, 2).join(': '))).toEqual([
    'environment: AMQP_URL',
    'environment: WAYBILL_HTTP',
    'environment: WAYBILL_SMPT',
    'conf/rules.yaml:3:12: rules[0].when.subjct',
    'conf/waybill.yaml:1:14: log.level',
    'conf/waybill.yaml:2:1: htp',
    'conf/waybill.yaml:4:3: sources.Mail',
    'conf/waybill.yaml:4:34: sources.Mail.addresses[0]',
    'conf/waybill.yaml:6:3: targets.t.url',
  ]);
});

describe('files', () => {
  test('one that is not there names the variable that may name another', () => {
    const result = load('', { env: { WAYBILL_CONFIG: '/none.yaml' } });
    expect(said(result)).toEqual([
      '/none.yaml:1:1: the configuration file is not there; WAYBILL_CONFIG may name another',
    ]);
  });

  test('one that is too large', () => {
    expect(said(load(`# ${'x'.repeat(1024 * 1024)}`))).toEqual([
      'conf/waybill.yaml:1:1: the configuration file is larger than 1048576 bytes; WAYBILL_CONFIG may name another',
    ]);
  });

  test.each([
    ['Latin-1', new Uint8Array([0x61, 0x3a, 0x20, 0xe4])],
    ['NUL', new Uint8Array([0x61, 0])],
  ])('%s is no text', (_, bytes) => {
    expect(said(load('', { files: { 'conf/waybill.yaml': bytes } }))).toEqual([
      'conf/waybill.yaml:1:1: the configuration file is not UTF-8 text; WAYBILL_CONFIG may name another',
    ]);
  });

  test('a byte order mark and line ends of Windows count for nothing', () => {
    expect(said(load('\ufefflog:\r\n  level: loud\r\n'))[0]).toMatch(/^conf\/waybill\.yaml:2:10: log\.level: /);
  });
});

describe('what would grow beyond all measure', () => {
  test('aliases that multiply', () => {
    const levels = Array.from({ length: 9 }, (_, n) => `l${n}: &l${n} [${n === 0 ? 'x' : `*l${n - 1}, `.repeat(9)}]`);
    const problems = problemsOf(load(levels.join('\n')));
    expect(problems.map(({ code }) => code)).toContain('yaml_too_large');
  });

  test('an alias within what it stands for', () => {
    expect(problemsOf(load('log: &a {level: *a}')).map(({ code }) => code)).toContain('yaml_too_large');
  });

  test.each(['[', '{a: ', '- ', '? '])('nesting by %s', (step) => {
    for (const depth of [33, 1000, 100_000]) {
      const [problem, ...more] = problemsOf(load(step.repeat(depth)));
      expect(problem).toMatchObject({ code: 'yaml_too_large', place: { line: 1, column: 32 * step.length + 1 } });
      expect(more).toEqual([]);
    }
  });

  test('thousands of mistakes make no thousands of lines', () => {
    const result = load(Array.from({ length: 3000 }, (_, n) => `k${n}: 1`).join('\n'));
    expect(said(result).length).toBeLessThanOrEqual(201);
    expect(said(result).at(-1)).toMatch(/: and 2800 more$/);
  });
});
