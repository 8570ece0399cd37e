import { isUtf8 } from 'node:buffer';
import { type DeliveryKey, deliveryIdentity, eventDigest } from '../../channel/identity.js';
import { unseenBelow } from '../../channel/maybe.js';
import type { AmqpSource, Source } from '../../channel/source.js';
import { contentOf, type Undecodable } from '../../channel/undecodable.js';
import { follow, numericText, pointerSteps, scalarText } from '../../content/json/pointer.js';
import { readJson } from '../../content/json/read.js';
import { type Arrival, FIELD_LIMITS, type ParsedJson } from '../../message/arrival.js';
import { type EventContext, type EventRead, readAttributes } from '../events/event.js';
import { readRequest } from '../events/request.js';
import type { InTurns } from '../events/turns.js';
import { isField, isIntactField } from '../field.js';
import { hasAttributes, messageAttributes } from './attributes.js';
import type { Properties, QueueMessage } from './message.js';
import { messageMeta } from './meta.js';
import { headerText, timeOf } from './table.js';

export interface DecodeDeps {
  readonly inTurns: InTurns;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Most events in one message. */
  readonly maxEvents: number;
  /** Largest body. */
  readonly maxBytes: number;
}

/** What became of one message: the arrivals it holds, and the whole of it where something of it is none. */
export interface Decoded {
  readonly arrivals: readonly Arrival[];
  readonly undecodable: Undecodable | null;
}

/** Reads one message of a source. `arrivedAt` in milliseconds since 1970. Never throws, whatever the message holds. */
export function decode(
  deps: DecodeDeps,
  source: Source<AmqpSource>,
  message: QueueMessage,
  arrivedAt: number,
): Decoded | Promise<Decoded> {
  const received = receivedOf(source, message, arrivedAt);
  const { content, properties } = message;
  const problem = problemOf(received, deps.maxBytes);
  if (problem !== null) return refused(received, problem);
  const form = formOf(properties);
  switch (form) {
    case 'event':
      return eventsOf(deps, received, 'structured');
    case 'events':
      return eventsOf(deps, received, 'array');
    case 'attributes': {
      const attributes = messageAttributes(properties);
      return together(received, [readAttributes(content, attributes, isIntactField, eventContext(received))]);
    }
    case 'foreign':
      return refused(received, 'It is a CloudEvent in another format than JSON.');
    case 'plain':
      return plainMessage(deps, received);
    default: {
      const never: never = form;
      return never;
    }
  }
}

/** What of a message is the same however it is read. */
interface Received {
  readonly source: Source<AmqpSource>;
  readonly message: QueueMessage;
  readonly arrivedAt: number;
  readonly peer: string;
  readonly meta: ReturnType<typeof messageMeta>;
}

function receivedOf(source: Source<AmqpSource>, message: QueueMessage, arrivedAt: number): Received {
  const { userId } = message.properties;
  const peer = isField(userId, FIELD_LIMITS.peer) ? userId : source.definition.queue;
  return { source, message, arrivedAt, peer, meta: messageMeta(message) };
}

/** Why nothing can be read of it at all; null where that isn't so. */
function problemOf({ message, meta }: Received, maxBytes: number): string | null {
  if (message.properties.unreadable !== undefined) return 'Its properties and headers can not be read.';
  if (meta.cut) return 'Its headers are nested too deep.';
  if (meta.text.length > MAX_META) return `Its headers are longer than ${MAX_META} characters.`;
  return message.content.length > maxBytes ? `Its body is larger than ${maxBytes} bytes.` : null;
}

/** Characters of JSON that properties and headers may take. */
const MAX_META = 65_536;

type Form = 'event' | 'events' | 'attributes' | 'foreign' | 'plain';

