import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Target, WebhookTarget } from '../../../src/delivery/target.js';
import { publicLookup, type Resolve } from '../../../src/delivery/targets/address.js';
import { createWebhookSender, retryAfterMs } from '../../../src/delivery/targets/webhook.js';
import type { Sender, SendResult } from '../../../src/message/delivery.js';
import { type Behaviour, type Outcome, type Received, targetConformance } from '../../conformance/target.js';
import { realClock, settableClock } from '../../support/clock.js';
import { until } from '../../support/until.js';
import { outgoing } from '../sample.js';

const cleanup: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanup.splice(0).reverse()) await clean();
});

interface Receiver {
  readonly port: number;
  readonly requests: { readonly headers: IncomingMessage['headers']; readonly body: Buffer }[];
  readonly server: Server;
  connections(): number;
  close(): Promise<void>;
}

async function startReceiver(
  answer: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void,
): Promise<Receiver> {
  const requests: Receiver['requests'] = [];
  let connections = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      requests.push({ headers: request.headers, body });
      answer(request, response, body);
    });
  });
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    server,
    connections: () => connections,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function target(changes: Partial<WebhookTarget>): Target<WebhookTarget> {
  return {
    id: 1,
    name: 'crm',
    tenant: { id: 1, name: 'acme', channels: 16 },
    paused: null,
    definition: {
      kind: 'webhook',
      body: 'message',
      inlineParts: false,
      order: 'none',
      url: 'http://127.0.0.1:1/',
      secrets: [],
      headers: {},
      timeoutSeconds: 5,
      concurrency: 8,
      allowPrivateAddresses: true,
      ...changes,
    },
  };
}

function senderTo(changes: Partial<WebhookTarget>, resolve?: Resolve, clock = realClock): Sender {
  const sender = createWebhookSender(target(changes), { clock, ...(resolve && { resolve }) });
  cleanup.push(() => sender.close());
  return sender;
}

/** A receiver that gives every request the same answer, and a sender to it. */
async function pair(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  changes: Partial<WebhookTarget> = {},
): Promise<{ receiver: Receiver; sender: Sender }> {
  const receiver = await startReceiver(answer);
  cleanup.push(() => receiver.close());
  return { receiver, sender: senderTo({ url: `http://127.0.0.1:${receiver.port}/hook?key=1`, ...changes }) };
}

const one = async (sender: Sender, number = 1): Promise<SendResult | undefined> =>
  (await sender.send([outgoing(number)]))[0];

const OUTCOMES: Readonly<Record<SendResult['result'], Outcome>> = {
  delivered: 'taken',
  retry: 'again',
  interrupted: 'again',
  pause: 'again',
  refused: 'refused',
};

targetConformance('webhook', { notices: true }, async () => {
  let behaviour: Behaviour = {};
  const taken: Received[] = [];
  const receiver = await startReceiver((request, response, body) => {
    const { headers } = request;
    const number = Number(headers['waybill-delivery']);
    if (behaviour.hangs?.has(number)) return;
    if (behaviour.fails?.has(number)) return void response.writeHead(500).end('broken');
    if (behaviour.refuses?.has(number)) return void response.writeHead(400).end('never');
    const fields = Object.entries(headers).filter(([name]) => name.startsWith('waybill-'));
    taken.push({
      id: String(headers['webhook-id']),
      channel: Number(headers['waybill-channel']),
      number,
      type: decodeURIComponent(String(headers['waybill-type'])),
      fields: Object.fromEntries(fields.map(([name, value]) => [name, decodeURIComponent(String(value))])),
      contentType: String(headers['content-type']),
      body,
    });
    response.writeHead(204).end();
  });
  const url = `http://127.0.0.1:${receiver.port}/`;
  const sender = createWebhookSender(target({ url, timeoutSeconds: 5, order: 'channel' }), { clock: realClock });
  return {
    taken,
    deliver: async (batch) => (await sender.send(batch)).map(({ result }) => OUTCOMES[result]),
    behave(next) {
      behaviour = next;
    },
    async close() {
      await sender.close();
      await receiver.close();
    },
  };
});

