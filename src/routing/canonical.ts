import { type Extractor, extract } from '../content/extract/extract.js';
import { readJson } from '../content/json/read.js';
import type { Kind, ParsedJson } from '../message/arrival.js';
import type { Found } from '../message/found.js';
import { messageId } from '../message/id.js';
import { isoTime } from '../message/iso-time.js';
import type { CanonicalMessage, StoredMessage } from '../message/message.js';
import type { View } from '../message/view.js';

/** What a stored message says only by number, and who we are. */
export interface Names {
  readonly tenant: string;
  readonly source: string;
  /** Our own host name, as in our Authentication-Results. */
  readonly hostname: string;
  /** What its source looks for in its messages. */
  readonly extractors: readonly Extractor[];
}

/**
 * The canonical message of a stored one and a view of it. Envelope, times, cleaned headers and what is
 * found in it are made when first asked for.
 *
 * Inbound fields never count as ours: `waybill-*`, `x-waybill-*` and Authentication-Results that carry our own name are
 * called `untrusted-…`, in `view.headers` and in the envelope's `headers`. Nothing is lost, and nobody takes them for ours.
 */
export function canonicalMessage(
  stored: StoredMessage,
  names: Names,
  view: View,
  /** The JSON of the raw bytes, where it has been read already. */
  parsed?: ParsedJson,
): CanonicalMessage {
  return new Canonical(stored, names, view, parsed);
}

class Canonical implements CanonicalMessage {
  readonly id: string;
  readonly tenant: string;
  readonly source: string;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly value: string | null;
  readonly externalId: string | null;
  readonly peer: string;
  readonly #stored: StoredMessage;
  readonly #hostname: string;
  readonly #asMade: View;
  #view: View | undefined;
  #envelope: CanonicalMessage['envelope'] | undefined;
  readonly #extractors: readonly Extractor[];
  #found: readonly Found[] | undefined;

  readonly #parsed: ParsedJson | undefined;

  constructor(stored: StoredMessage, names: Names, view: View, parsed: ParsedJson | undefined) {
    this.#parsed = parsed;
    this.id = messageId(stored);
    this.tenant = names.tenant;
    this.source = names.source;
    this.kind = stored.kind;
    this.account = stored.account;
    this.type = stored.type;
    this.value = stored.value;
    this.externalId = stored.externalId;
    this.peer = stored.peer;
    this.#stored = stored;
    this.#hostname = names.hostname;
    this.#extractors = names.extractors;
    this.#asMade = view;
  }

  get time(): string | null {
    return this.#stored.eventTime === null ? null : rfc3339(this.#stored.eventTime);
  }

  get received(): string {
    return isoTime(this.#stored.arrivedAt);
  }

  get envelope(): CanonicalMessage['envelope'] {
    this.#envelope ??= envelopeOf(this.#stored, this.#hostname, this.#parsed);
    return this.#envelope;
  }

  get view(): View {
    this.#view ??= distrustView(this.#asMade, this.#hostname);
    return this.#view;
  }

  get found(): readonly Found[] {
    this.#found ??= this.#extractors.length === 0 ? NOTHING : extract(this, this.#extractors);
    return this.#found;
  }
}

const NOTHING: readonly Found[] = [];

function distrustView(view: View, hostname: string): View {
  const isForged = ([name, value]: readonly [string, string]) => isForgery(name, value, hostname);
  if (!view.headers.some(isForged)) return view;
  const headers = view.headers.map((header) =>
    isForged(header) ? ([untrusted(header[0]), header[1]] as const) : header,
  );
  return { ...view, headers };
}

function envelopeOf(
  stored: StoredMessage,
  hostname: string,
  parsed: ParsedJson | undefined,
): CanonicalMessage['envelope'] {
  const { meta, kind, raw } = stored;
  if (meta === null) return kind === 'event' ? contextAttributes(parsed ? parsed.value : jsonOf(raw)) : {};
  const envelope: unknown = JSON.parse(meta);
  if (!isRecord(envelope)) return {};
  return isRecord(envelope.headers) ? { ...envelope, headers: distrustHeaders(envelope.headers, hostname) } : envelope;
}

/** Of an event in structured mode, whose bytes say all: everything but its data. */
function contextAttributes(event: unknown): CanonicalMessage['envelope'] {
  if (!isRecord(event)) return {};
  const { data: _, data_base64: __, ...attributes } = event;
  return attributes;
}

/** Of bytes that were not handed on with their JSON; undefined where they are none. Digits are kept. */
function jsonOf(raw: Uint8Array): unknown {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  const read = readJson(bytes, 0, bytes.length);
  return read.ok ? read.json.value : undefined;
}

/** Of an HTTP request or an AMQP message: name to value, or to the values of a field that came several times. */
function distrustHeaders(headers: Readonly<Record<string, unknown>>, hostname: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      const forged = [value].flat().some((one) => isForgery(name, typeof one === 'string' ? one : '', hostname));
      return [forged ? untrusted(name) : name, value];
    }),
  );
}

