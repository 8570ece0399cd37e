import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { Broker } from '../../src/broker/broker.js';
import { renderBody, voidBody } from '../../src/delivery/body.js';
import { createQueueSender } from '../../src/delivery/targets/queue.js';
import type { Outgoing } from '../../src/message/delivery.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { realClock } from '../support/clock.js';
import { documentedConsumer } from '../support/documented-consumer.js';
import { freshVhost } from '../support/rabbitmq.js';
import { until } from '../support/until.js';
import { outgoing } from './sample.js';

const cleanup: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanup.splice(0).reverse()) await clean();
});

function message(number: number, account: string, amount: number): Outgoing {
  const view = { ...EMPTY_VIEW, data: { amount } };
  const canonical = {
    id: `7-${10_000 + number}`,
    tenant: 'acme',
    source: 'billing',
    kind: 'event',
    account,
    type: 'usage',
    value: null,
    externalId: null,
    time: null,
    received: '2026-01-01T12:00:00.000Z',
    peer: 'token ci',
    envelope: {},
    found: [],
    view,
  } as const;
  const source = {
    message: canonical,
    decider: { by: 'rules', set: 1, rules: [] },
    target: 1,
    raw: Buffer.alloc(0),
    baseUrl: '',
  } as const;
  return outgoing(number, { account, ...renderBody({ body: 'message', inlineParts: false }, source) });
}

function notice(number: number): Outgoing {
  const sent = outgoing(number, { what: 'void', reason: 'refused' });
  return { ...sent, ...voidBody(sent) };
}

test('the consumer of docs/consumer.md counts everything once, through repeats, notices and a kill -9', async () => {
  const { file, directory, lines } = await documentedConsumer();
  expect(lines).toBeLessThanOrEqual(35);
  const vhost = await freshVhost();
  cleanup.push(() => vhost.drop());
  const broker = new Broker({
    url: vhost.url,
    installation: 'i',
    heartbeatSeconds: 5,
    clock: realClock,
    random: () => 0,
    notify: () => undefined,
  });
  cleanup.push(() => broker.close());
  broker.start();
  await until(() => broker.state() === 'up', 'the broker to be up');
  const target = {
    id: 1,
    name: 'crm',
    tenant: { id: 1, name: 'acme', channels: 16 },
    paused: null,
    definition: { kind: 'queue', body: 'message', inlineParts: false, order: 'channel' },
  } as const;
  const sender = createQueueSender(target, { broker, unconfirmedMs: 10_000 });
  cleanup.push(() => sender.close());
  const send = async (...batch: Outgoing[]) => {
    expect((await sender.send(batch)).every(({ result }) => result === 'delivered')).toBe(true);
  };

  const state = join(directory, 'state.json');
  const env = { ...process.env, AMQP_URL: vhost.url, QUEUE: 'waybill.acme.crm', STATE: state };
  const start = (): ChildProcess => spawn(process.execPath, [file], { env, stdio: 'inherit' });
  const read = async () => JSON.parse(await readFile(state, 'utf8').catch(() => '{"totals":{},"seen":{}}'));
  const reached = (mark: number) =>
    until(
      async () => (await read()).seen['1767225600/7']?.mark === mark && (await read()),
      `the consumer to see ${mark}`,
    );

  await send(message(1, 'a', 10), message(2, 'b', 1), message(1, 'a', 10), message(3, 'a', 10));
  const first = start();
  cleanup.push(() => first.kill('SIGKILL'));
  await reached(3);
  first.kill('SIGKILL');
  await once(first, 'exit');

  await send(
    message(2, 'b', 1),
    message(3, 'a', 10),
    message(6, 'b', 1),
    message(5, 'a', 10),
    notice(4),
    notice(4),
    message(5, 'a', 10),
  );
  const second = start();
  cleanup.push(async () => {
    second.kill('SIGKILL');
    if (second.exitCode === null && second.signalCode === null) await once(second, 'exit');
  });
  await send(message(8, 'b', 1));
  expect(await reached(8)).toEqual({
    totals: { a: 30, b: 3 },
    seen: { '1767225600/7': { mark: 8, gaps: [7] } },
  });
});
