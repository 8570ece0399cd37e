import { decimalKey } from './decimal.js';
import type { FieldType } from './field.js';
import type { Literal, Pattern, Term } from './rule.js';
import type { Steps } from './steps.js';
import { asDecimal, expectedDecimal } from './test.js';

/*
 * Most rules of a large set ask that some field equals something. Such a rule can only hold for a message that has one of
 * those values, so it is found by the message's value and otherwise not asked at all. All other rules are asked as ever.
 */

/** Rules by what they need, as positions in the order they are asked. */
export interface RuleIndex {
  /** Those that nothing rules out beforehand, in order. */
  readonly always: readonly number[];
  /** By the position of the first rule that each leads to. */
  readonly byField: readonly FieldIndex[];
}

interface FieldIndex {
  readonly field: number;
  /** Before this rule is reached, the field need not be read. */
  readonly first: number;
  /** By text, true, false and null. */
  readonly constants: ReadonlyMap<unknown, readonly number[]>;
  /** By `decimalKey`; null where no rule asks for a number. */
  readonly numbers: ReadonlyMap<string, readonly number[]> | null;
}

/** Where a field stands among those that rules ask for, and what its literals are. */
export type FieldOf = (path: string) => { readonly field: number; readonly type: FieldType };

/** One value that a field may equal. */
interface Key {
  readonly field: number;
  readonly number: boolean;
  readonly value: string | boolean | null;
}

/** Values of which a message must have one, or the pattern does not hold. */
type Guard = readonly Key[];

/** Of each rule the guard is chosen that it shares with the fewest others. */
export function* indexing(patterns: readonly Pattern[], fieldOf: FieldOf): Steps<RuleIndex> {
  const commonness = new Map<string, number>();
  for (const pattern of patterns) {
    for (const key of keysIn(pattern, fieldOf)) commonness.set(nameOf(key), (commonness.get(nameOf(key)) ?? 0) + 1);
    yield;
  }
  const shared = (guard: Guard) => guard.reduce((most, key) => Math.max(most, commonness.get(nameOf(key)) ?? 0), 0);
  const always: number[] = [];
  const fields = new Map<number, FieldTable>();
  for (const [position, pattern] of patterns.entries()) {
    const guard = guardOf(pattern, fieldOf, shared);
    if (guard === null) always.push(position);
    for (const key of guard ?? []) {
      const table = fields.get(key.field) ?? new FieldTable(key.field, position);
      fields.set(key.field, table);
      table.add(key, position);
    }
    yield;
  }
  return { always, byField: [...fields.values()].sort((a, b) => a.first - b.first) };
}

class FieldTable implements FieldIndex {
  readonly constants = new Map<unknown, number[]>();
  numbers: Map<string, number[]> | null = null;

  constructor(
    readonly field: number,
    readonly first: number,
  ) {}

  add({ number, value }: Key, position: number): void {
    if (number) this.numbers ??= new Map();
    const table: Map<unknown, number[]> = (number ? this.numbers : null) ?? this.constants;
    const positions = table.get(value);
    if (positions === undefined) table.set(value, [position]);
    else if (positions.at(-1) !== position) positions.push(position);
  }
}

function nameOf({ field, number, value }: Key): string {
  return `${field} ${number ? 'number' : typeof value} ${value}`;
}

/**
 * The positions, before one of them, of all rules that could hold for whatever a pattern holds for: those whose guard it
 * names a value of, and those without one. Ascending.
 */
export function rulesAlike(index: RuleIndex, pattern: Pattern, before: number, fieldOf: FieldOf): number[] {
  const found = new Set(index.always);
  const fields = new Map(index.byField.map((one) => [one.field, one]));
  for (const { field, number, value } of keysIn(pattern, fieldOf)) {
    const table = fields.get(field);
    const positions = number ? table?.numbers?.get(value as string) : table?.constants.get(value);
    for (const position of positions ?? []) found.add(position);
  }
  return [...found].filter((position) => position < before).sort((a, b) => a - b);
}

