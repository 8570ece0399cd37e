import type { CompiledRules } from '../src/routing/compile.js';
import type { LintProblem, LintTargets } from '../src/routing/lint.js';
import type { Outline } from '../src/routing/outline.js';
import type { ParsedRuleSet } from '../src/routing/parse.js';
import type { Rule } from '../src/routing/rule.js';
import { Problem } from './route.js';

/** Rules ready to be asked, or why they can't be. */
export type CompiledText =
  | (Extract<ParsedRuleSet, { ok: true }> & { readonly compiled: CompiledRules })
  | Extract<ParsedRuleSet, { ok: false }>;

/**
 * Reads texts of rules elsewhere: a megabyte takes seconds, and this process has channels to read onward. A text that takes
 * too long comes out as one that is wrong. Every call throws Problem 429 while a tenant has too many under way.
 */
export interface RuleReading {
  parse(tenant: number, text: string): Promise<ParsedRuleSet>;
  compile(tenant: number, text: string): Promise<CompiledText>;
  lint(tenant: number, text: string, targets: LintTargets): Promise<LintProblem[]>;
  /** Of `most` rules; null for a text that can't be read. */
  outline(tenant: number, text: string, most: number): Promise<Outline | null>;
  /** As `insertRule`. */
  insert(tenant: number, text: string, rule: Rule, before: string | null): Promise<string>;
}

export function rulesBusy(): Problem {
  const detail = 'Too many texts of rules are being read for you already: wait for those.';
  return new Problem(429, 'rules_busy', detail, {}, { 'retry-after': '2' });
}
