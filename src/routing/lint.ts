import { type CompiledRules, compileRuleSet } from './compile.js';
import { alwaysHolds, type Effort, implies, neverHolds, splitTests } from './implies.js';
import { indexing, rulesAlike } from './narrow.js';
import { parseRuleSet, type RuleProblem, type TargetMention, type TextPlace, unknownTargets } from './parse.js';
import type { Pattern, Rule, RuleSet, Term, Test } from './rule.js';
import { atOnce } from './steps.js';

export const LINT_CODES = [
  /** It is no rule set: it can't be kept. */
  'invalid',
  /** It names a target that there isn't: it can't be kept. */
  'target_unknown',
  /** It sends to a target that is paused: what it chooses waits there. */
  'target_paused',
  'matches_everything',
  'matches_nothing',
  /** Whatever it matches, a rule before it matches too and decides. */
  'shadowed',
  /** So it is with a part of what it asks for. */
  'overlapping',
  'disabled',
  /** There was too much to compare: other rules may be shadowed. */
  'not_compared',
] as const;
export type LintCode = (typeof LINT_CODES)[number];

/** One thing that is wrong with a rule set, or probably not meant. */
export interface LintProblem {
  readonly severity: 'error' | 'warning';
  readonly code: LintCode;
  /** The rule's name; null for what is of no rule, and in a text that can't be read. */
  readonly rule: string | null;
  readonly line: number;
  readonly column: number;
  /** A sentence. */
  readonly message: string;
}

/** A target that a rule may name: why it is paused; null when it runs. */
export type LintTargets = ReadonlyMap<string, { readonly code: string; readonly reason: string } | null>;

/** Comparisons of one look, a fraction of a second: people look as they type. */
const EFFORT = 1_000_000;

/** Everything that can be said of rules without a message, in the order of the text. */
export function lint(text: string, targets: LintTargets): LintProblem[] {
  const parsed = parseRuleSet(text);
  const known = new Set(targets.keys());
  if (!parsed.ok) {
    const all = [...parsed.problems.map((one) => asError('invalid', one))];
    for (const unknown of unknownTargets(parsed.mentions, known)) all.push(asError('target_unknown', unknown));
    return inOrder(all);
  }
  const { ruleSet, mentions, places } = parsed;
  const said = [
    ...unknownTargets(mentions, known).map((one) => asError('target_unknown', one, ruleOf(one.path, ruleSet)?.name)),
    ...mentions.flatMap((mention) => pausedTarget(mention, ruleSet, targets)),
    ...rulesAlone(ruleSet, places),
    ...rulesTogether(ruleSet, places),
  ];
  return inOrder(said);
}

/** More than anybody reads. */
const MOST_PROBLEMS = 1000;

/** In the order of the text; where there are too many, errors before warnings. */
function inOrder(problems: readonly LintProblem[]): LintProblem[] {
  const errors = problems.filter(({ severity }) => severity === 'error');
  const warnings = problems.filter(({ severity }) => severity === 'warning');
  const kept = [...errors, ...warnings].slice(0, MOST_PROBLEMS);
  return kept.sort((a, b) => a.line - b.line || a.column - b.column);
}

function asError(
  code: 'invalid' | 'target_unknown',
  { line, column, message, didYouMean }: RuleProblem,
  rule: string | null = null,
): LintProblem {
  const meant = didYouMean === undefined ? '' : `; did you mean "${didYouMean}"?`;
  return { severity: 'error', code, rule, line, column, message: message + meant };
}

function ruleOf(path: string, { rules }: RuleSet): Rule | undefined {
  return rules[Number(/^rules\[(\d+)\]/.exec(path)?.[1])];
}

function pausedTarget(mention: TargetMention, ruleSet: RuleSet, targets: LintTargets): LintProblem[] {
  const rule = ruleOf(mention.path, ruleSet);
  const paused = targets.get(mention.target);
  if (!rule?.enabled || !paused) return [];
  const { line, column, target } = mention;
  const message = `the target "${target}" is paused (${paused.reason}): what goes there waits until it is resumed`;
  return [{ severity: 'warning', code: 'target_paused', rule: rule.name, line, column, message }];
}

type Places = ReadonlyMap<string, TextPlace>;

function warning(code: LintCode, rule: string, places: Places, message: string): LintProblem {
  const { line, column } = places.get(rule) ?? { line: 1, column: 1 };
  return { severity: 'warning', code, rule, line, column, message };
}

