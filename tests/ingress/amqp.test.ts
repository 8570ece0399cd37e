import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { Room } from '../../src/channel/room.js';
import type { AmqpDeps } from '../../src/ingress/amqp/amqp.js';
import { Busy, Unavailable } from '../../src/message/verdict.js';
import { startRelay } from '../broker/relay.js';
import { freshVhost, type Vhost } from '../support/rabbitmq.js';
import { until } from '../support/until.js';
import {
  consumeAll,
  emptyStore,
  nestedTable,
  type Publisher,
  publisher,
  sendRaw,
  sequenced,
  sourceOf,
} from './amqp-harness.js';

/* Queues of a real RabbitMQ, consumed by what a process has for it, into memory. */

let vhost: Vhost;
beforeAll(async () => {
  vhost = await freshVhost();
});
afterAll(() => vhost.drop());

const TYPES = ['classic', 'quorum'] as const;
let made = 0;

/** A queue as a user would have made it. */
async function queueOf(user: Publisher, type: 'classic' | 'quorum' | 'stream' = 'quorum'): Promise<string> {
  const name = `orders-${++made}`;
  await user.channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': type } });
  return name;
}

function numbers(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(from + i));
}

describe('what a queue holds', () => {
  test.each(TYPES)('comes in order, and is acked when it is stored (%s)', async (type) => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user, type);
    await user.send(queue, numbers(0, 300));
    const sizes: number[] = [];
    const store = emptyStore();
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue, prefetch: 300 })], {
      accept: async (arrivals) => {
        // However slowly they come: while the first are being stored, the others gather.
        if (sizes.length === 0) await until(async () => (await user.ready(queue)) === 0, 'all to be taken');
        sizes.push(arrivals.length);
        store.arrivals.push(...arrivals);
        return sequenced(arrivals.length);
      },
    });
    await until(() => store.arrivals.length === 300, 'all to be stored');
    expect(store.bodies()).toEqual(numbers(0, 300));
    expect(sizes.length, 'batches').toBeLessThan(100);
    await queues.close();
    // What was not acked would be back in the queue.
    expect(await user.ready(queue)).toBe(0);
  });

  test('is not acked before it is stored, and no more than the prefetch is taken meanwhile', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    await user.send(queue, numbers(0, 50));
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const store = emptyStore();
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue, prefetch: 7 })], {
      accept: async (arrivals) => {
        await held;
        store.arrivals.push(...arrivals);
        return sequenced(arrivals.length);
      },
    });
    await until(async () => (await user.ready(queue)) === 43, 'as many to be taken as may be');
    await user.send(queue, ['last']);
    expect(await user.ready(queue)).toBe(44);
    release();
    await until(() => store.arrivals.length === 51, 'all to be stored');
    expect(store.bodies()).toEqual([...numbers(0, 50), 'last']);
    await queues.close();
    expect(await user.ready(queue)).toBe(0);
  });

  test('waits, in order and unlost, while nothing can be stored', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    const refusals = [
      new Unavailable('the database can not be reached'),
      new Busy(0.1),
      new Error('something nobody thought of'),
    ];
    const store = emptyStore();
    const told: string[] = [];
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue })], {
      accept: async (arrivals) => {
        const refusal = refusals.shift();
        if (refusal) throw refusal;
        store.arrivals.push(...arrivals);
        return sequenced(arrivals.length);
      },
      report: (_, standing) => told.push('reason' in standing ? standing.reason : standing.state),
    });
    await user.send(queue, numbers(0, 20));
    await until(() => store.arrivals.length === 20, 'all to be stored');
    expect(store.bodies()).toEqual(numbers(0, 20));
    await until(() => queues.standing().state === 'consuming', 'the source to be well again');
    expect(told.at(-2)).toMatch(/can not be stored/);
    await queues.close();
    expect(await user.ready(queue)).toBe(0);
  });

  test('that no message can be made of goes to the quarantine whole, and its neighbours are accepted', async () => {
    const user = await publisher(vhost.url);
    // Which hands on what it got, byte for byte; a quorum queue writes the headers anew.
    const queue = await queueOf(user, 'classic');
    await user.send(queue, ['first']);
    await user.send(queue, ['nameless'], { messageId: undefined as unknown as string });
    await user.send(queue, ['{"specversion":"1.0"'], { contentType: 'application/cloudevents+json' });
    await user.send(queue, ['x'.repeat(2 * 1024 * 1024)], { messageId: 'large' });
    // A type that RabbitMQ lets through and amqplib does not know, and a table too deep to be read.
    await sendRaw(vhost.url, queue, Buffer.from('\x01kL\0\0\0\0\0\0\0\x01', 'latin1'), 'odd');
    await sendRaw(vhost.url, queue, nestedTable(18_000), 'abyss');
    await sendRaw(vhost.url, queue, nestedTable(200), 'deep');
    await user.send(queue, ['last']);

    const queues = consumeAll(vhost.url, () => [sourceOf({ queue })]);
    await until(() => queues.arrivals.length === 2 && queues.undecodable.length === 6, 'all to be taken');
    expect(queues.bodies()).toEqual(['first', 'last']);
    expect(queues.undecodable.map(({ raw, reason }) => [Buffer.from(raw).toString().slice(0, 20), reason])).toEqual([
      ['nameless', expect.stringContaining('no usable messageId')],
      ['{"specversion":"1.0"', expect.stringContaining('not JSON')],
      ['x'.repeat(20), expect.stringContaining('larger than')],
      ['odd', expect.stringContaining('can not be read')],
      ['abyss', expect.stringContaining('can not be read')],
      ['deep', expect.stringContaining('too deep')],
    ]);
    expect(queues.undecodable[2]?.raw).toHaveLength(2 * 1024 * 1024);
    await queues.close();
    expect(await user.ready(queue)).toBe(0);
  });

  test('that the store refuses for good goes to the quarantine, too', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    await user.send(queue, ['good', 'bad', 'better']);
    const store = emptyStore();
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue })], {
      accept: async (arrivals) =>
        arrivals.map((arrival) => {
          if (arrival.externalId === 'bad')
            return { verdict: 'rejected', code: 'unstorable', reason: 'It does not fit.' };
          store.arrivals.push(arrival);
          return { verdict: 'sequenced', channel: 0, sequence: 1 };
        }),
    });
    await until(() => queues.undecodable.length === 1 && store.arrivals.length === 2, 'all to be taken');
    expect(queues.undecodable).toMatchObject([{ externalId: 'bad', reason: 'It does not fit.', kind: 'amqp' }]);
    await queues.close();
    expect(await user.ready(queue)).toBe(0);
  });

  test('holds no more memory than there is room for, and comes in order all the same', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    const bodies = numbers(10, 40).map((number) => number.padEnd(100_000, '.'));
    await user.send(queue, bodies, { messageId: 'same' });
    const room = new Room(1_000_000);
    let most = 0;
    const store = emptyStore();
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue, identity: { from: 'none' } })], {
      room,
      accept: async (arrivals) => {
        most = Math.max(most, room.used);
        store.arrivals.push(...arrivals);
        return sequenced(arrivals.length);
      },
    });
    await until(() => store.arrivals.length === 40, 'all to be stored');
    expect(most).toBeLessThanOrEqual(1_000_000);
    expect(store.bodies().map((body) => body.slice(0, 2))).toEqual(numbers(10, 40));
    await queues.close();
    expect(room.used).toBe(0);
    expect(await user.ready(queue)).toBe(0);
  });

  test('is stored and acked before a stop is over', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    await user.send(queue, numbers(0, 10));
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const store = emptyStore();
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue, prefetch: 10 })], {
      accept: async (arrivals) => {
        await held;
        store.arrivals.push(...arrivals);
        return sequenced(arrivals.length);
      },
    });
    await until(async () => (await user.ready(queue)) === 0, 'all to be taken');
    const closed = queues.close();
    await user.send(queue, ['too late']);
    release();
    await closed;
    expect(store.bodies()).toEqual(numbers(0, 10));
    expect(await user.ready(queue)).toBe(1);
  });

  test('stays there when it comes after a stop, though the broker has not heard of that', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    const { hostname, port } = new URL(vhost.url);
    const relay = await startRelay(hostname, Number(port));
    onTestFinished(() => relay.close());
    const url = new URL(vhost.url);
    url.port = String(relay.port);
    const queues = consumeAll(url.href, () => [sourceOf({ queue })]);
    await user.send(queue, ['first']);
    await until(() => queues.arrivals.length === 1, 'the first to be stored');
    await until(async () => (await user.ready(queue)) === 0, 'it to be acked');
    relay.stall();
    const closed = queues.close();
    await user.send(queue, ['too late']);
    await until(async () => (await user.ready(queue)) === 0, 'it to be delivered');
    relay.flow();
    await closed;
    expect(queues.bodies()).toEqual(['first']);
    await until(async () => (await user.ready(queue)) === 1, 'it to be back');
  });

  test('goes back when it could not be stored by the end of a stop', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    await user.send(queue, numbers(0, 10));
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue })], {
      accept: () => Promise.reject(new Unavailable('the database can not be reached')),
      drainMs: 50,
    });
    await until(async () => (await user.ready(queue)) === 0, 'all to be taken');
    await queues.close();
    await until(async () => (await user.ready(queue)) === 10, 'all to be back');
  });
});

