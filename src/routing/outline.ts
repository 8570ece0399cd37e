import { parseRuleSet } from './parse.js';
import { printRuleSet } from './print.js';
import type { Choice, Rule, RuleSet } from './rule.js';

/** A rule set as a list to read. */
export interface Outline {
  readonly mode: RuleSet['mode'];
  /** How many rules it has. */
  readonly count: number;
  /** The first of them, in the order they are asked. */
  readonly rules: readonly OutlinedRule[];
}

export interface OutlinedRule {
  readonly name: string;
  readonly description: string | null;
  readonly enabled: boolean;
  readonly choice: Choice;
  /** What it asks for, as it would be written. */
  readonly when: string;
}

/** Null for a text that can't be read. */
export function outlineOf(text: string, most: number): Outline | null {
  const parsed = parseRuleSet(text);
  if (!parsed.ok) return null;
  const { mode, rules } = parsed.ruleSet;
  const asked = rules.toSorted((a, b) => a.priority - b.priority);
  return { mode, count: rules.length, rules: asked.slice(0, most).map(outlined) };
}

function outlined(rule: Rule): OutlinedRule {
  const { name, description, enabled, choice } = rule;
  return { name, description, enabled, choice, when: whenText(rule) };
}

function whenText(rule: Rule): string {
  const plain = { ...rule, description: null, enabled: true, priority: 100 };
  const printed = printRuleSet({ mode: 'first-match', rules: [plain] });
  const from = printed.indexOf('    when:');
  return printed
    .slice(from, printed.lastIndexOf('    then:'))
    .split('\n')
    .map((line) => line.slice(4))
    .join('\n')
    .trimEnd();
}
