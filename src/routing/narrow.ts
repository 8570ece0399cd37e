import { compareDecimals, type Decimal, decimalKey } from './decimal.js';
import type { FieldType } from './field.js';
import type { Bound, Literal, Pattern, Term, Test } from './rule.js';
import type { Steps } from './steps.js';
import { asDecimal, expectedDecimal } from './test.js';
import { type Threshold, Thresholds } from './thresholds.js';
import { MOST_CHARACTERS, Trigrams, trigramsOf } from './trigrams.js';

/*
 * Most rules of a large set ask that some field equals something, begins with it, contains it or exceeds it. Such a rule can
 * only hold for a message that has such a value, so it is found by the message's value and otherwise not asked at all. All
 * other rules are asked as ever.
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
  /** By `decimalKey`; this and what follows are null where no rule asks for it. */
  readonly numbers: ReadonlyMap<string, readonly number[]> | null;
  readonly trigrams: Trigrams | null;
  readonly above: Thresholds | null;
  readonly below: Thresholds | null;
}

/** Where a field stands among those that rules ask for, and what its literals are. */
export type FieldOf = (path: string) => { readonly field: number; readonly type: FieldType };

/** Something that a field's value may be. */
type Key = EqualKey | TrigramKey | ThresholdKey;

interface EqualKey {
  readonly is: 'text' | 'number';
  readonly field: number;
  readonly value: string | boolean | null;
}

interface TrigramKey {
  readonly is: 'trigram';
  readonly field: number;
  readonly value: string;
}

interface ThresholdKey {
  readonly is: 'above' | 'below';
  readonly field: number;
  readonly than: Decimal;
}

/** Of these a message must be one, or the pattern does not hold. */
type Guard = readonly Key[];

/** Of each rule the guard is chosen that it shares with the fewest others. `by`: all there are, or what is asked to be equal alone. */
export function* indexing(
  patterns: readonly Pattern[],
  fieldOf: FieldOf,
  by: 'anything' | 'equality' = 'anything',
): Steps<RuleIndex> {
  const census = new Census(fieldOf, by);
  for (const pattern of patterns) {
    census.count(pattern);
    yield;
  }
  const always: number[] = [];
  const fields = new Map<number, FieldTable>();
  for (const [position, pattern] of patterns.entries()) {
    const guard = guardOf(pattern, census);
    if (guard === null) always.push(position);
    for (const key of guard ?? []) {
      const table = fields.get(key.field) ?? new FieldTable(key.field, position);
      fields.set(key.field, table);
      table.add(key, position);
    }
    yield;
  }
  const byField = [...fields.values()].map((table) => table.finished()).sort((a, b) => a.first - b.first);
  return { always, byField };
}

/** Fewer rules that ask a field for pieces of text, or for a number in a range, are asked in less time than they are found. */
const WORTH_FINDING = 8;

/** How many rules a key would lead to. */
class Census {
  private readonly counts = new Map<string, number>();

  constructor(
    readonly fieldOf: FieldOf,
    private readonly by: 'anything' | 'equality',
  ) {}

  count(pattern: Pattern): void {
    const names = new Set<string>();
    eachTest(pattern, (test, path) => {
      const { field, type } = this.fieldOf(path);
      for (const key of equalKeys(test, field, type)) names.add(nameOf(key));
      const sought = this.soughtBy(test, field, type);
      if (sought === null) return;
      names.add(kindIn(field, sought.kind));
      for (const keys of sought.any) for (const key of keys) names.add(nameOf(key));
    });
    for (const name of names) this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }

  /** With how many rules at most one of the keys is shared. */
  shared(guard: Guard): number {
    return guard.reduce((most, key) => Math.max(most, this.of(key)), 0);
  }

  of(key: Key): number {
    return this.counts.get(nameOf(key)) ?? 0;
  }

  soughtBy(test: Test, field: number, type: FieldType): Sought | null {
    return this.by === 'anything' ? soughtBy(test, field, type) : null;
  }

  isWorthFinding(field: number, kind: Sought['kind']): boolean {
    return (this.counts.get(kindIn(field, kind)) ?? 0) >= WORTH_FINDING;
  }
}

function eachTest(pattern: Pattern, visit: (test: Test, path: string) => void): void {
  for (const term of pattern) {
    if ('anyOf' in term) for (const inner of term.anyOf) eachTest(inner, visit);
    else for (const test of term.tests) visit(test, term.path);
  }
}