function rulesAlone({ rules }: RuleSet, places: Places): LintProblem[] {
  const effort: Effort = { left: EFFORT };
  return rules.flatMap(({ name, enabled, when }) => {
    if (!enabled) return [warning('disabled', name, places, `"${name}" is disabled and never asked`)];
    if (alwaysHolds(when)) return [warning('matches_everything', name, places, `"${name}" matches every message`)];
    if (!neverHolds(when, effort)) return [];
    const message = `"${name}" matches no message: what it asks for can't be together`;
    return [warning('matches_nothing', name, places, message)];
  });
}

/** In all-match every rule that matches counts: none stands in the way of another. */
function rulesTogether(ruleSet: RuleSet, places: Places): LintProblem[] {
  if (ruleSet.mode === 'all-match') return [];
  const compiled = compileRuleSet(ruleSet);
  const fieldOf = fieldsOf(compiled);
  const patterns = compiled.active.map(({ rule }) => rule.when);
  const index = atOnce(indexing(patterns, fieldOf, 'equality'));
  const effort: Effort = { left: EFFORT };
  const said: LintProblem[] = [];
  for (const [position, { rule }] of compiled.active.entries()) {
    if (neverHolds(rule.when, effort)) continue;
    const earlier = rulesAlike(index, rule.when, position, fieldOf).flatMap((at) => {
      const before = compiled.active[at]?.rule;
      return before ? [before] : [];
    });
    const found = inTheWay(rule, earlier, places, effort);
    if (effort.left <= 0) {
      const message = `there is too much to compare: from "${rule.name}" on it is not known which rules are shadowed`;
      return [...said, warning('not_compared', rule.name, places, message)];
    }
    if (found) said.push(found);
  }
  return said;
}

function fieldsOf({ fields }: CompiledRules) {
  const all = new Map(fields.map(({ path, type }, field) => [path, { field, type }]));
  return (path: string) => {
    const field = all.get(path);
    if (!field) throw new TypeError(`no rule asks for ${path}`);
    return field;
  };
}

/** The first earlier rule that takes all of what a rule matches, else the first that takes a part of it. */
function inTheWay(rule: Rule, earlier: readonly Rule[], places: Places, effort: Effort): LintProblem | undefined {
  const { name, when } = rule;
  const all = earlier.find((one) => implies(when, one.when, effort));
  if (all) {
    const message = `"${name}" never decides: whatever it matches, ${named(all, places)} matches before it`;
    return warning('shadowed', name, places, message);
  }
  for (const part of partsOf(when)) {
    const taken = earlier.find((one) => implies(part.pattern, one.when, effort));
    if (!taken) continue;
    const message = `a part of "${name}" never decides: where ${part.is}, ${named(taken, places)} matches before it`;
    return warning('overlapping', name, places, message);
  }
  return undefined;
}

function named({ name }: Rule, places: Places): string {
  return `"${name}" (line ${places.get(name)?.line})`;
}

interface Part {
  readonly pattern: Pattern;
  /** What sets it apart, for a sentence. */
  readonly is: string;
}

/** The pattern with one of what would do in one of its terms, for each. */
function* partsOf(pattern: Pattern): Generator<Part> {
  for (const [at, term] of pattern.entries()) {
    for (const { terms, is } of alternativesOf(term)) yield { pattern: pattern.toSpliced(at, 1, ...terms), is };
  }
}

function alternativesOf(term: Term): { readonly terms: readonly Term[]; readonly is: string }[] {
  if ('anyOf' in term) {
    if (term.anyOf.length < 2) return [];
    return term.anyOf.map((terms, n) => ({ terms, is: `pattern ${n + 1} of its $or holds` }));
  }
  const tests = splitTests(term.tests);
  if (tests.length < 2) return [];
  return tests.map((test) => ({ terms: [{ ...term, tests: [test] }], is: `${term.path} ${sayTest(test)}` }));
}

function sayTest(test: Test): string {
  switch (test.op) {
    case 'equals':
      return `is ${sayValue(test.any[0])}`;
    case 'exists':
      return test.exists ? 'is there' : 'is not there';
    case 'numeric':
      return `is ${test.bounds.map(({ is, than }) => `${is} ${than}`).join(' and ')}`;
    case 'anything-but':
      return `is not what it may not be`;
    default:
      return `${test.op} ${sayValue(test.any[0])}`;
  }
}

const SHOWN_CHARACTERS = 60;

function sayValue(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'digits' in value) return String(value.digits);
  const text = JSON.stringify(value);
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
