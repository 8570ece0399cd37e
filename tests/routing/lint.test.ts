import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileRuleSet } from '../../src/routing/compile.js';
import { decide } from '../../src/routing/decide.js';
import { type LintTargets, lint } from '../../src/routing/lint.js';
import { printRuleSet } from '../../src/routing/print.js';
import { spentMs } from '../support/spent.js';
import { messages, ruleSets } from './arbitraries.js';

const targets: LintTargets = new Map([
  ['t', null],
  ['crm', null],
  ['erp', { code: 'unroutable', reason: 'nothing is bound to its queue' }],
]);

function said(text: string): string[] {
  return lint(text, targets).map(({ severity, code, rule, line, column, message }) => {
    return `${line}:${column} ${severity} ${code} ${rule}: ${message}`;
  });
}

describe('lint', () => {
  it('has nothing to say of rules that each have their part', () => {
    expect(
      said(`
rules:
  - { name: large, when: { type: order.placed, data.amount: { numeric: [">", 1000] } }, then: { targets: crm } }
  - { name: orders, when: { type: [order.placed, order.changed] }, then: { targets: t } }
  - { name: mails, when: { kind: mail }, then: { targets: t } }
`),
    ).toEqual([]);
  });

  it('says what is wrong with a text that is no rule set, as errors', () => {
    expect(said('rules:\n  - name: a\n    whem: {}\n    then: { targets: cmr }\n')).toEqual([
      '2:5 error invalid null: a rule needs "when"; write "when: {}" for every message',
      expect.stringMatching(/^3:5 error invalid null: a rule has no "whem"; .*; did you mean "when"\?$/),
      '4:22 error target_unknown null: there is no target "cmr"; define it first, or name another; did you mean "crm"?',
    ]);
    expect(said('')).toEqual(['1:1 error invalid null: a rule set must be a mapping of names to values']);
  });

  it('says which targets there are not, and which are paused', () => {
    expect(
      said(`
rules:
  - { name: a, when: { type: a }, then: { targets: [erp, cmr] } }
  - { name: off, enabled: false, when: { type: b }, then: { targets: erp } }
`),
    ).toEqual([
      '3:53 warning target_paused a: the target "erp" is paused (nothing is bound to its queue): what goes there waits until it is resumed',
      '3:58 error target_unknown a: there is no target "cmr"; define it first, or name another; did you mean "crm"?',
      '4:13 warning disabled off: "off" is disabled and never asked',
    ]);
  });

  it('says what matches everything, and what matches nothing', () => {
    expect(
      said(`
mode: all-match
rules:
  - { name: all, when: {}, then: { targets: t } }
  - { name: none, when: { kind: event, subject: { prefix: a } }, then: { targets: t } }
  - { name: some, when: { kind: event }, then: { targets: t } }
`),
    ).toEqual([
      '4:13 warning matches_everything all: "all" matches every message',
      '5:13 warning matches_nothing none: "none" matches no message: what it asks for can\'t be together',
    ]);
  });

  it('says which rules never decide, wholly or in part, in the order they are asked', () => {
    expect(
      said(`
rules:
  - { name: special, when: { type: order.placed, data.vip: true }, then: { targets: t } }
  - { name: open, when: { type: [{ prefix: order. }] }, then: { targets: t } }
  - { name: placed, when: { kind: event, type: order.placed }, then: { targets: crm } }
  - { name: both, when: { type: [order.changed, usage] }, then: { targets: crm } }
  - { name: either, when: { $or: [{ type: usage }, { subject: a, type: order.x }] }, then: { targets: crm } }
  - { name: off, enabled: false, when: {}, then: { targets: crm } }
  - { name: late, priority: 200, when: { account: a }, then: { targets: t } }
  - { name: first, priority: 1, when: { account: [a, b] }, then: { targets: t } }
`),
    ).toEqual([
      '5:13 warning shadowed placed: "placed" never decides: whatever it matches, "open" (line 4) matches before it',
      '6:13 warning overlapping both: a part of "both" never decides: where type is "order.changed", "open" (line 4) matches before it',
      '7:13 warning overlapping either: a part of "either" never decides: where pattern 1 of its $or holds, "both" (line 6) matches before it',
      '8:13 warning disabled off: "off" is disabled and never asked',
      '9:13 warning shadowed late: "late" never decides: whatever it matches, "first" (line 10) matches before it',
    ]);
  });

  it('says of no rule that it never decides when it does', () => {
    const seen = { cases: 0, shadowed: 0 };
    fc.assert(
      fc.property(ruleSets, fc.array(messages, { minLength: 5, maxLength: 5 }), (ruleSet, all) => {
        const found = lint(printRuleSet(ruleSet), new Map());
        const never = new Set(found.filter(({ code }) => code === 'shadowed').map(({ rule }) => rule));
        seen.cases++;
        seen.shadowed += never.size;
        const rules = compileRuleSet(ruleSet);
        for (const one of all) for (const rule of decide(rules, one).rules) expect(never.has(rule)).toBe(false);
      }),
      { numRuns: 1000 },
    );
    expect(seen.shadowed).toBeGreaterThan(seen.cases / 20);
  });

  it('of thousands of rules takes no longer than people wait, and says where it stopped', () => {
    const rule = (n: number, when: string) => `  - { name: r-${n}, when: ${when}, then: { targets: t } }`;
    const alike = Array.from({ length: 5000 }, (_, n) => rule(n, `{ subject: { prefix: "Project ${n}:" } }`));
    const before = spentMs();
    const found = lint(['rules:', ...alike, ''].join('\n'), targets);
    expect(spentMs() - before).toBeLessThan(5_000);
    expect(found.map(({ code }) => code)).toEqual(['not_compared']);
    const different = Array.from({ length: 5000 }, (_, n) => rule(n, `{ type: order.${n}, subject: { prefix: a } }`));
    expect(lint(['rules:', ...different, ''].join('\n'), targets)).toEqual([]);
    // What leads to a rule best when messages come is not what narrows down which rules to compare.
    const shared = Array.from({ length: 3000 }, (_, n) =>
      rule(n, `{ type: order.${n % 100}, subject: { prefix: "Project ${n}:" } }`),
    );
    const shadowed = rule(3000, '{ type: order.7, subject: "Project 7: a" }');
    const told = lint(['rules:', ...shared, shadowed, ''].join('\n'), targets);
    expect(told.map((one) => one.rule)).toEqual(['r-3000']);
  });
});
