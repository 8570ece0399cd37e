import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CanonicalMessage } from '../../src/message/message.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { compileRuleSet } from '../../src/routing/compile.js';
import { decide } from '../../src/routing/decide.js';
import { alwaysHolds, implies, neverHolds } from '../../src/routing/implies.js';
import type { Pattern, Rule } from '../../src/routing/rule.js';
import { messages, patterns } from './arbitraries.js';
import { oneRule, read } from './rules.js';

const plenty = () => ({ left: 1_000_000 });

/** As they come: what only a mail has, nothing else has. */
const real = messages.map((one): CanonicalMessage => {
  if (one.kind === 'mail') return one;
  const { rung, defects, text, data } = one.view;
  const unread = one.view.unread.filter((field) => field === 'text' || field === 'data');
  return { ...one, view: { ...EMPTY_VIEW, rung, defects, text, data, unread } };
});

function holds(when: Pattern, one: CanonicalMessage): boolean {
  const rule: Rule = { name: 'it', description: null, enabled: true, priority: 1, when, choice: { close: 'x' } };
  return decide(compileRuleSet({ mode: 'first-match', rules: [rule] }), one).rules.length === 1;
}

function pattern(when: string): Pattern {
  return read(oneRule(when)).rules[0]?.when ?? [];
}

/** Something that the pattern may imply: terms left out, tests added, terms put into a choice. */
const weakened = (when: Pattern, other: Pattern): fc.Arbitrary<Pattern> =>
  fc.subarray([...when]).chain((kept) =>
    fc.constantFrom(
      kept,
      kept.map((term) => {
        const more = other.find((one) => 'path' in one && 'path' in term && one.path === term.path);
        return 'path' in term && more && 'path' in more ? { ...term, tests: [...more.tests, ...term.tests] } : term;
      }),
      [{ anyOf: [other, kept] }],
    ),
  );

const pairs = fc
  .tuple(patterns, patterns)
  .chain(([first, other]) => fc.tuple(fc.constant(first), fc.oneof(weakened(first, other), fc.constant(other))));

describe('one pattern implies another', () => {
  it('only where every message that the first holds for is one of the second', () => {
    let [cases, implied] = [0, 0];
    fc.assert(
      fc.property(pairs, real, ([first, second], one) => {
        cases++;
        if (!implies(first, second, plenty())) return;
        implied++;
        if (holds(first, one)) expect(holds(second, one)).toBe(true);
      }),
      { numRuns: 5000 },
    );
    expect(implied).toBeGreaterThan(cases / 5);
  });

  it.each([
    ['{ type: a, kind: event }', '{ type: [a, b] }', true],
    ['{ type: [a, b] }', '{ type: a }', false],
    ['{ type: order.placed }', '{ type: { prefix: order. } }', true],
    ['{ type: { prefix: order.placed } }', '{ type: [{ prefix: order. }, x] }', true],
    ['{ type: { prefix: order } }', '{ type: { prefix: order. } }', false],
    ['{ subject: { prefix: "Invoice 1" } }', '{ subject: { wildcard: "*voice*" } }', true],
    ['{ subject: { prefix: "Invoice 1" } }', '{ subject: { wildcard: "*voice" } }', false],
    ['{ subject: { suffix: "paid." } }', '{ subject: { wildcard: "*paid*" } }', true],
    ['{ data.x: { numeric: [">", 10, "<", 20] } }', '{ data.x: { numeric: [">=", 10] } }', true],
    ['{ data.x: { numeric: [">=", 10] } }', '{ data.x: { numeric: [">", 10] } }', false],
    ['{ data.x: 15.0 }', '{ data.x: [{ numeric: ["<=", 15] }, a] }', true],
    ['{ data.x: 15.0 }', '{ data.x: 15 }', true],
    ['{ data.x: 15 }', '{ data.x: "15" }', false],
    ['{ peer: { cidr: 10.1.0.0/16 } }', '{ peer: { cidr: 10.0.0.0/8 } }', true],
    ['{ peer: { cidr: 10.0.0.0/8 } }', '{ peer: { cidr: 10.1.0.0/16 } }', false],
    ['{ peer: 10.1.2.3 }', '{ peer: { cidr: 10.0.0.0/8 } }', true],
    ['{ from: Anna@Example.com }', '{ from: { suffix: "@example.COM" } }', true],
    ['{ account: a }', '{ account: { anything-but: [b, c] } }', true],
    ['{ data.x: a }', '{ data.x: { anything-but: b } }', false],
    ['{ data.x: { anything-but: [a, b] } }', '{ data.x: { anything-but: a } }', true],
    ['{ data.x: { anything-but: a } }', '{ data.x: { anything-but: [a, b] } }', false],
    ['{ data.x: { anything-but: { prefix: a } } }', '{ data.x: { anything-but: { prefix: [ab, ac] } } }', true],
    ['{ data.x: { prefix: a } }', '{ data.x: { exists: true } }', true],
    ['{ data.x: { exists: true } }', '{ data.x: { prefix: a } }', false],
    ['{ subject: { matches: "a+" } }', '{ subject: [{ matches: "b" }, { matches: "a+" }] }', true],
    ['{ account: ab }', '{ account: { matches: "^a" } }', true],
    ['{ type: [a, b] }', '{ $or: [{ type: a }, { type: b }] }', true],
    ['{ $or: [{ type: a }, { type: b }] }', '{ type: [a, b, c] }', true],
    ['{ $or: [{ type: a }, { subject: b }] }', '{ type: a }', false],
    ['{ type: a }', '{ kind: [mail, event, webhook, amqp] }', true],
    ['{ type: a }', '{}', true],
  ])('%s implies %s: %j', (first, second, expected) => {
    expect(implies(pattern(first), pattern(second), plenty())).toBe(expected);
  });

  it('is not said where it would take too long to know', () => {
    expect(implies(pattern('{ type: a }'), pattern('{ type: a }'), { left: 1 })).toBe(false);
  });
});

describe('a pattern', () => {
  it('is said to hold always, or never, only where it does', () => {
    fc.assert(
      fc.property(patterns, real, (when, one) => {
        if (alwaysHolds(when)) expect(holds(when, one)).toBe(true);
        if (neverHolds(when, plenty())) expect(holds(when, one)).toBe(false);
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    '{}',
    '{ account: { exists: true } }',
    '{ peer: [{ cidr: 10.0.0.0/8 }, { wildcard: "*" }] }',
    '{ kind: [amqp, mail, webhook, event] }',
    '{ $or: [{ type: a }, { source: { exists: true } }] }',
  ])('%s holds always', (when) => {
    expect(alwaysHolds(pattern(when))).toBe(true);
  });

  it.each([
    '{ kind: event, subject: { prefix: a } }',
    '{ kind: event, headers.x-a: { exists: true } }',
    '{ kind: [event, webhook], $or: [{ from: a@example.com }, { parts: { exists: true } }] }',
    '{ type: a, $or: [{ type: b }, { type: { prefix: c } }] }',
    '{ account: { exists: false } }',
    '{ kind: mail, $or: [{ kind: event, type: a }] }',
  ])('%s holds never', (when) => {
    expect(neverHolds(pattern(when), plenty())).toBe(true);
  });

  it.each([
    '{ kind: event, subject: { exists: false } }',
    '{ kind: webhook, headers.x-a: a }',
    '{ to: a@example.com, $or: [{ to: b@example.com }] }',
    '{ data.x: a, $or: [{ data.x: b }] }',
    '{ type: [a, b], $or: [{ type: b }] }',
  ])('%s may hold', (when) => {
    expect(neverHolds(pattern(when), plenty())).toBe(false);
  });
});
