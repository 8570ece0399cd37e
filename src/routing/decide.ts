import type { CanonicalMessage } from '../message/message.js';
import { type CompiledPattern, type CompiledRule, type CompiledRules, type CompiledTerm, Reading } from './compile.js';
import { conclude, type Decided } from './conclude.js';
import { Candidates } from './narrow.js';

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
  for (const { check, byAbsence } of term.tests) {
    if (check(value) === true && !(byAbsence && reading.isUnread(term.field))) return true;
  }
  return false;
}
