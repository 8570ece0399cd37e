import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/message/decision.js';
import type { CanonicalMessage } from '../../src/message/message.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { compileRuleSet } from '../../src/routing/compile.js';
import { decide, deciding } from '../../src/routing/decide.js';
import { MAX_VALUES } from '../../src/routing/field.js';
import { atOnce } from '../../src/routing/steps.js';
import { spentMs } from '../support/spent.js';
import { messages, ruleSets } from './arbitraries.js';
import { mail, message, withData } from './messages.js';
import { compiled, matches } from './rules.js';

const digits = (text: string) => new LosslessNumber(text);

describe('operators', () => {
  it.each<[string, unknown, boolean]>([
    // equals
    ['{ data.x: a }', 'a', true],
    ['{ data.x: a }', 'A', false],
    ['{ data.x: [a, b] }', 'b', true],
    ['{ data.x: { equals: [a, b] } }', 'b', true],
    ['{ data.x: "1" }', 1, false],
    ['{ data.x: 1 }', 1, true],
    ['{ data.x: 1 }', '1', true],
    ['{ data.x: 1 }', '01', false],
    ['{ data.x: 1.50 }', 1.5, true],
    ['{ data.x: 12345678901234567890 }', digits('12345678901234567890'), true],
    ['{ data.x: 12345678901234567890 }', digits('12345678901234567891'), false],
    ['{ data.x: true }', true, true],
    ['{ data.x: true }', 'true', false],
    ['{ data.x: null }', null, true],
    ['{ data.x: null }', 'null', false],
    ['{ data.x: "" }', '', true],
    // text
    ['{ data.x: { prefix: Inv } }', 'Invoice', true],
    ['{ data.x: { prefix: [Inv, Rech] } }', 'Rechnung', true],
    ['{ data.x: { prefix: inv } }', 'Invoice', false],
    ['{ data.x: { suffix: .pdf } }', 'scan.pdf', true],
    ['{ data.x: { suffix: .pdf } }', 'pdf', false],
    ['{ data.x: { wildcard: "a*z" } }', 'abcz', true],
    ['{ data.x: { equals-ignore-case: [äB] } }', 'Äb', true],
    ['{ data.x: { prefix: "1" } }', 12, false],
    ['{ data.x: { prefix: "1" } }', null, false],
    // anything-but
    ['{ data.x: { anything-but: a } }', 'b', true],
    ['{ data.x: { anything-but: [a, b] } }', 'b', false],
    ['{ data.x: { anything-but: 1 } }', digits('1.000000000000000000000'), false],
    ['{ data.x: { anything-but: { prefix: [a, b] } } }', 'c', true],
    ['{ data.x: { anything-but: { suffix: [a, b] } } }', 'cb', false],
    ['{ data.x: { anything-but: { wildcard: "*b*" } } }', 'abc', false],
    ['{ data.x: { anything-but: { cidr: 10.0.0.0/8 } } }', '11.0.0.1', true],
    ['{ data.x: { anything-but: { prefix: a } } }', 5, false],
    // numeric
    ['{ data.x: { numeric: [">", 0] } }', 1, true],
    ['{ data.x: { numeric: [">", 0] } }', 0, false],
    ['{ data.x: { numeric: [">=", 0] } }', 0, true],
    ['{ data.x: { numeric: ["<", 0] } }', -0.5, true],
    ['{ data.x: { numeric: ["=", 3] } }', '3.00', true],
    ['{ data.x: { numeric: [">", 10, "<=", 20] } }', 20, true],
    ['{ data.x: { numeric: [">", 10, "<=", 20] } }', 10, false],
    ['{ data.x: { numeric: [">", 9007199254740992] } }', digits('9007199254740993'), true],
    ['{ data.x: { numeric: [">", 0.1] } }', '0.10000000000000000000000001', true],
    ['{ data.x: { numeric: [">", "1e400"] } }', digits('1e401'), true],
    ['{ data.x: { numeric: [">", 0] } }', 'many', false],
    ['{ data.x: { numeric: [">", 0] } }', true, false],
    ['{ data.x: { numeric: [">", 0] } }', { isLosslessNumber: true, value: '5' }, false],
    // exists
    ['{ data.x: { exists: true } }', null, true],
    ['{ data.x: { exists: true } }', {}, true],
    ['{ data.x: { exists: true } }', [], false],
    ['{ data.x: { exists: false } }', [], true],
    ['{ data.y: { exists: false } }', 1, true],
    ['{ data.y: { anything-but: a } }', 1, false],
    ['{ data.y: a }', 1, false],
    // cidr
    ['{ data.x: { cidr: 10.0.0.0/8 } }', '10.255.0.1', true],
    ['{ data.x: { cidr: 10.0.0.0/8 } }', '11.0.0.1', false],
    ['{ data.x: { cidr: 10.0.0.0/8 } }', '::ffff:10.0.0.1', true],
    ['{ data.x: { cidr: "::ffff:10.0.0.0/104" } }', '10.9.9.9', true],
    ['{ data.x: { cidr: "2001:db8::/32" } }', '2001:DB8:1::1', true],
    ['{ data.x: { cidr: "2001:db8::/32" } }', '10.0.0.1', false],
    ['{ data.x: { cidr: [192.0.2.7, 192.0.2.8] } }', '192.0.2.8', true],
    ['{ data.x: { cidr: 0.0.0.0/0 } }', '10', false],
    ['{ data.x: { cidr: 0.0.0.0/0 } }', '0x7f.1', false],
    ['{ data.x: { cidr: 0.0.0.0/0 } }', 'anna', false],
    // lists: one element is enough; for anything-but one is too much
    ['{ data.x: b }', ['a', 'b'], true],
    ['{ data.x: { prefix: b } }', [1, 'bc'], true],
    ['{ data.x: { anything-but: b } }', ['a', 'b'], false],
    ['{ data.x: { anything-but: b } }', ['a', 'c'], true],
    ['{ data.x: { anything-but: b } }', [], false],
    ['{ data.x: a }', [['b', ['a']]], true],
    ['{ data.x.y: 2 }', [{ y: 1 }, { y: 2 }], true],
    // several tests of a field: one is enough
    ['{ data.x: [{ prefix: a }, { numeric: [">", 5] }] }', 6, true],
    ['{ data.x: [{ prefix: a }, { numeric: [">", 5] }] }', 5, false],
    ['{ data.x: [c, { prefix: a }, d] }', 'd', true],
  ])('%s on %j is %j', (when, x, expected) => {
    expect(matches(when, withData({ x }))).toBe(expected);
  });

  it('all fields of a pattern must hold, one pattern of $or', () => {
    const both = '{ data.a: 1, $or: [{ data.b: 1 }, { data.c: 1, data.d: 1 }] }';
    expect(matches(both, withData({ a: 1, b: 1 }))).toBe(true);
    expect(matches(both, withData({ a: 1, c: 1 }))).toBe(false);
    expect(matches(both, withData({ a: 1, c: 1, d: 1 }))).toBe(true);
    expect(matches(both, withData({ b: 1 }))).toBe(false);
    expect(matches('{}', withData({}))).toBe(true);
  });
});

