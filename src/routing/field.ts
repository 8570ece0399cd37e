import { isLosslessNumber } from 'lossless-json';
import { foundTypeSchema } from '../content/extract/definition.js';
import type { Found } from '../message/found.js';
import type { CanonicalMessage } from '../message/message.js';
import type { Address, ViewField } from '../message/view.js';
import { didYouMean } from './spelling.js';

/**
 * What literals of a field are: `text` takes every scalar as it is written, `address` too and ignores case,
 * `number` takes numbers, `any` tells text, numbers, true, false and null apart as JSON does.
 */
export type FieldType = 'text' | 'address' | 'number' | 'any';

/** One thing about a message that a rule can ask for. */
export interface Field {
  /** The one spelling of its path: header names in lower case. */
  readonly path: string;
  readonly type: FieldType;
  /** The only values there are, where they are few. */
  readonly values?: readonly string[];
  /** What of a message's content it looks at; absent for what does not come from the content. */
  readonly of?: ViewField | 'any';
  /** The value, a list of at least one value, or undefined where there is none. Takes no time until it is called. */
  read(message: CanonicalMessage): unknown;
}

export interface UnknownField {
  readonly message: string;
  readonly didYouMean?: string;
}

/** Of one field, rules see so many values, and so many characters of each: neither may stop the owner of a channel. */
export const MAX_VALUES = 10_000;
const MAX_CHARACTERS = 1024 * 1024;

type Read = (message: CanonicalMessage) => unknown;

const PLAIN: Readonly<Record<string, { type: FieldType; values?: readonly string[]; of?: ViewField; read: Read }>> = {
  kind: { type: 'text', values: ['mail', 'event', 'webhook', 'amqp'], read: (message) => message.kind },
  source: { type: 'text', read: (message) => message.source },
  account: { type: 'text', read: (message) => message.account },
  type: { type: 'text', read: (message) => message.type ?? undefined },
  value: { type: 'number', read: (message) => message.value ?? undefined },
  time: { type: 'text', read: (message) => message.time ?? undefined },
  received: { type: 'text', read: (message) => message.received },
  peer: { type: 'text', read: (message) => message.peer },
  externalId: { type: 'text', read: (message) => message.externalId ?? undefined },
  subject: { type: 'text', of: 'headers', read: (message) => message.view.subject ?? undefined },
  from: { type: 'address', of: 'headers', read: (message) => addresses(message.view.from) },
  to: { type: 'address', of: 'headers', read: (message) => addresses(message.view.to) },
  cc: { type: 'address', of: 'headers', read: (message) => addresses(message.view.cc) },
  text: { type: 'text', of: 'text', read: (message) => visible(message.view.text ?? undefined) },
  messageId: { type: 'text', of: 'headers', read: (message) => message.view.messageId ?? undefined },
  rung: { type: 'number', read: (message) => message.view.rung },
  defects: { type: 'text', read: (message) => list(message.view.defects.map((defect) => defect.code)) },
  parts: { type: 'any', of: 'parts', read: (message) => list(message.view.parts) },
  'parts.name': {
    type: 'text',
    of: 'parts',
    read: (message) => list(message.view.parts.map((part) => part.name).filter(present)),
  },
  'parts.type': { type: 'text', of: 'parts', read: (message) => list(message.view.parts.map((part) => part.type)) },
  'parts.size': { type: 'number', of: 'parts', read: (message) => list(message.view.parts.map((part) => part.size)) },
  envelope: { type: 'any', read: (message) => leaves(message.envelope, []) },
  data: { type: 'any', of: 'data', read: (message) => leaves(message.view.data, []) },
};

/** Fields whose path goes on with a name of the sender's. */
const FAMILIES = ['headers', 'envelope', 'data', 'found'] as const;

/** Finds the field of a path such as `subject`, `headers.list-id` or `data.customer.country`. */
export function resolveField(path: string): Field | UnknownField {
  const plain = Object.hasOwn(PLAIN, path) ? PLAIN[path] : undefined;
  if (plain) return { path, ...plain };
  const segments = splitPath(path);
  if (!segments) {
    return { message: `"${path}" is not a path: names joined by dots, a dot within a name written as \\.` };
  }
  const [family, ...names] = segments;
  if (names.length === 0) return unknownField(path);
  switch (family) {
    case 'headers':
      return headerField(names.join('.'));
    case 'envelope':
      return { path, type: 'any', read: (message) => leaves(message.envelope, names) };
    case 'data':
      return { path, type: 'any', of: 'data', read: (message) => leaves(message.view.data, names) };
    case 'found':
      return foundField(names.join('.'));
    default:
      return unknownField(path);
  }
}

/** Names between dots; `\.` is a dot within a name and `\\` a backslash. Undefined for empty names and other escapes. */
function splitPath(path: string): string[] | undefined {
  const names = path.match(/(?:[^.\\]|\\[.\\])+/g) ?? [];
  return names.join('.') === path ? names.map((name) => name.replace(/\\([.\\])/g, '$1')) : undefined;
}