describe('what is sent', () => {
  test('is signed with every secret, as Standard Webhooks says', async () => {
    const secrets = [
      `whsec_${Buffer.alloc(24, 1).toString('base64')}`,
      `whsec_${Buffer.alloc(24, 2).toString('base64')}`,
    ];
    const { receiver, sender } = await pair((_, response) => response.end(), { secrets });
    await one(sender, 5);
    const [{ headers, body }] = receiver.requests as [Receiver['requests'][0]];
    expect(headers['webhook-id']).toBe('acme:1767225600:crm:7-5');
    expect(headers['webhook-signature']).toMatch(/^v1,\S+ v1,\S+$/);
    for (const secret of secrets) {
      expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toMatchObject({ id: '7-10005' });
    }
    const other = `whsec_${Buffer.alloc(24, 3).toString('base64')}`;
    expect(() => new Webhook(other).verify(body, headers as Record<string, string>)).toThrow();
  });

  test('a secret that is written otherwise is the key itself', async () => {
    const { receiver, sender } = await pair((_, response) => response.end(), { secrets: ['plain-secret'] });
    await one(sender);
    const [{ headers, body }] = receiver.requests as [Receiver['requests'][0]];
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    expect(headers['webhook-signature']).toBe(
      `v1,${createHmac('sha256', 'plain-secret').update(signed).digest('base64')}`,
    );
  });

  test("has the target's own headers, which can not take the place of ours", async () => {
    const headers = {
      Authorization: 'Bearer x',
      'Waybill-Tenant': 'evil',
      'Webhook-Id': 'evil',
      'Content-Length': '1',
      Host: 'evil',
    };
    const { receiver, sender } = await pair((_, response) => response.end(), { headers });
    await one(sender);
    const sent = receiver.requests[0]?.headers;
    expect(sent).toMatchObject({
      authorization: 'Bearer x',
      'waybill-tenant': 'acme',
      host: `127.0.0.1:${receiver.port}`,
    });
    expect(sent?.['webhook-id']).not.toBe('evil');
    expect(sent).not.toHaveProperty('webhook-signature');
  });

  test('a header that can not be sent pauses the target', async () => {
    const { sender } = await pair((_, response) => response.end(), { headers: { 'X-Note': 'a\r\nb: c' } });
    expect(await one(sender)).toMatchObject({ result: 'pause', code: 'header_invalid' });
  });

  test('goes over connections that are kept, also after one was closed by the receiver', async () => {
    const { receiver, sender } = await pair((_, response) => response.end());
    for (let n = 1; n <= 3; n++) await one(sender, n);
    expect(receiver.connections()).toBe(1);
    receiver.server.closeAllConnections();
    expect(await one(sender, 4)).toMatchObject({ result: 'delivered' });
    expect(receiver.requests).toHaveLength(4);
  });

  test('no more goes out at a time than the target allows', async () => {
    let open = 0;
    let most = 0;
    const held: ServerResponse[] = [];
    const { sender } = await pair(
      (_, response) => {
        most = Math.max(most, ++open);
        held.push(response);
      },
      { concurrency: 3 },
    );
    const sending = Promise.all(Array.from({ length: 9 }, (_, i) => one(sender, i + 1)));
    for (let answered = 0; answered < 9; answered++) {
      const response = await until(() => held.shift(), 'a request to answer');
      open--;
      response.end();
    }
    await sending;
    expect(most).toBe(3);
  });
});

