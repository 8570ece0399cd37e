import fc from 'fast-check';
import { parse } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { extractSchema } from '../../../src/content/extract/definition.js';
import { compileExtractors, extract } from '../../../src/content/extract/extract.js';
import type { Found } from '../../../src/message/found.js';
import type { CanonicalMessage } from '../../../src/message/message.js';
import { mail, message, withData } from '../../routing/messages.js';
import { costMs } from '../../support/spent.js';

/** Definitions are as they are written, without their defaults. */
function found(of: CanonicalMessage, ...definitions: unknown[]): Found[] {
  return extract(of, compileExtractors(extractSchema.parse(definitions) ?? []));
}

function said(all: readonly Found[]): string[] {
  return all.map(({ type, value, currency, where }) => `${type} ${value}${currency ? ` ${currency}` : ''} (${where})`);
}

describe('what is found', () => {
  it('in an event stands in the event itself: its attributes and its data, digits kept', () => {
    const data = parse(
      '{"order":{"id":"A-17"},"total":12345678901234567890.10,"currency":"eur","phones":["+1 202 555 0100",3]}',
    );
    const event = message({ envelope: { subject: 'cust-1' }, view: { data } });
    const all = found(
      event,
      { from: 'pointer', type: 'order-number', pointer: '/data/order/id' },
      { from: 'pointer', type: 'amount', pointer: '/data/total', currency: '/data/currency' },
      { from: 'pointer', type: 'phone', pointer: '/data/phones' },
      { from: 'pointer', type: 'customer', pointer: '/subject' },
      { from: 'pointer', type: 'name', pointer: '/data/order' },
      { from: 'pointer', type: 'name', pointer: '/data/nobody/here' },
    );
    expect(said(all)).toEqual([
      'order-number A-17 (/data/order/id)',
      'amount 12345678901234567890.10 EUR (/data/total)',
      'phone +12025550100 (/data/phones/0)',
      'phone 3 (/data/phones/1)',
      'customer cust-1 (/subject)',
    ]);
  });

  it('in a webhook stands in its body', () => {
    const webhook = { ...withData({ data: { id: 'A-17' } }), kind: 'webhook' as const };
    expect(said(found(webhook, { from: 'pointer', type: 'order-number', pointer: '/data/id' }))).toEqual([
      'order-number A-17 (/data/id)',
    ]);
  });

  it('in headers is that of a mail, and of a webhook by any capitals', () => {
    const asked = { from: 'header', type: 'order-number', header: 'X-Order' };
    expect(
      said(
        found(
          mail({
            headers: [
              ['x-order', 'A-17'],
              ['x-order', 'A-18'],
            ],
          }),
          asked,
        ),
      ),
    ).toEqual(['order-number A-17 (header x-order)', 'order-number A-18 (header x-order)']);
    const webhook = message({ kind: 'webhook', envelope: { headers: { 'x-order': 'A-19' } } });
    expect(said(found(webhook, asked))).toEqual(['order-number A-19 (header x-order)']);
  });

  it('by an expression is its first group, in subject and text, each value once', () => {
    const text = 'Order 18, and again Order 17.';
    const all = found(mail({ subject: 'Your Order 17', text }), {
      from: 'expression',
      type: 'order-number',
      pattern: 'Order (\\d+)',
    });
    expect(said(all)).toEqual(['order-number 17 (subject)', 'order-number 18 (text)']);
  });

  it('in lines stands behind the usual labels and those of the source', () => {
    const text = [
      'Hello,',
      '**Order No.:** A-17',
      ' - Gesamtbetrag: 1.250,00 €',
      '| Phone | : | +1 202 555 0100 |',
      'E-Mail: Anna@Example.com',
      'Kundennr.: 007',
      'Note: nothing we know',
      '> Order: quoted',
      'Total:',
      `Name: ${'x'.repeat(1200)}`,
      'http://example.com/order: no',
    ].join('\r\n');
    const all = found(mail({ text }), { from: 'lines', labels: { Kundennr: 'customer-number' } });
    expect(said(all)).toEqual([
      'order-number A-17 (text, line 2)',
      'amount 1250.00 EUR (text, line 3)',
      'phone +12025550100 (text, line 4)',
      'email Anna@example.com (text, line 5)',
      'customer-number 007 (text, line 6)',
    ]);
  });

  it('in calendars is when, where and who', () => {
    const item = {
      kind: 'event',
      start: { time: '2026-01-31T10:00:00', zone: 'Europe/Berlin' },
      end: { time: '2026-01-31T11:00:00', zone: null },
      location: 'Room 4',
      organizer: { name: 'Anna', address: 'anna@Example.com' },
    };
    const data = { calendars: [{ method: 'REQUEST', items: [item] }] };
    expect(said(found(mail({ data }), { from: 'calendar' }))).toEqual([
      'date 2026-01-31T10:00:00 (calendar 1, item 1, start)',
      'date 2026-01-31T11:00:00 (calendar 1, item 1, end)',
      'address Room 4 (calendar 1, item 1, location)',
      'name Anna (calendar 1, item 1, organizer)',
      'email anna@example.com (calendar 1, item 1, organizer)',
    ]);
  });
});