/** Thresholds of a field are one key: by a value all of them may be found. */
function nameOf(key: Key): string {
  if ('than' in key) return kindIn(key.field, 'ranges');
  return `${key.field} ${key.is} ${typeof key.value} ${key.value}`;
}

function kindIn(field: number, kind: Sought['kind']): string {
  return `${field} ${kind}`;
}

/** What a test asks of a field's value other than to be equal: of some list to be every one of the keys. */
interface Sought {
  readonly kind: 'pieces' | 'ranges';
  readonly any: readonly (readonly Key[])[];
}

/** Null where rules are not found by what a test asks, or by what is to be equal alone. */
function soughtBy(test: Test, field: number, type: FieldType): Sought | null {
  switch (test.op) {
    case 'prefix':
    case 'suffix':
    case 'wildcard': {
      const { op, any } = test;
      return { kind: 'pieces', any: any.map((text) => pieceKeys(op, text, field, type)) };
    }
    case 'numeric':
      return { kind: 'ranges', any: [numberKeys(test.bounds, field)] };
    case 'equals':
    case 'equals-ignore-case':
    case 'matches':
    case 'cidr':
    case 'exists':
    case 'anything-but':
      return null;
    default: {
      const never: never = test;
      return never;
    }
  }
}

function equalKeys(test: Test, field: number, type: FieldType): EqualKey[] {
  return test.op === 'equals' ? test.any.map((literal) => keyOf(literal, field, type)) : [];
}

function keyOf(literal: Literal, field: number, type: FieldType): EqualKey {
  if (typeof literal === 'object' && literal !== null) {
    return { is: 'number', field, value: decimalKey(expectedDecimal(literal.digits)) };
  }
  const folds = type === 'address' && typeof literal === 'string';
  return { is: 'text', field, value: folds ? literal.toLowerCase() : literal };
}

function pieceKeys(op: 'prefix' | 'suffix' | 'wildcard', text: string, field: number, type: FieldType): TrigramKey[] {
  const trigrams = trigramsOf(op, type === 'address' ? text.toLowerCase() : text);
  return trigrams.map((value) => ({ is: 'trigram', field, value }));
}

/** The number it asks for, or else its lower bound where it has one. */
function numberKeys(bounds: readonly Bound[], field: number): Key[] {
  const equal = bounds.find(({ is }) => is === '=');
  if (equal) return [{ is: 'number', field, value: decimalKey(expectedDecimal(equal.than)) }];
  const above = bounds.find(({ is }) => is === '>' || is === '>=');
  if (above) return [{ is: 'above', field, than: expectedDecimal(above.than) }];
  const [below] = bounds;
  return below ? [{ is: 'below', field, than: expectedDecimal(below.than) }] : [];
}

/** What is being made into a FieldIndex. */
class FieldTable {
  private readonly constants = new Map<unknown, number[]>();
  private readonly numbers = new Map<string, number[]>();
  private readonly trigrams = new Trigrams();
  private readonly above: Threshold[] = [];
  private readonly below: Threshold[] = [];

  constructor(
    private readonly field: number,
    private readonly first: number,
  ) {}

  add(key: Key, position: number): void {
    switch (key.is) {
      case 'text':
        addTo(this.constants, key.value, position);
        break;
      case 'number':
        addTo(this.numbers, key.value as string, position);
        break;
      case 'trigram':
        this.trigrams.add(key.value, position);
        break;
      case 'above':
        this.above.push({ than: key.than, position });
        break;
      case 'below':
        this.below.push({ than: key.than, position });
        break;
      default:
        key satisfies never;
    }
  }

  finished(): FieldIndex {
    return {
      field: this.field,
      first: this.first,
      constants: this.constants,
      numbers: this.numbers.size > 0 ? this.numbers : null,
      trigrams: this.trigrams.every.length > 0 ? this.trigrams : null,
      above: this.above.length > 0 ? new Thresholds('above', this.above) : null,
      below: this.below.length > 0 ? new Thresholds('below', this.below) : null,
    };
  }
}

function addTo<K>(table: Map<K, number[]>, value: K, position: number): void {
  const positions = table.get(value);
  if (positions === undefined) table.set(value, [position]);
  else if (positions.at(-1) !== position) positions.push(position);
}

