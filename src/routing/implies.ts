import { compareDecimals, type Decimal, decimalKey, parseDecimal } from './decimal.js';
import { type FieldType, resolveField } from './field.js';
import type { Bound, ComparableTest, Literal, NumberLiteral, Pattern, Term, Test } from './rule.js';
import { type CompiledTest, compileTest, isWithin } from './test.js';

/*
 * What can be said of patterns without a message. Every true is certain, for every message that can come; false says
 * nothing.
 */

/** So many comparisons may still be made; afterwards every answer is false. */
export interface Effort {
  left: number;
}

type FieldTerm = Extract<Term, { path: string }>;

/** Every message has one of these, and only one. */
const ALWAYS_ONE: ReadonlySet<string> = new Set(['kind', 'source', 'account', 'received', 'peer', 'rung']);
/** No message has more than one of these. */
const AT_MOST_ONE: ReadonlySet<string> = new Set([
  ...ALWAYS_ONE,
  ...['type', 'value', 'time', 'externalId', 'subject', 'text', 'messageId'],
]);
/** Only a mail has these. */
const OF_MAIL: ReadonlySet<string> = new Set([
  ...['subject', 'from', 'to', 'cc', 'messageId', 'parts', 'parts.name', 'parts.type', 'parts.size'],
]);
const KINDS = ['mail', 'event', 'webhook', 'amqp'] as const;
type Kind = (typeof KINDS)[number];

/** Whether the pattern holds for every message. */
export function alwaysHolds(pattern: Pattern): boolean {
  return pattern.every(termAlwaysHolds);
}

function termAlwaysHolds(term: Term): boolean {
  if ('anyOf' in term) return term.anyOf.some(alwaysHolds);
  if (!ALWAYS_ONE.has(term.path)) return false;
  if (term.path === 'kind' && KINDS.every((kind) => someHolds(term, kind))) return true;
  return term.tests.some((test) => isAnything(test));
}

function isAnything(test: Test): boolean {
  if (test.op === 'exists') return test.exists;
  return test.op === 'wildcard' && test.any.some((text) => /^\*+$/.test(text));
}

/** Whether no message can match the pattern. */
export function neverHolds(pattern: Pattern, effort: Effort): boolean {
  return contradicts(pattern, [], effort);
}

/** `around`: what else must hold with it. */
function contradicts(pattern: Pattern, around: readonly FieldTerm[], effort: Effort): boolean {
  const own = pattern.filter((term): term is FieldTerm => 'path' in term);
  const known = [...around, ...own];
  effort.left -= known.length;
  if (effort.left <= 0) return false;
  if (own.some(isNothing) || noKindLeft(known) || own.some((term) => noValueLeft(term, known, effort))) return true;
  return pattern.some((term) => 'anyOf' in term && term.anyOf.every((inner) => contradicts(inner, known, effort)));
}

function isNothing({ path, tests }: FieldTerm): boolean {
  return ALWAYS_ONE.has(path) && tests.every((test) => test.op === 'exists' && !test.exists);
}

function noKindLeft(terms: readonly FieldTerm[]): boolean {
  return !KINDS.some((kind) => terms.every((term) => isPossibleOf(term, kind)));
}

function isPossibleOf(term: FieldTerm, kind: Kind): boolean {
  if (term.path === 'kind') return someHolds(term, kind);
  const canBeThere = OF_MAIL.has(term.path) ? kind === 'mail' : !(term.path.startsWith('headers.') && kind === 'event');
  return canBeThere || term.tests.some((test) => test.op === 'exists' && !test.exists);
}

/** A field with one value can't be what another test of it refuses. */
function noValueLeft(term: FieldTerm, known: readonly FieldTerm[], effort: Effort): boolean {
  if (!AT_MOST_ONE.has(term.path)) return false;
  const others = known.filter((other) => other.path === term.path);
  if (others.length < 2) return false;
  return others.some((other) => {
    const texts = onlyTexts(other);
    effort.left -= texts === null ? 1 : texts.length * others.length;
    if (texts === null || effort.left <= 0) return false;
    return !texts.some((text) => others.every((one) => someHolds(one, text)));
  });
}

