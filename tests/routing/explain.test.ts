import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import type { CanonicalMessage } from '../../src/message/message.js';
import { compileRuleSet } from '../../src/routing/compile.js';
import { decide } from '../../src/routing/decide.js';
import { explain } from '../../src/routing/explain.js';
import type { ComparableTest, Pattern, Rule, RuleSet, Term, Test } from '../../src/routing/rule.js';
import { costMs } from '../support/spent.js';
import { messages, ruleSets, textPatterns } from './arbitraries.js';
import { mail, message, withData } from './messages.js';
import { compiled, oneRule } from './rules.js';

describe('an explanation', () => {
  it('agrees with the decision, for any rules and message', () => {
    fc.assert(
      fc.property(ruleSets, messages, (ruleSet, one) => {
        const rules = compileRuleSet(ruleSet);
        const { rules: matched, outcome, steps } = explain(rules, one);
        expect({ rules: matched, outcome }).toEqual(decide(rules, one));
        expect(steps.filter((step) => step.state === 'matched').map((step) => step.rule)).toEqual(matched);
        expect(steps).toHaveLength(ruleSet.rules.length);
      }),
      { numRuns: 1000 },
    );
  });

  it('names every rule in the order they are asked, and why it went no further', () => {
    const rules = compiled(`
rules:
  - { name: second, when: { kind: event }, then: { targets: t } }
  - { name: third, when: {}, then: { close: x } }
  - { name: fourth, when: { kind: event, rung: 2 }, then: { close: x } }
  - { name: off, priority: 1, enabled: false, when: {}, then: { close: x } }
  - { name: first, priority: 2, description: Mail., when: { kind: mail, data.x: 1, $or: [{ rung: 1 }] }, then: { close: x } }
`);
    const { steps, outcome } = explain(rules, withData({ x: 1 }));
    expect(outcome).toEqual({ do: 'deliver', targets: ['t'] });
    expect(steps.map(({ rule, state, why }) => [rule, state, why])).toEqual([
      ['off', 'disabled', 'The rule is disabled.'],
      ['first', 'not_matched', 'kind, $or do not hold.'],
      ['second', 'matched', 'Everything it asks for holds.'],
      ['third', 'not_reached', 'Not asked: second matched first. It would have matched, too.'],
      ['fourth', 'not_reached', 'Not asked: second matched first. It would not have matched: rung does not hold.'],
    ]);
    expect(steps[1]).toMatchObject({
      description: 'Mail.',
      priority: 2,
      choice: { close: 'x' },
      terms: [
        {
          holds: false,
          clauses: [
            {
              path: 'kind',
              operator: 'equals',
              expected: '"mail"',
              actual: { count: 1, values: ['"event"'] },
              result: 'false',
              reason: null,
            },
          ],
        },
        { holds: true, clauses: [{ path: 'data.x', result: 'true' }] },
        {
          holds: false,
          clauses: [],
          anyOf: [{ holds: false, terms: [{ holds: false, clauses: [{ path: 'rung' }] }] }],
        },
      ],
    });
    expect(steps[3]?.terms).toEqual([]);
    expect(steps[4]?.terms.map(({ holds }) => holds)).toEqual([true, false]);
  });

  it('says when a close did not count', () => {
    const rules = compiled(`
mode: all-match
rules:
  - { name: a, when: {}, then: { close: x } }
  - { name: b, when: {}, then: { targets: t } }
`);
    const { steps } = explain(rules, message());
    expect(steps[0]?.why).toBe(
      'It asks for nothing, so every message matches. It would close, but another rule chose targets.',
    );
    expect(steps[1]?.why).toBe('It asks for nothing, so every message matches.');
  });

  it.each<[string, unknown, object]>([
    [
      '{ data.x: { numeric: [">", 1] } }',
      'many',
      { result: 'error', reason: 'the value is text, not a number that can be compared' },
    ],
    ['{ data.x: { prefix: a } }', 1, { result: 'error', reason: 'the value is a number, not text' }],
    [
      '{ data.x: { prefix: a } }',
      new LosslessNumber('1.0'),
      { result: 'error', reason: 'the value is a number, not text' },
    ],
    ['{ data.x: { prefix: a } }', null, { result: 'error', reason: 'the value is null, not text' }],
    ['{ data.x: { prefix: a } }', true, { result: 'error', reason: 'the value is true or false, not text' }],
    ['{ data.x: { prefix: a } }', {}, { result: 'error', reason: 'the value is an object, not text' }],
    ['{ data.x: { cidr: 10.0.0.0/8 } }', 'anna', { result: 'error', reason: 'the value is text, not an IP address' }],
    ['{ data.x: { anything-but: { prefix: a } } }', 1, { operator: 'anything-but prefix', result: 'error' }],
    ['{ data.x: { prefix: a } }', undefined, { result: 'false', reason: null, actual: { count: 0, values: [] } }],
    [
      '{ data.x: { prefix: a } }',
      [1, 'a'],
      { result: 'true', reason: null, actual: { count: 2, values: ['"a"', '1'] } },
    ],
    ['{ data.x: { prefix: a } }', [1, 'b'], { result: 'error', actual: { count: 2, values: ['1', '"b"'] } }],
    ['{ data.x: { anything-but: c } }', ['a', 'c'], { result: 'false', actual: { count: 2, values: ['"c"', '"a"'] } }],
    ['{ data.x: { exists: false } }', 1, { operator: 'exists', expected: 'false', result: 'false' }],
    ['{ data.x: [1.50, a, null] }', 2, { operator: 'equals', expected: '1.50, "a", null', result: 'false' }],
    [
      '{ data.x: { numeric: [">", 1, "<=", 2.0] } }',
      2,
      { operator: 'numeric', expected: '> 1, <= 2.0', result: 'true' },
    ],
    ['{ data.x: { anything-but: [a, b] } }', 'c', { operator: 'anything-but', expected: '"a", "b"', result: 'true' }],
  ])('of %s on %j', (when, x, expected) => {
    const { steps } = explain(compiled(oneRule(when)), withData(x === undefined ? {} : { x }));
    expect(steps[0]?.terms[0]?.clauses[0]).toMatchObject(expected);
  });

  it('shows a few values, each shortened, the one that decided among them', () => {
    const x = [...Array.from({ length: 500 }, (_, n) => `${n}${'😀'.repeat(1000)}`), 'wanted'];
    const { steps } = explain(compiled(oneRule('{ data.x: wanted }')), withData({ x }));
    const actual = steps[0]?.terms[0]?.clauses[0]?.actual;
    expect(actual?.count).toBe(501);
    expect(actual?.values).toHaveLength(5);
    expect(actual?.values[0]).toBe('"wanted"');
    for (const value of actual?.values ?? []) {
      expect(value.length).toBeLessThan(130);
      expect(value).not.toMatch(/\\ud8/);
    }
  });

  it('of a mail shows what the rules saw of it', () => {
    const { steps } = explain(
      compiled(oneRule('{ from: { suffix: "@Example.com" }, parts: { exists: true } }')),
      mail({ from: [{ name: 'A', address: 'A@Example.com' }] }),
    );
    expect(steps[0]?.terms.map((term) => term.clauses[0]?.actual.values)).toEqual([['"a@example.com"'], []]);
  });
});

