import type { Outgoing } from '../message/delivery.js';
import { messageId } from '../message/id.js';

/** The type of a notice that a number carries no message. */
export const VOID_TYPE = 'waybill.delivery.void';

/** Most characters of a decision's text: a rule set with long names must not outgrow a target's limit on headers. */
const DECISION_LIMIT = 512;
/** A short string of AMQP: its length is one byte. */
const SHORT_STRING = 255;

/** The `waybill-*` fields of one delivery, named and ordered as everywhere on the wire. */
export interface WireFields {
  readonly 'waybill-tenant': string;
  readonly 'waybill-channel': number;
  readonly 'waybill-sequence': number;
  readonly 'waybill-delivery': number;
  readonly 'waybill-epoch': number;
  readonly 'waybill-account': string;
  readonly 'waybill-source': string;
  readonly 'waybill-rung': number;
  readonly 'waybill-defects': string;
  readonly 'waybill-decision': string;
  readonly 'waybill-late': boolean;
  readonly 'waybill-replay': boolean;
  /** Where the body is only a portion of the message: `part=2`, `fields=amount,order-number`. */
  readonly 'waybill-portion'?: string;
}

/** The fields as they are: AMQP headers and the pull API's JSON carry numbers, booleans and any Unicode. */
export function wireFields(outgoing: Outgoing): WireFields {
  return {
    'waybill-tenant': outgoing.tenant,
    'waybill-channel': outgoing.channel,
    'waybill-sequence': outgoing.sequence,
    'waybill-delivery': outgoing.number,
    'waybill-epoch': outgoing.epoch,
    'waybill-account': outgoing.account,
    'waybill-source': outgoing.source,
    'waybill-rung': outgoing.rung,
    'waybill-defects': outgoing.defects.length === 0 ? '' : [...new Set(outgoing.defects)].join(','),
    'waybill-decision': outgoing.decision.slice(0, DECISION_LIMIT),
    'waybill-late': outgoing.late,
    'waybill-replay': outgoing.replay,
    ...(outgoing.only && { 'waybill-portion': outgoing.only.text }),
  };
}

/** The type a target sees: the message's own, or the notice's; null where the message has none. */
export function wireType(outgoing: Outgoing): string | null {
  return outgoing.what === 'void' ? VOID_TYPE : outgoing.type;
}

/** `<tenant>:<epoch>:<id>`: the same for every delivery of a message. */
export function wireMessageId(outgoing: Outgoing): string {
  return `${outgoing.tenant}:${outgoing.epoch}:${messageId(outgoing)}`;
}

/** `<tenant>:<epoch>:<target>:<channel>-<delivery>`: one delivery, the same at every attempt. */
export function webhookId(outgoing: Outgoing): string {
  return `${outgoing.tenant}:${outgoing.epoch}:${outgoing.target}:${outgoing.channel}-${outgoing.number}`;
}

/** Whether a name on a broker belongs to Waybill: its exchange `waybill`, its queues `waybill.…`. Nobody's target may name those. */
export function isReservedName(name: string): boolean {
  return name === 'waybill' || name.startsWith('waybill.');
}

/** What goes with a body over AMQP 0-9-1. `timestamp` is the arrival, in seconds. */
export interface AmqpProperties {
  readonly messageId: string;
  readonly type?: string | undefined;
  readonly timestamp: number;
  readonly contentType: string;
  readonly appId: 'waybill';
  /** Persistent. */
  readonly deliveryMode: 2;
  readonly headers: WireFields & { readonly 'waybill-type'?: string };
}

/** A type longer than AMQP's 255 bytes is cut in the property and whole in the header `waybill-type`. */
export function amqpProperties(outgoing: Outgoing): AmqpProperties {
  const type = wireType(outgoing);
  const short = type === null ? null : cutUtf8(type, SHORT_STRING);
  const fields = wireFields(outgoing);
  return {
    messageId: wireMessageId(outgoing),
    type: short ?? undefined,
    timestamp: Math.floor(outgoing.receivedAt / 1000),
    contentType: outgoing.contentType,
    appId: 'waybill',
    deliveryMode: 2,
    headers: type !== null && short !== type ? { ...fields, 'waybill-type': type } : fields,
  };
}

/**
 * The fields as header lines can carry them, with `waybill-type` beside them where there is a type: ASCII, everything else percent-encoded UTF-8, as CloudEvents does over HTTP.
 */
export function headerFields(outgoing: Outgoing): [name: string, value: string][] {
  const fields: [string, string][] = Object.entries(wireFields(outgoing)).map(([name, value]) => [
    name,
    percentEncoded(String(value)),
  ]);
  const type = wireType(outgoing);
  if (type !== null) fields.push(['waybill-type', percentEncoded(type)]);
  return fields;
}

// Space, double quote and percent sign are encoded too (CloudEvents 1.0, HTTP binding 3.1.3.2).
const NOT_PLAIN = /[^\x21-\x7e]+|["%]/g;
const LONE_SURROGATE = /\p{Surrogate}/gu;

/** Printable ASCII without spaces; `decodeURIComponent` reads it back. */
export function percentEncoded(text: string): string {
  return text.replace(NOT_PLAIN, (run) => encodeURIComponent(run.replace(LONE_SURROGATE, '\u{fffd}')));
}

/** The text cut to at most so many bytes of UTF-8, between characters. */
export function cutUtf8(text: string, maxBytes: number): string {
  // A UTF-16 unit is at most three bytes of UTF-8.
  if (text.length * 3 <= maxBytes) return text;
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return text;
  let end = maxBytes;
  while (end > 0 && ((bytes[end] as number) & 0b1100_0000) === 0b1000_0000) end--;
  return bytes.toString('utf8', 0, end);
}
