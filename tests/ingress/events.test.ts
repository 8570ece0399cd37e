import { connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventRoutes } from '../../routes/events.js';
import type { EventsSource, Source } from '../../src/channel/source.js';
import { normalisedTime } from '../../src/ingress/events/time.js';
import { createInTurns } from '../../src/ingress/events/turns.js';
import type { Refusal } from '../../src/message/refusal.js';
import { Busy, Unavailable } from '../../src/message/verdict.js';
import { settableClock } from '../support/clock.js';
import { until } from '../support/until.js';
import { ask, directory, MemoryChannel, principal, serveRoutes, TENANT } from './serve-routes.js';

const STRUCTURED = 'application/cloudevents+json';
const BATCH = 'application/cloudevents-batch+json';
const NDJSON = 'application/x-ndjson';
const MAX_BODY = 200_000;

const feed = (name: string, definition: Partial<EventsSource> = {}): Source<EventsSource> => ({
  id: name.length,
  name,
  tenant: TENANT,
  definition: { kind: 'events', ...definition },
});

const event = (more: Record<string, unknown> = {}) => ({
  specversion: '1.0',
  id: 'e1',
  source: '/meter',
  type: 'usage',
  subject: 'customer-1',
  data: { amount: 3 },
  ...more,
});
const lines = (...events: unknown[]) =>
  events.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n');

let channel: MemoryChannel;
let refusals: Refusal[];
let server: Awaited<ReturnType<typeof serveRoutes>>;
const clock = settableClock();

beforeEach(async () => {
  channel = new MemoryChannel();
  refusals = [];
  const sources = directory({
    feeds: [
      feed('billing', { accepts: ['/meter', 'ü'], value: '/data/amount' }),
      feed('plain', { accepts: ['/other'] }),
    ],
  });
  const routes = eventRoutes({
    accept: (arrivals) => channel.accept(arrivals),
    refuse: (refusal) => refusals.push(refusal),
    sources: () => sources,
    clock,
    inTurns: createInTurns(nextTurn),
    limits: { maxBodyBytes: MAX_BODY, maxBytesInFlight: 4 * MAX_BODY, maxEvents: 50 },
  });
  server = await serveRoutes(routes, {
    sender: principal('events.send'),
    reader: principal('messages.read'),
    other: principal('events.send', { id: 99, name: 'other', channels: 4 }),
  });
});

afterEach(() => server.close());

function send(type: string | null, body: string | Buffer, headers: Record<string, string> = {}) {
  const contentType = type === null ? {} : { 'content-type': type };
  return ask(server.port, 'POST', '/v1/events', { authorization: 'Bearer sender', ...contentType, ...headers }, body);
}

const onlyArrival = () => {
  expect(channel.arrivals).toHaveLength(1);
  return channel.arrivals[0] as (typeof channel.arrivals)[number];
};

