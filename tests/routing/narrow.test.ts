import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import { type CompiledRules, compileRuleSet } from '../../src/routing/compile.js';
import { decide } from '../../src/routing/decide.js';
import { type Decimal, parseDecimal } from '../../src/routing/decimal.js';
import { explain } from '../../src/routing/explain.js';
import type { RuleSet, Test } from '../../src/routing/rule.js';
import { costMs } from '../support/spent.js';
import { messages, ruleSets } from './arbitraries.js';
import { mail, message, withData } from './messages.js';
import { compiled } from './rules.js';

/** The same rules, each asked of every message. */
function withoutIndex(rules: CompiledRules): CompiledRules {
  const all = rules.active.map((_, n) => n);
  return { ...rules, index: { always: all, byField: [] } };
}

/** Rules that ask for the same fields again and again. */
const large: fc.Arbitrary<RuleSet> = fc.array(ruleSets, { minLength: 1, maxLength: 8 }).map((sets) => ({
  mode: sets[0]?.mode ?? 'first-match',
  rules: sets.flatMap(({ rules }, set) => rules.map((rule, n) => ({ ...rule, name: `r-${set}-${n}` }))),
}));

const text = fc.array(fc.constantFrom('a', 'b', 'A', '1', '.', '*', '\\', 'é', '𝄞'), { maxLength: 9 });
const words = text.map((parts) => parts.join(''));
const digits = fc.oneof(fc.integer({ min: -30, max: 30 }).map(String), fc.constantFrom('1e3', '-0.5', '2.50', '1e-9'));
/** Values among which some are long, numbers in many spellings, and such as have no text at all. */
const odd = fc.oneof(
  words,
  fc.tuple(words, words).map(([first, last]) => `${first}${'-'.repeat(2_050)}${last}`),
  digits,
  digits.map((written) => new LosslessNumber(written)),
  fc.constantFrom(null, true),
);

const textTests = fc.record({
  op: fc.constantFrom('prefix' as const, 'suffix' as const, 'wildcard' as const),
  any: fc.array(
    words.filter((one) => one.length > 2),
    { minLength: 1, maxLength: 2 },
  ),
});
const numericTests = fc.record({
  op: fc.constant('numeric' as const),
  bounds: fc.array(
    fc.record({
      is: fc.constantFrom('=' as const, '<' as const, '<=' as const, '>' as const, '>=' as const),
      than: digits,
    }),
    { minLength: 1, maxLength: 2 },
  ),
});

/** Many rules that ask one field for these. */
function asking(tests: fc.Arbitrary<Test>, minLength: number, maxLength: number): fc.Arbitrary<RuleSet> {
  return fc.array(tests, { minLength, maxLength }).map((all) => ({
    mode: 'all-match',
    rules: all.map((test, n) => ({
      name: `r-${n}`,
      description: null,
      enabled: true,
      priority: 100,
      when: [{ path: 'data.n', tests: [test] }],
      choice: { targets: ['t'] },
    })),
  }));
}

