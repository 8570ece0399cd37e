import ipaddr from 'ipaddr.js';
import { isLosslessNumber } from 'lossless-json';
import { compareDecimals, type Decimal, decimalKey, parseDecimal } from './decimal.js';
import { compileExpression, EXPRESSION_LIMITS } from './expression.js';
import type { FieldType } from './field.js';
import type { Bound, ComparableTest, Literal, Test, TextOperator } from './rule.js';
import { compileWildcard } from './wildcard.js';

/** The test can't be asked of this value; counts as false, and explanations say why. */
export class Incomparable {
  constructor(readonly reason: string) {}
}

export type Holds = boolean | Incomparable;

/** `before`: characters of text in the field's values before this one. */
type ValueCheck = (value: unknown, before?: number) => Holds;

/** A test ready to be asked, of fields of one type. */
export interface CompiledTest {
  readonly test: Test;
  /** Takes what a field's `read` gives: undefined, one value, or a list of values. */
  readonly check: (value: unknown) => Holds;
  /** What is asked of each value alone; null for `exists`, which asks nothing of it. */
  readonly ofValue: ValueCheck | null;
  /** It holds because something is not there: where not all was read, that can't be said. */
  readonly byAbsence: boolean;
}

/** What a test by absence comes to where not all was read: never that nothing is there. */
export const NOT_CHECKED = 'not checked: this was left out of the view of the message';

export function compileTest(test: Test, type: FieldType): CompiledTest {
  switch (test.op) {
    case 'exists':
      return {
        test,
        check: (value) => (value !== undefined) === test.exists,
        ofValue: null,
        byAbsence: !test.exists,
      };
    case 'anything-but': {
      const ofValue = checkComparable(test.of, type);
      return { test, check: noValue(ofValue), ofValue, byAbsence: true };
    }
    case 'numeric': {
      const ofValue = checkNumeric(test.bounds);
      return { test, check: someValue(ofValue), ofValue, byAbsence: false };
    }
    default: {
      const ofValue = checkComparable(test, type);
      return { test, check: someValue(ofValue), ofValue, byAbsence: false };
    }
  }
}

function someValue(check: ValueCheck): CompiledTest['check'] {
  return (value) => {
    if (value === undefined) return false;
    return Array.isArray(value) ? some(check, value) : check(value);
  };
}

function noValue(check: ValueCheck): CompiledTest['check'] {
  return (value) => {
    if (value === undefined) return false;
    const found = Array.isArray(value) ? some(check, value) : check(value);
    return typeof found === 'boolean' ? !found : found;
  };
}

function some(check: ValueCheck, values: readonly unknown[]): Holds {
  let result: Holds = false;
  let before = 0;
  for (const value of values) {
    const holds = check(value, before);
    if (holds === true) return true;
    if (result === false) result = holds;
    if (typeof value === 'string') before += value.length;
  }
  return result;
}

function checkComparable(test: ComparableTest, type: FieldType): ValueCheck {
  const fold = type === 'address';
  switch (test.op) {
    case 'equals':
      return checkEquals(fold ? test.any.map(lowerCase) : test.any);
    case 'cidr':
      return checkCidr(test.any);
    case 'matches':
      return checkMatches(test.any, fold);
    default:
      return checkText(test.op, fold ? test.any.map((text) => text.toLowerCase()) : test.any);
  }
}

function lowerCase(literal: Literal): Literal {
  return typeof literal === 'string' ? literal.toLowerCase() : literal;
}

function checkEquals(literals: readonly Literal[]): ValueCheck {
  const constants = new Set<unknown>();
  const numbers = new Set<string>();
  for (const literal of literals) {
    if (typeof literal === 'object' && literal !== null) numbers.add(decimalKey(expectedDecimal(literal.digits)));
    else constants.add(literal);
  }
  if (numbers.size === 0) return oneOf(constants);
  return (value) => {
    if (constants.has(value)) return true;
    const decimal = asDecimal(value);
    return decimal !== undefined && numbers.has(decimalKey(decimal));
  };
}

/** Most rules name one literal, and most are asked in vain: not having to look it up is three times as fast. */
function oneOf(constants: ReadonlySet<unknown>): ValueCheck {
  const [only] = constants;
  return constants.size === 1 ? (value) => value === only : (value) => constants.has(value);
}

function checkText(op: Exclude<TextOperator, 'cidr' | 'matches'>, expected: readonly string[]): ValueCheck {
  const fits = textCheck(op, expected);
  return (value) => (typeof value === 'string' ? fits(value) : incomparable(value, NOT_TEXT));
}

function textCheck(
  op: Exclude<TextOperator, 'cidr' | 'matches'>,
  expected: readonly string[],
): (text: string) => boolean {
  switch (op) {
    case 'prefix':
      return anyOf(expected.map((prefix) => (text) => text.startsWith(prefix)));
    case 'suffix':
      return anyOf(expected.map((suffix) => (text) => text.endsWith(suffix)));
    case 'wildcard':
      return anyOf(expected.map(compileWildcard));
    case 'equals-ignore-case': {
      const lower = new Set(expected.map((text) => text.toLowerCase()));
      return (text) => lower.has(text.toLowerCase());
    }
    default: {
      const never: never = op;
      return never;
    }
  }
}

