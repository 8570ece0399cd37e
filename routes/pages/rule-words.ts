import { createHash } from 'node:crypto';
import type { Principal } from '../../src/access/principal.js';
import type { Outcome } from '../../src/message/decision.js';
import type { LintProblem } from '../../src/routing/lint.js';
import type { Rule } from '../../src/routing/rule.js';
import {
  activeRuleSet,
  type RuleSetEntry,
  type RulesActivated,
  type RulesSaved,
  targetPauses,
} from '../../src/storage/rule-sets.js';
import { rulesProblem } from '../rules.js';
import type { PageDeps } from './deps.js';
import { when } from './words.js';

/* How rules and their versions are written on pages. */

export function versionShown({ version, who, why, managedBy, active, createdAt }: RuleSetEntry, now: number) {
  return {
    version,
    href: `/rules/${version}`,
    who,
    why,
    byFile: managedBy === 'file',
    active,
    at: when(createdAt, now),
  };
}

export function choiceText(choice: Rule['choice']): string {
  return 'close' in choice ? `close: ${choice.close}` : `→ ${choice.targets.join(', ')}`;
}

/** After "it would". */
export function outcomeText(outcome: Outcome): string {
  switch (outcome.do) {
    case 'deliver':
      return `go to ${outcome.targets.join(', ')}`;
    case 'close':
      return `be closed: ${outcome.reason}`;
    case 'wait':
      return 'wait in the inbox';
    default: {
      const never: never = outcome;
      throw new Error(`no such outcome: ${String(never)}`);
    }
  }
}

export function problemShown({ severity, rule, line, column, message }: LintProblem) {
  return { tone: severity === 'error' ? 'bad' : 'wait', severity, rule, line, column, message };
}

/** What is wrong with a text of rules, and what is probably not meant. */
export async function problemsOf(
  { pool, rules }: PageDeps,
  { tenant }: Principal,
  text: string,
): Promise<LintProblem[]> {
  return rules.lint(tenant.id, text, await targetPauses(pool, tenant.id));
}

/**
 * What is to be confirmed before a text goes live: its warnings, without those that the rules in force have too, which
 * somebody has agreed to, and without rules that are off, which nobody writes by mistake.
 */
export function toConfirm(found: readonly LintProblem[], inForce: readonly LintProblem[]): LintProblem[] {
  const agreed = new Set(inForce.map(({ code, rule }) => `${code} ${rule}`));
  return found.filter(
    ({ severity, code, rule }) => severity === 'warning' && code !== 'disabled' && !agreed.has(`${code} ${rule}`),
  );
}

/** What a person agrees to when they put rules in force in spite of their warnings: this text, and these. */
export function confirmationOf(text: string, warnings: readonly LintProblem[]): string {
  const said = warnings.map(({ code, rule, message }) => [code, rule, message]);
  return createHash('sha256')
    .update(JSON.stringify([text, said]))
    .digest('hex');
}

/** Why rules were not saved or not put in force, for the page that asked for it. */
export async function whyNot(
  { pool }: PageDeps,
  { tenant }: Principal,
  not: Exclude<RulesSaved | RulesActivated, { readonly result: 'ok' }>,
): Promise<{ readonly why: string; readonly status: number }> {
  const { detail, status } = rulesProblem(not);
  if (not.result !== 'version_mismatch') return { why: detail, status };
  const active = await activeRuleSet(pool, tenant.id);
  if (!active) return { why: 'The rules that you have seen are in force no more, and no others are.', status };
  const because = active.why === null ? '' : `: “${active.why}”`;
  const why = `Since you loaded this page version ${active.version} by ${active.who} came in force${because}. Look at what is different now; then you can do it all the same.`;
  return { why, status };
}
