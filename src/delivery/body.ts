import { JsonBytes } from '../content/json/bytes.js';
import type { Outgoing } from '../message/delivery.js';
import { messageId } from '../message/id.js';
import type { CanonicalMessage } from '../message/message.js';
import type { Portion } from '../message/portion.js';
import type { ThreadPlace } from '../message/thread.js';
import { EMPTY_VIEW, type Part, type View } from '../message/view.js';
import { type FieldNames, type MappedFields, mapFields } from './fields.js';
import { type Decider, probabilityFor } from './plan.js';
import { VOID_TYPE } from './wire.js';

/** The canonical message; its schema is docs/message.schema.json. */
export const MESSAGE_TYPE = 'application/vnd.waybill.message+json';
const JSON_TYPE = 'application/json';
const MAIL_TYPE = 'message/rfc822';
const EVENT_TYPE = 'application/cloudevents+json';
const UNKNOWN_TYPE = 'application/octet-stream';

/** Parts up to this size go into the message itself where a target asks for that, in bytes. */
const INLINE_PART_LIMIT = 65_536;

/** What a target's definition says about bodies. */
export interface BodyChoice {
  readonly body: 'message' | 'raw' | 'data' | 'forward';
  readonly inlineParts: boolean;
  /** The types of found data the target knows. */
  readonly fields?: FieldNames | undefined;
}

export interface BodySource {
  readonly message: CanonicalMessage;
  readonly decider: Decider;
  /** Id of the target it goes to. */
  readonly target: number;
  /** Its place in its conversation; null where it stands alone. */
  readonly thread?: ThreadPlace | null;
  /** The bytes as they came. */
  readonly raw: Uint8Array;
  /** Of an event: they are its data alone, since its attributes came as headers (binary mode). */
  readonly rawIsData?: boolean;
  /** Where parts are fetched, without a slash at the end: `https://waybill.example.com`; empty for links without a host. */
  readonly baseUrl: string;
  /** The bytes of a part by its number; undefined where it can't be read. Needed for inline parts, and for a part alone. */
  readonly partBytes?: (n: number) => Uint8Array | undefined;
  /** Only this of the message. The target's body can be that: see portion.ts. */
  readonly portion?: Portion | null;
}

export interface Body {
  readonly contentType: string;
  readonly body: Uint8Array;
}

/**
 * A message's body by the target's choice. A mail, and what has no `data` (a webhook that is not JSON), goes as its raw bytes
 * where `data` was asked for, and what is no mail can't be forwarded: it goes as the canonical message. For a target that
 * knows types of data, `data` is what was found of them.
 */
export function renderBody(choice: BodyChoice, source: BodySource): Body {
  if (source.portion) return portionBody(choice, source, source.portion);
  switch (choice.body) {
    case 'message':
      return canonicalBody(source, choice);
    case 'raw':
      return rawBody(source);
    case 'data':
      if (choice.fields) return dataBody(mapFields(source.message.found, choice.fields).fields);
      return dataOf(source.message) === undefined ? rawBody(source) : dataBody(dataOf(source.message));
    case 'forward':
      return source.message.kind === 'mail' ? rawBody(source) : canonicalBody(source, choice);
    default: {
      const never: never = choice.body;
      return never;
    }
  }
}

/** One attachment as its bytes, or in the canonical message; found fields in that, or alone. */
function portionBody(choice: BodyChoice, source: BodySource, portion: Portion): Body {
  const { part, fields } = portion;
  if (choice.body !== 'message' && part !== undefined) return partBody(source, part);
  if (choice.body === 'data') return dataBody(portionFields(choice, source, fields ?? []).fields);
  return canonicalBody(source, choice);
}

function partBody({ message, partBytes }: BodySource, n: number): Body {
  const part = message.view.parts.find((one) => one.n === n);
  const body = partBytes?.(n);
  if (!part || !body) throw new RangeError(`part ${n} of ${message.id} was not read`);
  return { contentType: usableType(part.type), body };
}

/** What was found of some types, as the target gets it. */
function portionFields(choice: BodyChoice, { message }: BodySource, types: readonly string[]): MappedFields {
  return mapFields(
    message.found.filter(({ type }) => types.includes(type)),
    choice.fields,
  );
}

/** What of the found data stands in a canonical message; null where nothing of it does. */
function fieldsIn(choice: BodyChoice, source: BodySource): MappedFields | null {
  const { portion, message } = source;
  if (portion) return portion.fields ? portionFields(choice, source, portion.fields) : null;
  return choice.fields ? mapFields(message.found, choice.fields) : null;
}

/** What a mail has for data are the calendars in it, which are not all of it. */
function dataOf({ kind, view }: CanonicalMessage): unknown {
  return kind === 'mail' ? undefined : view.data;
}

type Notice = Pick<Outgoing, 'tenant' | 'target' | 'epoch' | 'channel' | 'sequence' | 'number' | 'reason'>;

/** The notice that a delivery number carries no message, and why. */
export function voidBody(notice: Notice): Body {
  const text = JSON.stringify({
    type: VOID_TYPE,
    id: messageId(notice),
    tenant: notice.tenant,
    target: notice.target,
    epoch: notice.epoch,
    channel: notice.channel,
    delivery: notice.number,
    reason: notice.reason,
  });
  return { contentType: JSON_TYPE, body: Buffer.from(text) };
}