describe('one structured event', () => {
  it('becomes an arrival with its bytes as they came', async () => {
    const body = ` ${JSON.stringify(event({ time: '2026-01-02T04:05:06.7+01:00', data: { amount: 3 } })).replace('3', '12.50')}\n`;
    const answer = await send(STRUCTURED, body);
    expect(answer.status).toBe(202);
    expect(answer.text).toBe(
      '{"results":[{"index":0,"id":"e1","verdict":"sequenced","message":"7-1","channel":7,"sequence":1}]}',
    );
    const arrival = onlyArrival();
    expect(arrival).toMatchObject({
      tenant: TENANT,
      source: { id: 7, name: 'billing' },
      kind: 'event',
      account: 'customer-1',
      type: 'usage',
      externalId: 'e1',
      value: '12.50',
      eventTime: '2026-01-02T03:05:06.700000Z',
      arrivedAt: clock.now(),
      peer: 'token events.send',
      meta: null,
      onOtherContent: 'conflict',
    });
    expect(Buffer.from(arrival.raw).toString()).toBe(body.trim());
  });

  it('answers 200 to a duplicate, 409 to other content, 422 to an expired one', async () => {
    await send(STRUCTURED, JSON.stringify(event()));
    const duplicate = await send(STRUCTURED, JSON.stringify(event(), null, 2));
    expect(duplicate.status).toBe(200);
    expect(duplicate.json.results).toEqual([
      {
        index: 0,
        id: 'e1',
        verdict: 'duplicate',
        message: null,
        channel: null,
        sequence: null,
        of: '7-1',
        basis: 'store',
      },
    ]);
    const conflict = await send(STRUCTURED, JSON.stringify(event({ data: { amount: 4 } })));
    expect(conflict.status).toBe(409);
    expect(conflict.json.results[0]).toMatchObject({ verdict: 'conflict', message: 'q-3', of: '7-1' });
    channel.next = async () => [{ verdict: 'duplicate', basis: 'filter' }];
    const unseen = await send(STRUCTURED, JSON.stringify(event()));
    expect(unseen.status).toBe(200);
    const nowhere = { message: null, channel: null, sequence: null };
    expect(unseen.json.results).toEqual([{ index: 0, id: 'e1', verdict: 'duplicate', ...nowhere, basis: 'filter' }]);
    channel.next = async () => [{ verdict: 'expired', quarantine: 12 }];
    const expired = await send(STRUCTURED, JSON.stringify(event()));
    expect(expired.status).toBe(422);
    expect(expired.json.results[0]).toMatchObject({ verdict: 'expired', message: 'q-12', channel: null });
  });

  it('concerns the feed where it names no subject', async () => {
    await send(STRUCTURED, JSON.stringify(event({ subject: null })));
    await send('application/json', JSON.stringify(event({ subject: undefined, source: '/other' })));
    expect(channel.arrivals.map(({ account, source, value }) => [account, source.name, value])).toEqual([
      ['billing', 'billing', '3'],
      ['plain', 'plain', null],
    ]);
  });

  it('has no value where the pointer finds no number', async () => {
    for (const amount of ['12,50', { n: 1 }, null, true, '9'.repeat(513)]) {
      await send(STRUCTURED, JSON.stringify(event({ data: { amount } })));
    }
    await send(STRUCTURED, JSON.stringify(event({ data: { amount: '-7.10' } })));
    expect(channel.arrivals.map(({ value }) => value)).toEqual([null, null, null, null, null, '-7.10']);
  });

  it.each(
    (
      [
        ['{"id":', 'json_malformed', undefined],
        ['', 'json_malformed', undefined],
        ['[]', 'not_an_object', undefined],
        ['"text"', 'not_an_object', undefined],
        ['null', 'not_an_object', undefined],
        [event({ specversion: '0.3' }), 'specversion_unsupported', '/specversion'],
        [event({ specversion: undefined }), 'specversion_unsupported', '/specversion'],
        [event({ specversion: 1.0 }), 'specversion_unsupported', '/specversion'],
        [event({ id: undefined }), 'id_missing', '/id'],
        [event({ id: null }), 'id_missing', '/id'],
        [event({ id: '' }), 'id_invalid', '/id'],
        [event({ id: 12 }), 'id_invalid', '/id'],
        [event({ id: 'a\0b' }), 'id_invalid', '/id'],
        [event({ id: 'a\ud800' }), 'id_invalid', '/id'],
        [event({ id: 'é'.repeat(257) }), 'id_invalid', '/id'],
        [event({ id: 'x'.repeat(10_000) }), 'id_invalid', '/id'],
        [event({ source: undefined }), 'source_missing', '/source'],
        [event({ source: ['a'] }), 'source_invalid', '/source'],
        [event({ source: '/nobody' }), 'source_invalid', '/source'],
        [event({ type: undefined }), 'type_missing', '/type'],
        [event({ type: 'a\0' }), 'type_invalid', '/type'],
        [event({ subject: '' }), 'subject_invalid', '/subject'],
        [event({ subject: { a: 1 } }), 'subject_invalid', '/subject'],
        [event({ subject: 'x'.repeat(513) }), 'subject_invalid', '/subject'],
        [event({ time: 'yesterday' }), 'time_invalid', '/time'],
        [event({ time: 1767225600 }), 'time_invalid', '/time'],
        [event({ time: '1969-12-31T23:59:59Z' }), 'time_invalid', '/time'],
        [`{"a":${'['.repeat(70)}${']'.repeat(70)}}`, 'json_too_deep', undefined],
        [
          '{"__proto__":{"specversion":"1.0","id":"a","source":"/meter","type":"t"}}',
          'specversion_unsupported',
          '/specversion',
        ],
      ] as const
    ).map(([body, code, pointer]) => ({ body, code, pointer })),
  )('rejects as $code at $pointer', async ({ body, code, pointer }) => {
    const answer = await send(STRUCTURED, typeof body === 'string' ? body : JSON.stringify(body));
    expect(answer.status).toBe(422);
    expect(answer.json.results).toEqual([
      expect.objectContaining({ index: 0, verdict: 'rejected', message: null, channel: null, sequence: null, code }),
    ]);
    expect(answer.json.results[0].pointer).toBe(pointer);
    expect(answer.json.results[0].reason).toMatch(/\S+ .*\.$|;/);
    expect(channel.arrivals).toEqual([]);
    expect(refusals).toEqual([
      expect.objectContaining({ tenant: 7, ingress: 'events', peer: 'token events.send', code }),
    ]);
  });

  it('takes fields of exactly 512 bytes and every extension', async () => {
    const id = 'é'.repeat(256);
    const body = JSON.stringify(event({ id, subject: 'x'.repeat(512), traceparent: '00-ab', dataschema: 12 }));
    expect((await send(STRUCTURED, body)).json.results[0]).toMatchObject({ id, verdict: 'sequenced' });
    expect(Buffer.from(onlyArrival().raw).toString()).toBe(body);
  });

  it('tells events apart by source and id alone', async () => {
    await send(STRUCTURED, JSON.stringify(event()));
    expect((await send(STRUCTURED, JSON.stringify(event({ source: 'ü' })))).status).toBe(202);
    expect((await send(STRUCTURED, JSON.stringify(event({ subject: 'other' })))).status).toBe(409);
    expect((await send(STRUCTURED, JSON.stringify(event({ extension: 'x' })))).status).toBe(200);
  });

  it('takes a time in another zone for the same content', async () => {
    await send(STRUCTURED, JSON.stringify(event({ time: '2026-01-02T03:04:05Z' })));
    expect((await send(STRUCTURED, JSON.stringify(event({ time: '2026-01-02T05:04:05.000+02:00' })))).status).toBe(200);
  });

  it('takes what is odd inside data as content', async () => {
    const odd = '{"10":1,"9":2,"__proto__":3,"lone":"\\ud800","nul":"\\u0000"}';
    const body = JSON.stringify(event({ data: 'DATA' })).replace('"DATA"', odd);
    expect((await send(STRUCTURED, body)).status).toBe(202);
    const turned = '{"nul":"\\u0000","lone":"\\uD800","__proto__":3,"9":2,"10":1}';
    expect((await send(STRUCTURED, body.replace(odd, turned))).status).toBe(200);
    expect((await send(STRUCTURED, body.replace('ud800', 'ud801'))).status).toBe(409);
  });

  it('compares bytes where they are no UTF-8, and refuses an id among them', async () => {
    const latin1 = (text: string) => Buffer.from(text, 'latin1');
    const body = JSON.stringify(event({ data: 'caf\u00e9' }));
    expect((await send(STRUCTURED, latin1(body))).status).toBe(202);
    expect((await send(STRUCTURED, latin1(body))).status).toBe(200);
    expect((await send(STRUCTURED, latin1(body.replace('\u00e9', '\u00e8')))).status).toBe(409);
    const answer = await send(STRUCTURED, latin1(JSON.stringify(event({ id: '\u00e9' }))));
    expect(answer.json.results[0]).toMatchObject({ id: null, code: 'id_invalid' });
  });

  it('reads past a byte order mark', async () => {
    expect((await send(STRUCTURED, `\ufeff${JSON.stringify(event())}`)).status).toBe(202);
    expect(Buffer.from(onlyArrival().raw).toString()).toBe(JSON.stringify(event()));
  });
});