describe('fields', () => {
  const address = (text: string) => ({ name: 'Somebody', address: text });
  const part = {
    n: 1,
    path: '2',
    name: 'scan.pdf',
    type: 'application/pdf',
    size: 2048,
    sha256: '',
    inline: false,
    contentId: null,
  };
  const letter = mail({
    rung: 1,
    headers: [
      ['list-id', 'first'],
      ['list-id', 'second'],
      ['x.y', 'dotted'],
    ],
    subject: '2024',
    from: [address('Anna@Example.com')],
    to: [address('a@example.com'), address('b@example.com')],
    cc: [address('c@example.com')],
    text: 'hello',
    messageId: '<1@example.com>',
    parts: [part, { ...part, n: 2, name: null, type: 'text/plain', size: 5 }],
    defects: [{ code: 'bad_base64', severity: 'error', where: '2', action: 'kept' }],
  });

  it.each([
    ['{ kind: mail }', true],
    ['{ type: { exists: false } }', true],
    ['{ subject: 2024 }', true],
    ['{ from: anna@example.COM }', true],
    ['{ from: { suffix: "@EXAMPLE.com" } }', true],
    ['{ to: b@example.com }', true],
    ['{ to: { anything-but: b@example.com } }', false],
    ['{ cc: c@example.com }', true],
    ['{ headers.List-Id: second }', true],
    ['{ headers.x.y: dotted }', true],
    ['{ headers.x-none: { exists: false } }', true],
    ['{ text: { wildcard: "*ell*" } }', true],
    ['{ messageId: { prefix: "<1@" } }', true],
    ['{ parts: { exists: true } }', true],
    ['{ parts.name: { suffix: .pdf } }', true],
    ['{ parts.type: application/pdf }', true],
    ['{ parts.size: { numeric: [">=", 2048] } }', true],
    ['{ parts.size: { numeric: [">", 2048] } }', false],
    ['{ rung: 1 }', true],
    ['{ defects: bad_base64 }', true],
    ['{ data: { exists: false } }', true],
  ])('of a mail: %s is %j', (when, expected) => {
    expect(matches(when, letter)).toBe(expected);
  });

  const event = message({
    account: '00123',
    value: '100.00',
    externalId: 'e-1',
    time: '2026-01-01T00:00:00Z',
    envelope: { from: 'x', tls: { version: 'TLSv1.3' } },
    view: { data: { a: { b: 1 }, 'x.y': 2, '': 3, list: [] } },
  });

  it.each([
    ['{ kind: [event, mail] }', true],
    ['{ source: billing }', true],
    ['{ account: 00123 }', true],
    ['{ account: 123 }', false],
    ['{ type: { prefix: order. } }', true],
    ['{ value: 100 }', true],
    ['{ value: "1e2" }', true],
    ['{ value: { numeric: [">", 99.99999999999999999999] } }', true],
    ['{ externalId: e-1 }', true],
    ['{ time: { prefix: "2026-" } }', true],
    ['{ received: { prefix: "2026-" } }', true],
    ['{ peer: { cidr: 192.0.2.0/24 } }', true],
    ['{ envelope.from: x }', true],
    ['{ envelope.tls.version: { suffix: "1.3" } }', true],
    ['{ data.a.b: 1 }', true],
    ['{ "data.x\\\\.y": 2 }', true],
    ['{ data.x.y: 2 }', false],
    ['{ data.a.b.c: { exists: false } }', true],
    ['{ data.toString: { exists: false } }', true],
    ['{ data.__proto__: { exists: false } }', true],
    ['{ data.list.length: { exists: false } }', true],
    ['{ subject: { exists: false } }', true],
    ['{ subject: { anything-but: x } }', false],
  ])('of an event: %s is %j', (when, expected) => {
    expect(matches(when, event)).toBe(expected);
  });

  it("a webhook's headers are found in its envelope", () => {
    const hook = message({ kind: 'webhook', envelope: { headers: { 'x-github-event': 'push' } } });
    expect(matches('{ headers.x-github-event: push }', hook)).toBe(true);
    expect(matches('{ envelope.headers.x-github-event: push }', hook)).toBe(true);
  });

  it("an AMQP message's headers are found in its envelope, however they are written", () => {
    const headers = { 'X-Shop': 'north', 'x-tags': ['a', 'b'], nested: { toString: 1 } };
    const queued = message({ kind: 'amqp', envelope: { routingKey: 'orders.new', headers } });
    expect(matches('{ headers.x-shop: north, kind: amqp }', queued)).toBe(true);
    expect(matches('{ headers.X-TAGS: b }', queued)).toBe(true);
    expect(matches('{ headers.x-missing: { exists: false } }', queued)).toBe(true);
    expect(matches('{ envelope.routingKey: { prefix: orders. } }', queued)).toBe(true);
  });

  it('that were not all read prove by what is there, and never by what is not', () => {
    const view = { ...EMPTY_VIEW, rung: 6, text: 'hello', unread: ['parts', 'html'] as const };
    const part = {
      n: 1,
      path: '2',
      name: 'a.pdf',
      type: 'application/pdf',
      size: 1,
      sha256: '',
      inline: false,
      contentId: null,
    };
    const some = message({ kind: 'mail', view: { ...view, parts: [part] } });
    const none = message({ kind: 'mail', view });
    expect(matches('{ parts: { exists: false } }', none)).toBe(false);
    expect(matches('{ parts.type: { anything-but: application/x-msdownload } }', some)).toBe(false);
    expect(matches('{ parts.type: application/pdf }', some)).toBe(true);
    expect(matches('{ parts: { exists: true } }', some)).toBe(true);
    // What was read whole is as sure as ever.
    expect(matches('{ text: { anything-but: { prefix: buy } }, subject: { exists: false } }', none)).toBe(true);
    expect(matches('{ parts: { exists: false } }', message({ kind: 'mail' }))).toBe(true);
  });

  it('are not read unless a rule asks, and then once', () => {
    const reads: string[] = [];
    const view = new Proxy(
      { ...EMPTY_VIEW, subject: 'hello', text: 'long' },
      {
        get: (target, name) => {
          reads.push(String(name));
          return Reflect.get(target, name);
        },
      },
    );
    const watched: CanonicalMessage = { ...message({ kind: 'mail' }), view };
    const rules = compiled(`
rules:
  - { name: a, when: { kind: event, text: x }, then: { targets: t } }
  - { name: b, when: { subject: { prefix: x } }, then: { targets: t } }
  - { name: c, when: { subject: hello }, then: { targets: t } }
  - { name: d, when: { text: long }, then: { targets: t } }
`);
    expect(decide(rules, watched).rules).toEqual(['c']);
    expect(reads).toEqual(['subject']);
  });

  it('with very many values take no more than the limit', () => {
    const many = Array.from({ length: MAX_VALUES * 100 }, () => 'a');
    const started = spentMs();
    expect(matches('{ data.x: { wildcard: "*b" } }', withData({ x: [...many, 'b'] }))).toBe(false);
    expect(matches('{ data.x: b }', withData({ x: [...many.slice(0, 100), 'b'] }))).toBe(true);
    expect(spentMs() - started).toBeLessThan(1000);
  });

  it('with very long values are seen up to the limit', () => {
    const text = `${'a'.repeat(1024 * 1024 - 1)}bc`;
    expect(matches('{ text: { wildcard: "*b" } }', mail({ text }))).toBe(true);
    expect(matches('{ data.x: { wildcard: "*c" } }', withData({ x: text }))).toBe(false);
  });

  it('nested as deeply as memory allows are walked without recursion', () => {
    let deep: unknown = 'a';
    for (let level = 0; level < 1_000_000; level++) deep = [deep];
    expect(matches('{ data.x: a }', withData({ x: deep }))).toBe(false);
  });
});