describe('several processes', () => {
  test.each(TYPES)(
    'agree on one that consumes, and another one takes over in order when it dies (%s)',
    async (type) => {
      const user = await publisher(vhost.url);
      const queue = await queueOf(user, type);
      const broker = new URL(vhost.url);
      const relay = await startRelay(broker.hostname, Number(broker.port));
      const through = new URL(vhost.url);
      through.port = String(relay.port);

      let stored = 0;
      const first = consumeAll(through.href, () => [sourceOf({ queue, prefetch: 5 })], {
        // What it has in hand when it dies.
        accept: (arrivals) => {
          if (arrivals.some(({ raw }) => Buffer.from(raw).toString() === '5')) return new Promise(() => undefined);
          stored += arrivals.length;
          return Promise.resolve(sequenced(arrivals.length));
        },
        drainMs: 0,
      });
      await until(() => first.standing().state === 'consuming', 'the first to consume');
      const second = consumeAll(vhost.url, () => [sourceOf({ queue })]);
      await until(() => second.standing().state === 'standing_by', 'the second to stand by');

      // Apart: stored together with what is never answered they would not be acked.
      await user.send(queue, numbers(0, 5));
      await until(() => stored === 5, 'five to be stored');
      await user.send(queue, numbers(5, 40));
      await until(async () => (await user.ready(queue)) === 35, 'the first to have five acked and five in hand');
      expect(second.arrivals).toEqual([]);
      await relay.cut();
      // It looks once a second; the rest is for a machine that does much else.
      await until(() => second.arrivals.length === 40, 'the second to take over', 10_000);
      expect(second.bodies()).toEqual(numbers(5, 40));
      await until(() => second.standing().state === 'consuming', 'it to say so');
      await relay.close();
    },
  );

  test('leave a queue alone that another program consumes, until it is gone', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    const other = await user.connection.createChannel();
    await other.prefetch(1);
    await other.consume(queue, () => undefined);
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue })]);
    await until(() => queues.standing().state === 'standing_by', 'it to stand by');
    await user.send(queue, numbers(0, 3));
    expect(queues.arrivals).toEqual([]);
    await other.close();
    await until(() => queues.arrivals.length === 3, 'it to take over', 10_000);
  });
});