describe('batches', () => {
  it.each([
    [NDJSON, (events: string[]) => events.join('\n')],
    ['application/ndjson', (events: string[]) => `${events.join('\r\n\n')}\n`],
    [BATCH, (events: string[]) => `[${events.join(' , ')}]`],
    ['Application/JSON; charset=utf-8', (events: string[]) => `\n[${events.join(',\n')}]\n`],
  ])('come as %s, with each event verbatim', async (type, join) => {
    const texts = ['a', 'b', 'c'].map((id) =>
      JSON.stringify(event({ id, data: { text: `[{,"\\ ${id} €` } }), null, 1).replaceAll('\n', ' '),
    );
    const answer = await send(type, join(texts));
    expect(answer.status).toBe(202);
    expect(
      answer.json.results.map((one: { index: number; id: string; message: string }) => [
        one.index,
        one.id,
        one.message,
      ]),
    ).toEqual([
      [0, 'a', '7-1'],
      [1, 'b', '7-2'],
      [2, 'c', '7-3'],
    ]);
    expect(channel.arrivals.map(({ raw }) => Buffer.from(raw).toString())).toEqual(texts);
  });

  it('answer 202 with duplicates among them', async () => {
    const answer = await send(NDJSON, lines(event(), event(), event({ id: 'e2' })));
    expect(answer.status).toBe(202);
    expect(answer.json.results.map((one: { verdict: string }) => one.verdict)).toEqual([
      'sequenced',
      'duplicate',
      'sequenced',
    ]);
  });

  it('take the neighbours of a malformed line, and count no empty lines', async () => {
    const answer = await send(NDJSON, lines(event(), '', '{"broken', '  ', event({ id: 'e"2\\' }), event({ id: 0 })));
    expect(answer.status).toBe(422);
    expect(answer.json.results).toEqual([
      expect.objectContaining({ index: 0, id: 'e1', verdict: 'sequenced' }),
      expect.objectContaining({ index: 1, id: null, verdict: 'rejected', code: 'json_malformed' }),
      expect.objectContaining({ index: 2, id: 'e"2\\', verdict: 'sequenced', message: '7-2' }),
      expect.objectContaining({ index: 3, id: null, verdict: 'rejected', code: 'id_invalid', pointer: '/id' }),
    ]);
    expect(refusals.map(({ code }) => code)).toEqual(['json_malformed', 'id_invalid']);
  });

  it.each(['[]', ' [ ] '])('may be empty: %j', async (body) => {
    const answer = await send(BATCH, body);
    expect([answer.status, answer.json]).toEqual([202, { results: [] }]);
    expect((await send(NDJSON, '\n\n')).json).toEqual({ results: [] });
  });

  it('answer by the rule for batches with one event in them', async () => {
    await send(NDJSON, lines(event()));
    expect((await send(NDJSON, lines(event()))).status).toBe(202);
    expect((await send(NDJSON, lines(event({ data: 'other' })))).status).toBe(422);
  });

  it.each([
    '[',
    '{}',
    `[${JSON.stringify(event())},]`,
    `[${JSON.stringify(event())}`,
    `[${JSON.stringify(event())} x]`,
    `[${JSON.stringify(event())}]]`,
  ])('take nothing of a broken array: %s', async (body) => {
    const answer = await send(BATCH, body);
    expect([answer.status, answer.json.code]).toEqual([400, 'json_malformed']);
    expect(channel.arrivals).toEqual([]);
    expect(refusals).toEqual([expect.objectContaining({ code: 'json_malformed', tenant: 7 })]);
  });

  it('take the good elements of an array whose others are no events', async () => {
    const answer = await send(BATCH, `[1,${JSON.stringify(event())}]`);
    expect(answer.json.results).toEqual([
      expect.objectContaining({ index: 0, code: 'not_an_object' }),
      expect.objectContaining({ index: 1, verdict: 'sequenced' }),
    ]);
  });

  it('refuse more events than allowed whole', async () => {
    const fifty = Array.from({ length: 50 }, (_, i) => event({ id: `${i}` }));
    expect((await send(NDJSON, lines(...fifty))).status).toBe(202);
    for (const [type, body] of [
      [NDJSON, lines(...fifty, event())],
      [BATCH, JSON.stringify([...fifty, event()])],
    ] as const) {
      const answer = await send(type, body);
      expect([answer.status, answer.json.code]).toEqual([413, 'too_many_events']);
    }
    expect(channel.arrivals).toHaveLength(50);
  });

  it('lose no event, whatever stands between them', async () => {
    const line = fc.oneof(
      fc
        .record({ id: fc.uuid(), text: fc.string({ unit: 'binary' }) })
        .map(({ id, text }) => JSON.stringify(event({ id, data: text }))),
      fc.constantFrom('', ' ', '{', '"', '[1]', '{"id":"x"}', '\\', 'null'),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 40 }), async (texts) => {
        channel = new MemoryChannel();
        const answer = await send(NDJSON, texts.join('\n'));
        const good = texts.filter((text) => text.includes('specversion'));
        expect(channel.arrivals.map(({ raw }) => Buffer.from(raw).toString())).toEqual(good);
        const results = answer.json.results as { index: number; verdict: string }[];
        expect(results.map(({ index }) => index)).toEqual(
          texts.filter((text) => text.trim() !== '').map((_, index) => index),
        );
        expect(results.filter(({ verdict }) => verdict !== 'rejected')).toHaveLength(good.length);
      }),
      { numRuns: 30 },
    );
  });

  it('note at most a hundred of their rejected events', async () => {
    await server.close();
    const routes = eventRoutes({
      accept: channel.accept,
      refuse: (refusal) => refusals.push(refusal),
      sources: () => directory({}),
      clock,
      inTurns: createInTurns(nextTurn),
      limits: { maxBodyBytes: MAX_BODY, maxBytesInFlight: MAX_BODY, maxEvents: 1000 },
    });
    server = await serveRoutes(routes, { sender: principal('events.send') });
    const answer = await send(NDJSON, '{}\n'.repeat(300));
    expect(answer.json.results).toHaveLength(300);
    expect(refusals).toHaveLength(100);
  });
});