/** The texts of which the field must be one; null where it may be something else. */
function onlyTexts({ tests }: FieldTerm): readonly string[] | null {
  const [only, another] = tests;
  if (only?.op !== 'equals' || another) return null;
  return only.any.every((literal) => typeof literal === 'string') ? (only.any as readonly string[]) : null;
}

/** Whether a term holds of a field that has this one value, read whole. */
function someHolds({ path, tests }: FieldTerm, value: unknown): boolean {
  const type = typeOf(path);
  return tests.some((test) => holdsOf(test, type, value));
}

function holdsOf(test: Test, type: FieldType, value: unknown): boolean {
  return compiledOf(test, type).check(value) === true;
}

/** Tests are never changed, and asked again and again here. */
const COMPILED = new WeakMap<Test, CompiledTest>();

function compiledOf(test: Test, type: FieldType): CompiledTest {
  const known = COMPILED.get(test);
  if (known) return known;
  const compiled = compileTest(test, type);
  COMPILED.set(test, compiled);
  return compiled;
}

function typeOf(path: string): FieldType {
  const field = resolveField(path);
  if (!('read' in field)) throw new TypeError(field.message);
  return field.type;
}

/** Whether the second pattern holds for every message that the first one holds for. */
export function implies(first: Pattern, second: Pattern, effort: Effort): boolean {
  return second.every((term) => impliesTerm(first, term, effort));
}

function impliesTerm(pattern: Pattern, wanted: Term, effort: Effort): boolean {
  effort.left -= pattern.length + 1;
  if (effort.left <= 0) return false;
  if (termAlwaysHolds(wanted)) return true;
  if ('anyOf' in wanted && wanted.anyOf.some((one) => implies(pattern, one, effort))) return true;
  return pattern.some((term) => {
    if ('anyOf' in term) return term.anyOf.every((one) => impliesTerm(one, wanted, effort));
    if (!('anyOf' in wanted)) return fieldImplies(term, wanted, effort);
    // Each of its values may be meant by another one of the patterns.
    const tests = splitTests(term.tests);
    return tests.length > 1 && tests.every((test) => impliesTerm([{ ...term, tests: [test] }], wanted, effort));
  });
}

function fieldImplies(term: FieldTerm, wanted: FieldTerm, effort: Effort): boolean {
  if (term.path !== wanted.path) return false;
  const type = typeOf(term.path);
  return splitTests(term.tests).every((test) =>
    wanted.tests.some((other) => {
      effort.left -= 'any' in other ? 1 + other.any.length / 100 : 1;
      return effort.left > 0 && testImplies(test, other, term.path, type);
    }),
  );
}

/** Each of the values that would do as a test of its own. */
export function splitTests(tests: readonly Test[]): readonly Test[] {
  const [only, another] = tests;
  if (only && !another && !('any' in only && only.any.length > 1)) return tests;
  return tests.flatMap((test): Test[] => {
    switch (test.op) {
      case 'anything-but':
      case 'numeric':
      case 'exists':
        return [test];
      case 'equals':
        return test.any.map((literal) => ({ op: 'equals', any: [literal] }));
      default:
        return test.any.map((text) => ({ op: test.op, any: [text] }));
    }
  });
}

/** `test` has one value alone, where it takes values. */
function testImplies(test: Test, wanted: Test, path: string, type: FieldType): boolean {
  if (wanted.op === 'exists') return wanted.exists !== (test.op === 'exists' && !test.exists);
  switch (test.op) {
    case 'exists':
      return false;
    case 'anything-but':
      return wanted.op === 'anything-but' && refusesMore(test.of, wanted.of, path, type);
    case 'numeric':
      return wanted.op === 'numeric' && rangeImplies(test.bounds, wanted.bounds);
    case 'equals':
      return literalImplies(test.any[0] as Literal, wanted, path, type);
    default:
      return textImplies(test.op, test.any[0] as string, wanted, type);
  }
}

/** Every value that `wanted` refuses is refused already, by a test that can be asked of the same values. */
function refusesMore(refused: ComparableTest, wanted: ComparableTest, path: string, type: FieldType): boolean {
  if (refused.op === 'matches' || wanted.op === 'matches') return sameTexts(refused, wanted);
  if (refused.op !== wanted.op && wanted.op !== 'equals') return false;
  return splitTests([wanted]).every((test) => testImplies(test, refused, path, type));
}

