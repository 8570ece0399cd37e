import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { insertRule, NO_RULES } from '../../src/routing/insert.js';
import { printRuleSet } from '../../src/routing/print.js';
import type { Rule } from '../../src/routing/rule.js';
import { ruleSets } from './arbitraries.js';
import { read } from './rules.js';

const NEW: Rule = {
  name: 'new-one',
  description: null,
  enabled: true,
  priority: 100,
  when: [{ path: 'kind', tests: [{ op: 'equals', any: ['mail'] }] }],
  choice: { targets: ['crm'] },
};

const WRITTEN = `# Ours.
mode: first-match

rules:
  # About the first.
  - name: first
    when: { kind: event } # only those
    then: { targets: erp }

  # About the second,
  # in two lines.
  - name: second
    description: |
      Several
      lines.
    when: {}
    then: { close: done } # at last

# The end.
`;

const LINES = `  - name: new-one
    when:
      kind: mail
    then: { targets: [ crm ] }
`;

describe('a rule put into a text', () => {
  it('stands at its place, and all else is as it was', () => {
    fc.assert(
      fc.property(ruleSets, fc.nat(20), (ruleSet, n) => {
        const before = ruleSet.rules[n]?.name ?? null;
        const at = before === null ? ruleSet.rules.length : n;
        const inserted = read(insertRule(printRuleSet(ruleSet), NEW, before));
        expect(inserted).toEqual({ ...ruleSet, rules: ruleSet.rules.toSpliced(at, 0, NEW) });
      }),
      { numRuns: 500 },
    );
  });

  it('comes last, in front of no comment but that of the end', () => {
    expect(insertRule(WRITTEN, NEW, null)).toBe(
      WRITTEN.replace('{ close: done } # at last\n', `{ close: done } # at last\n\n${LINES}`),
    );
  });

  it('comes in front of another, and of the comment about that', () => {
    expect(insertRule(WRITTEN, NEW, 'second')).toBe(
      WRITTEN.replace('  # About the second,', `${LINES}\n  # About the second,`),
    );
    expect(insertRule(WRITTEN, NEW, 'first')).toBe(
      WRITTEN.replace('  # About the first.', `${LINES}\n  # About the first.`),
    );
  });

  it('is the first where there are none', () => {
    expect(insertRule(NO_RULES, NEW, null)).toBe(`mode: first-match\n\nrules:\n${LINES}`);
    expect(insertRule('rules: []', NEW, null)).toBe(`rules:\n${LINES}`);
  });

  it('is moved in as far as the others', () => {
    const flat = 'rules:\n- name: first\n  when: {}\n  then: { close: x }';
    expect(insertRule(flat, NEW, null)).toBe(`${flat}\n\n${LINES.replace(/^ {2}/gm, '')}`);
  });

  it('has the text written anew where that leaves no room for it', () => {
    const tight = 'rules: [{ name: first, when: {}, then: { close: x } }]\n';
    expect(read(insertRule(tight, NEW, 'first')).rules.map(({ name }) => name)).toEqual(['new-one', 'first']);
  });

  it('may still have to be filled in', () => {
    const open = insertRule(WRITTEN, { ...NEW, choice: { targets: [] } }, null);
    expect(open).toContain('then: { targets: [] }');
    expect(open).toContain('# About the second,');
  });
});
