import fc from 'fast-check';
import { expect, test } from 'vitest';
import { amqpProperties, cutUtf8, headerFields, percentEncoded, webhookId } from '../../src/delivery/wire.js';
import { outgoing } from './sample.js';

test('AMQP properties and headers are those of the contract', () => {
  const sent = outgoing(5, { defects: ['charset_unknown', 'charset_unknown', 'part_truncated'], rung: 1, late: true });
  expect(amqpProperties(sent)).toEqual({
    messageId: 'acme:1767225600:7-10005',
    type: 'com.example.invoice.created',
    timestamp: Date.UTC(2026, 0, 1, 12) / 1000,
    contentType: 'application/vnd.waybill.message+json',
    appId: 'waybill',
    deliveryMode: 2,
    headers: {
      'waybill-tenant': 'acme',
      'waybill-channel': 7,
      'waybill-sequence': 10_005,
      'waybill-delivery': 5,
      'waybill-epoch': 1_767_225_600,
      'waybill-account': 'customer-17',
      'waybill-source': 'billing',
      'waybill-rung': 1,
      'waybill-defects': 'charset_unknown,part_truncated',
      'waybill-decision': 'rules 3: invoices',
      'waybill-late': true,
      'waybill-replay': false,
    },
  });
});

test('a notice has the type of notices, a message without a type has none', () => {
  expect(amqpProperties(outgoing(1, { what: 'void' })).type).toBe('waybill.delivery.void');
  expect(amqpProperties(outgoing(1, { type: null })).type).toBeUndefined();
  expect(Object.fromEntries(headerFields(outgoing(1, { type: null })))).not.toHaveProperty('waybill-type');
});

test('a type that AMQP has no room for is cut there and whole in a header', () => {
  const type = `${'é'.repeat(200)}.created`;
  const properties = amqpProperties(outgoing(1, { type }));
  expect(properties.type).toBe('é'.repeat(127));
  expect(properties.headers['waybill-type']).toBe(type);
});

test('ids are those of the contract', () => {
  expect(webhookId(outgoing(5))).toBe('acme:1767225600:crm:7-5');
});

test('header lines carry everything as printable ASCII, and it can be read back', () => {
  const account = 'Zoë "Z" 100%\r\nX-Evil: 1\u0000 日本 🚚';
  const fields = Object.fromEntries(headerFields(outgoing(1, { account })));
  expect(fields['waybill-account']).toMatch(/^[\x21-\x7e]+$/);
  expect(decodeURIComponent(fields['waybill-account'] as string)).toBe(account);
  expect(fields['waybill-decision']).toBe('rules%203:%20invoices');
  expect(fields['waybill-type']).toBe('com.example.invoice.created');
});

test('percent encoding is reversible for any text, and never fails', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const encoded = percentEncoded(text);
      expect(encoded).toMatch(/^[\x21-\x7e]*$/);
      expect(decodeURIComponent(encoded)).toBe(text);
    }),
  );
  expect(percentEncoded('a\ud800b')).toBe('a%EF%BF%BDb');
});

test('cutting keeps whole characters and the limit', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), fc.nat(80), (text, limit) => {
      const cut = cutUtf8(text, limit);
      expect(text.startsWith(cut)).toBe(true);
      expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(limit);
      const next = [...text.slice(cut.length)][0];
      if (next !== undefined) expect(Buffer.byteLength(cut + next)).toBeGreaterThan(limit);
    }),
  );
});
