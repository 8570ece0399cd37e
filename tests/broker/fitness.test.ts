import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { Broker } from '../../src/broker/broker.js';
import { BrokerUnfit } from '../../src/broker/fitness.js';
import { realClock } from '../support/clock.js';
import { freshVhost, type Vhost } from '../support/rabbitmq.js';
import { until } from '../support/until.js';
import { startRelay } from './relay.js';

/* What is wrong with a broker is said at the first attempt to connect, in a sentence that names it and says where. */

const INSTALLATION = randomUUID();
const NAME = '^waybill';
type Permissions = Readonly<Record<'configure' | 'write' | 'read', string>>;
const OWN: Permissions = { configure: NAME, write: '^(waybill|amq\\.default$)', read: NAME };

let vhost: Vhost;
beforeEach(async () => {
  vhost = await freshVhost();
});
afterEach(() => vhost.drop());

/** A user of the broker with these permissions on the vhost, or with none. */
async function userWith(permissions: Permissions | null) {
  const name = `u-${randomBytes(4).toString('hex')}`;
  const allow = (given: Permissions) => vhost.api('PUT', `/permissions/${vhost.vhost}/${name}`, given);
  await vhost.api('PUT', `/users/${name}`, { password: 'secret-word', tags: '' });
  onTestFinished(async () => {
    await vhost.api('DELETE', `/users/${name}`);
  });
  if (permissions) await allow(permissions);
  const url = new URL(vhost.url);
  url.username = name;
  url.password = 'secret-word';
  return { name, url: url.href, allow };
}

function brokerAt(url: string, installation = INSTALLATION): Broker {
  const broker = new Broker({
    url,
    installation,
    heartbeatSeconds: 5,
    clock: realClock,
    random: () => 0,
    notify: () => undefined,
  });
  onTestFinished(() => broker.close());
  broker.start();
  return broker;
}

/** What the first attempt is refused with. */
async function lackOf(broker: Broker): Promise<BrokerUnfit> {
  const failure = await broker.settled(20_000).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(BrokerUnfit);
  const unfit = failure as BrokerUnfit;
  expect(unfit.message).toContain(broker.where);
  expect(unfit.message).not.toContain('secret-word');
  expect(broker.state()).toBe('down');
  expect(broker.problem()).toBe(unfit.message);
  return unfit;
}

test('the permissions that the sentence names are enough', async () => {
  const { url } = await userWith(OWN);
  const broker = brokerAt(url);
  await broker.settled(20_000);
  expect(broker.state()).toBe('up');
});

test.each([
  ['configure', /configure and read on waybill\.dead/],
  ['read', /read/],
  ['write', /write on amq\.default/],
] as const)('a user without %s is told which permission is missing', async (which, said) => {
  const { name, url } = await userWith({ ...OWN, [which]: '' });
  const unfit = await lackOf(brokerAt(url));
  expect(unfit.lack).toBe('permission');
  expect(unfit.message).toContain(name);
  expect(unfit.message).toMatch(said);
});

test.each([
  ['declare the exchange', { ...OWN, configure: '^waybill\\.' }, /configure on the exchange waybill/, true],
  [
    'publish to the exchange',
    { ...OWN, write: '^(waybill\\.|amq\\.default$)' },
    /write on the exchange waybill/,
    false,
  ],
  ['bind to the exchange', { ...OWN, read: '^waybill\\.' }, /read on the exchange waybill/, false],
  ['bind its queues', { ...OWN, write: '^(waybill|amq\\.default)$' }, /write on waybill\.dead/, false],
] as const)('a user that may not %s is told so', async (_, permissions, said, anew) => {
  if (!anew) await brokerAt(vhost.url).settled(20_000);
  const { url } = await userWith(permissions);
  const unfit = await lackOf(brokerAt(url));
  expect(unfit.lack).toBe('permission');
  expect(unfit.message).toMatch(said);
});

test('a wrong password, a missing virtual host and one that is not for this user are told', async () => {
  const { name, url } = await userWith(null);
  const wrong = new URL(url);
  wrong.password = 'other-secret-word';
  const login = await lackOf(brokerAt(wrong.href));
  expect([login.lack, login.message.includes(name)]).toEqual(['login', true]);
  expect((await lackOf(brokerAt(url))).lack).toBe('virtual_host');
  const missing = new URL(vhost.url);
  missing.pathname = '/nowhere';
  expect((await lackOf(brokerAt(missing.href))).lack).toBe('virtual_host');
});

test('a broker that serves another installation is told, and taken when that is gone', async () => {
  await brokerAt(vhost.url).settled(20_000);
  const second = brokerAt(vhost.url, randomUUID());
  const unfit = await lackOf(second);
  expect(unfit.lack).toBe('own');
  expect(unfit.message).toMatch(/another Waybill installation.*virtual host of its own.*waybill\.dead/);
  await vhost.api('DELETE', `/queues/${vhost.vhost}/waybill.dead`);
  await until(() => second.state() === 'up', 'the second installation to be served');
});