/** Milliseconds of the processor, best of several, so that the machine's other work does not count. */
function quickest(work: () => unknown, enoughMs: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 500 && best > enoughMs; run++) best = Math.min(best, costMs(work));
  return best;
}

it('of 200 rules takes at most 20 ms', () => {
  const kinds = [
    (n: number) => `{ type: order.${n}, data.amount: { numeric: [">", ${n}] } }`,
    (n: number) => `{ subject: [{ prefix: Re }, { wildcard: "*${n}*" }], from: { suffix: "@${n}.example.com" } }`,
    (n: number) => `{ text: { matches: "(?i)order no\\\\. ${n}\\\\d+" } }`,
    (n: number) => `{ kind: mail, $or: [{ parts.name: { suffix: .pdf } }, { headers.list-id: list-${n} }] }`,
  ];
  const lines = Array.from({ length: 200 }, (_, n) => {
    return `  - { name: r-${n}, when: ${kinds[n % kinds.length]?.(n)}, then: { targets: t } }`;
  });
  const rules = compiled(['mode: all-match', 'rules:', ...lines, ''].join('\n'));
  const one = mail({ subject: 'Your invoice', text: 'A line of text with order no. 12 in it.\n'.repeat(500) });
  expect(explain(rules, one).steps).toHaveLength(200);
  expect(quickest(() => explain(rules, one), 20)).toBeLessThanOrEqual(20);
});

