import { isLosslessNumber } from 'lossless-json';
import type { Outcome } from '../message/decision.js';
import type { CanonicalMessage } from '../message/message.js';
import { type CompiledPattern, type CompiledRule, type CompiledRules, type CompiledTerm, Reading } from './compile.js';
import { conclude } from './conclude.js';
import type { Field } from './field.js';
import type { Choice, Literal, Rule, RuleSet, Test } from './rule.js';
import { atOnce, type Steps } from './steps.js';
import { type CompiledTest, Incomparable, NOT_CHECKED } from './test.js';

/** Why rules decided of a message as they did; agrees with `decide` on the same rules and message. */
export interface Explanation {
  readonly mode: RuleSet['mode'];
  /** Names of the rules that matched, as `decide` gives them. */
  readonly rules: readonly string[];
  readonly outcome: Outcome;
  /** Every rule, in the order they are asked. */
  readonly steps: readonly RuleExplanation[];
}

export interface RuleExplanation {
  readonly rule: string;
  readonly description: string | null;
  readonly priority: number;
  readonly choice: Choice;
  readonly state: 'matched' | 'not_matched' | 'disabled' | 'not_reached';
  /** A sentence. */
  readonly why: string;
  /** All must hold. Empty where the rule is disabled, or asks for nothing. Of one not reached: what they would have come to. */
  readonly terms: readonly TermExplanation[];
}

/** A field's tests, of which one must hold, or an `$or`, of whose patterns one must: one of the lists is empty. */
export interface TermExplanation {
  readonly holds: boolean;
  readonly clauses: readonly ClauseExplanation[];
  readonly anyOf: readonly { readonly holds: boolean; readonly terms: readonly TermExplanation[] }[];
}

export interface ClauseExplanation {
  readonly path: string;
  /** `equals`, `prefix` …; `anything-but prefix` names its inner one. */
  readonly operator: string;
  readonly expected: string;
  readonly actual: Actual;
  /** `error`: the test can't be asked of the value; it counts as false. */
  readonly result: 'true' | 'false' | 'error';
  /** Why it is an error; null otherwise. */
  readonly reason: string | null;
}

/** What the message has there: how many values, and the first few, shortened; the one that decided comes first. */
export interface Actual {
  readonly count: number;
  readonly values: readonly string[];
}

const SHOWN_VALUES = 5;
const SHOWN_CHARACTERS = 120;

/** Asks every rule that is enabled, also those that `decide` does not come to, and every clause of it. */
export function explain(compiled: CompiledRules, message: CanonicalMessage): Explanation {
  return atOnce(explaining(compiled, message));
}

/** The same, clause by clause. */
export function* explaining(compiled: CompiledRules, message: CanonicalMessage): Steps<Explanation> {
  const reading = new Reading(message, compiled.fields);
  const matched: Rule[] = [];
  const steps: RuleExplanation[] = [];
  for (const compiledRule of compiled.all) {
    const before = compiled.mode === 'first-match' ? matched[0] : undefined;
    const step = yield* explainRule(compiledRule, before, compiled.fields, reading);
    if (step.state === 'matched') matched.push(compiledRule.rule);
    steps.push(step);
  }
  const { rules, outcome } = conclude(compiled.mode, matched);
  const closeCounts = outcome.do === 'close';
  return { mode: compiled.mode, rules, outcome, steps: closeCounts ? steps : steps.map(overruled) };
}

function* explainRule(
  { rule, when }: CompiledRule,
  decidedBefore: Rule | undefined,
  fields: readonly Field[],
  reading: Reading,
): Steps<RuleExplanation> {
  const { name, description, priority, choice } = rule;
  const about = { rule: name, description, priority, choice };
  if (!rule.enabled) return { ...about, state: 'disabled', why: 'The rule is disabled.', terms: [] };
  const terms = yield* explainPattern(when, fields, reading);
  const failing = terms.filter((term) => !term.holds);
  if (decidedBefore) {
    const otherwise =
      failing.length > 0 ? `It would not have matched: ${whyNot(failing)}` : 'It would have matched, too.';
    return {
      ...about,
      state: 'not_reached',
      why: `Not asked: ${decidedBefore.name} matched first. ${otherwise}`,
      terms,
    };
  }
  if (failing.length > 0) return { ...about, state: 'not_matched', why: whyNot(failing), terms };
  const why = terms.length === 0 ? 'It asks for nothing, so every message matches.' : 'Everything it asks for holds.';
  return { ...about, state: 'matched', why, terms };
}