function untrusted(name: string): string {
  return `untrusted-${name}`;
}

/** Whether a field of an incoming message could pass for one of ours. The value may still be folded. */
export function isForgery(name: string, value: string, hostname: string): boolean {
  if (/^(x-)?waybill-/i.test(name)) return true;
  return name.toLowerCase() === 'authentication-results' && sameHost(authservId(value), hostname);
}

function sameHost(a: string, b: string): boolean {
  return a.toLowerCase().replace(/\.$/, '') === b.toLowerCase().replace(/\.$/, '');
}

/** RFC 8601: the first word, which comments may surround and quotes enclose. */
function authservId(value: string): string {
  const from = skipComments(value);
  const quoted = /"((?:[^"\\]|\\.)*)"/y;
  quoted.lastIndex = from;
  const text = quoted.exec(value)?.[1];
  if (text !== undefined) return text.replace(/\\(.)/g, '$1');
  const word = /[^\s;()"]*/y;
  word.lastIndex = from;
  return word.exec(value)?.[0] ?? '';
}

/** Where the first thing stands that is neither white space nor a comment; comments nest. */
function skipComments(value: string): number {
  let depth = 0;
  for (let at = 0; at < value.length; at++) {
    const character = value[at] as string;
    if (character === '(') depth++;
    else if (character === ')' && depth > 0) depth--;
    else if (character === '\\' && depth > 0) at++;
    else if (depth === 0 && !/\s/.test(character)) return at;
  }
  return value.length;
}

const TIME = /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?(?:z|([+-])(\d\d)(?::?(\d\d))?)$/i;

/**
 * RFC 3339 in UTC without needless digits, from RFC 3339 or PostgreSQL's spelling: the same whether the message comes
 * from memory or from the database. A time in no known spelling stays as it is; the ingress has checked it.
 */
function rfc3339(time: string): string {
  if (PLAIN_TIME.test(time)) return withoutNeedlessDigits(time);
  const match = TIME.exec(time);
  if (!match) return time;
  const [, year, month, day, hour, minute, second, fraction = '', sign, offsetHours = '0', offsetMinutes = '0'] = match;
  // The second is added by itself: a leap second is 60.
  const local = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:00Z`) + Number(second) * 1000;
  const offset = (Number(offsetHours) * 60 + Number(offsetMinutes)) * 60_000;
  const utc = new Date(sign === '-' ? local + offset : local - offset).toISOString();
  const digits = fraction.replace(/0+$/, '');
  return utc.replace(/\.\d+Z$/, digits === '' ? 'Z' : `.${digits}Z`);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** As the ingress writes it and the owner reads it back: by far the most common. */
const PLAIN_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

function withoutNeedlessDigits(time: string): string {
  let end = time.length - 1;
  while (time[end - 1] === '0') end--;
  return `${time.slice(0, time[end - 1] === '.' ? end - 1 : end)}Z`;
}
