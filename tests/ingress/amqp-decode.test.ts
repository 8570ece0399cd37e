import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AmqpSource } from '../../src/channel/source.js';
import { type Decoded, decode } from '../../src/ingress/amqp/decode.js';
import type { Properties, QueueMessage } from '../../src/ingress/amqp/message.js';
import { headerText, plainTable } from '../../src/ingress/amqp/table.js';
import { makeFeed, readBinary, readStructured } from '../../src/ingress/events/event.js';
import { createInTurns } from '../../src/ingress/events/turns.js';
import { type Arrival, FIELD_LIMITS } from '../../src/message/arrival.js';
import { sourceOf, TENANT } from './amqp-harness.js';

const NOW = Date.UTC(2026, 0, 31, 12);

function messageOf(body: string | Buffer, properties: Properties = {}): QueueMessage {
  return { content: Buffer.from(body), properties, fields: { exchange: 'shop', routingKey: 'orders.new' } };
}

async function read(message: QueueMessage, definition: Partial<AmqpSource> = {}): Promise<Decoded> {
  const deps = {
    inTurns: createInTurns(async () => undefined),
    randomBytes: (count: number) => Buffer.alloc(count, 7),
    maxEvents: 3,
    maxBytes: 100_000,
  };
  return decode(deps, sourceOf({ queue: 'orders', ...definition }), message, NOW);
}

async function arrivalOf(message: QueueMessage, definition?: Partial<AmqpSource>): Promise<Arrival> {
  const { arrivals, undecodable } = await read(message, definition);
  expect(undecodable?.reason).toBeUndefined();
  expect(arrivals).toHaveLength(1);
  return arrivals[0] as Arrival;
}

