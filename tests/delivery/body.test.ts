import { readFile } from 'node:fs/promises';
import { LosslessNumber, parse } from 'lossless-json';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type BodySource, renderBody, voidBody } from '../../src/delivery/body.js';
import type { CanonicalMessage } from '../../src/message/message.js';
import { EMPTY_VIEW, type View } from '../../src/message/view.js';
import { outgoing } from './sample.js';

const schema = z.fromJSONSchema(JSON.parse(await readFile('docs/message.schema.json', 'utf8')));

function source(
  message: Partial<CanonicalMessage>,
  view: Partial<View> = {},
  more: Partial<BodySource> = {},
): BodySource {
  return {
    message: {
      id: '7-10234',
      tenant: 'acme',
      source: 'billing',
      kind: 'event',
      account: 'customer-17',
      type: 'com.example.invoice.created',
      value: '12.50',
      externalId: 'e-1',
      time: '2026-01-01T11:59:58Z',
      received: '2026-01-01T12:00:00.000Z',
      peer: 'token ci',
      envelope: { specversion: '1.0', source: '/billing' },
      found: [],
      ...message,
      view: { ...EMPTY_VIEW, ...view },
    },
    decider: { by: 'rules', set: 3, rules: ['invoices'] },
    target: 5,
    raw: Buffer.from('raw bytes'),
    baseUrl: 'https://waybill.example.com',
    ...more,
  };
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const message = { body: 'message', inlineParts: false } as const;

describe('the canonical message', () => {
  test('of an event', () => {
    const { contentType, body } = renderBody(message, source({}, { data: { amount: 12.5 } }));
    expect(contentType).toBe('application/vnd.waybill.message+json');
    const read = JSON.parse(text(body));
    expect(Object.keys(read)).toEqual(
      'id type received envelope headers text html parts data rung defects setAside decision'.split(' '),
    );
    expect(read).toMatchObject({
      id: '7-10234',
      envelope: { tenant: 'acme', source: 'billing', account: 'customer-17', transport: { source: '/billing' } },
      data: { amount: 12.5 },
      decision: { by: 'rules', set: 3, rules: ['invoices'] },
    });
    schema.parse(read);
  });

  test('says by whom it was decided, and of probabilities only its own', () => {
    const scores = [
      [4, 0.91, 0.8],
      [5, 0.7132, 0.6],
    ] as const;
    const deciders = [
      [
        { by: 'person', who: 'anna', version: 2 },
        { by: 'person', who: 'anna', version: 2 },
      ],
      [
        { by: 'suggestion', set: 1, model: 3, scores },
        { by: 'suggestion', model: 3, probability: 0.7132 },
      ],
    ] as const;
    for (const [decider, decision] of deciders) {
      const read = JSON.parse(text(renderBody(message, source({}, {}, { decider })).body));
      expect(read.decision).toEqual(decision);
      schema.parse(read);
    }
  });

  test('of a mail, its parts as links', () => {
    const part = {
      n: 1,
      path: '2',
      name: 'Grüße.pdf',
      type: 'application/pdf',
      size: 70_000,
      sha256: 'ab'.repeat(32),
      inline: false,
      contentId: null,
    };
    const defect = { code: 'charset_unknown', severity: 'warning', where: 'part 2', action: 'read as latin1' } as const;
    const setAside = {
      where: '3',
      n: 2,
      name: 'b.zip',
      type: 'application/zip',
      size: 9,
      sha256: 'cd'.repeat(32),
      why: 'an earlier try stopped in it',
    };
    const mail = source(
      {
        kind: 'mail',
        type: null,
        value: null,
        externalId: null,
        time: null,
        envelope: { from: '', to: 'a@example.com' },
      },
      { headers: [['subject', 'Hi']], text: 'Hello', parts: [part], defects: [defect], rung: 1, setAside: [setAside] },
    );
    const read = JSON.parse(text(renderBody(message, mail).body));
    expect(read.parts).toEqual([{ ...part, href: 'https://waybill.example.com/v1/messages/7-10234/parts/1' }]);
    expect(read).toMatchObject({ headers: [['subject', 'Hi']], text: 'Hello', rung: 1, defects: [defect] });
    expect(read.setAside).toEqual([setAside]);
    expect(read).not.toHaveProperty('data');
    schema.parse(read);
  });

  test('holds small parts where the target asks for that', () => {
    const part = (n: number, size: number) => ({
      n,
      path: String(n),
      name: null,
      type: 'text/csv',
      size,
      sha256: '00'.repeat(32),
      inline: false,
      contentId: null,
    });
    const mail = source(
      { kind: 'mail' },
      { parts: [part(1, 65_536), part(2, 65_537), part(3, 5)] },
      {
        partBytes: (n) => (n === 3 ? undefined : Buffer.from(`bytes of ${n}`)),
      },
    );
    const read = JSON.parse(text(renderBody({ body: 'message', inlineParts: true }, mail).body));
    expect(
      read.parts.map((p: { content?: string }) => p.content && Buffer.from(p.content, 'base64').toString()),
    ).toEqual(['bytes of 1', undefined, undefined]);
    schema.parse(read);
    expect(text(renderBody(message, mail).body)).not.toContain('"content":');
  });

  test('of a mail, what the mails within it say, and the calendars and reports', () => {
    const nobody = { from: [], to: [], cc: [], date: null, messageId: null };
    const part = {
      n: 1,
      path: '2',
      name: null,
      type: 'message/rfc822',
      size: 9,
      sha256: '00'.repeat(32),
      inline: false,
      contentId: null,
      message: { ...nobody, subject: 'inner', text: 'hi' },
    };
    const data = { calendars: [{ method: 'REQUEST', items: [] }], reports: [] };
    const mail = source({ kind: 'mail' }, { parts: [part], data });
    const read = JSON.parse(text(renderBody(message, mail).body));
    expect(read.parts[0].message).toEqual(part.message);
    expect(read.data).toEqual(data);
    schema.parse(read);
  });

  test('keeps every digit', () => {
    const data = parse('{"amount":1.10,"list":[12345678901234567890.123]}');
    const { body } = renderBody(message, source({}, { data }));
    expect(text(body)).toContain('"data":{"amount":1.10,"list":[12345678901234567890.123]}');
    schema.parse(JSON.parse(text(body)));
  });

  test('is not fooled by data that looks like a number of ours', () => {
    const data = { isLosslessNumber: true, value: '1,"admin":true', more: new LosslessNumber('1.0') };
    const { body } = renderBody({ body: 'data', inlineParts: false }, source({}, { data }));
    expect(JSON.parse(text(body))).toEqual({ isLosslessNumber: true, value: '1,"admin":true', more: 1 });
  });
});

describe('other choices', () => {
  test('data alone, its digits kept', () => {
    const { contentType, body } = renderBody(
      { body: 'data', inlineParts: false },
      source({}, { data: parse('[0.10]') }),
    );
    expect([contentType, text(body)]).toEqual(['application/json', '[0.10]']);
  });

  test('what has no data goes as it came', () => {
    const { contentType, body } = renderBody({ body: 'data', inlineParts: false }, source({ kind: 'mail' }));
    expect([contentType, text(body)]).toEqual(['message/rfc822', 'raw bytes']);
  });

  test('a mail goes as it came though it holds calendars, which are not all of it', () => {
    const mail = source({ kind: 'mail' }, { data: { calendars: [], reports: [] } });
    const { contentType, body } = renderBody({ body: 'data', inlineParts: false }, mail);
    expect([contentType, text(body)]).toEqual(['message/rfc822', 'raw bytes']);
  });

  test.each([
    ['mail', {}, 'message/rfc822'],
    ['event', {}, 'application/cloudevents+json'],
    ['webhook', { headers: { 'content-type': 'application/json; charset=utf-8' } }, 'application/json; charset=utf-8'],
    ['webhook', { headers: { 'content-type': 'text/plain\r\nX-Evil: 1' } }, 'application/octet-stream'],
    ['webhook', { headers: { 'content-type': `text/${'x'.repeat(300)}` } }, 'application/octet-stream'],
    ['webhook', { headers: { 'content-type': 7 } }, 'application/octet-stream'],
    ['webhook', {}, 'application/octet-stream'],
  ] as const)('raw bytes of a %s with %j are %s', (kind, envelope, expected) => {
    expect(renderBody({ body: 'raw', inlineParts: false }, source({ kind, envelope })).contentType).toBe(expected);
  });

  test('an event whose attributes came as headers is of the type of its data', () => {
    const binary = { rawIsData: true };
    const envelope = { datacontenttype: 'application/xml', specversion: '1.0' };
    const raw = { body: 'raw', inlineParts: false } as const;
    expect(renderBody(raw, source({ envelope }, {}, binary)).contentType).toBe('application/xml');
    expect(renderBody(raw, source({ envelope: {} }, {}, binary)).contentType).toBe('application/octet-stream');
  });

  test('only a mail can be forwarded', () => {
    const forward = { body: 'forward', inlineParts: false } as const;
    expect(renderBody(forward, source({ kind: 'mail' })).contentType).toBe('message/rfc822');
    expect(renderBody(forward, source({ kind: 'event' })).contentType).toBe('application/vnd.waybill.message+json');
  });
});

test('a void notice says which number carries nothing, and why', () => {
  const { contentType, body } = voidBody(outgoing(9, { what: 'void', reason: 'refused by the target' }));
  expect(contentType).toBe('application/json');
  expect(JSON.parse(text(body))).toEqual({
    type: 'waybill.delivery.void',
    id: '7-10009',
    tenant: 'acme',
    target: 'crm',
    epoch: 1_767_225_600,
    channel: 7,
    delivery: 9,
    reason: 'refused by the target',
  });
});

test('the published schema refuses what is no canonical message', () => {
  const read = JSON.parse(text(renderBody(message, source({}, { data: 1 })).body));
  expect(schema.safeParse({ ...read, id: 'seven' }).success).toBe(false);
  expect(schema.safeParse({ ...read, rung: -1 }).success).toBe(false);
  const { envelope: _, ...rest } = read;
  expect(schema.safeParse(rest).success).toBe(false);
});

describe('what was found', () => {
  const found = [
    { type: 'order-number', value: 'A-17', written: 'A-17', where: 'subject' },
    { type: 'phone', value: '+4930', written: '+49 30', where: 'text, line 2' },
    { type: 'phone', value: '+4931', written: '+49 31', where: 'text, line 3' },
    { type: 'amount', value: '1250.00', currency: 'EUR', written: '1.250,00 €', where: 'text, line 4' },
    { type: 'amount', value: '1.234', written: '1.234', where: 'text, line 5', unclear: true },
  ] as const;
  const fields = { 'order-number': 'orderId', amount: 'total.gross', date: 'total.on' };

  test('stands in the message under the target’s own names, with the types it does not know', () => {
    const read = JSON.parse(text(renderBody({ ...message, fields }, source({ found }, { text: 'Hello' })).body));
    expect(read.fields).toEqual({
      orderId: 'A-17',
      total: {
        gross: [
          { amount: '1250.00', currency: 'EUR', written: '1.250,00 €' },
          { amount: null, currency: null, written: '1.234' },
        ],
      },
    });
    expect(read.unmapped).toEqual(['phone']);
    expect(read.text).toBe('Hello');
    schema.parse(read);
  });

  test('is all there is where the target wants data alone, and nothing where it names none', () => {
    const { contentType, body } = renderBody(
      { ...message, body: 'data', fields },
      source({ found }, { data: { a: 1 } }),
    );
    expect([contentType, Object.keys(JSON.parse(text(body)))]).toEqual(['application/json', ['orderId', 'total']]);
    expect(renderBody({ ...message, body: 'data', fields }, source({})).body).toEqual(Buffer.from('{}'));
    const read = JSON.parse(text(renderBody(message, source({ found })).body));
    expect(read).not.toHaveProperty('fields');
    expect(read).not.toHaveProperty('unmapped');
  });

  test('is not looked for by a target that names no fields', () => {
    const { message: canonical, ...rest } = source({});
    const unasked = Object.defineProperty({ ...canonical }, 'found', {
      get: () => {
        throw new Error('it was asked for');
      },
    });
    for (const body of ['message', 'raw', 'data', 'forward'] as const)
      renderBody({ body, inlineParts: false }, { ...rest, message: unasked });
  });

  test.each(Object.entries({ toString: 'toString.x', a: 'constructor2.b', b: '__x__.y' }))(
    'may stand at any place that is one: %s at %s',
    (type, path) => {
      const one = { type, value: 'v', written: 'v', where: 'subject' };
      const { body } = renderBody({ ...message, body: 'data', fields: { [type]: path } }, source({ found: [one] }));
      const [outer = '', inner = ''] = path.split('.');
      expect(JSON.parse(text(body))).toEqual({ [outer]: { [inner]: 'v' } });
    },
  );
});

describe('a portion', () => {
  const part = (n: number) => ({
    n,
    path: String(n),
    name: `${n}.csv`,
    type: 'text/csv',
    size: 3,
    sha256: '00'.repeat(32),
    inline: false,
    contentId: null,
  });
  const found = [
    { type: 'date', value: '2026-03-01', written: '1.3.2026', where: 'subject' },
    { type: 'phone', value: '+4930', written: '+49 30', where: 'subject' },
  ];
  const mail = (portion: NonNullable<BodySource['portion']>) =>
    source(
      { kind: 'mail', found },
      {
        headers: [['subject', 'secret']],
        text: 'secret',
        html: 'secret',
        data: { calendars: ['secret'] },
        parts: [part(1), part(2)],
      },
      { portion, partBytes: (n) => Buffer.from(`part ${n}`) },
    );

  test('in the canonical message is that and nothing else of the content', () => {
    const read = JSON.parse(text(renderBody(message, mail({ part: 2 })).body));
    expect(read.parts.map(({ n }: { n: number }) => n)).toEqual([2]);
    expect(read.portion).toEqual({ part: 2 });
    expect(read).not.toHaveProperty('fields');
    const dates = JSON.parse(text(renderBody(message, mail({ fields: ['date'] })).body));
    expect([dates.parts, dates.fields, dates.unmapped]).toEqual([[], { date: '2026-03-01' }, []]);
    const both = JSON.parse(
      text(renderBody({ ...message, fields: { date: 'on' } }, mail({ part: 1, fields: ['date', 'phone'] })).body),
    );
    expect([both.parts.length, both.fields, both.unmapped]).toEqual([1, { on: '2026-03-01' }, ['phone']]);
    for (const body of [read, dates, both]) {
      expect(JSON.stringify(body)).not.toContain('secret');
      schema.parse(body);
    }
  });

  test('of one attachment is its bytes wherever not the message was asked for', () => {
    for (const body of ['raw', 'data', 'forward'] as const) {
      const made = renderBody({ body, inlineParts: false }, mail({ part: 2 }));
      expect([made.contentType, text(made.body)]).toEqual(['text/csv', 'part 2']);
    }
  });

  test('of found fields is they alone where data was asked for, whether or not the target names them', () => {
    const data = (fields?: Record<string, string>) =>
      JSON.parse(text(renderBody({ body: 'data', inlineParts: false, fields }, mail({ fields: ['date'] })).body));
    expect(data()).toEqual({ date: '2026-03-01' });
    expect(data({ date: 'on.day' })).toEqual({ on: { day: '2026-03-01' } });
  });
});