describe('answers', () => {
  test.each([
    [200, 'delivered'],
    [204, 'delivered'],
    [299, 'delivered'],
    [301, 'pause'],
    [302, 'retry'],
    [307, 'retry'],
    [308, 'pause'],
    [400, 'refused'],
    [401, 'pause'],
    [403, 'pause'],
    [404, 'pause'],
    [405, 'refused'],
    [408, 'retry'],
    [409, 'retry'],
    [410, 'pause'],
    [413, 'refused'],
    [422, 'refused'],
    [425, 'retry'],
    [429, 'retry'],
    [500, 'retry'],
    [503, 'retry'],
    [599, 'retry'],
  ])('%i: %s', async (status, expected) => {
    const { sender } = await pair((_, response) =>
      response.writeHead(status, { location: '/elsewhere' }).end('because'),
    );
    const result = await one(sender);
    expect(result?.result).toBe(expected);
    if (expected !== 'delivered') expect(result).toMatchObject({ code: `http_${status}` });
    expect(result).toHaveProperty('answer', status === 204 ? 'HTTP 204' : `HTTP ${status} because`);
  });

  test('a redirect is not followed', async () => {
    const { receiver, sender } = await pair((request, response) =>
      request.url === '/elsewhere' ? response.end() : response.writeHead(307, { location: '/elsewhere' }).end(),
    );
    expect(await one(sender)).toMatchObject({ result: 'retry', code: 'http_307' });
    expect(receiver.requests).toHaveLength(1);
  });

  test('are kept up to 2 kB, without what a database can not hold', async () => {
    const { sender } = await pair((_, response) => response.writeHead(500).end(`a\0${'x'.repeat(5_000)}`));
    const result = await one(sender);
    expect((result as { answer: string }).answer).toBe(`HTTP 500 a${'x'.repeat(2_046)}`);
  });

  test('that never end count by their status', async () => {
    const { sender } = await pair((_, response) => void response.writeHead(200).write('x'), { timeoutSeconds: 1 });
    expect(await one(sender)).toEqual({ result: 'delivered', answer: 'HTTP 200 x' });
    const endless = await pair((_, response) => {
      response.writeHead(503);
      const pour = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536, 'y')));
      };
      response.on('drain', pour);
      pour();
    });
    expect(await one(endless.sender)).toMatchObject({ result: 'retry', code: 'http_503' });
  });

  test('that do not come in time', async () => {
    const { sender } = await pair(() => undefined, { timeoutSeconds: 0.1 });
    expect(await one(sender)).toEqual({ result: 'retry', code: 'timeout', reason: 'no answer within 100 ms' });
  });

  test('of a protocol that was not asked for, and connections that break', async () => {
    const broken = await pair((request) => request.socket.destroy());
    expect(await one(broken.sender)).toMatchObject({ result: 'retry', code: 'network' });
    const switching = await pair((request) =>
      request.socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'),
    );
    expect(await one(switching.sender)).toMatchObject({ result: 'retry', code: 'network' });
    const noise = await pair((request) => request.socket.end('not http\r\n\r\n'));
    expect(await one(noise.sender)).toMatchObject({ result: 'retry', code: 'network' });
  });

  test('nobody there', async () => {
    const { receiver, sender } = await pair((_, response) => response.end());
    await receiver.close();
    expect(await one(sender)).toMatchObject({
      result: 'retry',
      code: 'network',
      reason: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test('under a certificate nobody vouches for are none, whatever the environment says', async () => {
    const [key, cert] = await Promise.all(['key', 'cert'].map((name) => readFile(`tests/fixtures/smtp/${name}.pem`)));
    let requests = 0;
    const server = createTlsServer({ key, cert }, (_, response) => {
      requests++;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanup.push(() => new Promise((resolve) => server.close(resolve)));
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    cleanup.push(() => vi.unstubAllEnvs());
    const sender = senderTo({ url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/` });
    expect(await one(sender)).toMatchObject({ result: 'retry', code: 'network' });
    expect(requests).toBe(0);
  });
});

describe('Retry-After', () => {
  const now = Date.UTC(2026, 0, 1);
  test.each([
    ['120', 120_000],
    ['0', 0],
    ['999999999', 86_400_000],
    ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['Fri, 01 Jan 2027 00:00:00 GMT', 86_400_000],
    ['soon', undefined],
    ['-5', undefined],
    [undefined, undefined],
  ])('%s', (value, expected) => {
    expect(retryAfterMs(value, now)).toBe(expected);
  });

  test('is told with the result', async () => {
    const { sender } = await pair((_, response) => response.writeHead(429, { 'retry-after': '7' }).end());
    expect(await one(sender)).toMatchObject({ result: 'retry', code: 'http_429', afterMs: 7_000 });
  });
});

describe('a target that fails again and again', () => {
  test('is left alone for a while, then asked by one, and trusted again when that one is taken', async () => {
    let status = 500;
    const receiver = await startReceiver((_, response) => void response.writeHead(status).end());
    cleanup.push(() => receiver.close());
    const clock = settableClock();
    const sender = senderTo({ url: `http://127.0.0.1:${receiver.port}/` }, undefined, clock);
    for (let n = 1; n <= 5; n++) expect(await one(sender, n)).toMatchObject({ code: 'http_500' });
    expect(await one(sender)).toEqual({
      result: 'interrupted',
      reason: 'the target failed several times in a row',
      afterMs: 10_000,
    });
    expect(receiver.requests).toHaveLength(5);
    expect(sender.resting?.()).toBe(10_000);
    clock.advance(10_000);
    expect(sender.resting?.()).toBe(0);
    const [probe, others] = await Promise.all([one(sender), one(sender)]);
    expect([probe?.result, others?.result]).toEqual(['retry', 'interrupted']);
    expect(await one(sender)).toMatchObject({ result: 'interrupted', afterMs: 20_000 });
    status = 200;
    clock.advance(20_000);
    expect(await one(sender)).toMatchObject({ result: 'delivered' });
    expect(await one(sender)).toMatchObject({ result: 'delivered' });
  });

  test('refusals of single messages say nothing against it', async () => {
    const { receiver, sender } = await pair((_, response) => void response.writeHead(400).end());
    for (let n = 1; n <= 12; n++) expect(await one(sender, n)).toMatchObject({ result: 'refused' });
    expect(receiver.requests).toHaveLength(12);
  });
});

describe('addresses that are not public', () => {
  const resolveTo =
    (...addresses: string[]): Resolve =>
    (_host, _options, callback) =>
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );

  test.each([
    'http://127.0.0.1/',
    'http://0x7f.1/',
    'http://2130706433/',
    'http://017700000001/',
    'http://127.1/',
    'http://0/',
    'http://10.1.2.3/',
    'http://172.16.0.1/',
    'http://192.168.1.1/',
    'http://169.254.169.254/latest/meta-data/',
    'http://100.64.0.1/',
    'http://100.100.100.200/',
    'http://168.63.129.16/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
    'http://[::1]/',
    'http://[::]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[::7f00:1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://[2002:7f00:1::]/',
    'http://[2001::1]/',
    'http://[fd00:ec2::254]/',
    'http://[fe80::1]/',
    'http://[fec0::1]/',
    'http://[ff02::1]/',
    'http://[4000::1]/',
  ])('%s pauses the target', async (url) => {
    const sender = senderTo({ url, allowPrivateAddresses: false });
    expect(await one(sender)).toMatchObject({ result: 'pause', code: 'address_refused' });
  });

  test('are refused behind names, whatever else a name leads to', async () => {
    const { receiver } = await pair((_, response) => response.end());
    const url = `http://hook.example.com:${receiver.port}/`;
    for (const resolve of [resolveTo('127.0.0.1'), resolveTo('10.0.0.1', '::1'), resolveTo('::ffff:127.0.0.1')]) {
      const sender = senderTo({ url, allowPrivateAddresses: false }, resolve);
      expect(await one(sender)).toMatchObject({ result: 'pause', code: 'address_refused' });
    }
    expect(receiver.connections()).toBe(0);
  });

  test('of all addresses of a name, only public ones are handed on', async () => {
    const lookup = publicLookup(resolveTo('127.0.0.1', '1.1.1.1', '2606:4700:4700::1111', 'fe80::1'));
    const looked = (options: object) => new Promise((done) => lookup('h.example.com', options, (...all) => done(all)));
    expect(await looked({ all: true })).toEqual([
      null,
      [
        { address: '1.1.1.1', family: 4 },
        { address: '2606:4700:4700::1111', family: 6 },
      ],
    ]);
    expect(await looked({})).toEqual([null, '1.1.1.1', 4]);
  });

  test('a name that leads nowhere is tried again', async () => {
    const unknown: Resolve = (_host, _options, callback) =>
      callback(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), []);
    const sender = senderTo({ url: 'http://hook.example.com/', allowPrivateAddresses: false }, unknown);
    expect(await one(sender)).toMatchObject({ result: 'retry', code: 'network', reason: 'ENOTFOUND: not found' });
  });
});