describe('binary mode', () => {
  const ce = {
    'ce-specversion': '1.0',
    'ce-id': 'e1',
    'ce-source': '/meter',
    'ce-type': 'usage',
    'ce-subject': 'customer-1',
  };

  it('takes attributes from headers and the body as data', async () => {
    const headers = { ...ce, 'ce-time': '2026-01-02T03:04:05Z', 'ce-traceparent': '00-ab', 'CE-Note': 'a%20b%C3%BC' };
    const answer = await send('application/json', '{"amount": 7.10}', headers);
    expect(answer.status).toBe(202);
    const arrival = onlyArrival();
    expect(arrival).toMatchObject({
      account: 'customer-1',
      value: '7.10',
      eventTime: '2026-01-02T03:04:05.000000Z',
      type: 'usage',
    });
    expect(Buffer.from(arrival.raw).toString()).toBe('{"amount": 7.10}');
    expect(JSON.parse(arrival.meta ?? '')).toEqual({
      specversion: '1.0',
      id: 'e1',
      source: '/meter',
      type: 'usage',
      subject: 'customer-1',
      time: '2026-01-02T03:04:05Z',
      traceparent: '00-ab',
      note: 'a bü',
      datacontenttype: 'application/json',
    });
  });

  it.each([
    ['application/json', '{"amount":3}', { data: { amount: 3 } }],
    ['application/vnd.example+json', '[1.0]', { datacontenttype: 'application/vnd.example+json', data: 'ONE' }],
    ['text/plain', 'hello', { datacontenttype: 'text/plain', data: 'hello' }],
    ['image/png', '\u0001\u0002', { datacontenttype: 'image/png', data: undefined, data_base64: 'AQI=' }],
    ['application/json', '', { data: undefined }],
    ['application/json', '"text"', { data: 'text' }],
  ])('is the same event as the structured one: %s %j', async (type, body, structured) => {
    expect((await send(type, body, ce)).status).toBe(202);
    const same = JSON.stringify(event(structured)).replace('"ONE"', '[1.0]');
    expect((await send(STRUCTURED, same)).status).toBe(200);
  });

  it.each([
    ['text/plain', '{"amount":3}', 'application/json', '{"amount":3}'],
    ['text/plain', 'a', 'text/plain', 'b'],
    ['application/json', '{broken', 'application/json', '{broken '],
    ['application/json', 'null', 'application/json', ''],
  ])('tells data apart: %s %j from %s %j', async (type, body, otherType, otherBody) => {
    expect((await send(type, body, ce)).status).toBe(202);
    expect((await send(otherType, otherBody, ce)).status).toBe(409);
  });

  it('takes any body, however unreadable', async () => {
    for (const [id, body] of [
      ['1', '{"broken'],
      ['2', '['.repeat(100)],
    ] as const) {
      expect((await send('application/json', body, { ...ce, 'ce-id': id })).status).toBe(202);
    }
    expect((await send('application/octet-stream', Buffer.from([0, 255, 254]), { ...ce, 'ce-id': '3' })).status).toBe(
      202,
    );
    expect((await send(null, '{"amount":1}', { ...ce, 'ce-id': '4' })).status).toBe(202);
    expect(channel.arrivals.map(({ value }) => value)).toEqual([null, null, null, '1']);
  });

  it.each([
    ['a%20b%25', 'a b%'],
    ['%e2%82%ac', '€'],
    ['100%', '100%'],
    ['"quoted \\"x\\" %41"', 'quoted "x" A'],
    ['"', '"'],
  ])('reads the header %j as %j', async (value, text) => {
    expect((await send('text/plain', 'x', { ...ce, 'ce-id': value })).json.results[0].id).toBe(text);
  });

  it.each([
    [{ 'ce-id': '%ff' }, 'id_invalid'],
    [{ 'ce-id': '%c0%a0' }, 'id_invalid'],
    [{ 'ce-id': '%00' }, 'id_invalid'],
    [{ 'ce-id': 'x'.repeat(513) }, 'id_invalid'],
    [{ 'ce-subject': '%ff' }, 'subject_invalid'],
    [{ 'ce-time': 'now' }, 'time_invalid'],
    [{ 'ce-specversion': '0.3' }, 'specversion_unsupported'],
  ])('rejects %j as %s', async (headers, code) => {
    const answer = await send('text/plain', 'x', { ...ce, ...headers });
    expect([answer.status, answer.json.results[0].code]).toEqual([422, code]);
  });

  it('rejects an event that lacks a header', async () => {
    const { 'ce-id': _, ...rest } = ce;
    expect((await send('text/plain', 'x', rest)).json.results[0]).toMatchObject({
      id: null,
      code: 'id_missing',
      pointer: '/id',
    });
  });

  it('leaves extensions out of meta that are no text', async () => {
    await send('text/plain', 'x', { ...ce, 'ce-bad': '%ff', 'ce-nul': '%00' });
    const meta = JSON.parse(onlyArrival().meta ?? '');
    expect(meta).not.toHaveProperty('bad');
    expect(meta).not.toHaveProperty('nul');
  });
});

