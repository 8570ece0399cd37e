import type { CanonicalMessage } from '../../src/message/message.js';
import { type CompiledRules, compileRuleSet } from '../../src/routing/compile.js';
import { decide } from '../../src/routing/decide.js';
import { parseRuleSet, type RuleProblem } from '../../src/routing/parse.js';
import type { RuleSet } from '../../src/routing/rule.js';

/** The rule set of a text that must be right. */
export function read(text: string): RuleSet {
  const parsed = parseRuleSet(text);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems, null, 2));
  return parsed.ruleSet;
}

export function compiled(text: string): CompiledRules {
  return compileRuleSet(read(text));
}

export function problemsOf(text: string): readonly RuleProblem[] {
  const parsed = parseRuleSet(text);
  return parsed.ok ? [] : parsed.problems;
}

/** A set of one rule; `when` as YAML in flow style. */
export function oneRule(when: string): string {
  return `rules:\n  - name: it\n    when: ${when}\n    then: { targets: here }\n`;
}

/** Whether a pattern, as YAML in flow style, matches. */
export function matches(when: string, message: CanonicalMessage): boolean {
  return decide(compiled(oneRule(when)), message).rules.length === 1;
}
