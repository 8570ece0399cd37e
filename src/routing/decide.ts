import type { CanonicalMessage } from '../message/message.js';
import { type CompiledPattern, type CompiledRule, type CompiledRules, type CompiledTerm, Reading } from './compile.js';
import { conclude, type Decided } from './conclude.js';
import { Candidates } from './narrow.js';
import type { Steps } from './steps.js';
import type { CompiledTest } from './test.js';

/** Asks the rules in order, but for those that the message can't match. Never fails: a test that can't be asked of a value counts as false. */
export function decide(compiled: CompiledRules, message: CanonicalMessage): Decided {
  const reading = new Reading(message, compiled.fields);
  const matched: CompiledRule[] = [];
  const candidates = new Candidates(compiled.index, reading);
  for (let at = candidates.next(); at >= 0; at = candidates.next()) {
    const rule = compiled.active[at] as CompiledRule;
    if (!patternHolds(rule.when, reading)) continue;
    matched.push(rule);
    if (compiled.mode === 'first-match') break;
  }
  return concluded(compiled, matched);
}

/**
 * The same, test by test where it may take long, for rules that nobody has put in force and that may be slow about any
 * message: thousands of expressions, for example.
 */
export function* deciding(compiled: CompiledRules, message: CanonicalMessage): Steps<Decided> {
  if (!compiled.mayTakeLong) return decide(compiled, message);
  const reading = new Reading(message, compiled.fields);
  const matched: CompiledRule[] = [];
  const candidates = new Candidates(compiled.index, reading);
  for (let at = candidates.next(); at >= 0; at = candidates.next()) {
    const rule = compiled.active[at] as CompiledRule;
    yield;
    if (!(yield* patternHoldsBySteps(rule.when, reading))) continue;
    matched.push(rule);
    if (compiled.mode === 'first-match') break;
  }
  return concluded(compiled, matched);
}

function concluded(compiled: CompiledRules, matched: readonly CompiledRule[]): Decided {
  const [first] = matched;
  if (!first) return compiled.none;
  if (matched.length === 1) return first.alone;
  return conclude(
    compiled.mode,
    matched.map(({ rule }) => rule),
  );
}

function patternHolds(pattern: CompiledPattern, reading: Reading): boolean {
  for (const term of pattern) if (!termHolds(term, reading)) return false;
  return true;
}

function termHolds(term: CompiledTerm, reading: Reading): boolean {
  if ('anyOf' in term) return term.anyOf.some((pattern) => patternHolds(pattern, reading));
  const value = reading.value(term.field);
  for (const test of term.tests) if (testHolds(test, value, term.field, reading)) return true;
  return false;
}

function testHolds({ check, byAbsence }: CompiledTest, value: unknown, field: number, reading: Reading): boolean {
  return check(value) === true && !(byAbsence && reading.isUnread(field));
}

function* patternHoldsBySteps(pattern: CompiledPattern, reading: Reading): Steps<boolean> {
  for (const term of pattern) if (!(yield* termHoldsBySteps(term, reading))) return false;
  return true;
}

function* termHoldsBySteps(term: CompiledTerm, reading: Reading): Steps<boolean> {
  if ('anyOf' in term) {
    for (const pattern of term.anyOf) if (yield* patternHoldsBySteps(pattern, reading)) return true;
    return false;
  }
  const value = reading.value(term.field);
  for (const test of term.tests) {
    if (testHolds(test, value, term.field, reading)) return true;
    yield;
  }
  return false;
}