describe('a message that is no event', () => {
  test('has its envelope from properties and headers', async () => {
    const message = messageOf('{"total":12.50}', {
      messageId: 'm-1',
      type: 'order.placed',
      timestamp: NOW / 1000 - 60,
      contentType: 'application/json',
      userId: 'shop',
      headers: { Customer: 'anna', 'x-delivery-count': 4 },
    });
    const arrival = await arrivalOf(message, {
      account: { from: 'header', header: 'Customer' },
      value: { from: 'pointer', pointer: '/total' },
    });
    expect(arrival).toMatchObject({
      tenant: TENANT,
      source: { id: 3, name: 'orders' },
      kind: 'amqp',
      account: 'anna',
      type: 'order.placed',
      externalId: 'm-1',
      value: '12.50',
      eventTime: '2026-01-31T11:59:00.000000Z',
      arrivedAt: NOW,
      peer: 'shop',
      onOtherContent: 'conflict',
      raw: message.content,
    });
    expect(JSON.parse(arrival.meta ?? '')).toEqual({
      exchange: 'shop',
      routingKey: 'orders.new',
      contentType: 'application/json',
      messageId: 'm-1',
      type: 'order.placed',
      timestamp: NOW / 1000 - 60,
      userId: 'shop',
      headers: { Customer: 'anna' },
    });
  });

  test('without them has the source for an account, the queue for a peer, and nothing else', async () => {
    const arrival = await arrivalOf(messageOf(Buffer.from([0xff, 0]), { messageId: 'm-1' }), {
      account: { from: 'pointer', pointer: '/customer' },
      value: { from: 'header', header: 'total' },
    });
    expect(arrival).toMatchObject({ account: 'orders', peer: 'orders', type: null, value: null, eventTime: null });
  });

  test.each<[string, Partial<AmqpSource>, Properties, string]>([
    ['the messageId', {}, { messageId: 'm-1' }, 'm-1'],
    ['a header', { identity: { from: 'header', header: 'No' } }, { headers: { No: 'h-1' } }, 'h-1'],
    ['a number in a header', { identity: { from: 'header', header: 'No' } }, { headers: { No: 17 } }, '17'],
    [
      'bytes in a header',
      { identity: { from: 'header', header: 'No' } },
      { headers: { No: Buffer.from('h-1') } },
      'h-1',
    ],
    ['a place in the body', { identity: { from: 'pointer', pointer: '/id' } }, {}, '12345678901234567890'],
  ])('is told apart by %s', async (_, definition, properties, id) => {
    const body = '{"id":12345678901234567890}';
    const arrival = await arrivalOf(messageOf(body, properties), definition);
    expect(arrival.externalId).toBe(id);
    expect(arrival.identity).toEqual((await arrivalOf(messageOf('other', { messageId: id }))).identity);
  });

  test('is told apart by its body, or not at all, where the source says so', async () => {
    const byBody: Partial<AmqpSource> = { identity: { from: 'body' } };
    const [one, same, other] = await Promise.all(
      ['a', 'a', 'b'].map((body, i) => arrivalOf(messageOf(body, { messageId: `m-${i}` }), byBody)),
    );
    expect(one?.identity).toEqual(same?.identity);
    expect(one?.identity).not.toEqual(other?.identity);
    const chance = await arrivalOf(messageOf('a'), { identity: { from: 'none' } });
    expect(Buffer.from(chance.identity).toString('latin1')).toContain('\x07'.repeat(16));
  });

  test.each<[string, Partial<AmqpSource>, Properties]>([
    ['no messageId', {}, {}],
    ['an empty one', {}, { messageId: '' }],
    ['one with NUL', {}, { messageId: 'a\0b' }],
    ['one that was no UTF-8', {}, { messageId: 'a\ufffd' }],
    ['no such header', { identity: { from: 'header', header: 'no' } }, { headers: { No: 'h-1' } }],
    ['an integer beyond a double', { identity: { from: 'header', header: 'no' } }, { headers: { no: 2 ** 53 } }],
    ['a table in it', { identity: { from: 'header', header: 'no' } }, { headers: { no: { a: 1 } } }],
    ['nothing at the place', { identity: { from: 'pointer', pointer: '/no' } }, { messageId: 'm-1' }],
  ])('goes to the quarantine with %s', async (_, definition, properties) => {
    const { arrivals, undecodable } = await read(messageOf('{"id":1}', properties), definition);
    expect(arrivals).toEqual([]);
    expect(undecodable?.reason).toMatch(/nothing tells it from others/);
  });

  test('is the same content with another time, and another with another type or body', async () => {
    const digest = async (body: string, properties: Properties) =>
      (await arrivalOf(messageOf(body, { messageId: 'm-1', ...properties }))).digest;
    const first = await digest('a', { type: 't', timestamp: 1_700_000_000 });
    expect(await digest('a', { type: 't', timestamp: 1_700_000_001, headers: { traceparent: 'x' } })).toEqual(first);
    expect(await digest('b', { type: 't' })).not.toEqual(first);
    expect(await digest('a', { type: 'u' })).not.toEqual(first);
  });

  test('is the same however often it was delivered', async () => {
    const plain = messageOf('a', { messageId: 'm-1', headers: { kept: 1 } });
    const again = messageOf('a', { messageId: 'm-1', headers: { kept: 1, 'x-delivery-count': 9 } });
    const redelivered = { ...again, fields: { ...again.fields, redelivered: true, deliveryTag: 9 } };
    expect(await arrivalOf(redelivered)).toEqual(await arrivalOf(plain));
    const [one, two] = await Promise.all([
      read({ ...plain, properties: { headers: { kept: 1 } } }),
      read({ ...redelivered, properties: { headers: { kept: 1, 'x-acquired-count': 2, 'x-death': [{ count: 3 }] } } }),
    ]);
    expect(one.undecodable?.content).toEqual(two.undecodable?.content);
  });

  test.each([
    [0, '1970-01-01T00:00:00.000000Z'],
    [253_402_300_799, '9999-12-31T23:59:59.000000Z'],
    [253_402_300_800, null],
    // Milliseconds, as some programs write them.
    [NOW, null],
    [Number(2n ** 64n - 1n), null],
  ])('with the timestamp %d has the event time %s', async (timestamp, time) => {
    expect((await arrivalOf(messageOf('a', { messageId: 'm-1', timestamp }))).eventTime).toBe(time);
  });
});

