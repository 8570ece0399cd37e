import { describe, expect, it } from 'vitest';
import type { StoredMessage } from '../../src/message/message.js';
import { EMPTY_VIEW, type View } from '../../src/message/view.js';
import { canonicalMessage } from '../../src/routing/canonical.js';
import { canonicalJson } from '../support/canonical-json.js';
import { matches } from './rules.js';

const stored: StoredMessage = {
  tenant: 1,
  channel: 7,
  sequence: 10234,
  source: 3,
  kind: 'mail',
  account: 'orders@example.com',
  type: null,
  externalId: null,
  value: '1.50',
  eventTime: null,
  arrivedAt: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  peer: '192.0.2.1',
  meta: null,
  sha256: new Uint8Array(32),
  raw: new Uint8Array(),
};
const names = { tenant: 'default', source: 'orders', hostname: 'mx.example.com', extractors: [] };

function canonical(fields: Partial<StoredMessage>, view: Partial<View> = {}) {
  return canonicalMessage({ ...stored, ...fields }, names, { ...EMPTY_VIEW, ...view });
}

describe('the canonical message', () => {
  it('names what the stored one numbers', () => {
    expect(canonical({})).toMatchObject({
      id: '7-10234',
      tenant: 'default',
      source: 'orders',
      kind: 'mail',
      account: 'orders@example.com',
      type: null,
      value: '1.50',
      externalId: null,
      time: null,
      received: '2026-01-02T03:04:05.006Z',
      peer: '192.0.2.1',
      envelope: {},
    });
  });

  it.each([
    ['2026-01-02T03:04:05Z', '2026-01-02T03:04:05Z'],
    ['2026-01-02t03:04:05.120000z', '2026-01-02T03:04:05.12Z'],
    ['2026-01-02T03:04:05.000000Z', '2026-01-02T03:04:05Z'],
    ['2026-01-02T03:04:05.123456+02:00', '2026-01-02T01:04:05.123456Z'],
    ['2025-12-31T23:59:59.9-00:30', '2026-01-01T00:29:59.9Z'],
    ['2026-01-02 03:04:05.123456+00', '2026-01-02T03:04:05.123456Z'],
    ['2026-01-02 03:04:05+05:45', '2026-01-01T21:19:05Z'],
    ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['whenever', 'whenever'],
  ])('writes the time %s as %s', (eventTime, time) => {
    expect(canonical({ eventTime }).time).toBe(time);
  });

  it('reads the envelope when it is asked for, and not before', () => {
    const message = canonical({ meta: 'not JSON' });
    expect(message.id).toBe('7-10234');
    expect(() => message.envelope).toThrow(SyntaxError);
    const mail = canonical({ meta: '{"from":"a@example.com","to":["b@example.com"]}' });
    expect(mail.envelope).toEqual({ from: 'a@example.com', to: ['b@example.com'] });
    expect(mail.envelope).toBe(mail.envelope);
    expect(canonical({ meta: '[1]' }).envelope).toEqual({});
  });

  it('keeps the digits of attributes that it reads itself, whatever a double can hold', () => {
    const raw = Buffer.from('{"specversion":"1.0","id":"e1","huge":1e400,"exact":1.10,"data":1}');
    expect(canonicalJson(canonical({ kind: 'event', raw }).envelope)).toBe(
      '{"exact":1.10,"huge":1e400,"id":"e1","specversion":"1.0"}',
    );
  });

  it('takes the attributes of an event in structured mode out of its bytes', () => {
    const event = {
      specversion: '1.0',
      id: 'e1',
      source: '/shop',
      traceparent: '00-1',
      data: { a: 1 },
      data_base64: 'eA==',
    };
    const raw = Buffer.from(JSON.stringify(event));
    const attributes = { specversion: '1.0', id: 'e1', source: '/shop', traceparent: '00-1' };
    expect(canonical({ kind: 'event', raw }).envelope).toEqual(attributes);
    const within = new Uint8Array(Buffer.concat([Buffer.from('xx'), raw, Buffer.from('yy')]).buffer);
    const at = Buffer.from(within.buffer).indexOf(raw);
    expect(canonical({ kind: 'event', raw: within.subarray(at, at + raw.length) }).envelope).toEqual(attributes);
    expect(canonical({ kind: 'event', raw, meta: '{"id":"e2"}' }).envelope).toEqual({ id: 'e2' });
    expect(canonical({ kind: 'event', raw: Buffer.from('{') }).envelope).toEqual({});
    expect(canonical({ kind: 'mail', raw }).envelope).toEqual({});
  });
});

describe('inbound fields that look like ours (4.0)', () => {
  const renamed = (headers: View['headers']) => canonical({}, { headers }).view.headers;

  it.each([
    ['waybill-rung', '0'],
    ['x-waybill-late', 'true'],
    ['waybill-', ''],
    ['authentication-results', 'mx.example.com; spf=pass'],
    ['authentication-results', ' MX.Example.COM 1; spf=pass'],
    ['authentication-results', 'mx.example.com.;none'],
    ['authentication-results', '(a (nested \\) one)) mx.example.com (x); none'],
    ['authentication-results', '"mx.example.com"; none'],
    ['authentication-results', '"mx\\.example.com" 1; none'],
    ['authentication-results', 'mx.example.com(comment); none'],
    ['authentication-results', 'mx.example.com'],
  ])('%s: %s is untrusted', (name, value) => {
    expect(
      renamed([
        ['subject', 'x'],
        [name, value],
      ]),
    ).toEqual([
      ['subject', 'x'],
      [`untrusted-${name}`, value],
    ]);
  });

  it.each([
    ['subject', 'waybill-rung'],
    ['waybills', '3'],
    ['my-waybill-x', '3'],
    ['authentication-results', 'mx.example.net; spf=pass'],
    ['authentication-results', 'mx.example.com.evil.example; spf=pass'],
    ['authentication-results', 'other; mx.example.com'],
    ['authentication-results', '(mx.example.com) other; x'],
    ['authentication-results', '(mx.example.com'],
    ['authentication-results', ''],
    ['arc-authentication-results', 'i=1; mx.example.com; spf=pass'],
  ])('%s: %s stays', (name, value) => {
    const headers: View['headers'] = [[name, value]];
    expect(renamed(headers)).toBe(headers);
  });

  it("in a webhook's envelope too", () => {
    const meta = JSON.stringify({
      headers: {
        'content-type': 'text/plain',
        'X-Waybill-Rung': '0',
        'authentication-results': ['a', 'mx.example.com; x'],
      },
    });
    expect(canonical({ kind: 'webhook', meta }).envelope).toEqual({
      headers: {
        'content-type': 'text/plain',
        'untrusted-X-Waybill-Rung': '0',
        'untrusted-authentication-results': ['a', 'mx.example.com; x'],
      },
    });
  });

  it("in an AMQP message's envelope too, where headers may be tables", () => {
    const meta = JSON.stringify({
      routingKey: 'a',
      headers: { 'waybill-epoch': 3, 'authentication-results': { toString: 1 }, x: [{ valueOf: 1 }] },
    });
    expect(canonical({ kind: 'amqp', meta }).envelope).toEqual({
      routingKey: 'a',
      headers: { 'untrusted-waybill-epoch': 3, 'authentication-results': { toString: 1 }, x: [{ valueOf: 1 }] },
    });
  });

  it('are seen by rules under that name alone', () => {
    const message = canonical({}, { headers: [['waybill-late', 'true']] });
    expect(matches('{ headers.untrusted-waybill-late: true }', message)).toBe(true);
  });
});
