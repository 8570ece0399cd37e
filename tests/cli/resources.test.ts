import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { always, cli, type Recorder, startRecorder } from './harness.js';

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

const target = {
  name: 'erp',
  kind: 'queue',
  managedBy: 'file',
  health: { state: 'failing', pending: 12, code: 'http_500', reason: 'it said 500', lastTaken: null },
};
const link = { signIn: 'https://waybill.example.com/sign-in/abc', expiresAt: '2026-01-02T00:00:00.000Z' };
const token = {
  name: 'ci',
  permissions: ['events.send'],
  createdBy: 'anna',
  expiresAt: null,
  revokedAt: null,
  lastUsedAt: '2026-01-01T00:00:00.000Z',
};
const delivery = {
  id: '1.erp.7-3',
  message: '7-10',
  state: 'failed',
  attempts: 3,
  created: '2026-01-01T00:00:00.000Z',
  next: null,
  code: 'http_400',
  reason: 'Bad Request',
};

describe('each command calls what it says and shows the answer', () => {
  it.each<[string[], unknown[], unknown, string]>([
    [
      ['targets'],
      ['GET', '/v1/targets', null],
      { items: [target] },
      `target  kind   from  state    pending  last taken  trouble
erp     queue  file  failing  12       never       http_500: it said 500
`,
    ],
    [
      ['targets', 'pause', 'erp', '--reason', 'moving'],
      ['POST', '/v1/targets/erp/pause', { reason: 'moving' }],
      target,
      'failing',
    ],
    [['targets', 'pause', 'erp'], ['POST', '/v1/targets/erp/pause', {}], target, 'failing'],
    [['targets', 'resume', 'a/b'], ['POST', '/v1/targets/a%2Fb/resume', null], target, 'failing'],
    [
      ['targets', 'recover', 'erp', '--since', '12h'],
      ['POST', '/v1/targets/erp/recover', { since: '2025-12-31T12:00:00.000Z' }],
      { recovered: 3, more: false },
      '3 deliveries will be sent again\n',
    ],
    [
      ['deliveries', '--state', 'failed', '--target', 'erp', '--since', '2025-12-31T12:00:00Z', '--limit', '7'],
      ['GET', '/v1/deliveries?state=failed&target=erp&after=2025-12-31T12%3A00%3A00Z&limit=7', null],
      { items: [delivery] },
      `delivery   message  state   tries  created                   next try  trouble
1.erp.7-3  7-10     failed  3      2026-01-01T00:00:00.000Z            http_400: Bad Request
`,
    ],
    [['deliveries', '--message', '7-10'], ['GET', '/v1/deliveries?message=7-10', null], { items: [] }, 'delivery'],
    [
      ['deliveries', 'attempts', '1.erp.7-3'],
      ['GET', '/v1/deliveries/1.erp.7-3/attempts', null],
      {
        items: [
          {
            attempt: 1,
            what: 'message',
            started: 't',
            tookMs: 4,
            result: 'refused',
            code: 'http_400',
            reason: null,
            answer: 'no\nway',
          },
        ],
      },
      '1    message  t        4   refused  http_400: no way\n',
    ],
    [
      ['deliveries', 'attempts', '1.erp.7-3'],
      ['GET', '/v1/deliveries/1.erp.7-3/attempts', null],
      { items: [] },
      'no tries are written down',
    ],
    [
      ['deliveries', 'retry', '1.erp.7-3'],
      ['POST', '/v1/deliveries/1.erp.7-3/retry', null],
      {},
      '1.erp.7-3 will be sent again under a new number\n',
    ],
    [
      ['user'],
      ['GET', '/v1/users', null],
      { items: [{ name: 'anna', role: 'owner', disabled: true }] },
      'anna    owner  disabled\n',
    ],
    [
      ['user', 'add', 'anna', '--role', 'operator'],
      ['POST', '/v1/users', { name: 'anna', role: 'operator' }],
      link,
      `${link.signIn}\n(works once, until ${link.expiresAt})\n`,
    ],
    [['user', 'link', 'anna'], ['POST', '/v1/users/anna/sign-in', null], link, link.signIn],
    [
      ['user', 'role', 'anna', '--role', 'viewer'],
      ['PUT', '/v1/users/anna', { role: 'viewer', disabled: false }],
      { name: 'anna', role: 'viewer', disabled: false },
      'viewer',
    ],
    [
      ['token'],
      ['GET', '/v1/tokens', null],
      { items: [token] },
      'ci     anna     2026-01-01T00:00:00.000Z  never  events.send\n',
    ],
    [
      [
        'token',
        'create',
        'ci',
        '--permission',
        'events.send,hooks.send',
        '--permission',
        'messages.read',
        '--expires',
        '2027-01-01T00:00:00Z',
      ],
      [
        'POST',
        '/v1/tokens',
        { name: 'ci', permissions: ['events.send', 'hooks.send', 'messages.read'], expiresAt: '2027-01-01T00:00:00Z' },
      ],
      { token: 'wb_abc' },
      'wb_abc\n',
    ],
    [
      ['tenant'],
      ['GET', '/v1/tenants', null],
      { items: [{ name: 'acme', channels: 4 }] },
      'tenant  channels\nacme    4\n',
    ],
    [
      ['tenant', 'add', 'acme', '--channels', '4'],
      ['POST', '/v1/tenants', { name: 'acme', channels: 4 }],
      { name: 'acme', channels: 4, signIn: link.signIn },
      `acme has 4 channels\n${link.signIn}\n`,
    ],
    [
      ['tenant', 'add', 'acme'],
      ['POST', '/v1/tenants', { name: 'acme' }],
      { name: 'acme', channels: 16, signIn: null },
      'acme has 16 channels\n',
    ],
    [
      ['apply'],
      ['POST', '/v1/apply', null],
      {
        tenants: [
          {
            tenant: 'default',
            changes: [
              { kind: 'target', name: 'erp', what: 'added' },
              { kind: 'rules', name: '4', what: 'unchanged' },
            ],
          },
        ],
      },
      'default: target erp added\n',
    ],
    [
      ['apply'],
      ['POST', '/v1/apply', null],
      { tenants: [{ tenant: 'default', changes: [] }] },
      'nothing has changed\n',
    ],
  ])('%j', async (argv, call, answer, shown) => {
    server.answer = always(answer);
    const { code, stdout, stderr } = await cli(server, argv);
    expect(stdout).toContain(shown);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(calls()).toEqual([call]);
    const asJson = await cli(server, ['--json', ...argv]);
    expect(() => JSON.parse(asJson.stdout)).not.toThrow();
  });

  it.each([
    [['user', 'disable', 'anna'], '/v1/users/anna', 'anna is let in no more\n'],
    [['token', 'revoke', 'ci'], '/v1/tokens/ci', 'ci is refused from now on\n'],
  ])('%j', async (argv, path, shown) => {
    server.answer = (_, response) => void response.status(204).end();
    expect(await cli(server, argv)).toEqual({ code: 0, stdout: shown, stderr: '' });
    expect(calls()).toEqual([['DELETE', path, null]]);
  });

  it('recover goes on until all is done', async () => {
    const answers = [
      { recovered: 1000, more: true },
      { recovered: 500, more: false },
    ];
    server.answer = (seen, response) => always(answers[server.seen.length - 1])(seen, response);
    const { stdout } = await cli(server, ['targets', 'recover', 'erp', '--since', '2026-01-01T00:00:00Z']);
    expect(stdout).toBe('1500 deliveries will be sent again\n');
    expect(server.seen).toHaveLength(2);
  });
});