/** Expressions look at so much of a long text, however many there are. */
function sameTexts(one: ComparableTest, other: ComparableTest): boolean {
  return (
    one.op === other.op && one.any.length === other.any.length && one.any.every((text, n) => text === other.any[n])
  );
}

function literalImplies(literal: Literal, wanted: Test, path: string, type: FieldType): boolean {
  if (typeof literal === 'object' && literal !== null) return numberImplies(literal, wanted);
  // Another one of several values could be refused, or use up what an expression looks at.
  if ((wanted.op === 'anything-but' || wanted.op === 'matches') && !ALWAYS_ONE.has(path)) return false;
  return holdsOf(wanted, type, typeof literal === 'string' ? folded(literal, type) : literal);
}

/** The message may have written it in another way, as a number or as text. */
function numberImplies({ digits }: NumberLiteral, wanted: Test): boolean {
  if (wanted.op === 'numeric') return rangeImplies([{ is: '=', than: digits }], wanted.bounds);
  if (wanted.op !== 'equals') return false;
  const key = decimalKey(decimalOf(digits));
  return wanted.any.some(
    (other) => typeof other === 'object' && other !== null && decimalKey(decimalOf(other.digits)) === key,
  );
}

function decimalOf(digits: string): Decimal {
  const decimal = parseDecimal(digits);
  if (!decimal) throw new TypeError(`${digits} is not a number`);
  return decimal;
}

function rangeImplies(bounds: readonly Bound[], wanted: readonly Bound[]): boolean {
  return wanted.every((one) => bounds.some((bound) => boundImplies(bound, one)));
}

function boundImplies(bound: Bound, wanted: Bound): boolean {
  const order = compareDecimals(decimalOf(bound.than), decimalOf(wanted.than));
  switch (wanted.is) {
    case '=':
      return bound.is === '=' && order === 0;
    case '<':
      return (bound.is === '<' && order <= 0) || ((bound.is === '<=' || bound.is === '=') && order < 0);
    case '<=':
      return (bound.is === '<' || bound.is === '<=' || bound.is === '=') && order <= 0;
    case '>':
      return (bound.is === '>' && order >= 0) || ((bound.is === '>=' || bound.is === '=') && order > 0);
    case '>=':
      return (bound.is === '>' || bound.is === '>=' || bound.is === '=') && order >= 0;
    default: {
      const never: never = wanted.is;
      return never;
    }
  }
}

/** As a rule compares it with the field. */
function folded(text: string, type: FieldType): string {
  return type === 'address' ? text.toLowerCase() : text;
}

type OneText = Exclude<ComparableTest, { op: 'equals' }>['op'];

function textImplies(op: OneText, written: string, wanted: Test, type: FieldType): boolean {
  const text = folded(written, type);
  switch (op) {
    case 'prefix':
      if (wanted.op === 'prefix') return wanted.any.some((prefix) => text.startsWith(folded(prefix, type)));
      // With anything behind it, it still fits.
      return wanted.op === 'wildcard' && wanted.any.some((one) => endsOpen(one) && fits(one, text, type));
    case 'suffix':
      if (wanted.op === 'suffix') return wanted.any.some((suffix) => text.endsWith(folded(suffix, type)));
      return wanted.op === 'wildcard' && wanted.any.some((one) => one.startsWith('*') && fits(one, text, type));
    case 'equals-ignore-case':
      return wanted.op === op && wanted.any.some((other) => folded(other, type).toLowerCase() === text.toLowerCase());
    case 'cidr':
      return wanted.op === op && wanted.any.some((network) => isWithin(written, network));
    case 'wildcard':
    case 'matches':
      return wanted.op === op && wanted.any.includes(written);
    default: {
      const never: never = op;
      return never;
    }
  }
}

/** Ends with a star that is one. */
function endsOpen(wildcard: string): boolean {
  return /(?:^|[^\\])(?:\\\\)*\*$/.test(wildcard);
}

function fits(wildcard: string, text: string, type: FieldType): boolean {
  return holdsOf({ op: 'wildcard', any: [wildcard] }, type, text);
}