/** How a message carries events, by the CloudEvents binding for AMQP; `plain` when it carries none. */
function formOf(properties: Properties): Form {
  const type = (properties.contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (type === 'application/cloudevents+json') return 'event';
  if (type === 'application/cloudevents-batch+json') return 'events';
  if (type.startsWith('application/cloudevents')) return 'foreign';
  return hasAttributes(properties.headers ?? {}) ? 'attributes' : 'plain';
}

async function eventsOf(deps: DecodeDeps, received: Received, mode: 'structured' | 'array'): Promise<Decoded> {
  const { content } = received.message;
  const read = await readRequest(mode, content, {}, deps.maxEvents, eventContext(received), deps.inTurns);
  if (read.ok) return together(received, read.reads);
  switch (read.code) {
    case 'json_malformed':
      return refused(received, 'It is not a JSON array of events.');
    case 'too_many_events':
      return refused(received, `It holds more than ${deps.maxEvents} events.`);
    default: {
      const never: never = read.code;
      return never;
    }
  }
}

/** Whatever its `source`, an event is the AMQP source's own. */
function eventContext({ source, arrivedAt, peer }: Received): EventContext {
  const { value, maybe } = source.definition;
  const steps = value?.from === 'pointer' ? pointerSteps(value.pointer) : null;
  const feed = { source, value: steps, maybeBelow: unseenBelow(maybe) };
  return { tenant: source.tenant, peer, arrivedAt, feed: () => feed };
}

/** The events of a message that can be read; the message itself, too, where some can't. */
function together(received: Received, reads: readonly EventRead[]): Decoded {
  const value = valueHeader(received);
  const arrivals: Arrival[] = [];
  const reasons: string[] = [];
  reads.forEach((event, index) => {
    if (event.read === 'arrival') arrivals.push(value === undefined ? event.arrival : { ...event.arrival, value });
    else reasons.push(reads.length === 1 ? event.rejected.reason : `Event ${index}: ${event.rejected.reason}`);
  });
  if (reads.length === 0) return refused(received, 'It holds no event.');
  if (reasons.length === 0) return { arrivals, undecodable: null };
  const others = arrivals.length === 0 ? '' : ` Of its ${reads.length} events ${arrivals.length} are in.`;
  return { arrivals, undecodable: undecodable(received, `${reasons[0]}${others}`) };
}

/** The value that a header names; undefined where the source looks for none there. */
function valueHeader({ source, message }: Received): string | null | undefined {
  const { value } = source.definition;
  return value?.from === 'header' ? numericText(headerText(header(message, value.header))) : undefined;
}

/** A message that is no event: whatever its bytes are, in an envelope of properties and headers. */
function plainMessage(deps: DecodeDeps, received: Received): Decoded {
  const { source, message, arrivedAt, peer, meta } = received;
  const { content, properties } = message;
  const parsed = jsonOf(properties, content);
  const key = keyOf(deps, source.definition, message, parsed);
  if (typeof key === 'string') return refused(received, key);
  const type = isIntactField(properties.type, FIELD_LIMITS.type) ? properties.type : null;
  const arrival: Arrival = {
    tenant: source.tenant,
    source,
    kind: 'amqp',
    account: accountOf(received, parsed),
    type,
    externalId: externalIdOf(key, properties),
    value: worthOf(received, parsed),
    eventTime: timeOf(properties.timestamp) ?? null,
    arrivedAt,
    peer,
    meta: meta.text,
    identity: deliveryIdentity(key),
    // Its time is left out: many programs take it anew whenever they publish the same again.
    digest: eventDigest({ type: type ?? '', subject: null, time: null, data: { form: 'bytes', bytes: content } }),
    onOtherContent: 'conflict',
    maybeBelow: unseenBelow(source.definition.maybe),
    raw: content,
  };
  return { arrivals: [arrival], undecodable: null };
}

const FORM = /^\s*application\/x-www-form-urlencoded\s*(?:;|$)/i;

/** JSON whatever it is called, but for forms: `1` is a form, too. */
function jsonOf({ contentType = '' }: Properties, content: Buffer): ParsedJson | null {
  if (FORM.test(contentType) || !isUtf8(content)) return null;
  const read = readJson(content, 0, content.length);
  return read.ok ? read.json : null;
}

/** What tells the message apart, or a sentence of why nothing does. */
function keyOf(
  deps: DecodeDeps,
  { identity }: AmqpSource,
  message: QueueMessage,
  parsed: ParsedJson | null,
): DeliveryKey | string {
  switch (identity.from) {
    case 'message-id':
      return keyById(message.properties.messageId, 'It has no usable messageId');
    case 'header':
      return keyById(headerText(header(message, identity.header)), `It has no usable header "${identity.header}"`);
    case 'pointer':
      return keyById(pointed(parsed, identity.pointer), `Its body has no text or number at ${identity.pointer}`);
    case 'body':
      return { by: 'body', body: message.content };
    case 'none':
      return { by: 'chance', bytes: deps.randomBytes(16) };
    default: {
      const never: never = identity;
      return never;
    }
  }
}

/** Any length: what can't be shown can still tell two apart. A replacement character may stand for any byte. */
function keyById(id: string | undefined, without: string): DeliveryKey | string {
  if (isIntactField(id, Number.POSITIVE_INFINITY)) return { by: 'id', id };
  return `${without}, so nothing tells it from others (see \`identity\` of the source).`;
}

function externalIdOf(key: DeliveryKey, { messageId }: Properties): string | null {
  const id = key.by === 'id' ? key.id : messageId;
  return isIntactField(id, FIELD_LIMITS.id) ? id : null;
}

function accountOf({ source, message }: Received, parsed: ParsedJson | null): string {
  const { account } = source.definition;
  if (account === undefined) return source.name;
  const text =
    account.from === 'header' ? headerText(header(message, account.header)) : pointed(parsed, account.pointer);
  return isIntactField(text, FIELD_LIMITS.account) ? text : source.name;
}

function worthOf(received: Received, parsed: ParsedJson | null): string | null {
  const { value } = received.source.definition;
  if (value?.from !== 'pointer') return valueHeader(received) ?? null;
  return numericText(follow(parsed?.value, pointerSteps(value.pointer)));
}

function header({ properties: { headers } }: QueueMessage, name: string): unknown {
  return headers !== undefined && Object.hasOwn(headers, name) ? headers[name] : undefined;
}

function pointed(parsed: ParsedJson | null, pointer: string): string | undefined {
  return scalarText(follow(parsed?.value, pointerSteps(pointer)));
}

function refused(received: Received, reason: string): Decoded {
  return { arrivals: [], undecodable: undecodable(received, reason) };
}

/** The whole message as the quarantine keeps it; let in by a person, it is a plain one of the source's own account. */
function undecodable({ source, message, arrivedAt, peer, meta }: Received, reason: string): Undecodable {
  const { type, messageId } = message.properties;
  return {
    tenant: source.tenant,
    source,
    kind: 'amqp',
    account: source.name,
    type: isIntactField(type, FIELD_LIMITS.type) ? type : null,
    externalId: isIntactField(messageId, FIELD_LIMITS.id) ? messageId : null,
    arrivedAt,
    peer,
    meta: meta.text,
    raw: message.content,
    reason,
    content: contentOf(meta.lasting, message.content),
  };
}

/** A message the channel would not take: what the quarantine keeps of it. */
export function rejectedMessage(
  source: Source<AmqpSource>,
  message: QueueMessage,
  arrivedAt: number,
  reason: string,
): Undecodable {
  return undecodable(receivedOf(source, message, arrivedAt), reason);
}