describe('requests', () => {
  it.each(['text/plain', 'application/cloudevents+avro', 'application/xml', null])('of %s are 415', async (type) => {
    const answer = await send(type, 'x');
    expect([answer.status, answer.json.code]).toEqual([415, 'media_type_unsupported']);
  });

  it('take gzip and nothing else', async () => {
    const body = lines(event(), event({ id: 'e2' }));
    expect((await send(NDJSON, gzipSync(body), { 'content-encoding': 'gzip' })).status).toBe(202);
    expect(channel.arrivals.map(({ raw }) => Buffer.from(raw).toString())).toEqual(body.split('\n'));
    expect((await send(NDJSON, body, { 'content-encoding': 'identity' })).status).toBe(202);
    const brotli = await send(NDJSON, body, { 'content-encoding': 'br' });
    expect([brotli.status, brotli.json.code]).toEqual([415, 'encoding_unsupported']);
    for (const bytes of [Buffer.from(body), gzipSync(body).subarray(0, 30)]) {
      const broken = await send(NDJSON, bytes, { 'content-encoding': 'gzip' });
      expect([broken.status, broken.json.code]).toEqual([400, 'encoding_malformed']);
    }
  });

  it('take a body of exactly the limit and refuse one byte more, plain, chunked or compressed', async () => {
    const padded = (bytes: number) => {
      const empty = JSON.stringify(event({ data: '' }));
      return JSON.stringify(event({ data: 'x'.repeat(bytes - empty.length) }));
    };
    expect((await send(STRUCTURED, padded(MAX_BODY))).status).toBe(202);
    const large = padded(MAX_BODY + 1);
    const answers = [
      await send(STRUCTURED, large),
      await send(STRUCTURED, large, { 'transfer-encoding': 'chunked' }),
      await send(STRUCTURED, gzipSync(large), { 'content-encoding': 'gzip' }),
      await send(STRUCTURED, gzipSync(Buffer.alloc(50 * MAX_BODY)), { 'content-encoding': 'gzip' }),
    ];
    expect(answers.map(({ status, json }) => [status, json.code])).toEqual(Array(4).fill([413, 'body_too_large']));
    expect(channel.arrivals).toHaveLength(1);
    expect(refusals.map(({ code }) => code)).toEqual(Array(4).fill('body_too_large'));
  });

  it('stop reading a body that never ends', async () => {
    const socket = connect(server.port, '127.0.0.1');
    let answer = '';
    let sent = 0;
    const chunk = Buffer.alloc(16_384, 0x78);
    socket.on('data', (bytes) => (answer += bytes.toString()));
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    socket.write('POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sender\r\n');
    socket.write(`content-type: ${STRUCTURED}\r\ntransfer-encoding: chunked\r\n\r\n`);
    const pump = () => {
      if (socket.destroyed) return;
      sent += chunk.length;
      socket.write(`4000\r\n${chunk.toString()}\r\n`, () => setImmediate(pump));
    };
    pump();
    await closed;
    expect(answer).toContain('413 Payload Too Large');
    expect(answer.toLowerCase()).toContain('connection: close');
    // What is read is the limit twice; the rest of this lies in buffers of the two sockets.
    expect(sent).toBeLessThan(2 * MAX_BODY + 20_000_000);
  });

  it('that break off leave nothing behind', async () => {
    for (let i = 0; i < 5; i++) {
      const socket = connect(server.port, '127.0.0.1');
      socket.write(
        `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sender\r\ncontent-type: ${STRUCTURED}\r\n`,
      );
      socket.write(`content-length: ${MAX_BODY}\r\n\r\n${'x'.repeat(MAX_BODY - 1)}`);
      await until(() => socket.bytesWritten > MAX_BODY, 'the body to be sent');
      socket.destroy();
    }
    // Their 1 MB would fill what this tenant may have in flight, so that this was answered 429.
    await until(
      async () => (await send(STRUCTURED, JSON.stringify(event({ data: 'x'.repeat(MAX_BODY - 500) })))).status < 300,
      'room again',
    );
    expect(channel.arrivals.every(({ externalId }) => externalId === 'e1')).toBe(true);
  });

  it('are told to wait while too many bytes of their tenant are in flight, and no others', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let waiting = 0;
    const hold = () => {
      channel.next = async (arrivals) => {
        waiting++;
        await held;
        return channel.accept(arrivals);
      };
    };
    const big = (id: string) => JSON.stringify(event({ id, data: 'x'.repeat(MAX_BODY - 1000) }));
    hold();
    const first = send(STRUCTURED, big('a'));
    await until(() => waiting === 1, 'the first to wait');
    hold();
    const second = send(STRUCTURED, big('b'));
    await until(() => waiting === 2, 'the second to wait');
    const third = await send(STRUCTURED, big('c'));
    expect([third.status, third.json.code, third.headers['retry-after']]).toEqual([429, 'busy', '1']);
    // Its two may have half of the room; there is some for others, who have no feed for this here.
    const others = await send(STRUCTURED, big('d'), { authorization: 'Bearer other' });
    expect(others.status).toBe(422);
    release();
    expect([(await first).status, (await second).status]).toEqual([202, 202]);
    expect((await send(STRUCTURED, big('c'))).status).toBe(202);
    expect(refusals.filter(({ tenant }) => tenant === TENANT.id)).toEqual([]);
  });

  it('are answered 429 and 503 when the channel can not take them', async () => {
    channel.next = () => Promise.reject(new Busy(7));
    const busy = await send(STRUCTURED, JSON.stringify(event()));
    expect([busy.status, busy.json.code, busy.headers['retry-after']]).toEqual([429, 'busy', '7']);
    channel.next = () => Promise.reject(new Unavailable('the database is away'));
    const away = await send(STRUCTURED, JSON.stringify(event()));
    expect([away.status, away.json.code]).toEqual([503, 'storage_unavailable']);
    expect(Number(away.headers['retry-after'])).toBeGreaterThan(0);
    expect(refusals).toEqual([]);
    expect((await send(STRUCTURED, JSON.stringify(event()))).status).toBe(202);
  });

  it('need the permission events.send', async () => {
    expect((await send(STRUCTURED, JSON.stringify(event()), { authorization: 'Bearer nobody' })).status).toBe(401);
    expect((await send(STRUCTURED, JSON.stringify(event()), { authorization: 'Bearer reader' })).status).toBe(403);
    expect(channel.arrivals).toEqual([]);
  });
});