it('explain tells the story of a message', async () => {
  const clause = {
    path: 'kind',
    operator: 'equals',
    expected: '"mail"',
    actual: { count: 7, values: ['"event"'] },
    result: 'false',
    reason: null,
  };
  const error = {
    ...clause,
    path: 'value',
    operator: 'numeric',
    expected: '> 1',
    actual: { count: 0, values: [] },
    result: 'error',
    reason: 'no number',
  };
  server.answer = always({
    message: '7-10',
    accepted: {
      received: '2026-01-01T00:00:00.000Z',
      peer: 'mx.example.com',
      tls: { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384' },
      source: 'orders',
      size: 812,
      sha256: 'ab',
      key: 'its recipients (a@x) and its bytes',
      channel: 7,
      sequence: 10,
    },
    held: [
      { id: 'q-3', cause: 'conflict', state: 'held', count: 2, last: 't6' },
      { id: 'q-4', cause: 'poison', state: 'released', count: 1, last: 't7' },
    ],
    setAside: [{ where: '2', name: 'a.pdf', size: 9, why: 'it crashed' }],
    olderDeliveries: 3,
    state: 'routed',
    version: 2,
    content: [
      { rung: 0, stage: 'parse', try: 1, outcome: 'failed', reason: 'too deep' },
      { rung: 1, stage: 'parse', try: 1, outcome: null, reason: null },
    ],
    rules: {
      version: 3,
      mode: 'first-match',
      steps: [
        {
          rule: 'a',
          state: 'not_matched',
          why: 'kind does not hold.',
          terms: [{ holds: false, clauses: [clause, error], anyOf: [] }],
        },
        {
          rule: 'b',
          state: 'matched',
          why: 'Everything holds.',
          terms: [
            {
              holds: true,
              clauses: [],
              anyOf: [{ holds: true, terms: [{ holds: true, clauses: [{ ...clause, result: 'true' }], anyOf: [] }] }],
            },
          ],
        },
        { rule: 'c', state: 'disabled', why: 'Off.', terms: [] },
      ],
    },
    plans: [
      {
        plan: 5,
        at: 't1',
        did: 'deliver',
        by: 'rules 3: b',
        rung: 1,
        targets: [{ target: 'erp', number: 4 }],
        late: true,
        replay: false,
        portion: { part: 2 },
        why: null,
      },
      {
        plan: 6,
        at: 't2',
        did: 'close',
        by: 'person anna v2',
        rung: 0,
        targets: [],
        late: false,
        replay: false,
        portion: null,
        why: 'spam',
      },
    ],
    decisions: [
      { version: 2, action: 'assign', who: 'anna', targets: ['erp', 'crm'], reason: 'asked for', decidedAt: 't3' },
    ],
    deliveries: [
      {
        id: '1.erp.7-4',
        state: 'pending',
        attempts: 2,
        code: 'http_500',
        reason: 'broken',
        next: 't5',
        tries: [{ attempt: 1, started: 't4', tookMs: 7, result: 'retry', code: 'http_500', reason: null }],
      },
    ],
  });
  const { stdout } = await cli(server, ['explain', '7-10']);
  expect(server.seen[0]?.path).toBe('/v1/messages/7-10/explain');
  expect(stdout).toBe(`7-10 is routed, version 2
accepted 2026-01-01T00:00:00.000Z by orders from mx.example.com over TLSv1.3, TLS_AES_256_GCM_SHA384, 812 bytes, sha256 ab
sequenced as 10 of channel 7; told apart by its recipients (a@x) and its bytes
quarantine q-3, held: other content with its key came 2 times, last t6
quarantine q-4, released: set aside t7
read on rung 0 (parse), try 1: failed: too deep
read on rung 1 (parse), try 1: under way
left out: a.pdf, 9 bytes: it crashed
rules, version 3, first-match
  - a: kind does not hold.
      kind equals "mail": false, found "event" and 6 more
      value numeric > 1: error, found nothing: no number
  + b: Everything holds.
      one of 1 patterns: true
        pattern 1: true
          kind equals "mail": true, found "event" and 6 more
  . c: Off.
plan 5, t1: deliver part=2 to erp (number 4), by rules 3: b, late, on rung 1
plan 6, t2: close, by person anna v2: spam
decision 2, t3: anna: assign erp, crm: asked for
3 older deliveries are not told
delivery 1.erp.7-4: pending after 2 tries (http_500: broken), next try t5
  try 1, t4, 7 ms: retry: http_500
`);
});

it('explain of a message that no rules were asked about says so', async () => {
  const nothing = { held: [], setAside: [], content: [], plans: [], rules: null, decisions: [], deliveries: [] };
  server.answer = always({
    message: '7-10',
    accepted: { tls: null, key: null },
    olderDeliveries: 0,
    state: 'accepted',
    version: 0,
    ...nothing,
  });
  expect((await cli(server, ['explain', '7-10'])).stdout).toContain('no rules were asked\n');
});