/** Every value that some guard of the pattern may name, each once. */
function keysIn(pattern: Pattern, fieldOf: FieldOf): Key[] {
  const keys = new Map<string, Key>();
  const visit = (term: Term) => {
    if ('anyOf' in term) for (const inner of term.anyOf) inner.forEach(visit);
    else for (const key of equalityOf(term, fieldOf) ?? []) keys.set(nameOf(key), key);
  };
  pattern.forEach(visit);
  return [...keys.values()];
}

function guardOf(pattern: Pattern, fieldOf: FieldOf, shared: (guard: Guard) => number): Guard | null {
  let best: Guard | null = null;
  for (const term of pattern) {
    const guard = 'anyOf' in term ? guardOfAny(term.anyOf, fieldOf, shared) : equalityOf(term, fieldOf);
    if (guard !== null && (best === null || shared(guard) < shared(best))) best = guard;
  }
  return best;
}

/** One of several patterns holds only where the guard of one does. */
function guardOfAny(patterns: readonly Pattern[], fieldOf: FieldOf, shared: (guard: Guard) => number): Guard | null {
  const guards = patterns.map((pattern) => guardOf(pattern, fieldOf, shared));
  return guards.every((guard) => guard !== null) ? guards.flat() : null;
}

/** The values a field is asked to equal; null where another test of it may hold instead. */
function equalityOf({ path, tests }: Extract<Term, { path: string }>, fieldOf: FieldOf): Guard | null {
  const [only, another] = tests;
  if (only?.op !== 'equals' || another) return null;
  const { field, type } = fieldOf(path);
  return only.any.map((literal) => keyOf(literal, field, type));
}

function keyOf(literal: Literal, field: number, type: FieldType): Key {
  if (typeof literal === 'object' && literal !== null) {
    return { field, number: true, value: decimalKey(expectedDecimal(literal.digits)) };
  }
  const folds = type === 'address' && typeof literal === 'string';
  return { field, number: false, value: folds ? literal.toLowerCase() : literal };
}

const NO_MORE = Number.POSITIVE_INFINITY;

/** The rules to be asked of one message, one after another, in their order. */
export class Candidates {
  /** Positions that the message's values led to, ascending; some may be there several times. */
  private found: readonly number[] = [];
  private foundAt = 0;
  private alwaysAt = 0;
  private looked = 0;

  constructor(
    private readonly index: RuleIndex,
    private readonly reading: { value(field: number): unknown },
  ) {}

  /** The next one's position; -1 after the last. */
  next(): number {
    const { always, byField } = this.index;
    for (;;) {
      const fromAlways = always[this.alwaysAt] ?? NO_MORE;
      const fromFound = this.found[this.foundAt] ?? NO_MORE;
      const next = Math.min(fromFound, fromAlways);
      const field = byField[this.looked];
      if (field !== undefined && field.first <= next) {
        this.looked++;
        this.look(field);
      } else if (next === NO_MORE) {
        return -1;
      } else {
        if (fromAlways === next) this.alwaysAt++;
        while (this.found[this.foundAt] === next) this.foundAt++;
        return next;
      }
    }
  }

  private look({ field, constants, numbers }: FieldIndex): void {
    const value = this.reading.value(field);
    if (value === undefined) return;
    const lists: (readonly number[])[] = [];
    for (const one of Array.isArray(value) ? new Set(value) : [value]) {
      const same = constants.get(one);
      if (same) lists.push(same);
      const decimal = numbers && asDecimal(one);
      const equal = decimal && numbers.get(decimalKey(decimal));
      if (equal) lists.push(equal);
    }
    const [only, another] = lists;
    if (!only) return;
    const rest = this.found.slice(this.foundAt);
    this.found = rest.length === 0 && !another ? only : [...rest, ...lists.flat()].sort((a, b) => a - b);
    this.foundAt = 0;
  }
}
