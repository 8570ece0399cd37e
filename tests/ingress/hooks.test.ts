import { createHmac } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hookRoutes } from '../../routes/hooks.js';
import { Problem } from '../../routes/route.js';
import { deliveryIdentity } from '../../src/channel/identity.js';
import { type Source, type WebhookSource, webhookSourceSchema } from '../../src/channel/source.js';
import type { Refusal } from '../../src/message/refusal.js';
import { Busy, Unavailable, type Verdict } from '../../src/message/verdict.js';
import { settableClock } from '../support/clock.js';
import { ask, directory, MemoryChannel, principal, serveRoutes, TENANT } from './serve-routes.js';

const MAX_BODY = 100_000;
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const OLD_SECRET = 'whsec_bm90IHRoZSBzYW1lIHNlY3JldCBhdCBhbGw=';

let channel: MemoryChannel;
let refusals: Refusal[];
let sources: Source<WebhookSource>[];
let clock: ReturnType<typeof settableClock>;
let server: Awaited<ReturnType<typeof serveRoutes>>;
let randoms: number;

beforeEach(async () => {
  channel = new MemoryChannel();
  refusals = [];
  sources = [];
  clock = settableClock();
  randoms = 0;
  const principals: Record<string, ReturnType<typeof principal>> = {
    sender: principal('hooks.send'),
    events: principal('events.send'),
    stranger: principal('hooks.send', { id: 8, name: 'other', channels: 16 }),
    person: { ...principal('hooks.send'), kind: 'person', who: 'anna' },
  };
  const routes = hookRoutes({
    accept: (arrivals) => channel.accept(arrivals),
    refuse: (refusal) => refusals.push(refusal),
    sources: () => directory({ webhooks: sources }),
    clock,
    randomBytes: (count) => Buffer.alloc(count, ++randoms),
    authenticate: ({ headers: { authorization } }) => {
      if (authorization === undefined) return null;
      const known = principals[authorization.slice(7)];
      if (!known) throw new Problem(401, 'token_invalid', 'The token is unknown.');
      return known;
    },
    limits: { maxBodyBytes: MAX_BODY, maxBytesInFlight: 2 * MAX_BODY },
  });
  server = await serveRoutes(routes, {});
});

afterEach(() => server.close());

/** Sets up a webhook named `hook`. */
function hook(definition: Omit<Parameters<typeof webhookSourceSchema.parse>[0] & object, 'kind'>): void {
  sources.push({
    id: 5,
    name: 'hook',
    tenant: TENANT,
    definition: webhookSourceSchema.parse({ kind: 'webhook', ...definition }),
  });
}

const deliver = (body: string | Buffer, headers: Record<string, string> = {}, path = '/v1/hooks/acme/hook') =>
  ask(server.port, 'POST', path, headers, body);

const seconds = () => Math.floor(clock.now() / 1000);
const hmac = (secret: string, text: string | Buffer, algorithm = 'sha256') =>
  createHmac(algorithm, secret).update(text);

function standard(body: string, { id = 'msg_1', at = seconds(), secret = SECRET } = {}) {
  return {
    'webhook-id': id,
    'webhook-timestamp': String(at),
    'webhook-signature': new Webhook(secret).sign(id, new Date(at * 1000), body),
  };
}

function stripe(body: string, { at = seconds(), secret = 'whsec_stripe' } = {}) {
  return { 'stripe-signature': `t=${at},v1=${hmac(secret, `${at}.${body}`).digest('hex')},v0=00` };
}

const onlyArrival = () => {
  expect(channel.arrivals).toHaveLength(1);
  return channel.arrivals[0] as (typeof channel.arrivals)[number];
};

async function expectRefused(answer: ReturnType<typeof ask>, code: string): Promise<void> {
  const { status, json } = await answer;
  expect([status, json.code]).toEqual([401, code]);
  expect(channel.arrivals).toEqual([]);
  expect(refusals.at(-1)).toMatchObject({
    tenant: TENANT.id,
    ingress: 'hooks',
    peer: '127.0.0.1',
    envelope: { tenant: 'acme', source: 'hook' },
    code,
  });
}