/**
 * Written by hand: a message is a few constants around texts and JSON that others sent, and that JSON keeps its digits.
 * Members of `transport` and `data` are in the order of RFC 8785.
 */
function canonicalBody(source: BodySource, choice: BodyChoice): Body {
  const { message, decider, target, portion } = source;
  const view = portion ? onlyPart(message.view, portion.part) : message.view;
  const mapped = fieldsIn(choice, source);
  const parts = view.parts.map((part) => canonicalPart(part, source, choice.inlineParts));
  json.begin().json('{"id":').text(message.id).json(',"type":').text(message.type);
  json.json(',"received":').text(message.received).json(',"envelope":');
  writeEnvelope(message);
  json.json(',"headers":').json(listJson(view.headers));
  json.json(',"text":').text(view.text).json(',"html":').text(view.html).json(',"parts":').json(listJson(parts));
  if (view.data !== undefined) json.json(',"data":').canonical(view.data);
  if (mapped) json.json(',"fields":').canonical(mapped.fields);
  if (mapped) json.json(',"unmapped":').json(listJson(mapped.unmapped));
  if (portion) json.json(',"portion":').json(JSON.stringify(portion));
  json.json(',"rung":').json(String(view.rung)).json(',"defects":').json(listJson(view.defects));
  json.json(',"setAside":').json(listJson(view.setAside));
  if (source.thread) json.json(`,"thread":{"id":${source.thread.id},"number":${source.thread.number}}`);
  json.json(',"decision":').json(deciderJson(decider, target)).json('}');
  return { contentType: MESSAGE_TYPE, body: json.copy() };
}

/** Of a view one part alone, and what is wrong with the message; without a number no part. */
function onlyPart(view: View, n: number | undefined): View {
  return { ...EMPTY_VIEW, rung: view.rung, defects: view.defects, parts: view.parts.filter((part) => part.n === n) };
}

const json = new JsonBytes();

function writeEnvelope(message: CanonicalMessage): void {
  json.json('{"tenant":').text(message.tenant).json(',"source":').text(message.source);
  json.json(',"kind":').text(message.kind).json(',"account":').text(message.account);
  json.json(',"value":').text(message.value).json(',"externalId":').text(message.externalId);
  json.json(',"time":').text(message.time).json(',"peer":').text(message.peer);
  json.json(',"transport":').canonical(message.envelope).json('}');
}

function listJson(list: readonly unknown[]): string {
  return list.length === 0 ? '[]' : JSON.stringify(list);
}

/** A target hears of no other's probability. */
function deciderJson(decider: Decider, target: number): string {
  switch (decider.by) {
    case 'rules':
      return `{"by":"rules","set":${decider.set},"rules":${JSON.stringify(decider.rules)}}`;
    case 'thread':
      return `{"by":"thread","set":${decider.set},"thread":${decider.thread},"number":${decider.number}}`;
    case 'person':
      return `{"by":"person","who":${JSON.stringify(decider.who)},"version":${decider.version}}`;
    case 'suggestion':
      return `{"by":"suggestion","model":${decider.model},"probability":${probabilityFor(decider, target)}}`;
    default: {
      const never: never = decider;
      throw never;
    }
  }
}

function canonicalPart(part: Part, source: BodySource, inlineParts: boolean): object {
  const content = inlineParts && part.size <= INLINE_PART_LIMIT ? source.partBytes?.(part.n) : undefined;
  return {
    n: part.n,
    path: part.path,
    name: part.name,
    type: part.type,
    size: part.size,
    sha256: part.sha256,
    inline: part.inline,
    contentId: part.contentId,
    ...(part.message && { message: part.message }),
    href: `${source.baseUrl}/v1/messages/${source.message.id}/parts/${part.n}`,
    ...(content && { content: Buffer.from(content).toString('base64') }),
  };
}

function rawBody(source: BodySource): Body {
  return { contentType: rawType(source), body: source.raw };
}

/** The content type of the bytes as they came. */
function rawType({ message, rawIsData = false }: BodySource): string {
  switch (message.kind) {
    case 'mail':
      return MAIL_TYPE;
    case 'webhook':
      return usableType(contentTypeField(message.envelope.headers));
    case 'amqp':
      return usableType(message.envelope.contentType);
    case 'event':
      return rawIsData ? usableType(message.envelope.datacontenttype) : EVENT_TYPE;
    default: {
      const never: never = message.kind;
      return never;
    }
  }
}

function contentTypeField(headers: unknown): unknown {
  return typeof headers === 'object' && headers !== null && Object.hasOwn(headers, 'content-type')
    ? (headers as Record<string, unknown>)['content-type']
    : undefined;
}

// type/subtype and parameters in printable ASCII; AMQP carries at most 255 bytes of it.
const CONTENT_TYPE = /^[A-Za-z0-9!#$&^_.+-]{1,64}\/[A-Za-z0-9!#$&^_.+-]{1,64}(?:;[\x20-\x7e]{0,120})?$/;

/** What the sender said its content is, where that can go out as a header again. */
function usableType(stated: unknown): string {
  return typeof stated === 'string' && CONTENT_TYPE.test(stated) ? stated : UNKNOWN_TYPE;
}

function dataBody(data: unknown): Body {
  return { contentType: JSON_TYPE, body: json.begin().canonical(data).copy() };
}