/** A test with a value that satisfies it and one that does not. */
interface Case {
  readonly test: Test;
  readonly yes: unknown;
  readonly no: unknown;
}

const text = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 8 });
const strange = '\u0000 nothing that a rule here asks for';

const comparable: fc.Arbitrary<{ test: ComparableTest; yes: unknown; no: unknown }> = fc.oneof(
  fc
    .array(text, { minLength: 1, maxLength: 3 })
    .map((any) => ({ test: { op: 'equals' as const, any }, yes: any.at(-1), no: strange })),
  fc.bigInt().map((n) => ({
    test: { op: 'equals' as const, any: [{ digits: `${n}` }] },
    yes: new LosslessNumber(`${n}.0`),
    no: new LosslessNumber(`${n}.5`),
  })),
  text.map((any) => ({ test: { op: 'prefix' as const, any: [any] }, yes: `${any}x`, no: strange })),
  text.map((any) => ({ test: { op: 'suffix' as const, any: [any] }, yes: `x${any}`, no: `${strange}\u0001` })),
  text.map((any) => ({
    test: { op: 'wildcard' as const, any: [`*${any.replace(/[\\*]/g, '\\$&')}*\u0002`] },
    yes: `x${any}x\u0002`,
    no: strange,
  })),
  text.map((any) => ({ test: { op: 'equals-ignore-case' as const, any: [any] }, yes: any.toUpperCase(), no: strange })),
  fc
    .nat(255)
    .map((n) => ({ test: { op: 'cidr' as const, any: [`10.${n}.0.0/16`] }, yes: `10.${n}.1.2`, no: '192.0.2.1' })),
);

const cases: fc.Arbitrary<Case> = fc.oneof(
  comparable,
  comparable
    .filter(({ test }) => test.op !== 'equals')
    .map(({ test, yes, no }) => ({ test: { op: 'anything-but' as const, of: test }, yes: no, no: yes })),
  fc.tuple(fc.bigInt(), fc.bigInt({ min: 2n, max: 10n ** 30n })).map(([from, width]) => ({
    test: {
      op: 'numeric' as const,
      bounds: [
        { is: '>' as const, than: `${from}` },
        { is: '<' as const, than: `${from + width}` },
      ],
    },
    yes: new LosslessNumber(`${from + 1n}`),
    no: `${from + width}`,
  })),
  fc.constant({ test: { op: 'exists' as const, exists: true }, yes: 0, no: [] }),
  fc.constant({ test: { op: 'exists' as const, exists: false }, yes: [], no: 0 }),
);

it('altering the actual value of the clause that decides turns the decision', () => {
  fc.assert(
    fc.property(fc.array(cases, { minLength: 1, maxLength: 5 }), fc.nat(), fc.boolean(), (all, chosen, nested) => {
      const decisive = chosen % all.length;
      const terms: Pattern = all.map(({ test }, n) => ({ path: `data.f${n}`, tests: [test] }));
      const impossible: Pattern = [{ path: 'kind', tests: [{ op: 'equals', any: ['mail'] }] }];
      const rule: Rule = {
        name: 'it',
        description: null,
        enabled: true,
        priority: 100,
        when: nested ? [{ anyOf: [impossible, terms] }] : terms,
        choice: { targets: ['here'] },
      };
      const ruleSet: RuleSet = { mode: 'first-match', rules: [rule] };
      const rules = compileRuleSet(ruleSet);
      const right = Object.fromEntries(all.map(({ yes }, n) => [`f${n}`, yes]));
      expect(decide(rules, withData(right)).rules).toEqual(['it']);

      const wrong = { ...right, [`f${decisive}`]: all[decisive]?.no };
      expect(decide(rules, withData(wrong)).rules).toEqual([]);
      const outer = explain(rules, withData(wrong)).steps[0]?.terms ?? [];
      const explained = nested ? (outer[0]?.anyOf[1]?.terms ?? []) : outer;
      const named = explained.filter((term) => !term.holds).map((term) => term.clauses[0]?.path);
      expect(named).toEqual([`data.f${decisive}`]);
    }),
    { numRuns: 1000 },
  );
});