describe('Standard Webhooks', () => {
  beforeEach(() => hook({ verify: { scheme: 'standard', secrets: [SECRET, OLD_SECRET] } }));

  it('takes the vector of the specification', async () => {
    clock = settableClock(1614265330_000);
    await server.close();
    const routes = hookRoutes({
      accept: channel.accept,
      refuse: (refusal) => refusals.push(refusal),
      sources: () => directory({ webhooks: sources }),
      clock,
      randomBytes: (count) => Buffer.alloc(count),
      authenticate: () => null,
      limits: { maxBodyBytes: MAX_BODY, maxBytesInFlight: MAX_BODY },
    });
    server = await serveRoutes(routes, {});
    const answer = await deliver('{"test": 2432232314}', {
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
    expect(answer.status).toBe(202);
    expect(answer.json).toEqual({
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      verdict: 'sequenced',
      message: '7-1',
      channel: 7,
      sequence: 1,
    });
  });

  it('takes what the library signs, with either secret, among other signatures', async () => {
    const body = '{"type":"user.created","ü":"€"}';
    expect((await deliver(body, standard(body))).status).toBe(202);
    const old = standard(body, { id: 'msg_2', secret: OLD_SECRET });
    const signature = `v1a,AAAA v1,AAAA ${old['webhook-signature']} v2,x`;
    expect((await deliver(body, { ...old, 'webhook-signature': signature })).status).toBe(202);
    expect(channel.arrivals.map(({ externalId, type }) => [externalId, type])).toEqual([
      ['msg_1', 'user.created'],
      ['msg_2', 'user.created'],
    ]);
  });

  it('tells the same by webhook-id, also when the provider changed the bytes', async () => {
    await deliver('{"try":1}', standard('{"try":1}'));
    const again = await deliver('{"try":2}', standard('{"try":2}'));
    expect([again.status, again.json.verdict, again.json.of]).toEqual([200, 'duplicate', '7-1']);
    expect((await deliver('{"try":1}', standard('{"try":1}', { id: 'msg_2' }))).status).toBe(202);
    expect(channel.arrivals.every(({ onOtherContent }) => onOtherContent === 'duplicate')).toBe(true);
  });

  it('refuses a wrong signature', async () => {
    const headers = standard('{}');
    for (const [body, changed] of [
      ['{} ', headers],
      ['{}', { ...headers, 'webhook-id': 'msg_2' }],
      ['{}', { ...headers, 'webhook-timestamp': String(seconds() + 1) }],
      ['{}', { ...headers, 'webhook-timestamp': 'now' }],
      ['{}', { ...headers, 'webhook-signature': headers['webhook-signature'].replace('v1,', 'v2,') }],
      ['{}', { ...headers, 'webhook-signature': headers['webhook-signature'].slice(0, -4) }],
      ['{}', standard('{}', { secret: 'whsec_YW5vdGhlciBzZWNyZXQ=' })],
      ['{}', {}],
    ] as const) {
      await expectRefused(deliver(body, changed), 'signature_invalid');
    }
    expect(refusals).toHaveLength(8);
  });

  it('refuses other bytes that read as the same text', async () => {
    const body = '{"a":"\ufffd"}';
    const forged = Buffer.from(body.replace('\ufffd', '?'));
    forged[forged.indexOf('?')] = 0xff;
    await expectRefused(deliver(forged, standard(body)), 'signature_invalid');
  });

  it.each([
    [300, true],
    [301, false],
    [-300, true],
    [-301, false],
  ])('with a time %i s ago: %s', async (ago, taken) => {
    const headers = standard('{}', { at: seconds() - ago });
    if (taken) expect((await deliver('{}', headers)).status).toBe(202);
    else await expectRefused(deliver('{}', headers), 'signature_expired');
  });

  it('goes by the tolerance of its source', async () => {
    sources = [];
    hook({ verify: { scheme: 'standard', secrets: [SECRET] }, toleranceSeconds: 10 });
    await expectRefused(deliver('{}', standard('{}', { at: seconds() - 11 })), 'signature_expired');
    expect((await deliver('{}', standard('{}', { at: seconds() - 10 }))).status).toBe(202);
  });

  it.each(['bm90IHRoZSBzYW1l', 'no-base64-at-all!'])('takes the secret %s without whsec_', async (secret) => {
    sources = [];
    hook({ verify: { scheme: 'standard', secrets: [secret] } });
    const key = secret.includes('!') ? Buffer.from(secret) : Buffer.from(secret, 'base64');
    const signature = createHmac('sha256', key).update(`m.${seconds()}.{}`).digest('base64');
    const headers = { 'webhook-id': 'm', 'webhook-timestamp': `${seconds()}`, 'webhook-signature': `v1,${signature}` };
    expect((await deliver('{}', headers)).status).toBe(202);
  });
});

describe('GitHub', () => {
  const secret = "It's a Secret to Everybody";
  beforeEach(() => hook({ verify: { scheme: 'github', secrets: ['the new secret', secret] } }));
  const signed = (body: string, more: Record<string, string> = {}) => ({
    'x-hub-signature-256': `sha256=${hmac(secret, body).digest('hex')}`,
    'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
    'x-github-event': 'pull_request',
    ...more,
  });

  it('takes the example of its documentation, which is no JSON', async () => {
    const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
    const answer = await deliver('Hello, World!', { 'x-hub-signature-256': signature, 'x-github-event': 'ping' });
    expect(answer.status).toBe(202);
    const arrival = onlyArrival();
    expect(arrival).toMatchObject({ account: 'hook', type: 'ping', externalId: null });
    expect(Buffer.from(arrival.raw).toString()).toBe('Hello, World!');
  });

  it('goes by X-GitHub-Delivery, and names event and action', async () => {
    expect((await deliver('{"action":"opened"}', signed('{"action":"opened"}'))).status).toBe(202);
    expect((await deliver('{"action":"closed"}', signed('{"action":"closed"}'))).status).toBe(200);
    await deliver('{"action":7}', signed('{"action":7}', { 'x-github-delivery': 'another' }));
    expect(channel.arrivals.map(({ type }) => type)).toEqual([
      'pull_request.opened',
      'pull_request.closed',
      'pull_request',
    ]);
  });

  it('refuses a wrong or missing signature', async () => {
    await expectRefused(deliver('{}', signed('{} ')), 'signature_invalid');
    await expectRefused(deliver('{}', { 'x-hub-signature': 'sha1=00' }), 'signature_invalid');
    await expectRefused(deliver('{}', { 'x-hub-signature-256': 'sha256=' }), 'signature_invalid');
    await expectRefused(deliver('{}', { 'x-hub-signature-256': 'sha256=zz' }), 'signature_invalid');
  });
});

describe('Stripe', () => {
  beforeEach(() =>
    hook({
      verify: { scheme: 'stripe', secrets: ['whsec_stripe', 'whsec_stripe_old'] },
      account: '/data/object/customer',
      value: '/data/object/amount',
    }),
  );
  const body = '{"id":"evt_1","type":"invoice.paid","data":{"object":{"customer":"cus_9","amount":12.50}}}';

  it('takes what is signed with either secret, and reads id, type, account and value', async () => {
    expect((await deliver(body, stripe(body))).status).toBe(202);
    expect(onlyArrival()).toMatchObject({
      source: { id: 5, name: 'hook' },
      kind: 'webhook',
      account: 'cus_9',
      type: 'invoice.paid',
      externalId: 'evt_1',
      value: '12.50',
      eventTime: null,
      arrivedAt: clock.now(),
      peer: '127.0.0.1',
    });
    expect((await deliver(body, stripe(body, { secret: 'whsec_stripe_old' }))).status).toBe(200);
  });

  it('takes one right signature among several, and refuses others', async () => {
    const right = stripe(body)['stripe-signature'];
    const [t, v1] = right.split(',') as [string, string];
    expect((await deliver(body, { 'stripe-signature': `${t}, v1=00, ${v1}` })).status).toBe(202);
    channel = new MemoryChannel();
    await expectRefused(deliver(body, { 'stripe-signature': `${t},${v1.replace('v1', 'v0')}` }), 'signature_invalid');
    await expectRefused(deliver(body, { 'stripe-signature': v1 }), 'signature_invalid');
    await expectRefused(deliver(body, { 'stripe-signature': `t=1${t.slice(2)},${v1}` }), 'signature_invalid');
    await expectRefused(deliver(body), 'signature_invalid');
    await expectRefused(deliver(body, stripe(body, { at: seconds() - 301 })), 'signature_expired');
  });
});

describe('plain HMAC', () => {
  it.each([
    ['sha256', 'hex', ''],
    ['sha512', 'base64', 'v1='],
    ['sha1', 'hex', 'sha1='],
  ] as const)('%s in %s after %j', async (algorithm, encoding, prefix) => {
    hook({
      verify: {
        scheme: 'hmac',
        secrets: ['a secret', 'another secret'],
        header: 'X-Acme-Sign',
        algorithm,
        encoding,
        prefix,
      },
    });
    const body = Buffer.from([0x7b, 0xff, 0x00]);
    const signature = prefix + hmac('another secret', body, algorithm).digest(encoding);
    expect((await deliver(body, { 'x-acme-sign': signature, 'x-other': 'kept' })).status).toBe(202);
    const arrival = onlyArrival();
    expect(Buffer.from(arrival.raw)).toEqual(body);
    expect(JSON.parse(arrival.meta ?? '').headers).toMatchObject({ 'x-other': 'kept' });
    expect(arrival.meta).not.toContain('x-acme-sign');
    channel = new MemoryChannel();
    await expectRefused(deliver('{}', { 'x-acme-sign': signature }), 'signature_invalid');
    if (prefix)
      await expectRefused(deliver(body, { 'x-acme-sign': signature.slice(prefix.length) }), 'signature_invalid');
  });
});

describe('bearer tokens', () => {
  beforeEach(() => hook({ verify: { scheme: 'token' } }));
  const bearer = (name: string) => ({ authorization: `Bearer ${name}` });

  it('are checked by permission and tenant', async () => {
    expect((await deliver('{}', bearer('sender'))).status).toBe(202);
    expect(onlyArrival()).toMatchObject({ peer: 'token hooks.send' });
    expect(onlyArrival().meta).not.toContain('sender');
  });

  it.each(['events', 'stranger', 'person', 'unknown'])('of %s are refused', async (name) => {
    await expectRefused(deliver('{}', bearer(name)), 'token_invalid');
  });

  it('are needed', async () => {
    await expectRefused(deliver('{}'), 'token_invalid');
    expect((await deliver('{}')).headers['www-authenticate']).toMatch(/^Bearer/);
  });
});

describe('identity', () => {
  const verdicts = async (deliveries: readonly [string, Record<string, string>?][]) => {
    const said: string[] = [];
    for (const [body, headers] of deliveries) said.push((await deliver(body, headers)).json.verdict);
    return said;
  };

  it('is new for every delivery by default', async () => {
    hook({ verify: { scheme: 'none' } });
    expect(await verdicts([['{}'], ['{}']])).toEqual(['sequenced', 'sequenced']);
    expect(channel.arrivals[0]?.identity).toEqual(deliveryIdentity({ by: 'chance', bytes: Buffer.alloc(16, 1) }));
  });

  it('may be a header', async () => {
    hook({ verify: { scheme: 'none' }, identity: { from: 'header', header: 'X-Id' } });
    const long = 'x'.repeat(1000);
    expect(
      await verdicts([
        ['{}', { 'x-id': '1' }],
        ['{"a":1}', { 'x-id': '1' }],
        ['{}'],
        ['{}'],
        ['{}', { 'x-id': long }],
        ['{}', { 'x-id': `${long}y` }],
      ]),
    ).toEqual(['sequenced', 'duplicate', 'sequenced', 'sequenced', 'sequenced', 'sequenced']);
    expect(channel.arrivals.map(({ externalId }) => externalId)).toEqual(['1', '1', null, null, null, null]);
  });

  it('may be in the body', async () => {
    hook({ verify: { scheme: 'none' }, identity: { from: 'pointer', pointer: '/event/id' } });
    expect(
      await verdicts([
        ['{"event":{"id":12.0}}'],
        ['{"event":{"id":"12.0"}}'],
        ['{"event":{"id":"\\ud800"}}'],
        ['{"event":{"id":"\\ud801"}}'],
        ['{"event":{"id":""}}'],
        ['{"event":{"id":""}}'],
        ['{"event":{"id":{}}}'],
        ['broken'],
        ['broken'],
      ]),
    ).toEqual(['sequenced', 'duplicate', ...Array(7).fill('sequenced')]);
  });

  it('may be the body itself', async () => {
    hook({ verify: { scheme: 'none' }, identity: { from: 'body' } });
    expect(await verdicts([['{}'], ['{}'], ['{ }']])).toEqual(['sequenced', 'duplicate', 'sequenced']);
  });
});

describe('account, type and value', () => {
  beforeEach(() =>
    hook({
      verify: { scheme: 'none' },
      account: '/team/id',
      type: { from: 'header', header: 'X-Type' },
      value: '/total',
    }),
  );

  it.each([
    ['{"team":{"id":"T1"},"total":"1.10"}', 'T1', '1.10'],
    ['{"team":{"id":17},"total":2}', '17', '2'],
    ['{"team":{"id":"a\\u0000"},"total":"x"}', 'hook', null],
    ['{"team":{"id":""}}', 'hook', null],
    [`{"team":{"id":"${'x'.repeat(513)}"}}`, 'hook', null],
    ['not JSON', 'hook', null],
    ['', 'hook', null],
    [`${'['.repeat(100)}`, 'hook', null],
  ])('of body %#', async (body, account, value) => {
    expect((await deliver(body, { 'x-type': 'a.b' })).status).toBe(202);
    expect(onlyArrival()).toMatchObject({ account, value, type: 'a.b' });
  });

  it('are found in a form with a payload', async () => {
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const payload = new URLSearchParams({ token: 'x', payload: '{"team":{"id":"T+ü &="}}', more: 'y' }).toString();
    await deliver(payload, form);
    await deliver(payload.slice(payload.indexOf('payload')), form);
    await deliver(`payload=1&${payload}`, form);
    await deliver('nopayload=%7B%7D&payload=%zz', form);
    await deliver('text=x', form);
    expect(channel.arrivals.map(({ account }) => account)).toEqual(['T+ü &=', 'T+ü &=', 'hook', 'hook', 'hook']);
    expect(Buffer.from(channel.arrivals[0]?.raw ?? []).toString()).toBe(payload);
  });
});

describe('meta', () => {
  it('keeps harmless headers and no secrets', async () => {
    hook({ verify: { scheme: 'none' } });
    await deliver('{}', {
      'content-type': 'application/json',
      'user-agent': 'Example/1',
      'x-event': 'é',
      'idempotency-key': 'k-1',
      authorization: 'Basic c2VjcmV0',
      cookie: 'a=secret',
      'x-gitlab-token': 'secret',
      'x-api-key': 'secret',
      'x-hub-signature': 'secret',
      'proxy-authorization': 'secret',
      'x-session-id': 'secret',
    });
    const { headers } = JSON.parse(onlyArrival().meta ?? '');
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'Example/1',
      'idempotency-key': 'k-1',
    });
    expect(onlyArrival().meta).not.toMatch(/secret|c2VjcmV0|connection/);
  });

  it('is at most 16 kB', async () => {
    hook({ verify: { scheme: 'none' } });
    // Each byte beyond ASCII takes two in UTF-8.
    await deliver(Buffer.from('{}'), { 'x-a': 'a', 'x-b': 'é'.repeat(6000), 'x-c': 'é'.repeat(6000) });
    const meta = onlyArrival().meta ?? '';
    expect(Buffer.byteLength(meta)).toBeLessThanOrEqual(16 * 1024);
    expect(Object.keys(JSON.parse(meta).headers)).toEqual(expect.arrayContaining(['x-a', 'x-b']));
  });
});

