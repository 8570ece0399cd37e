import { isUtf8 } from 'node:buffer';
import { bytesDigest, type EventData, eventDigest, eventIdentity } from '../../channel/identity.js';
import { unseenBelow } from '../../channel/maybe.js';
import type { EventsSource, Source } from '../../channel/source.js';
import { follow, numericText, pointerSteps } from '../../content/json/pointer.js';
import { readJson } from '../../content/json/read.js';
import type { Span } from '../../content/json/split.js';
import { type Arrival, FIELD_LIMITS, type ParsedJson } from '../../message/arrival.js';
import type { Tenant } from '../../message/tenant.js';
import type { RejectCode, Rejected } from '../../message/verdict.js';
import { isField, isIntactField } from '../field.js';
import { type HeaderAttributes, headerAttributes } from './headers.js';
import { normalisedTime } from './time.js';

/** Bytes of a CloudEvents `source`, as much as of an id. */
const MAX_SOURCE_BYTES = FIELD_LIMITS.id;

/** What became of reading one event. `id` is the event's own, where it has a usable one. */
export type EventRead =
  | { readonly read: 'arrival'; readonly arrival: Arrival }
  | { readonly read: 'rejected'; readonly id: string | null; readonly rejected: Rejected };

/** What the request says of all its events. */
export interface EventContext {
  readonly tenant: Tenant;
  readonly peer: string;
  /** Milliseconds since 1970. */
  readonly arrivedAt: number;
  readonly feed: (cloudEventSource: string) => Feed | undefined;
}

/** An event feed, or another source that takes events, with what is worked out once for it. */
export interface Feed {
  readonly source: Source;
  /** Steps to the value; null where the feed names none. */
  readonly value: readonly string[] | null;
  readonly maybeBelow: string | undefined;
}

export function makeFeed(source: Source<EventsSource>): Feed {
  const { value, maybe } = source.definition;
  return { source, value: value === undefined ? null : pointerSteps(value), maybeBelow: unseenBelow(maybe) };
}

/** The attributes that are checked. All others stay in the raw bytes, or in `meta` for binary mode. */
interface Envelope {
  readonly id: string;
  readonly cloudEventSource: string;
  readonly type: string;
  readonly subject: string | null;
  /** Normalised. */
  readonly time: string | null;
}

/** Reads one structured event out of a body. */
export function readStructured(
  body: Buffer,
  { from, to }: Span,
  bodyIsUtf8: boolean,
  context: EventContext,
): EventRead {
  const json = readJson(body, from, to);
  if (!json.ok) return rejected(null, json.code, null);
  const event = json.json.value;
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return rejected(null, 'not_an_object', null);
  const attributes = event as Readonly<Record<string, unknown>>;
  const raw = body.subarray(from, to);
  const intact = bodyIsUtf8 || isUtf8(raw);
  const envelope = readEnvelope(attributes, intact ? isField : isIntactField);
  if ('read' in envelope) return envelope;
  return makeArrival(context, envelope, {
    raw,
    meta: null,
    view: attributes,
    data: intact ? structuredData(attributes) : null,
  });
}

/** Reads one event in binary mode over HTTP: attributes from headers, the body is its data. */
export function readBinary(
  body: Buffer,
  headers: Parameters<typeof headerAttributes>[0],
  context: EventContext,
): EventRead {
  return readAttributes(body, headerAttributes(headers), isField, context);
}

/** Reads one event in binary mode, whatever carried its attributes. `isText` says which of them may be envelope fields. */
export function readAttributes(
  body: Buffer,
  attributes: HeaderAttributes,
  isText: typeof isField,
  context: EventContext,
): EventRead {
  const envelope = readEnvelope(attributes, isText);
  if ('read' in envelope) return envelope;
  const json = isJsonType(attributes.datacontenttype) && isUtf8(body) ? readJson(body, 0, body.length) : null;
  const parsed = json?.ok ? json.json : null;
  return makeArrival(context, envelope, {
    raw: body,
    meta: JSON.stringify(readable(attributes)),
    view: parsed === null ? attributes : { ...attributes, data: parsed.value },
    data: binaryData(body, parsed),
  });
}

function readEnvelope(
  attributes: Readonly<Record<string, unknown>>,
  isText: (value: unknown, maxBytes: number) => value is string,
): Envelope | Extract<EventRead, { read: 'rejected' }> {
  const { specversion, id, source, type, subject, time } = attributes;
  const known = isText(id, FIELD_LIMITS.id) ? id : null;
  const reject = (code: ReadCode, pointer: string) => rejected(known, code, pointer);
  if (specversion !== '1.0') return reject('specversion_unsupported', '/specversion');
  if (known === null) return reject(isAbsent(attributes, 'id') ? 'id_missing' : 'id_invalid', '/id');
  if (!isText(source, MAX_SOURCE_BYTES)) {
    return reject(isAbsent(attributes, 'source') ? 'source_missing' : 'source_invalid', '/source');
  }
  if (!isText(type, FIELD_LIMITS.type)) {
    return reject(isAbsent(attributes, 'type') ? 'type_missing' : 'type_invalid', '/type');
  }
  if (!isAbsent(attributes, 'subject') && !isText(subject, FIELD_LIMITS.account)) {
    return reject('subject_invalid', '/subject');
  }
  const normalised = typeof time === 'string' ? normalisedTime(time) : undefined;
  if (!isAbsent(attributes, 'time') && normalised === undefined) return reject('time_invalid', '/time');
  return {
    id: known,
    cloudEventSource: source,
    type,
    subject: (subject as string | null) ?? null,
    time: normalised ?? null,
  };
}