describe('trouble with a queue', () => {
  test('that is missing is told, and is over when the queue is there', async () => {
    const user = await publisher(vhost.url);
    const queue = `later-${++made}`;
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue })]);
    await until(() => /There is no queue "later-/.test(queues.standing().reason ?? ''), 'the sentence');
    await user.channel.assertQueue(queue, { durable: true });
    await user.send(queue, ['one']);
    await until(() => queues.arrivals.length === 1, 'it to be consumed');
  });

  test('that is a stream is told: it would keep what is acked', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user, 'stream');
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue })]);
    await until(() => /no stream/.test(queues.standing().reason ?? ''), 'the sentence');
  });

  test.each([
    ['read', { configure: '^waybill\\.', write: '.*', read: '^waybill\\.' }, /may not read the queue/],
    ['configure', { configure: '^$', write: '.*', read: '.*' }, /may not configure "waybill\.consuming\./],
  ])('that its user may not %s is told, and is over when it may', async (right, permissions, sentence) => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    await user.send(queue, ['one']);
    const name = `limited-${right}`;
    await vhost.api('PUT', `/users/${name}`, { password: 'limited-password', tags: '' });
    await vhost.api('PUT', `/permissions/${vhost.vhost}/${name}`, permissions);
    const url = new URL(vhost.url);
    url.username = name;
    url.password = 'limited-password';
    const queues = consumeAll(vhost.url, () => [sourceOf({ queue, url: url.href })]);
    await until(() => sentence.test(queues.standing().reason ?? ''), `the sentence, not ${queues.standing().reason}`);
    expect(queues.standing().reason).not.toContain('limited-password');
    // No more than docs/sending.md says.
    const least = { configure: '^waybill\\.', write: '', read: `^(waybill\\.|${queue}$)` };
    await vhost.api('PUT', `/permissions/${vhost.vhost}/${name}`, least);
    await until(() => queues.arrivals.length === 1, 'it to be consumed');
    await queues.close();
    await vhost.api('DELETE', `/users/${name}`);
  });

  test('that is deleted and made anew, and a connection that breaks, are got over', async () => {
    const user = await publisher(vhost.url);
    const queue = await queueOf(user);
    const broker = new URL(vhost.url);
    const relay = await startRelay(broker.hostname, Number(broker.port));
    const through = new URL(vhost.url);
    through.port = String(relay.port);
    let losses = 0;
    const report: AmqpDeps['report'] = (_, { state }) => {
      if (state === 'down') losses++;
    };
    const queues = consumeAll(through.href, () => [sourceOf({ queue })], { report });
    // What was stored and whose ack was lost with its channel comes again: the key tells, later.
    const came = () => [...new Set(queues.bodies())];
    await until(() => queues.standing().state === 'consuming', 'it to be consumed');
    await user.channel.deleteQueue(queue);
    await until(() => queues.standing().state === 'down', 'the loss to be seen');
    await user.channel.assertQueue(queue, { durable: true });
    await user.send(queue, ['one']);
    await until(() => came().length === 1, 'it to be consumed again');

    await relay.cut();
    await until(() => queues.standing().state === 'down', 'the loss to be seen');
    await user.send(queue, ['two']);
    await relay.open();
    await until(() => came().length === 2, 'it to be consumed again');
    // As RabbitMQ does to whoever holds a message for longer than its consumer timeout.
    const before = losses;
    relay.inject(channelClose(1, 406, 'PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out'));
    // It may be consumed again by the time one looks.
    await until(() => losses > before, 'the loss to be seen');
    await user.send(queue, ['three']);
    await until(() => came().length === 3, 'it to be consumed again');
    expect(came()).toEqual(['one', 'two', 'three']);
    await queues.close();
    await relay.close();
  });

  test('of a broker that lets nobody in is told without its password', async () => {
    const url = new URL(vhost.url);
    url.password = 'wrong-password';
    const queues = consumeAll(url.href, () => [sourceOf({ queue: 'orders' })]);
    await until(() => /^No connection to the broker: .*waybill/.test(queues.standing().reason ?? ''), 'the sentence');
    expect(queues.standing().reason).not.toContain('wrong-password');
  });
});