describe('a rule set', () => {
  const outcome = (text: string, x: number): Outcome => decide(compiled(text), withData({ x })).outcome;
  const text = (mode: string) => `
mode: ${mode}
rules:
  - { name: late, priority: 200, when: {}, then: { targets: [c] } }
  - { name: first, when: { data.x: { numeric: [">=", 1] } }, then: { targets: [b, a] } }
  - { name: second, when: { data.x: { numeric: [">=", 2] } }, then: { targets: [a, d] } }
  - { name: off, enabled: false, priority: 0, when: {}, then: { close: never } }
  - { name: early, priority: 1, when: { data.x: { numeric: [">=", 3] } }, then: { close: enough } }
`;

  it('in first-match: priority, then the order of the file, then no more', () => {
    const rules = compiled(text('first-match'));
    expect(decide(rules, withData({ x: 3 }))).toEqual({ rules: ['early'], outcome: { do: 'close', reason: 'enough' } });
    expect(decide(rules, withData({ x: 2 }))).toEqual({
      rules: ['first'],
      outcome: { do: 'deliver', targets: ['b', 'a'] },
    });
    expect(decide(rules, withData({ x: 0 }))).toEqual({ rules: ['late'], outcome: { do: 'deliver', targets: ['c'] } });
  });

  it('in all-match: targets united, and a close does not count against them', () => {
    expect(decide(compiled(text('all-match')), withData({ x: 3 }))).toEqual({
      rules: ['early', 'first', 'second', 'late'],
      outcome: { do: 'deliver', targets: ['b', 'a', 'd', 'c'] },
    });
  });

  it('in all-match: with nothing but closes, the first reason stands', () => {
    const closes = `
mode: all-match
rules:
  - { name: a, when: {}, then: { close: later } }
  - { name: b, priority: 1, when: {}, then: { close: sooner } }
`;
    expect(decide(compiled(closes), withData({}))).toEqual({
      rules: ['b', 'a'],
      outcome: { do: 'close', reason: 'sooner' },
    });
  });

  it('that matches nothing leaves the message waiting', () => {
    expect(outcome('rules: []', 1)).toEqual({ do: 'wait' });
    expect(outcome('rules: [{ name: a, when: { kind: mail }, then: { targets: t } }]', 1)).toEqual({ do: 'wait' });
  });

  it('never fails, whatever the message', () => {
    fc.assert(
      fc.property(ruleSets, messages, (ruleSet, one) => {
        const { outcome: what, rules } = decide(compileRuleSet(ruleSet), one);
        expect(rules.length === 0).toBe(what.do === 'wait');
      }),
    );
  });
});

it('test by test it comes to the same, also where rules may take long', () => {
  fc.assert(
    fc.property(ruleSets, messages, (ruleSet, one) => {
      const rules = compileRuleSet(ruleSet);
      expect(atOnce(deciding({ ...rules, mayTakeLong: true }, one))).toEqual(decide(rules, one));
      expect(atOnce(deciding(rules, one))).toEqual(decide(rules, one));
    }),
    { numRuns: 500 },
  );
});

it('rules with expressions may take long, some dozens of others do not', () => {
  const taking = (rules: readonly string[]) =>
    compiled(`rules:\n${rules.map((when, n) => `- { name: r${n}, when: ${when}, then: { close: x } }\n`).join('')}`)
      .mayTakeLong;
  expect(taking(['{ text: { matches: "a+" } }'])).toBe(false);
  expect(taking(['{ text: { matches: "a+" } }', '{ text: { anything-but: { matches: "b+" } } }'])).toBe(true);
  expect(taking(Array.from({ length: 1000 }, (_, n) => `{ type: t${n}, data.amount: { numeric: [">", ${n}] } }`))).toBe(
    false,
  );
  expect(taking(Array.from({ length: 21 }, (_, n) => `{ text: { wildcard: "*${n}*" } }`))).toBe(true);
});
