import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import {
  bytesDigest,
  deliveryIdentity,
  type EventContent,
  eventDigest,
  eventIdentity,
  mailContentHash,
  mailIdentity,
} from '../../src/channel/identity.js';
import { canonicalJson } from '../support/canonical-json.js';

const latin1Hex = (text: string) => Buffer.from(text, 'latin1').toString('hex');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const json = (value: unknown): EventContent => ({
  type: 't',
  subject: null,
  time: null,
  data: { form: 'json', value },
});

describe('canonical JSON', () => {
  it('orders members as RFC 8785 does (its section 3.2.3)', () => {
    const value = JSON.parse(
      '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",' +
        '"\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control","\\u00f6":"Latin Small Letter O With Diaeresis"}',
    );
    expect([...canonicalJson(value).matchAll(/:"([^"]+)"/g)].map((match) => match[1])).toEqual([
      'Carriage Return',
      'One',
      'Control',
      'Latin Small Letter O With Diaeresis',
      'Euro Sign',
      'Emoji: Grinning Face',
      'Hebrew Letter Dalet With Dagesh',
    ]);
  });

  it('escapes as RFC 8785 does (its section 3.2.2)', () => {
    const value = { string: '€$\u000f\nA\'B"\\\\"/', literals: [null, true, false] };
    expect(canonicalJson(value)).toBe(String.raw`{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}`);
  });

  it('writes numbers with the digits they came with', () => {
    expect(canonicalJson([1.5, new LosslessNumber('12.50'), new LosslessNumber('1e2')])).toBe('[1.5,12.50,1e2]');
  });

  it('is JSON also of what JSON has no word for', () => {
    expect(canonicalJson([Number.POSITIVE_INFINITY, Number.NaN, -0, undefined, { a: undefined }])).toBe(
      '[null,null,0,null,{"a":null}]',
    );
  });

  it('takes an object that looks like a lossless number for an object', () => {
    expect(canonicalJson(JSON.parse('{"isLosslessNumber":true,"value":"1"}'))).toBe(
      '{"isLosslessNumber":true,"value":"1"}',
    );
  });

  it('sorts many members and keys like __proto__ and 10 like any other', () => {
    const keys = ['__proto__', '10', '9', 'constructor', ...Array.from({ length: 40 }, (_, i) => `k${i}`)];
    const value = JSON.parse(`{${keys.map((key) => `"${key}":1`).join(',')}}`);
    expect(Object.keys(JSON.parse(canonicalJson(value)))).toHaveLength(keys.length);
    expect([...canonicalJson(value).matchAll(/"([^"]+)":/g)].map((match) => match[1])).toEqual([...keys].sort());
  });

  it('takes an object of many members in the wrong order', () => {
    const keys = Array.from({ length: 200_000 }, (_, i) => `k${String(i).padStart(6, '0')}`);
    const text = canonicalJson(Object.fromEntries(keys.toReversed().map((key) => [key, 0])));
    expect(text).toBe(`{${keys.map((key) => `"${key}":0`).join(',')}}`);
  });

  it('tells every two values apart, and only those', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.jsonValue({ maxDepth: 4 }), (one, other) => {
        // -0 prints as 0 in JSON, and the reader hands it over as a LosslessNumber.
        const same =
          JSON.stringify(JSON.parse(canonicalJson(one))) === JSON.stringify(JSON.parse(canonicalJson(other)));
        expect(canonicalJson(one) === canonicalJson(other)).toBe(same);
        expect(JSON.parse(canonicalJson(one))).toEqual(JSON.parse(JSON.stringify(one)));
      }),
    );
  });

  it('does not depend on the order of members', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 30 }), (object) => {
        const turned = Object.fromEntries(Object.entries(object).reverse());
        expect(canonicalJson(turned)).toBe(canonicalJson(object));
      }),
    );
  });
});