/** A close in all-match that did not count says so. */
function overruled(step: RuleExplanation): RuleExplanation {
  if (step.state !== 'matched' || !('close' in step.choice)) return step;
  return { ...step, why: `${step.why} It would close, but another rule chose targets.` };
}

function whyNot(failing: readonly TermExplanation[]): string {
  const names = failing.map((term) => term.clauses[0]?.path ?? '$or');
  return `${[...new Set(names)].join(', ')} ${names.length === 1 ? 'does' : 'do'} not hold.`;
}

function* explainPattern(
  pattern: CompiledPattern,
  fields: readonly Field[],
  reading: Reading,
): Steps<TermExplanation[]> {
  const terms: TermExplanation[] = [];
  for (const term of pattern) terms.push(yield* explainTerm(term, fields, reading));
  return terms;
}

function* explainTerm(term: CompiledTerm, fields: readonly Field[], reading: Reading): Steps<TermExplanation> {
  if ('anyOf' in term) {
    const anyOf: { holds: boolean; terms: TermExplanation[] }[] = [];
    for (const pattern of term.anyOf) {
      const terms = yield* explainPattern(pattern, fields, reading);
      anyOf.push({ holds: terms.every((one) => one.holds), terms });
    }
    return { holds: anyOf.some((pattern) => pattern.holds), clauses: [], anyOf };
  }
  const field = fields[term.field] as Field;
  const value = reading.value(term.field);
  const isUnread = reading.isUnread(term.field);
  const clauses: ClauseExplanation[] = [];
  for (const test of term.tests) {
    clauses.push(explainClause(test, field, value, isUnread));
    yield;
  }
  return { holds: clauses.some((clause) => clause.result === 'true'), clauses, anyOf: [] };
}

function explainClause(
  { test, check, ofValue, byAbsence }: CompiledTest,
  field: Field,
  value: unknown,
  isUnread: boolean,
): ClauseExplanation {
  const asked = check(value);
  // Neither that nothing is there, nor that nothing else is.
  const proves = asked === true ? !byAbsence : asked instanceof Incomparable;
  const holds = isUnread && !proves ? new Incomparable(NOT_CHECKED) : asked;
  const error = typeof holds === 'boolean' ? null : holds.reason;
  return {
    path: field.path,
    operator: operatorOf(test),
    expected: shorten(expectedOf(test), SHOWN_CHARACTERS * SHOWN_VALUES),
    actual: actualOf(value, ofValue),
    result: error === null ? (holds ? 'true' : 'false') : 'error',
    reason: error,
  };
}

function operatorOf(test: Test): string {
  return test.op === 'anything-but' && test.of.op !== 'equals' ? `anything-but ${test.of.op}` : test.op;
}

function expectedOf(test: Test): string {
  switch (test.op) {
    case 'exists':
      return String(test.exists);
    case 'numeric':
      return test.bounds.map((bound) => `${bound.is} ${bound.than}`).join(', ');
    case 'anything-but':
      return test.of.any.map(showLiteral).join(', ');
    default:
      return test.any.map(showLiteral).join(', ');
  }
}

function showLiteral(literal: Literal): string {
  return typeof literal === 'object' && literal !== null ? literal.digits : JSON.stringify(literal);
}

function actualOf(value: unknown, ofValue: CompiledTest['ofValue']): Actual {
  if (value === undefined) return { count: 0, values: [] };
  const all: readonly unknown[] = Array.isArray(value) ? value : [value];
  // Of one value there is nothing to bring forward, and asking again may cost as much as the first time.
  const decisive = ofValue && all.length > 1 ? all.findIndex((one) => ofValue(one) === true) : 0;
  const first = all.slice(0, SHOWN_VALUES);
  const shown = decisive > 0 ? [all[decisive], ...first.toSpliced(decisive, 1)] : first;
  return { count: all.length, values: shown.slice(0, SHOWN_VALUES).map(showValue) };
}

function showValue(value: unknown): string {
  if (typeof value === 'string') return quote(value);
  if (isLosslessNumber(value)) return shorten(value.value, SHOWN_CHARACTERS);
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}

/** Cut before it is quoted: the value may be very long. */
function quote(text: string): string {
  return JSON.stringify(shorten(text, SHOWN_CHARACTERS));
}

/** Cuts between characters, never within a surrogate pair. */
function shorten(text: string, length: number): string {
  if (text.length <= length) return text;
  return `${text.slice(0, length).replace(/[\uD800-\uDBFF]$/, '')}…`;
}