/** Not there, or null, which CloudEvents' JSON format takes for the same. */
function isAbsent(attributes: Readonly<Record<string, unknown>>, name: string): boolean {
  return !(name in attributes) || attributes[name] === null;
}

/** The parts of an arrival in which structured and binary mode differ. */
interface Body {
  readonly raw: Buffer;
  readonly meta: string | null;
  /** What the feed's pointers look into. */
  readonly view: unknown;
  /** Null where there is no canonical form: then the digest is over the bytes. */
  readonly data: EventData | null;
}

function makeArrival(context: EventContext, envelope: Envelope, body: Body): EventRead {
  const { id, cloudEventSource, type, subject, time } = envelope;
  const feed = context.feed(cloudEventSource);
  if (feed === undefined) return rejected(id, 'source_invalid', '/source', NO_FEED);
  const { data, raw } = body;
  const arrival: Arrival = {
    tenant: context.tenant,
    source: feed.source,
    kind: 'event',
    account: subject ?? feed.source.name,
    type,
    externalId: id,
    value: feed.value === null ? null : numericText(follow(body.view, feed.value)),
    eventTime: time,
    arrivedAt: context.arrivedAt,
    peer: context.peer,
    meta: body.meta,
    identity: eventIdentity(cloudEventSource, id),
    digest: data === null ? bytesDigest(raw) : eventDigest({ type, subject, time, data }),
    onOtherContent: 'conflict',
    maybeBelow: feed.maybeBelow,
    raw,
  };
  return { read: 'arrival', arrival };
}

/**
 * A structured event's data, so that it equals the same event in binary mode: base64 stands for bytes, and so does a
 * string whose type is not JSON. What is neither (both members, broken base64) is content as it stands.
 */
function structuredData(event: Readonly<Record<string, unknown>>): EventData {
  const { data, data_base64: base64 } = event;
  if (base64 !== undefined && base64 !== null) {
    const bytes = typeof base64 === 'string' ? Buffer.from(base64, 'base64') : null;
    const isBytes = (data === undefined || data === null) && bytes !== null && bytes.toString('base64') === base64;
    return isBytes ? { form: 'bytes', bytes } : { form: 'json', value: [data ?? null, base64] };
  }
  if (data === undefined) return NO_DATA;
  if (typeof data === 'string' && !isJsonType(event.datacontenttype))
    return { form: 'bytes', bytes: Buffer.from(data) };
  return { form: 'json', value: data };
}

function binaryData(body: Buffer, parsed: ParsedJson | null): EventData {
  if (body.length === 0) return NO_DATA;
  return parsed === null ? { form: 'bytes', bytes: body } : { form: 'json', value: parsed.value };
}

const NO_DATA: EventData = { form: 'none' };

const JSON_TYPE = /^\s*[^/;\s]+\/(?:[^/;\s]+\+)?json\s*(?:;|$)/i;

/** Whether `datacontenttype` says JSON; without one it does. */
function isJsonType(type: unknown): boolean {
  if (type === 'application/json' || type === undefined || type === null) return true;
  return typeof type === 'string' && JSON_TYPE.test(type);
}

/** Without what can't be read or stored as JSON text. */
function readable(attributes: HeaderAttributes): Record<string, string> {
  const kept = Object.entries(attributes).filter(([, value]) => value !== undefined && !value.includes('\0'));
  return Object.fromEntries(kept) as Record<string, string>;
}

const NO_FEED = 'None of your event feeds takes this source; add it to a feed, or a feed without accepts.';

/** What can be wrong with an event before a channel sees it. */
type ReadCode = Exclude<
  RejectCode,
  | 'value_invalid'
  | 'too_large'
  | 'unstorable'
  | 'account_missing'
  | 'account_differs'
  | 'time_missing'
  | 'outside_range'
>;

const REASONS: Readonly<Record<ReadCode, string>> = {
  json_malformed: 'This is not JSON; send it again corrected.',
  json_too_deep: 'The JSON is nested deeper than 64 levels.',
  not_an_object: 'An event is a JSON object.',
  id_missing: 'The event has no id; every event needs one.',
  id_invalid: 'The id must be a text of 1 to 512 bytes without NUL and in well-formed Unicode.',
  source_missing: 'The event has no source; every event needs one.',
  source_invalid: 'The source must be a text of 1 to 512 bytes without NUL and in well-formed Unicode.',
  type_missing: 'The event has no type; every event needs one.',
  type_invalid: 'The type must be a text of 1 to 512 bytes without NUL and in well-formed Unicode.',
  subject_invalid:
    'The subject, if there is one, must be a text of 1 to 512 bytes without NUL and in well-formed Unicode.',
  time_invalid: 'The time must be RFC 3339, between the years 1970 and 9999.',
  specversion_unsupported: 'Only specversion "1.0" is taken.',
};

function rejected(
  id: string | null,
  code: ReadCode,
  pointer: string | null,
  reason: string = REASONS[code],
): Extract<EventRead, { read: 'rejected' }> {
  return {
    read: 'rejected',
    id,
    rejected: { verdict: 'rejected', code, reason, ...(pointer === null ? null : { pointer }) },
  };
}