/** Fields that can be given any value by themselves, and how. */
const SETTABLE: Readonly<Record<string, (one: CanonicalMessage, value: unknown) => CanonicalMessage>> = {
  account: (one, value) => ({ ...one, account: String(value) }),
  type: (one, value) => ({ ...one, type: value === undefined ? null : String(value) }),
  externalId: (one, value) => ({ ...one, externalId: value === undefined ? null : String(value) }),
  subject: (one, value) => inView(one, { subject: value === undefined ? null : String(value) }),
  text: (one, value) => inView(one, { text: value === undefined ? null : String(value) }),
  messageId: (one, value) => inView(one, { messageId: value === undefined ? null : String(value) }),
  from: (one, value) => inView(one, { from: value === undefined ? [] : [{ name: '', address: String(value) }] }),
  'headers.list-id': (one, value) =>
    inView(one, {
      headers: [
        ...one.view.headers.filter(([name]) => name !== 'list-id'),
        ...(value === undefined ? [] : [['list-id', String(value)] as const]),
      ],
    }),
};

function inView(one: CanonicalMessage, view: Partial<CanonicalMessage['view']>): CanonicalMessage {
  return { ...one, view: { ...one.view, ...view } };
}

const VALUES = [
  'a',
  'ab',
  'Abc',
  'ABC',
  'b',
  'a b',
  'x',
  '2.50',
  '10',
  '-5',
  'true',
  '~',
  '',
  '10.1.2.3',
  '192.0.2.9',
  'zz.',
  undefined,
];

/** A value that turns a term of one field to `wanted`; null where none of some is one. */
function turned(
  term: Extract<Term, { path: string }>,
  one: CanonicalMessage,
  wanted: boolean,
): CanonicalMessage | null {
  const literals = term.tests.flatMap((test) =>
    'any' in test ? test.any : test.op === 'anything-but' ? test.of.any : [],
  );
  const set = SETTABLE[term.path];
  for (const value of [...VALUES, ...literals.map((one) => (isNumber(one) ? one.digits : one))]) {
    const altered = set?.(one, value);
    const seen = altered && explain(compileRuleSet(alone([term])), altered).steps[0]?.state === 'matched';
    if (altered && seen === wanted) return altered;
  }
  return null;
}

function isNumber(literal: unknown): literal is { digits: string } {
  return typeof literal === 'object' && literal !== null;
}

function alone(when: Pattern): RuleSet {
  const rule: Rule = { name: 'it', description: null, enabled: true, priority: 1, when, choice: { targets: ['here'] } };
  return { mode: 'first-match', rules: [rule] };
}

it('altering the value of a clause that it names flips the rule, for any rules and messages', () => {
  let flipped = { on: 0, off: 0 };
  let cases = 0;
  fc.assert(
    fc.property(textPatterns(Object.keys(SETTABLE)), messages, (when, one) => {
      cases++;
      const rules = compileRuleSet(alone(when));
      const [step] = explain(rules, one).steps;
      const failing = when.filter((_, n) => !step?.terms[n]?.holds);
      // What it names for a rule that did not match: all that has to change. Of one that did, anything.
      const named = failing.length > 0 ? failing : when.slice(0, 1);
      let altered: CanonicalMessage | null = one;
      for (const term of named) {
        altered = altered && 'path' in term ? turned(term, altered, failing.length > 0) : null;
      }
      if (!altered || named.length === 0) return;
      expect(decide(rules, altered).rules).toEqual(failing.length > 0 ? ['it'] : []);
      flipped = failing.length > 0 ? { ...flipped, on: flipped.on + 1 } : { ...flipped, off: flipped.off + 1 };
    }),
    { numRuns: 4000 },
  );
  expect(flipped.on).toBeGreaterThan(cases / 4);
  expect(flipped.off).toBeGreaterThan(cases / 20);
});