describe('an event', () => {
  const EVENT = {
    specversion: '1.0',
    id: 'e-1',
    source: '/meter',
    type: 'usage',
    subject: 'anna',
    time: '2026-01-31T10:00:00Z',
  };
  const DATA = { amount: '12.50' };

  /** The same event as it comes over HTTP. */
  function overHttp(): Arrival {
    const feed = makeFeed({
      id: 3,
      name: 'orders',
      tenant: TENANT,
      definition: { kind: 'events', value: '/data/amount' },
    });
    const body = Buffer.from(JSON.stringify({ ...EVENT, data: DATA }));
    const context = { tenant: TENANT, peer: 'ci', arrivedAt: NOW, feed: () => feed };
    const event = readStructured(body, { from: 0, to: body.length }, true, context);
    return (event as { arrival: Arrival }).arrival;
  }

  const amount: Partial<AmqpSource> = { value: { from: 'pointer', pointer: '/data/amount' } };
  const headers = (prefix: string) =>
    Object.fromEntries(Object.entries(EVENT).map(([name, value]) => [prefix + name, value]));

  test.each<[string, QueueMessage]>([
    [
      'structured',
      messageOf(JSON.stringify({ ...EVENT, data: DATA }), {
        contentType: 'application/cloudevents+json; charset=utf-8',
      }),
    ],
    [
      'batched',
      messageOf(JSON.stringify([{ ...EVENT, data: DATA }]), { contentType: 'application/cloudevents-batch+json' }),
    ],
    ['binary', messageOf(JSON.stringify(DATA), { contentType: 'application/json', headers: headers('cloudEvents:') })],
    ['binary with underscores', messageOf(JSON.stringify(DATA), { headers: headers('cloudEvents_') })],
    [
      'binary with a time of its own type',
      messageOf(JSON.stringify(DATA), {
        headers: {
          ...headers('cloudEvents_'),
          cloudEvents_time: { '!': 'timestamp', value: Date.parse(EVENT.time) / 1000 },
        },
      }),
    ],
  ])('is the same as over HTTP (%s)', async (_, message) => {
    const { identity, digest, account, type, externalId, eventTime, value, onOtherContent, kind } = overHttp();
    expect(await arrivalOf(message, amount)).toMatchObject({
      identity,
      digest,
      account,
      type,
      externalId,
      eventTime,
      value,
      onOtherContent,
      kind,
      source: { id: 3, name: 'orders' },
    });
  });

  test('has its attributes kept as over HTTP, extensions included', async () => {
    const arrival = await arrivalOf(
      messageOf('{}', {
        contentType: 'application/json',
        headers: { ...headers('cloudEvents:'), 'cloudEvents:shard': 7, other: 'x' },
      }),
    );
    const context = {
      tenant: TENANT,
      peer: 'ci',
      arrivedAt: NOW,
      feed: () => makeFeed({ ...sourceOf({ queue: 'q' }), definition: { kind: 'events' } }),
    };
    const http = readBinary(
      Buffer.from('{}'),
      {
        'content-type': 'application/json',
        'ce-shard': '7',
        ...Object.fromEntries(Object.entries(EVENT).map(([name, value]) => [`ce-${name}`, value])),
      },
      context,
    ) as { arrival: Arrival };
    expect(JSON.parse(arrival.meta ?? '')).toEqual(JSON.parse(http.arrival.meta ?? ''));
  });

  test('with its attribute told twice and differently is not guessed at', async () => {
    const both = { ...headers('cloudEvents:'), cloudEvents_id: 'e-2' };
    expect((await read(messageOf('{}', { headers: both }))).undecodable?.reason).toMatch(/^The id must be/);
    expect((await arrivalOf(messageOf('{}', { headers: { ...both, cloudEvents_id: 'e-1' } }))).externalId).toBe('e-1');
  });

  test.each<[string, string, Properties, RegExp]>([
    ['no JSON', '{"id":', { contentType: 'application/cloudevents+json' }, /not JSON/],
    ['no id', JSON.stringify({ ...EVENT, id: undefined }), { contentType: 'application/cloudevents+json' }, /no id/],
    [
      'an unknown version',
      '{}',
      { headers: { ...headers('cloudEvents:'), 'cloudEvents:specversion': '2.0' } },
      /specversion/,
    ],
    ['another format', 'x', { contentType: 'application/cloudevents+avro' }, /another format/],
    ['no array', '{}', { contentType: 'application/cloudevents-batch+json' }, /not a JSON array/],
    ['an empty array', '[]', { contentType: 'application/cloudevents-batch+json' }, /no event/],
    [
      'too many',
      JSON.stringify([EVENT, EVENT, EVENT, EVENT]),
      { contentType: 'application/cloudevents-batch+json' },
      /more than 3/,
    ],
  ])('with %s goes to the quarantine whole', async (_, body, properties, reason) => {
    const { arrivals, undecodable } = await read(messageOf(body, properties));
    expect(arrivals).toEqual([]);
    expect(undecodable?.reason).toMatch(reason);
    expect(Buffer.from(undecodable?.raw ?? '').toString()).toBe(body);
  });

  test('in a batch with a bad one is accepted, and the batch is kept, too', async () => {
    const body = JSON.stringify([EVENT, { ...EVENT, id: '' }, { ...EVENT, id: 'e-3' }]);
    const { arrivals, undecodable } = await read(
      messageOf(body, { contentType: 'application/cloudevents-batch+json' }),
    );
    expect(arrivals.map(({ externalId }) => externalId)).toEqual(['e-1', 'e-3']);
    expect(undecodable?.reason).toMatch(/^Event 1: The id .* Of its 3 events 2 are in\.$/);
  });
});