/** Asked of the beginning of what there is; where that does not hold it, nothing is known of the rest. */
function checkMatches(expected: readonly string[], ignoreCase: boolean): ValueCheck {
  const expressions = expected.map((text) => compileExpression(text, ignoreCase));
  return (value, before = 0) => {
    if (typeof value !== 'string') return incomparable(value, NOT_TEXT);
    const room = Math.max(0, EXPRESSION_LIMITS.examined - before);
    if (value.length <= room) return expressions.some((expression) => expression.isIn(value));
    const beginning = value.slice(0, room);
    if (room > 0 && expressions.some((expression) => expression.isWithin(beginning))) return true;
    return new Incomparable(notExamined(room, value.length));
  };
}

function notExamined(room: number, length: number): string {
  const rest = `${length - room} characters beyond the first ${EXPRESSION_LIMITS.examined} of the field were not examined`;
  return room > 0 ? `not found in what was examined; ${rest}` : rest;
}

function anyOf(checks: readonly ((text: string) => boolean)[]): (text: string) => boolean {
  const [only] = checks;
  if (checks.length === 1 && only) return only;
  return (text) => checks.some((check) => check(text));
}

function checkNumeric(bounds: readonly Bound[]): ValueCheck {
  const limits = bounds.map((bound) => ({ is: bound.is, than: expectedDecimal(bound.than) }));
  return (value) => {
    const decimal = asDecimal(value);
    if (!decimal) return incomparable(value, NOT_A_NUMBER);
    return limits.every(({ is, than }) => within(is, compareDecimals(decimal, than)));
  };
}

function within(is: Bound['is'], order: number): boolean {
  switch (is) {
    case '=':
      return order === 0;
    case '<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '>=':
      return order >= 0;
    default: {
      const never: never = is;
      return never;
    }
  }
}

let last: { readonly value: unknown; readonly decimal: Decimal | undefined } = { value: null, decimal: undefined };

/**
 * A number of the message: JSON's, or text that reads as one. Many rules ask the same value one after another, so the last
 * one that was read is kept.
 */
export function asDecimal(value: unknown): Decimal | undefined {
  if (value !== last.value) last = { value, decimal: readDecimal(value) };
  return last.decimal;
}

function readDecimal(value: unknown): Decimal | undefined {
  if (typeof value === 'string') return parseDecimal(value);
  if (typeof value === 'number') return parseDecimal(String(value));
  return isLosslessNumber(value) ? parseDecimal(value.value) : undefined;
}

/** A number of the rules; `parseRuleSet` has seen that it is one. */
export function expectedDecimal(digits: string): Decimal {
  const decimal = parseDecimal(digits);
  if (!decimal) throw new TypeError(`${digits} is not a number`);
  return decimal;
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;
export type Network = readonly [Address, number];

function checkCidr(expected: readonly string[]): ValueCheck {
  const networks = expected.map((text) => {
    const network = parseNetwork(text);
    if (!network) throw new TypeError(`${text} is not a network`);
    return network;
  });
  return (value) => {
    if (typeof value !== 'string') return incomparable(value, NOT_AN_ADDRESS);
    const address = parseAddress(value);
    if (!address) return NOT_AN_ADDRESS.text;
    return networks.some(([network, bits]) => address.kind() === network.kind() && address.match(network, bits));
  };
}

/** Reads `10.0.0.0/8`, `2001:db8::/32` or a single address; IPv4 mapped into IPv6 is IPv4. */
export function parseNetwork(text: string): Network | undefined {
  const match = /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text);
  const written = parseWritten(match?.[1] ?? '');
  if (!written) return undefined;
  const width = written.kind() === 'ipv4' ? 32 : 128;
  const bits = match?.[2] === undefined ? width : Number(match[2]);
  if (bits > width) return undefined;
  const mapped = unmap(written);
  if (mapped === written) return [written, bits];
  return bits >= 96 ? [mapped, bits - 96] : [written, bits];
}

/** Whether one network, as `parseNetwork` reads it, lies in another one. */
export function isWithin(inner: string, outer: string): boolean {
  const [address, bits] = parseNetwork(inner) ?? [];
  const around = parseNetwork(outer);
  if (!address || bits === undefined || !around) return false;
  const [network, width] = around;
  return address.kind() === network.kind() && bits >= width && address.match(network, width);
}

function parseAddress(text: string): Address | undefined {
  const written = parseWritten(text);
  return written && unmap(written);
}

/** Longer than any address with a zone is. */
const MAX_ADDRESS = 64;

/** Only the usual spellings: ipaddr.js would also take `10` and `0x7f.1`. */
function parseWritten(text: string): Address | undefined {
  if (text.length > MAX_ADDRESS) return undefined;
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  return ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text) : undefined;
}

function unmap(address: Address): Address {
  return address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

/** One object for each reason there is: values that can't be compared may be many. */
interface Reasons {
  readonly text: Incomparable;
  readonly number: Incomparable;
  readonly boolean: Incomparable;
  readonly null: Incomparable;
  readonly object: Incomparable;
}

function reasons(wanted: string): Reasons {
  return {
    text: new Incomparable(`the value is text, not ${wanted}`),
    number: new Incomparable(`the value is a number, not ${wanted}`),
    boolean: new Incomparable(`the value is true or false, not ${wanted}`),
    null: new Incomparable(`the value is null, not ${wanted}`),
    object: new Incomparable(`the value is an object, not ${wanted}`),
  };
}

const NOT_TEXT = reasons('text');
const NOT_A_NUMBER = reasons('a number that can be compared');
const NOT_AN_ADDRESS = reasons('an IP address');

function incomparable(value: unknown, why: Reasons): Incomparable {
  if (value === null) return why.null;
  if (isLosslessNumber(value)) return why.number;
  switch (typeof value) {
    case 'string':
      return why.text;
    case 'number':
      return why.number;
    case 'boolean':
      return why.boolean;
    default:
      return why.object;
  }
}