describe('definitions', () => {
  test('are followed: changed, taken out of use, and made', async () => {
    const user = await publisher(vhost.url);
    const [one, two] = [await queueOf(user), await queueOf(user)];
    let sources = [sourceOf({ queue: one })];
    const queues = consumeAll(vhost.url, () => sources);
    await user.send(one, ['from one']);
    await until(() => queues.arrivals.length === 1, 'the first queue to be consumed');

    sources = [sourceOf({ queue: two })];
    queues.ingress.follow();
    await user.send(two, ['from two']);
    await until(() => queues.arrivals.length === 2, 'the second queue to be consumed');
    await until(async () => (await user.consumers(one)) === 0, 'the first queue to be let go');
    await user.send(one, ['nobody']);
    expect(await user.ready(one)).toBe(1);

    // The same queue in another way: whoever is to have it waits for its predecessor.
    sources = [sourceOf({ queue: two, prefetch: 3 })];
    queues.ingress.follow();
    await user.send(two, ['again']);
    await until(() => queues.arrivals.length === 3, 'the queue to be consumed in the other way');

    sources = [];
    queues.ingress.follow();
    expect(queues.ingress.standings()).toEqual([]);
    await until(async () => (await user.consumers(two)) === 0, 'the queue to be let go');
  });
});

/** A method frame by which a broker closes a channel. */
function channelClose(channel: number, code: number, text: string): Buffer {
  const reason = Buffer.from(text);
  const arguments_ = Buffer.alloc(3 + reason.length + 4);
  arguments_.writeUInt16BE(code, 0);
  arguments_.writeUInt8(reason.length, 2);
  reason.copy(arguments_, 3);
  const payload = Buffer.concat([Buffer.from([0, 20, 0, 40]), arguments_]);
  const head = Buffer.alloc(7);
  head.writeUInt8(1, 0);
  head.writeUInt16BE(channel, 1);
  head.writeUInt32BE(payload.length, 3);
  return Buffer.concat([head, payload, Buffer.from([0xce])]);
}