describe('answers', () => {
  beforeEach(() => hook({ verify: { scheme: 'none' } }));

  it.each<[Verdict, number, object]>([
    [{ verdict: 'conflict', of: { channel: 1, sequence: 2 }, quarantine: 9 }, 200, { message: 'q-9', of: '1-2' }],
    [{ verdict: 'expired', quarantine: 9 }, 200, { message: 'q-9' }],
    [
      { verdict: 'rejected', code: 'unstorable', reason: 'No.' },
      422,
      { code: 'unstorable', reason: 'No.', message: null },
    ],
  ])('to %j', async (verdict, status, body) => {
    channel.next = async () => [verdict];
    const answer = await deliver('{}');
    expect([answer.status, answer.json]).toEqual([
      status,
      expect.objectContaining({ verdict: verdict.verdict, ...body }),
    ]);
  });

  it('to a channel that can not take it', async () => {
    channel.next = () => Promise.reject(new Busy(3));
    expect(await deliver('{}')).toMatchObject({ status: 429, headers: { 'retry-after': '3' } });
    channel.next = () => Promise.reject(new Unavailable('away'));
    expect(await deliver('{}')).toMatchObject({ status: 503, json: { code: 'storage_unavailable' } });
    expect(refusals).toEqual([]);
  });

  it('to unknown tenants and sources are the same', async () => {
    const answers = [
      await deliver('{}', {}, '/v1/hooks/nobody/hook'),
      await deliver('{}', {}, '/v1/hooks/acme/nothing'),
    ];
    const shown = answers.map(({ status, json: { instance: _, ...problem } }) => ({ status, problem }));
    expect(shown[0]).toMatchObject({ status: 404, problem: { code: 'source_unknown' } });
    expect(shown[0]).toEqual(shown[1]);
    expect(refusals.map(({ tenant, envelope }) => [tenant, envelope.tenant])).toEqual([
      [null, 'nobody'],
      [null, 'acme'],
    ]);
  });

  it('to bodies that are too large or compressed', async () => {
    expect((await deliver('x'.repeat(MAX_BODY))).status).toBe(202);
    expect(await deliver('x'.repeat(MAX_BODY + 1))).toMatchObject({ status: 413, json: { code: 'body_too_large' } });
    expect(await deliver('x', { 'content-encoding': 'gzip' })).toMatchObject({
      status: 415,
      json: { code: 'encoding_unsupported' },
    });
  });
});