function headerField(name: string): Field | UnknownField {
  const lower = name.toLowerCase();
  if (!/^[!-9;-[\]-~]+$/.test(lower)) return { message: `"${name}" is not a header name` };
  if (/^(x-)?waybill-/.test(lower)) {
    return {
      message: `inbound ${lower} fields never count as Waybill's own: rules see them under untrusted-${lower}`,
      didYouMean: `headers.untrusted-${lower}`,
    };
  }
  return { path: `headers.${lower}`, type: 'text', of: 'headers', read: (message) => headerValues(message, lower) };
}

/** Data that the extractors of a message's source find in it, by its type. What they find may stand anywhere. */
function foundField(type: string): Field | UnknownField {
  const named = foundTypeSchema.safeParse(type);
  if (!named.success) return { message: `"${type}" is not ${named.error.issues[0]?.message}` };
  const fieldType = type === 'amount' ? 'number' : type === 'email' ? 'address' : 'text';
  return { path: `found.${type}`, type: fieldType, of: 'any', read: ({ found }) => list(foundValues(found, type)) };
}

/** An amount that could be two is no number to compare with. */
function foundValues(found: readonly Found[], type: string): string[] {
  const ofType = found.filter((one) => one.type === type && !(type === 'amount' && one.unclear));
  return ofType.map(({ value }) => (type === 'email' ? value.toLowerCase() : value));
}

function unknownField(path: string): UnknownField {
  const near = didYouMean(path, Object.keys(PLAIN)) ?? nearFamily(path);
  return {
    message: `there is no field "${path}"; there are ${Object.keys(PLAIN).join(', ')}, headers.<name>, envelope.<name>, data.<name>, found.<type>`,
    ...(near !== undefined && { didYouMean: near }),
  };
}

function nearFamily(path: string): string | undefined {
  const dot = path.indexOf('.');
  const family = dot > 0 ? didYouMean(path.slice(0, dot), FAMILIES) : undefined;
  return family && family + path.slice(dot);
}

/** A mail's headers are part of its content, those of a webhook or an AMQP message of its envelope. */
function headerValues(message: CanonicalMessage, name: string): unknown {
  const values: string[] = [];
  for (const [key, value] of message.view.headers) if (key === name) values.push(value);
  if (values.length > 0) return list(values);
  switch (message.kind) {
    case 'webhook':
      return leaves(message.envelope, ['headers', name]);
    case 'amqp':
      return leaves(message.envelope, ['headers', spelled(message.envelope.headers, name)]);
    case 'mail':
    case 'event':
      return undefined;
    default: {
      const never: never = message.kind;
      return never;
    }
  }
}

/** How the sender wrote a name: only in AMQP do capitals stay. */
function spelled(headers: unknown, name: string): string {
  if (typeof headers !== 'object' || headers === null || Object.hasOwn(headers, name)) return name;
  return Object.keys(headers).find((key) => key.toLowerCase() === name) ?? name;
}

function addresses(from: readonly Address[]): unknown {
  return list(from.map((entry) => entry.address.toLowerCase()));
}

function list(values: readonly unknown[]): unknown {
  if (values.length <= 1) return visible(values[0]);
  return values.slice(0, MAX_VALUES).map(visible);
}

function visible(value: unknown): unknown {
  return typeof value === 'string' && value.length > MAX_CHARACTERS ? value.slice(0, MAX_CHARACTERS) : value;
}

/** What stands under a path in JSON. Lists on the way are gone through, their elements all being meant. */
function leaves(root: unknown, names: readonly string[]): unknown {
  let node = root;
  for (const [depth, name] of names.entries()) {
    if (Array.isArray(node)) return leavesOfList(node, names, depth);
    node = member(node, name);
    if (node === undefined) return undefined;
  }
  return Array.isArray(node) ? leavesOfList(node, names, names.length) : visible(node);
}

/** Goes through at most MAX_VALUES nodes, in order, without recursion: the depth is the sender's choice. */
function leavesOfList(start: readonly unknown[], names: readonly string[], startDepth: number): unknown {
  const found: unknown[] = [];
  const ahead: { node: unknown; depth: number }[] = [{ node: start, depth: startDepth }];
  for (let budget = MAX_VALUES; budget > 0 && ahead.length > 0; budget--) {
    const { node, depth } = ahead.pop() as { node: unknown; depth: number };
    if (Array.isArray(node)) {
      const within = node.slice(0, budget).reverse();
      for (const element of within) ahead.push({ node: element, depth });
    } else if (depth === names.length) {
      found.push(node);
    } else {
      const next = member(node, names[depth] as string);
      if (next !== undefined) ahead.push({ node: next, depth: depth + 1 });
    }
  }
  return list(found);
}

function member(node: unknown, name: string): unknown {
  if (typeof node !== 'object' || node === null || isLosslessNumber(node)) return undefined;
  return Object.hasOwn(node, name) ? (node as Record<string, unknown>)[name] : undefined;
}

function present<T>(value: T | null): value is T {
  return value !== null;
}