describe('the digest of an event', () => {
  it('is 16 bytes of SHA-256 over type, subject, time and data', () => {
    const digest = eventDigest({
      type: 'a',
      subject: 'b',
      time: null,
      data: { form: 'json', value: { z: 1, a: 'ü' } },
    });
    const text = '["a","b",null,{"json":{"a":"ü","z":1}}]';
    expect(latin1Hex(digest)).toBe(createHash('sha256').update(text).digest('hex').slice(0, 32));
  });

  it('differs where any part differs', () => {
    const base: EventContent = { type: 'a', subject: 'b', time: '2026-01-01T00:00:00.000000Z', data: { form: 'none' } };
    const others: EventContent[] = [
      base,
      { ...base, type: 'b', subject: 'a' },
      { ...base, subject: null },
      { ...base, time: null },
      { ...base, data: { form: 'json', value: null } },
      { ...base, data: { form: 'json', value: 'x' } },
      { ...base, data: { form: 'bytes', bytes: Buffer.from('x') } },
      { ...base, data: { form: 'bytes', bytes: Buffer.from('"x"') } },
      { ...base, data: { form: 'bytes', bytes: Buffer.alloc(0) } },
    ];
    expect(new Set(others.map((content) => latin1Hex(eventDigest(content)))).size).toBe(others.length);
  });

  it('keeps 1, 1.0 and "1" apart', () => {
    const digests = [1, new LosslessNumber('1.0'), '1'].map((value) => latin1Hex(eventDigest(json(value))));
    expect(new Set(digests).size).toBe(3);
  });
});

describe('identities', () => {
  it('never lets two pairs of source and id run together', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), fc.string(), (a, b, c, d) => {
        expect(hex(eventIdentity(a, b)) === hex(eventIdentity(c, d))).toBe(a === c && b === d);
      }),
    );
    expect(hex(eventIdentity('ab', 'c'))).not.toBe(hex(eventIdentity('a', 'bc')));
  });

  it('keeps the forms of a delivery apart', () => {
    const bytes = Buffer.from('0123456789abcdef');
    const forms = [
      deliveryIdentity({ by: 'id', id: '0123456789abcdef' }),
      deliveryIdentity({ by: 'body', body: bytes }),
      deliveryIdentity({ by: 'chance', bytes }),
    ];
    expect(new Set(forms.map(hex)).size).toBe(3);
    expect(hex(deliveryIdentity({ by: 'body', body: Buffer.from(bytes) }))).toBe(hex(forms[1] as Uint8Array));
  });
});

describe('the identity of a mail', () => {
  const content = 'From: a@example.com\r\nSubject: hello\r\n world\r\n\r\nReceived: this is body\r\n';
  const trace =
    'Return-Path: <a@example.com>\r\nReceived: from x\r\n\tby y;\r\n date\r\nDelivered-To: b@example.com\r\n' +
    'Authentication-Results: mx; spf=pass\r\nARC-Seal: i=1;\r\n a=rsa\r\nARC-Message-Signature: x\r\nARC-Authentication-Results: y\r\n';
  const hash = (text: string) => hex(mailContentHash(Buffer.from(text)));

  it('leaves trace fields out, folded or not, in any case and anywhere in the header', () => {
    const bare = createHash('sha256').update(content).digest('hex');
    expect(hash(content)).toBe(bare);
    expect(hash(trace + content)).toBe(bare);
    expect(hash(trace.toUpperCase() + content)).toBe(bare);
    expect(hash(content.replace('Subject', 'Received: late\r\nSubject'))).toBe(bare);
    expect(hash(`Received : from x\r\n${content}`)).toBe(bare);
  });

  it('keeps everything else: body, other fields, continuations and fields of similar names', () => {
    const changed = [
      content.replace('this is body', 'this is another'),
      content.replace('hello', 'hallo'),
      content.replace(' world', ' earth'),
      `Received-SPF: pass\r\n${content}`,
      `X-Received: x\r\n${content}`,
      content.replaceAll('\r\n', '\n'),
    ];
    expect(new Set([content, ...changed].map(hash)).size).toBe(changed.length + 1);
  });

  it('takes what is no header as content', () => {
    for (const text of ['', '\r\n', 'Received', 'Received: only', 'no colon here', '\0\xff']) {
      expect(hex(mailContentHash(Buffer.from(text, 'latin1')))).toBe(
        createHash('sha256')
          .update(text === 'Received: only' ? '' : text, 'latin1')
          .digest('hex'),
      );
    }
  });

  it('is per recipient, and its digest is the content alone', () => {
    const raw = Buffer.from(content);
    const one = mailIdentity('a@example.com', raw);
    const other = mailIdentity('b@example.com', raw, mailContentHash(raw));
    expect(hex(one.identity)).not.toBe(hex(other.identity));
    expect(one.digest).toBe(other.digest);
    expect(one.digest).toHaveLength(16);
    expect(hex(mailIdentity('a@example.com', Buffer.from(trace + content)).identity)).toBe(hex(one.identity));
  });
});

it('digests bytes as they are', () => {
  expect(bytesDigest(Buffer.from('{"a": 1}'))).not.toBe(bytesDigest(Buffer.from('{"a":1}')));
  expect(bytesDigest(Buffer.alloc(0))).toHaveLength(16);
});