describe('headers', () => {
  test('of every type become JSON', () => {
    const { table, cut } = plainTable({
      text: 'a\0b',
      number: 1.5,
      no: false,
      nothing: null,
      bytes: Buffer.from('abc'),
      time: { '!': 'timestamp', value: 1_700_000_000 },
      badTime: { '!': 'timestamp', value: 1e300 },
      decimal: { '!': 'decimal', value: { places: 2, digits: 5 } },
      list: [1, { a: [Buffer.from('x')] }],
    });
    expect(cut).toBe(false);
    expect(table).toEqual({
      text: 'a\ufffdb',
      number: 1.5,
      no: false,
      nothing: null,
      bytes: 'YWJj',
      time: '2023-11-14T22:13:20.000000Z',
      badTime: { '!': 'timestamp', value: 1e300 },
      decimal: '0.05',
      list: [1, { a: ['eA=='] }],
    });
  });

  test.each<[unknown, string | undefined]>([
    [{ '!': 'decimal', value: { places: 2, digits: 1234 } }, '12.34'],
    [{ '!': 'decimal', value: { places: 0, digits: 12 } }, '12'],
    [{ '!': 'decimal', value: { places: -1, digits: 12 } }, undefined],
    [{ '!': 'timestamp', value: 5 }, '5'],
    [{ '!': 'timestamp', value: { '!': 'timestamp', value: 5 } }, undefined],
    [12.5, '12.5'],
    [Number.NaN, undefined],
    [2 ** 60, undefined],
    [true, 'true'],
    [Buffer.from([0xff]), undefined],
    [null, undefined],
    [[1], undefined],
  ])('%j tells messages apart by %s', (value, text) => {
    expect(headerText(value)).toBe(text);
  });

  /** A table as amqplib decodes them, with whatever a publisher thinks of. */
  const { table } = fc.letrec<{ value: unknown; table: Record<string, unknown> }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 6 },
      fc.string({ unit: 'binary' }),
      fc.double(),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.uint8Array().map((bytes) => Buffer.from(bytes)),
      fc.record({ '!': fc.constantFrom('timestamp', 'decimal', 'other'), value: fc.anything() }),
      fc.array(tie('value'), { maxLength: 4 }),
      tie('table'),
    ),
    table: fc.dictionary(
      fc.oneof(
        fc.string(),
        fc.constantFrom(
          '__proto__',
          'constructor',
          'toString',
          'cloudEvents:id',
          'cloudEvents_source',
          'cloudEvents:type',
          'x-death',
          'no',
        ),
      ),
      tie('value'),
      { maxKeys: 6, noNullPrototype: true },
    ),
  }));
  const text = fc.option(
    fc.oneof(fc.string({ unit: 'binary', maxLength: 255 }), fc.constantFrom('', 'a\0b', '\ufffd', 'é'.repeat(255))),
    { nil: undefined },
  );
  const properties = fc.record({
    contentType: fc.oneof(
      text,
      fc.constantFrom('application/cloudevents+json', 'application/cloudevents-batch+json', 'application/json'),
    ),
    messageId: text,
    type: text,
    userId: text,
    correlationId: text,
    timestamp: fc.option(fc.oneof(fc.integer(), fc.double()), { nil: undefined }),
    headers: fc.option(table, { nil: undefined }),
  });
  const definition = fc.constantFrom<Partial<AmqpSource>>(
    {},
    {
      identity: { from: 'header', header: 'no' },
      account: { from: 'header', header: '__proto__' },
      value: { from: 'header', header: 'no' },
    },
    {
      identity: { from: 'pointer', pointer: '/a' },
      account: { from: 'pointer', pointer: '/__proto__' },
      value: { from: 'pointer', pointer: '' },
    },
    { identity: { from: 'none' } },
  );
  const body = fc.oneof(
    fc.string(),
    fc.json(),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  );

  test('of any kind make arrivals within their bounds or one entry of the quarantine, the same every time', async () => {
    await fc.assert(
      fc.asyncProperty(body, properties, definition, async (content, given, how) => {
        const message = messageOf(content as string, given as Properties);
        const { arrivals, undecodable } = await read(message, how);
        expect(arrivals.length > 0 || undecodable !== null).toBe(true);
        for (const arrival of arrivals) {
          for (const [name, limit] of Object.entries({
            account: FIELD_LIMITS.account,
            type: 512,
            externalId: 512,
            value: 512,
            peer: 256,
          })) {
            const field = arrival[name as 'account'];
            if (field === null) continue;
            expect(Buffer.byteLength(field)).toBeLessThanOrEqual(limit);
            expect(field.isWellFormed() && !field.includes('\0'), name).toBe(true);
          }
        }
        for (const { meta } of [...arrivals, ...(undecodable ? [undecodable] : [])]) {
          if (meta === null) continue;
          expect(meta).not.toMatch(/[\0]|\\u0000/);
          JSON.parse(meta);
        }
        expect(await read(message, how)).toEqual({ arrivals, undecodable });
      }),
    );
  });

  test('nested without end are cut, and the message is kept', async () => {
    let nested: Record<string, unknown> = {};
    for (let depth = 0; depth < 5_000; depth++) nested = { a: depth % 2 === 0 ? nested : [nested] };
    const { undecodable } = await read(messageOf('a', { messageId: 'm-1', headers: nested }));
    expect(undecodable).toMatchObject({ reason: 'Its headers are nested too deep.', externalId: 'm-1' });
    expect(undecodable?.meta?.length).toBeLessThan(1000);
  });

  test('longer than can be told are kept in the quarantine', async () => {
    const headers = { long: '\x01'.repeat(20_000) };
    const { undecodable } = await read(messageOf('a', { messageId: 'm-1', headers }));
    expect(undecodable?.reason).toMatch(/headers are longer/);
    expect(JSON.parse(undecodable?.meta ?? '').headers).toEqual(headers);
  });
});