describe('times', () => {
  it.each([
    ['2026-02-28T23:59:59Z', '2026-02-28T23:59:59.000000Z'],
    ['2024-02-29t00:00:00z', '2024-02-29T00:00:00.000000Z'],
    ['2026-01-01 00:00:00.1234567+00:00', '2026-01-01T00:00:00.123456Z'],
    ['2026-01-01T00:30:00+01:00', '2025-12-31T23:30:00.000000Z'],
    ['1969-12-31T23:30:00-01:00', '1970-01-01T00:30:00.000000Z'],
    ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000000Z'],
    ['9999-12-31T23:59:59.999999999Z', '9999-12-31T23:59:59.999999Z'],
    ['9999-12-31T23:59:59-00:01', undefined],
    ['1970-01-01T00:30:00+01:00', undefined],
    ['2026-02-29T00:00:00Z', undefined],
    ['1900-02-29T00:00:00Z', undefined],
    ['2026-04-31T00:00:00Z', undefined],
    ['2026-13-01T00:00:00Z', undefined],
    ['2026-00-01T00:00:00Z', undefined],
    ['2026-01-01T24:00:00Z', undefined],
    ['2026-01-01T00:60:00Z', undefined],
    ['2026-01-01T00:00:61Z', undefined],
    ['2026-01-01T00:00:00+24:00', undefined],
    ['2026-01-01T00:00:00', undefined],
    ['2026-01-01T00:00Z', undefined],
    ['2026-01-01', undefined],
    ['2026-01-01T00:00:00.Z', undefined],
    [`2026-01-01T00:00:00.${'1'.repeat(100)}Z`, undefined],
  ])('%s is %s', (given, expected) => {
    expect(normalisedTime(given)).toBe(expected);
  });

  it('agree with Date in every zone', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }),
        fc.integer({ min: -1439, max: 1439 }),
        (date, minutes) => {
          const local = new Date(date.getTime() + minutes * 60_000);
          fc.pre(local.getUTCFullYear() <= 9999 && local.getUTCFullYear() >= 1900);
          const of = Math.abs(minutes);
          const zone = `${minutes < 0 ? '-' : '+'}${String(Math.floor(of / 60)).padStart(2, '0')}:${String(of % 60).padStart(2, '0')}`;
          expect(normalisedTime(local.toISOString().replace('Z', zone))).toBe(date.toISOString().replace('Z', '000Z'));
        },
      ),
    );
  });
});