/**
 * The positions, before one of them, of all rules that could hold for whatever a pattern holds for: those that ask for one of the
 * values it names to be equal, and all that ask for something else. Ascending. The index is one by equality.
 */
export function rulesAlike(index: RuleIndex, pattern: Pattern, before: number, fieldOf: FieldOf): number[] {
  const found = new Set(index.always);
  const fields = new Map(index.byField.map((one) => [one.field, one]));
  eachTest(pattern, (test, path) => {
    const { field, type } = fieldOf(path);
    const table = fields.get(field);
    for (const { is, value } of equalKeys(test, field, type)) {
      const positions = is === 'number' ? table?.numbers?.get(value as string) : table?.constants.get(value);
      for (const position of positions ?? []) found.add(position);
    }
  });
  return [...found].filter((position) => position < before).sort((a, b) => a - b);
}

function guardOf(pattern: Pattern, census: Census): Guard | null {
  const guards = pattern.map((term) => guardOfTerm(term, census)).filter((guard) => guard !== null);
  return leastOf(guards, (guard) => census.shared(guard));
}

/** One of several patterns holds, or one of several tests, only where the guard of one does. */
function guardOfTerm(term: Term, census: Census): Guard | null {
  if ('anyOf' in term) return together(term.anyOf.map((pattern) => guardOf(pattern, census)));
  const { field, type } = census.fieldOf(term.path);
  return together(term.tests.map((test) => guardOfTest(test, field, type, census)));
}

function together(guards: readonly (Guard | null)[]): Guard | null {
  return guards.every((guard) => guard !== null) ? guards.flat() : null;
}

function guardOfTest(test: Test, field: number, type: FieldType, census: Census): Guard | null {
  if (test.op === 'equals') return equalKeys(test, field, type);
  const sought = census.soughtBy(test, field, type);
  if (sought === null || !census.isWorthFinding(field, sought.kind)) return null;
  return together(sought.any.map((keys) => rarest(keys, census)));
}

function rarest(keys: readonly Key[], census: Census): Guard | null {
  const key = leastOf(keys, (one) => census.of(one));
  return key && [key];
}

/** The first of those that come to the least; what is alone is not counted. Null where there are none. */
function leastOf<T>(all: readonly T[], count: (one: T) => number): T | null {
  let [best = null] = all;
  let least = Number.POSITIVE_INFINITY;
  for (const one of all.length > 1 ? all : []) {
    const counted = count(one);
    if (counted < least) [best, least] = [one, counted];
  }
  return best;
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

  private look(index: FieldIndex): void {
    const value = this.reading.value(index.field);
    if (value === undefined) return;
    const lists = listsFor(index, value);
    const [only, another] = lists;
    if (!only) return;
    const rest = this.found.slice(this.foundAt);
    this.found = rest.length === 0 && !another ? only : [...rest, ...lists.flat()].sort((a, b) => a - b);
    this.foundAt = 0;
  }
}

/** The positions of the rules that a field's value leads to, each list once however often the value leads to it. */
function listsFor({ constants, numbers, trigrams, above, below }: FieldIndex, value: unknown): (readonly number[])[] {
  const lists = new Set<readonly number[]>();
  const add = (positions: readonly number[] | undefined) => {
    if (positions && positions.length > 0) lists.add(positions);
  };
  let characters = 0;
  let greatest: Decimal | null = null;
  let least: Decimal | null = null;
  for (const one of Array.isArray(value) ? new Set(value) : [value]) {
    add(constants.get(one));
    if (trigrams && typeof one === 'string') {
      characters += one.length;
      if (characters <= MOST_CHARACTERS) trigrams.find(one, add);
    }
    const decimal = (numbers ?? above ?? below) && asDecimal(one);
    if (!decimal) continue;
    add(numbers?.get(decimalKey(decimal)));
    if (greatest === null || compareDecimals(decimal, greatest) > 0) greatest = decimal;
    if (least === null || compareDecimals(decimal, least) < 0) least = decimal;
  }
  if (characters > MOST_CHARACTERS) add(trigrams?.every);
  // Whatever a smaller number reaches the greatest one does, too.
  if (greatest) add(above?.find(greatest));
  if (least) add(below?.find(least));
  return [...lists];
}