describe('rules found by what they ask to be equal', () => {
  it('decide as when all are asked in order, and as they are explained', () => {
    fc.assert(
      fc.property(large, messages, (ruleSet, one) => {
        const rules = compileRuleSet(ruleSet);
        const decided = decide(rules, one);
        expect(decided).toEqual(decide(withoutIndex(rules), one));
        const { rules: matched, outcome } = explain(rules, one);
        expect(decided).toEqual({ rules: matched, outcome });
      }),
      { numRuns: 2000 },
    );
  });

  it('or begins, ends or contains, or exceeds, decide as when all are asked in order', () => {
    const seen = { narrowed: 0, all: 0 };
    fc.assert(
      fc.property(
        asking(fc.oneof(textTests, numericTests), 20, 100),
        fc.array(odd, { maxLength: 4 }),
        (ruleSet, values) => {
          const rules = compileRuleSet(ruleSet);
          seen.all++;
          if (rules.index.always.length < rules.active.length / 2) seen.narrowed++;
          for (const n of [...values, values]) {
            const one = withData({ n });
            expect(decide(rules, one)).toEqual(decide(withoutIndex(rules), one));
          }
        },
      ),
      { numRuns: 1000 },
    );
    expect(seen.narrowed).toBeGreaterThan(seen.all / 3);
  });

  it('or lies in one of so many ranges that those a number reaches are not put in order', () => {
    const seen = { all: 0, reached: 0 };
    fc.assert(
      fc.property(asking(numericTests, 100, 200), fc.array(digits, { maxLength: 4 }), (ruleSet, some) => {
        const rules = compileRuleSet(ruleSet);
        const { above } = rules.index.byField[0] as (typeof rules.index.byField)[number];
        const values = [...some, '1e4'];
        for (const n of [...values, values]) {
          const one = withData({ n });
          expect(decide(rules, one)).toEqual(decide(withoutIndex(rules), one));
        }
        seen.all++;
        // By more than Thresholds puts in order.
        if ((above?.find(parseDecimal('1e4') as Decimal).length ?? 0) > 64) seen.reached++;
      }),
      { numRuns: 100 },
    );
    // Near half of them do; a tenth is seven standard deviations below.
    expect(seen.reached).toBeGreaterThan(seen.all / 10);
  });

  const rules = compiled(`
mode: all-match
rules:
  - { name: number, when: { data.n: [1.50, 7] }, then: { targets: t } }
  - { name: text, when: { data.n: "1.5" }, then: { targets: t } }
  - { name: other, when: { data.n: x, kind: event }, then: { targets: t } }
  - { name: nothing, when: { data.n: null }, then: { targets: t } }
  - { name: address, when: { to: Anna@Example.com }, then: { targets: t } }
  - { name: either, when: { $or: [{ to: b@example.com }, { data.n: y }] }, then: { targets: t } }
  - { name: number-too, priority: 1, when: { data.n: 1.5 }, then: { targets: t } }
`);

  it.each([
    [1.5, ['number-too', 'number']],
    ['1.5', ['number-too', 'number', 'text']],
    [new LosslessNumber('1.500'), ['number-too', 'number']],
    [
      ['x', 7, 'x', '1.5'],
      ['number-too', 'number', 'text', 'other'],
    ],
    [[], []],
    [null, ['nothing']],
    ['y', ['either']],
    [true, []],
  ])('whatever the value is: %j', (n, expected) => {
    expect(decide(rules, withData({ n })).rules).toEqual(expected);
  });

  it('whatever the capitals of an address', () => {
    const to = ['ANNA@example.com', 'B@EXAMPLE.COM'].map((address) => ({ name: '', address }));
    expect(decide(rules, mail({ to })).rules).toEqual(['address', 'either']);
  });

  it('whatever the capitals of the end of an address', () => {
    const lines = [...'abcdefghij'].map((letter) => {
      return `  - { name: ${letter}, when: { from: { suffix: "@${letter.toUpperCase().repeat(3)}.Example.COM" } }, then: { targets: t } }`;
    });
    const many = compiled(['mode: all-match', 'rules:', ...lines, ''].join('\n'));
    expect(many.index.always).toEqual([]);
    const from = ['x@ccc.example.com', 'y@Fff.EXAMPLE.com'].map((address) => ({ name: '', address }));
    expect(decide(many, mail({ from })).rules).toEqual(['c', 'f']);
  });

  it('are those that the fewest others could be found with', () => {
    const { index } = compiled(`
rules:
  - { name: a, when: { kind: event, type: a }, then: { targets: t } }
  - { name: b, when: { kind: event, type: [b, c] }, then: { targets: t } }
  - { name: c, when: { kind: event, type: { prefix: c } }, then: { targets: t } }
  - { name: d, when: { kind: [event, mail], $or: [{ type: d }, { account: e }] }, then: { targets: t } }
  - { name: e, when: { type: [e, { prefix: f }] }, then: { targets: t } }
`);
    expect(index.always).toEqual([4]);
    expect(index.byField.map(({ first, constants }) => [first, Object.fromEntries(constants)])).toEqual([
      [0, { a: [0], b: [1], c: [1], d: [3] }],
      [2, { event: [2] }],
      [3, { e: [3] }],
    ]);
  });
});

/** How many times as much of the processor decisions by the one take as by the other, each at its best of several turns. */
function timesAsMuch(one: CompiledRules, other: CompiledRules): number {
  const about = message({ ...withData({ amount: 37 }), type: 'order.placed', account: 'customer-77' });
  const costOf = (rules: CompiledRules) =>
    costMs(() => {
      for (let n = 0; n < 2_000; n++) decide(rules, about);
    });
  let [best, othersBest] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  // In turns: what the machine does besides meets both.
  for (let turn = 0; turn < 20; turn++) {
    best = Math.min(best, costOf(one));
    othersBest = Math.min(othersBest, costOf(other));
  }
  return best / othersBest;
}

it('a value that leads to many rules again and again leads to each once', () => {
  const lines = Array.from({ length: 2_000 }, (_, n) => {
    const test = n % 2 === 0 ? `{ numeric: [">", ${n}] }` : `{ wildcard: "*aaa*b${n}b*" }`;
    return `  - { name: r-${n}, when: { kind: mail, data.n: ${test} }, then: { targets: t } }`;
  });
  const many = compiled(['rules:', ...lines, ''].join('\n'));
  const values = Array.from({ length: 10_000 }, (_, n) => new LosslessNumber(`${9_000 + (n % 7)}`));
  const hostile = withData({ n: [...values, 'a'.repeat(1_000)] });
  expect(decide(many, hostile).rules).toEqual([]);
  // Some milliseconds; seconds where each value's rules are put in order.
  expect(costMs(() => decide(many, hostile))).toBeLessThan(300);
});

it('a thousand rules cost about what ten do', () => {
  const kinds = [
    (n: number) => `{ type: order.created.${n} }`,
    (n: number) => `{ kind: event, account: customer-${n}x }`,
    (n: number) => `{ kind: event, type: [usage.${n}, usage.${n}.b], data.a: { numeric: [">", ${n}] } }`,
    (n: number) => `{ account: { prefix: "customer-${n}." } }`,
    (n: number) => `{ type: { wildcard: "*.place${n}.*" } }`,
    (n: number) => `{ data.amount: { numeric: [">", ${1000 + n}] } }`,
  ];
  const many = (count: number) => {
    const lines = Array.from({ length: count - 1 }, (_, n) => {
      return `  - { name: r-${n}, when: ${kinds[n % kinds.length]?.(n)}, then: { targets: t } }`;
    });
    const last = '  - { name: last, when: { kind: event }, then: { targets: t } }';
    return compiled(['rules:', ...lines, last, ''].join('\n'));
  };
  const few = many(10);
  const thousand = many(1000);
  expect(decide(thousand, message()).rules).toEqual(['last']);
  // 1.1 is the goal, on a machine that does nothing else; without the index it is more than 20.
  expect(timesAsMuch(thousand, few)).toBeLessThan(2);
});