describe('handshakes', () => {
  const get = (query: string) => ask(server.port, 'GET', `/v1/hooks/acme/hook?${query}`, {});
  const options = (headers: Record<string, string>, path = '/v1/hooks/acme/hook') =>
    ask(server.port, 'OPTIONS', path, headers);
  afterEach(() => expect(channel.arrivals).toEqual([]));

  describe('of CloudEvents', () => {
    beforeEach(() => hook({ verify: { scheme: 'none' } }));

    it('allow the origin that asks', async () => {
      const answer = await options({
        'webhook-request-origin': 'eventemitter.example.com',
        'webhook-request-rate': '120',
      });
      expect(answer).toMatchObject({
        status: 200,
        headers: {
          'webhook-allowed-origin': 'eventemitter.example.com',
          'webhook-allowed-rate': '*',
          allow: 'GET, OPTIONS, POST',
        },
      });
    });

    it.each([{}, { 'webhook-request-origin': 'a b<script>' }])('allow nothing for %j', async (headers) => {
      const answer = await options(headers as Record<string, string>);
      expect(answer.headers['webhook-allowed-origin']).toBeUndefined();
      expect(answer.headers.allow).toContain('POST');
    });

    it('know no unknown source', async () => {
      expect((await options({ 'webhook-request-origin': 'example.com' }, '/v1/hooks/acme/none')).status).toBe(404);
    });
  });

  describe('of Meta', () => {
    beforeEach(() => hook({ verify: { scheme: 'github', secrets: ['a secret'] }, handshakeToken: 'open sesame' }));

    it('echo the challenge as text', async () => {
      const answer = await get('hub.mode=subscribe&hub.verify_token=open%20sesame&hub.challenge=1158201444');
      expect(answer).toMatchObject({ status: 200, text: '1158201444' });
      expect(answer.headers['content-type']).toMatch(/^text\/plain/);
      expect(answer.headers['x-content-type-options']).toBe('nosniff');
    });

    it.each([
      'hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1',
      'hub.mode=subscribe&hub.challenge=1',
      'hub.mode=subscribe&hub.verify_token=open%20sesame',
      'hub.mode=subscribe&hub.verify_token=open%20sesame&hub.verify_token=x&hub.challenge=1',
      'hub.mode=subscribe&hub.verify_token=open%20sesame&hub.challenge=%3Cscript%3E',
      `hub.mode=subscribe&hub.verify_token=open%20sesame&hub.challenge=${'1'.repeat(600)}`,
    ])('refuse query %#', async (query) => {
      expect(await get(query)).toMatchObject({ status: 403, json: { code: 'handshake_refused' } });
      expect(refusals).toEqual([expect.objectContaining({ code: 'handshake_refused', tenant: TENANT.id })]);
    });

    it('are not what a person with a browser asks for', async () => {
      expect(await get('')).toMatchObject({ status: 405, headers: { allow: 'GET, OPTIONS, POST' } });
      expect(refusals).toEqual([]);
    });

    it('need a token to be set', async () => {
      sources = [];
      hook({ verify: { scheme: 'none' } });
      expect((await get('hub.mode=subscribe&hub.verify_token=&hub.challenge=1')).status).toBe(403);
    });
  });

  describe('of Slack', () => {
    const ping = (token: string, challenge = '3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P') =>
      JSON.stringify({ type: 'url_verification', token, challenge });

    it('echo the challenge for the right token', async () => {
      hook({ verify: { scheme: 'none' }, handshakeToken: 'Jhj5dZrVaK7ZwHHjRyZWjbDl' });
      const answer = await deliver(ping('Jhj5dZrVaK7ZwHHjRyZWjbDl'));
      expect(answer.status).toBe(200);
      expect(answer.json).toEqual({ challenge: '3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P' });
      expect(await deliver(ping('wrong'))).toMatchObject({ status: 403, json: { code: 'handshake_refused' } });
      expect((await deliver(ping('Jhj5dZrVaK7ZwHHjRyZWjbDl', '<script>'))).status).toBe(403);
    });

    it('go by the signature where there is one', async () => {
      hook({ verify: { scheme: 'hmac', secrets: ['a secret'], header: 'x-sign' }, handshakeToken: 'token' });
      const body = ping('any');
      expect((await deliver(body, { 'x-sign': hmac('a secret', body).digest('hex') })).json).toHaveProperty(
        'challenge',
      );
      await expectRefused(deliver(ping('token'), {}), 'signature_invalid');
    });
  });
});

it('takes a challenge that nothing proves for an ordinary message', async () => {
  hook({ verify: { scheme: 'none' } });
  expect((await deliver('{"type":"url_verification","token":"x","challenge":"y"}')).status).toBe(202);
  expect(channel.arrivals).toHaveLength(1);
});
