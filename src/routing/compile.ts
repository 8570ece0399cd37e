import type { CanonicalMessage } from '../message/message.js';
import { conclude, type Decided } from './conclude.js';
import { type Field, resolveField } from './field.js';
import { indexing, type RuleIndex } from './narrow.js';
import type { Pattern, Rule, RuleSet, Term, Test } from './rule.js';
import { atOnce, type Steps } from './steps.js';
import { type CompiledTest, compileTest } from './test.js';

/** A rule set ready to be asked. Made once for a version of the rules, used for every message. */
export interface CompiledRules {
  readonly mode: RuleSet['mode'];
  /** Every field that some rule asks for, each once; terms name them by index. */
  readonly fields: readonly Field[];
  /** In the order they are asked, disabled ones included. */
  readonly all: readonly CompiledRule[];
  /** The enabled ones of `all`. */
  readonly active: readonly CompiledRule[];
  /** Which of `active` have to be asked of a message. */
  readonly index: RuleIndex;
  /** What it comes to when none matches: one object, as `alone`. */
  readonly none: Decided;
  /** Whether a message may be made for which it takes more than some ten milliseconds to ask all of them. */
  readonly mayTakeLong: boolean;
}

export interface CompiledRule {
  readonly rule: Rule;
  readonly when: CompiledPattern;
  /** What it comes to when no other rule matches: one object, so that what follows from it can be remembered. */
  readonly alone: Decided;
}

export type CompiledPattern = readonly CompiledTerm[];

export type CompiledTerm =
  | { readonly field: number; readonly tests: readonly CompiledTest[] }
  | { readonly anyOf: readonly CompiledPattern[] };

/** Orders the rules and prepares their tests. The rule set must come from `parseRuleSet`. */
export function compileRuleSet(ruleSet: RuleSet): CompiledRules {
  return atOnce(compiling(ruleSet));
}

/** The same, rule by rule. */
export function* compiling(ruleSet: RuleSet): Steps<CompiledRules> {
  const fields = new FieldTable();
  const all: CompiledRule[] = [];
  // Sorting is stable: rules of one priority keep the order of the file.
  for (const rule of ruleSet.rules.toSorted((a, b) => a.priority - b.priority)) {
    all.push({ rule, when: compilePattern(rule.when, fields), alone: conclude(ruleSet.mode, [rule]) });
    yield;
  }
  const active = all.filter(({ rule }) => rule.enabled);
  const patterns = active.map(({ rule }) => rule.when);
  const index = yield* indexing(patterns, (path) => fields.place(path));
  const mayTakeLong = patterns.reduce((sum, pattern) => sum + effortOf(pattern), 0) > SHORT;
  return { mode: ruleSet.mode, fields: fields.list, all, active, index, none: conclude(ruleSet.mode, []), mayTakeLong };
}

/** In microseconds at worst, on a text as long as rules see it: one expression, or twenty that look through a text. */
const SHORT = 20_000;

function effortOf(pattern: Pattern): number {
  return pattern.reduce((sum, term) => {
    if ('anyOf' in term) return term.anyOf.reduce((inner, one) => inner + effortOf(one), sum);
    return term.tests.reduce((inner, test) => inner + effortOfTest(test), sum);
  }, 0);
}

function effortOfTest(test: Test): number {
  switch (test.op) {
    case 'anything-but':
      return effortOfTest(test.of);
    case 'matches':
      return 15_000 * test.any.length;
    case 'wildcard':
    case 'equals-ignore-case':
      return 1_000 * test.any.length;
    default:
      return 10;
  }
}

class FieldTable {
  readonly list: Field[] = [];
  private readonly indexes = new Map<string, number>();

  index(path: string): number {
    const known = this.indexes.get(path);
    if (known !== undefined) return known;
    const field = resolveField(path);
    if (!('read' in field)) throw new TypeError(field.message);
    this.indexes.set(path, this.list.length);
    return this.list.push(field) - 1;
  }

  place(path: string): { field: number; type: Field['type'] } {
    const field = this.index(path);
    return { field, type: (this.list[field] as Field).type };
  }
}

function compilePattern(pattern: Pattern, fields: FieldTable): CompiledPattern {
  return pattern.map((term) => compileTerm(term, fields));
}

function compileTerm(term: Term, fields: FieldTable): CompiledTerm {
  if ('anyOf' in term) return { anyOf: term.anyOf.map((pattern) => compilePattern(pattern, fields)) };
  const { field, type } = fields.place(term.path);
  return { field, tests: term.tests.map((test) => compileTest(test, type)) };
}

const UNREAD = Symbol('unread');

/** One message under the eyes of the rules: each field is read when it is first asked for, and once. */
export class Reading {
  private readonly values: unknown[];

  constructor(
    private readonly message: CanonicalMessage,
    private readonly fields: readonly Field[],
  ) {
    this.values = new Array(fields.length).fill(UNREAD);
  }

  value(field: number): unknown {
    const known = this.values[field];
    if (known !== UNREAD) return known;
    const value = (this.fields[field] as Field).read(this.message);
    this.values[field] = value;
    return value;
  }

  /** Whether something of what a field looks at was left out of the view: then what is not there proves nothing. */
  isUnread(field: number): boolean {
    const { unread } = this.message.view;
    if (unread.length === 0) return false;
    const { of } = this.fields[field] as Field;
    return of === 'any' || (of !== undefined && unread.includes(of));
  }
}