test('an old RabbitMQ, and what is none, are told by what they call themselves', async () => {
  const { rabbitmq_version: version } = (await vhost.api('GET', '/overview')) as { rabbitmq_version: string };
  const old = `3.9.${'9'.repeat(version.length - 4)}`;
  const aged = await lackOf(brokerAt(await through((bytes) => replaced(bytes, version, old))));
  expect([aged.lack, aged.message.includes(`RabbitMQ ${old}`)]).toEqual(['version', true]);
  expect(aged.message).toContain('3.10 or later');
  const other = await lackOf(brokerAt(await through((bytes) => replaced(bytes, '\0\x08RabbitMQ', '\0\x08LavinMQ!'))));
  expect([other.lack, other.message.includes('LavinMQ!')]).toEqual(['version', true]);
});

test('a RabbitMQ without quorum queues is told; one in trouble of its own is not refused', async () => {
  const flag = "INTERNAL_ERROR - Cannot declare a queue 'waybill.dead': the corresponding feature flag is disabled";
  const unfit = await lackOf(brokerAt(await withoutAnswerTo('waybill.dead', closing(541, flag))));
  expect(unfit.lack).toBe('quorum_queues');
  expect(unfit.message).toContain('enable_feature_flag quorum_queue');
  const trouble = brokerAt(await withoutAnswerTo('waybill.dead', closing(541, 'INTERNAL_ERROR - no majority')));
  await trouble.settled(20_000);
  expect(trouble.state()).toBe('down');
  expect(trouble.problem()).toContain('no majority');
});

test('a broker that is away is not refused, and one that says nothing is not waited for', async () => {
  const sockets: Socket[] = [];
  const { port } = await listening(createServer((socket) => sockets.push(socket.on('error', () => undefined))));
  const silent = brokerAt(`amqp://127.0.0.1:${port}/v`);
  const begun = performance.now();
  await silent.settled(200);
  // A connection may take ten seconds to be made.
  expect(performance.now() - begun).toBeLessThan(9_000);
  const away = brokerAt('amqp://127.0.0.1:1/v');
  await away.settled(20_000);
  expect([silent.state(), away.state()]).toEqual(['down', 'down']);
  for (const socket of sockets) socket.destroy();
  expect(away.problem()).toContain('ECONNREFUSED');
});

test('permissions that are taken away later are said, and seen when they are back', async () => {
  const { url, allow } = await userWith(OWN);
  const { hostname, port } = new URL(url);
  const relay = await startRelay(hostname, Number(port));
  onTestFinished(() => relay.close());
  const broker = brokerAt(Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(relay.port) }).href);
  await broker.settled(20_000);
  await allow({ ...OWN, configure: '' });
  await relay.cut();
  await relay.open();
  await until(() => broker.problem()?.includes('too little permission'), 'the missing permission to be said');
  expect(broker.state()).toBe('down');
  await allow(OWN);
  await until(() => broker.state() === 'up', 'the broker to be up again', 20_000);
});

async function listening(server: ReturnType<typeof createServer>): Promise<{ port: number }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
  });
  return server.address() as AddressInfo;
}

/** A way to the broker on which what it says is changed. */
function through(change: (bytes: Buffer) => Buffer): Promise<string> {
  return relayed((bytes, client) => client.write(change(bytes)));
}

/** A way to the broker on which whatever names `what` is not passed on, but answered by `answer`. */
function withoutAnswerTo(what: string, answer: Buffer): Promise<string> {
  return relayed(
    (bytes, client) => client.write(bytes),
    (bytes, client, server) => {
      if (bytes.includes(what)) client.write(answer);
      else server.write(bytes);
    },
  );
}

type Pass = (bytes: Buffer, client: NodeJS.WritableStream, server: NodeJS.WritableStream) => void;

async function relayed(
  fromServer: Pass,
  fromClient: Pass = (bytes, _, server) => server.write(bytes),
): Promise<string> {
  const { hostname, port } = new URL(vhost.url);
  const server = createServer((client) => {
    const upstream = connectTo(Number(port), hostname);
    client.on('data', (bytes) => fromClient(bytes, client, upstream));
    upstream.on('data', (bytes) => fromServer(bytes, client, upstream));
    for (const socket of [client, upstream]) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
      });
    }
  });
  const url = new URL(vhost.url);
  url.hostname = '127.0.0.1';
  url.port = String((await listening(server)).port);
  return url.href;
}

function replaced(bytes: Buffer, what: string, by: string): Buffer {
  return Buffer.from(bytes.toString('latin1').replaceAll(what, by), 'latin1');
}

/** connection.close (class 10, method 50) on channel 0, as RabbitMQ writes it. */
function closing(code: number, text: string): Buffer {
  const payload = Buffer.concat([Buffer.from([0, 10, 0, 50, code >> 8, code & 0xff, text.length]), Buffer.from(text)]);
  const about = Buffer.alloc(4);
  const head = Buffer.alloc(7);
  head.writeUInt8(1, 0);
  head.writeUInt32BE(payload.length + about.length, 3);
  return Buffer.concat([head, payload, about, Buffer.from([0xce])]);
}