describe('what may be asked for', () => {
  it.each([
    [{ from: 'expression', type: 'x', pattern: '(a' }, 'RE2 syntax'],
    [{ from: 'expression', type: 'x', pattern: 'no group' }, 'capture group'],
    [{ from: 'expression', type: 'x', pattern: '((a{1,30}){1,30})' }, 'smaller expression'],
    [{ from: 'expression', type: 'x', pattern: '(?=a)(b)' }, 'RE2 syntax'],
    [{ from: 'pointer', type: 'X y', pointer: '/a' }, 'a type such as'],
    [{ from: 'pointer', type: 'x', pointer: 'a' }, 'JSON pointer'],
    [{ from: 'header', type: 'x', header: 'a b' }, 'header name'],
    [{ from: 'lines', labels: { a: 'B' } }, 'a type such as'],
    [{ from: 'nowhere' }, ''],
  ])('not %j', (definition, why) => {
    const read = extractSchema.safeParse([definition]);
    expect(read.success).toBe(false);
    expect(z.prettifyError(read.error as z.ZodError)).toContain(why);
  });
});

const ALL = [
  { from: 'pointer', type: 'amount', pointer: '/data/a', currency: '/data/b' },
  { from: 'pointer', type: 'name', pointer: '/data' },
  { from: 'header', type: 'email', header: 'from' },
  { from: 'expression', type: 'phone', pattern: '(?i)(?:tel|fon)[^0-9]*([-+0-9 ()]+)' },
  { from: 'expression', type: 'own', pattern: '(.*)' },
  { from: 'lines', labels: { a: 'own' } },
  { from: 'calendar' },
];

describe('hostile messages', () => {
  it('never make it fail, and what is found is bounded and well-formed', () => {
    const json = fc.jsonValue({ maxDepth: 4 });
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 3000 }),
      fc.stringMatching(/^([a-z]*:[ \w.,-]*\n){0,300}$/),
    );
    fc.assert(
      fc.property(
        json,
        json,
        text,
        fc.string(),
        fc.array(fc.tuple(fc.constant('from'), fc.string())),
        (data, headers, body, subject, fields) => {
          const envelope = { headers } as Record<string, unknown>;
          const asked = message({ envelope, view: { data, text: body, subject, headers: fields } });
          const all = found(asked, ...ALL);
          expect(all.length).toBeLessThanOrEqual(200);
          for (const { type, value, written } of all) {
            expect(type).toMatch(/^[a-z][a-z0-9-]{0,31}$/);
            expect(value.length).toBeGreaterThan(0);
            expect(Math.max(value.length, written.length)).toBeLessThanOrEqual(1000);
          }
          expect(new Set(all.map(({ type, value, currency }) => JSON.stringify([type, value, currency]))).size).toBe(
            all.length,
          );
        },
      ),
    );
  });

  /** The least processor time of some runs, in milliseconds: others share the machine. */
  function leastTime(of: CanonicalMessage): number {
    return Math.min(...Array.from({ length: 3 }, () => costMs(() => found(of, ...ALL))));
  }

  it.each([
    ['one line without an end', (n: number) => 'a'.repeat(n)],
    ['blanks', (n: number) => ' '.repeat(n)],
    ['labels without values', (n: number) => 'Total: \n'.repeat(n / 8)],
    ['values in frames', (n: number) => `${`Total: ${'* |'.repeat(300)}x${'* |'.repeat(30)}\n`.repeat(n / 1000)}`],
    ['digits', (n: number) => `tel ${'1'.repeat(n)}`],
    ['almost a phone number', (n: number) => 'tel '.repeat(n / 4)],
    ['line feeds', (n: number) => '\n'.repeat(n)],
    ['colons', (n: number) => ':'.repeat(n)],
  ])('take time in proportion to their length, up to a bound: %s', (_, textOf) => {
    const [small, large] = [64 * 1024, 64 * 64 * 1024];
    leastTime(mail({ subject: textOf(small), text: textOf(small) }));
    const before = leastTime(mail({ subject: textOf(small), text: textOf(small) }));
    const after = leastTime(mail({ subject: textOf(large), text: textOf(large) }));
    // Beyond the first 64 Ki characters nothing is looked at but where lines end.
    expect(after).toBeLessThan(10 * before + 50);
    expect(after).toBeLessThan(1_500);
  });

  it('are searched no further than a bound, however often little of them matches', () => {
    const number = { type: 'order-number', from: 'expression', pattern: '(n[0-9]+)(?:.*Z)?', in: ['text'] };
    const numbers = (count: number) => Array.from({ length: count }, (_, i) => `n${i}`).join(' ');
    expect(found(mail({ text: numbers(50) }), number)).toHaveLength(50);
    // Each search may go to the end of 64 Ki characters and begins a little later: nine fit, whoever asks.
    const long = mail({ text: numbers(20_000) });
    expect(found(long, number)).toHaveLength(9);
    expect(found(long, number, { ...number, type: 'name' })).toHaveLength(9);
  });
});
