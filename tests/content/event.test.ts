import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { EVENT_LADDER, type EventMessage, eventView } from '../../src/content/event.js';
import { readJson } from '../../src/content/json/read.js';
import type { ParsedJson } from '../../src/message/arrival.js';

function event(raw: string | Buffer, meta: object | null = null): EventMessage {
  return { kind: 'event', raw: Buffer.from(raw), meta: meta && JSON.stringify(meta) };
}

function hook(raw: string | Buffer, contentType?: string): EventMessage {
  const headers = contentType === undefined ? {} : { 'content-type': contentType };
  return { kind: 'webhook', raw: Buffer.from(raw), meta: JSON.stringify({ headers }) };
}

function parsedOf({ raw }: EventMessage): ParsedJson {
  const bytes = Buffer.from(raw);
  const read = readJson(bytes, 0, bytes.length);
  if (!read.ok) throw new Error(read.code);
  return read.json;
}

const rungOf = (name: (typeof EVENT_LADDER)[number]) => EVENT_LADDER.indexOf(name);
const codes = (message: EventMessage) => eventView(message).defects.map(({ code }) => code);

describe('the view of an event', () => {
  const structured = event('{"specversion":"1.0","id":"1","data":{"amount":12.50}}');

  it('has its data, with every digit', () => {
    const view = eventView(structured);
    expect(view).toMatchObject({ rung: 0, text: null, defects: [] });
    expect(String((view.data as { amount: unknown }).amount)).toBe('12.50');
  });

  it('is the same whether its bytes were read before or not', () => {
    const messages = [
      structured,
      event('{"id":"1","data":null}'),
      event('{"id":"1"}'),
      event('{"data_base64":"AA=="}'),
    ];
    for (const message of messages) expect(eventView(message, parsedOf(message))).toEqual(eventView(message));
  });

  it('in binary mode has the body as its data, by the type it names', () => {
    expect(eventView(event('{"a":1}', { datacontenttype: 'application/vnd.example+json' })).data).toEqual({ a: 1 });
    expect(eventView(event('{"a":1}', {})).data).toEqual({ a: 1 });
    expect(eventView(event('hello', { datacontenttype: 'text/plain' }))).toMatchObject({ text: 'hello', rung: 0 });
    expect(codes(event(Buffer.from([0, 1]), { datacontenttype: 'image/png' }))).toEqual(['binary_data']);
  });

  it('notes data in base64', () => {
    expect(codes(event('{"data_base64":"AA=="}'))).toEqual(['binary_data']);
  });

  it('says what is no UTF-8', () => {
    expect(codes(event(Buffer.from('{"data":"\xe9"}', 'latin1')))).toEqual(['charset_wrong']);
  });
});

describe('the view of a webhook delivery', () => {
  it('has its JSON, whatever the type says', () => {
    for (const type of [
      'application/json',
      'application/json; charset=utf-8',
      'text/plain',
      'application/octet-stream',
      undefined,
    ]) {
      expect(eventView(hook('{"a":1}', type))).toMatchObject({ rung: 0, data: { a: 1 }, defects: [] });
    }
  });

  it('has the fields of a form, or the JSON in its payload', () => {
    const form = 'application/x-www-form-urlencoded';
    expect(eventView(hook('a=1&b=caf%C3%A9+au+lait', form)).data).toEqual({ a: '1', b: 'café au lait' });
    expect(eventView(hook('payload=%7B%22a%22%3A1%7D&x=y', form)).data).toEqual({ a: 1 });
    expect(eventView(hook('payload=no+json', form)).data).toEqual({ payload: 'no json' });
    expect(Object.hasOwn(eventView(hook('__proto__=1', form)).data as object, '__proto__')).toBe(true);
  });

  it('has the text of what is text', () => {
    expect(eventView(hook('<a/>', 'application/xml'))).toMatchObject({ rung: 0, text: '<a/>', defects: [] });
    expect(eventView(hook('a\0b', 'text/plain'))).toMatchObject({ text: 'a\ufffdb', defects: [{ code: 'nul' }] });
    const long = eventView(hook('x'.repeat(2 * 1024 * 1024), 'text/plain'));
    expect(long.text).toHaveLength(1024 * 1024);
    expect(long.defects).toMatchObject([{ code: 'too_large', where: 'text' }]);
  });

  it('is empty for an empty body', () => {
    expect(eventView(hook(''))).toMatchObject({ rung: 0, text: null, defects: [] });
  });

  it.each([
    ['{"a":', 'json_malformed'],
    ['['.repeat(100_000), 'nesting_too_deep'],
  ] as const)('has only its envelope, with a defect, for a body that is no JSON', (raw, code) => {
    const view = eventView(hook(raw, 'application/json'));
    expect(view).toMatchObject({ rung: rungOf('envelope'), defects: [{ code, severity: 'error' }] });
    expect(view.setAside).toMatchObject([{ where: 'body', n: null, size: raw.length }]);
    expect(view.unread).toEqual(['text', 'data']);
    expect(view.data).toBeUndefined();
  });
});

describe('the view of an AMQP message', () => {
  function queued(raw: string | Buffer, contentType?: string): EventMessage {
    return { kind: 'amqp', raw: Buffer.from(raw), meta: JSON.stringify({ contentType, headers: {} }) };
  }

  it('has its JSON, whatever the type says', () => {
    for (const type of ['application/json', 'text/plain', 'application/octet-stream', undefined]) {
      const message = queued('{"a":1}', type);
      expect(eventView(message)).toMatchObject({ rung: 0, data: { a: 1 }, defects: [] });
    }
  });

  it('has its text, or nothing but bytes, where it claims nothing', () => {
    expect(eventView(queued('hello'))).toMatchObject({ rung: 0, text: 'hello', defects: [] });
    expect(eventView(queued(Buffer.from([0xff])))).toMatchObject({ rung: 0, defects: [{ code: 'binary_data' }] });
    expect(eventView(queued('hello', 'application/json'))).toMatchObject({ rung: rungOf('envelope') });
  });
});

describe('lower rungs', () => {
  const message = event('{"data":1}');

  it('are five', () => {
    expect(EVENT_LADDER).toEqual(['full', 'schema', 'envelope', 'opaque', 'poison']);
  });

  it.each([
    ['envelope', 'body_set_aside'],
    ['opaque', 'envelope_only'],
    ['poison', 'envelope_only'],
  ] as const)('set the body aside, and say so: %s', (name, code) => {
    for (const parsed of [undefined, parsedOf(message)]) {
      const view = eventView(message, parsed, rungOf(name));
      expect(view).toMatchObject({ rung: rungOf(name), text: null, unread: ['text', 'data'] });
      expect(view.defects).toMatchObject([{ code, severity: 'error', where: 'body' }]);
      expect(view.data).toBeUndefined();
    }
  });

  it('say which they are', () => {
    for (const [rung] of EVENT_LADDER.entries()) expect(eventView(message, undefined, rung).rung).toBe(rung);
  });

  it('name what they set aside by its size and hash', () => {
    const { setAside } = eventView(message, undefined, rungOf('envelope'));
    const sha256 = createHash('sha256').update(message.raw).digest('hex');
    expect(setAside).toMatchObject([{ where: 'body', n: null, name: null, type: null, size: 10, sha256 }]);
    expect(setAside[0]?.why).not.toBe('');
  });

  it('hold nothing that was set aside where all is read', () => {
    expect(eventView(message)).toMatchObject({ setAside: [], unread: [] });
  });
});
