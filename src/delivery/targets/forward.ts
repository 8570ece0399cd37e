import { createHash } from 'node:crypto';
import type { Outgoing } from '../../message/delivery.js';
import { deliveryId } from '../../message/id.js';
import { isForgery } from '../../routing/canonical.js';
import { headerFields } from '../wire.js';
import { type MailField, readMailHeader } from './mailfields.js';

export const LOOP_FIELD = 'X-Waybill-Loop';

/** A mail that has been handed on this often is taken to go round in circles (RFC 5321, 6.3). */
const MOST_RECEIVED = 100;

/** Who forwards, as the mail will show it. */
export interface Forwarder {
  /** Our host name. */
  readonly host: string;
  /** What `loopToken` gives for this target. */
  readonly loopToken: string;
}

/** Marks mails that went out through a target. Tells nothing of it, and nobody outside can make one up. */
export function loopToken(installation: string, tenant: string, target: string): string {
  return createHash('sha256').update([installation, tenant, target].join('\n')).digest('hex').slice(0, 32);
}

/** Why a mail can't be forwarded, ever. */
export type NotForwarded = 'loop' | 'header_too_large';

/**
 * The mail itself under our own fields, body untouched; `loop` where it has been through this target before. Fields that
 * could pass for ours are left out: `waybill-*`, `X-Waybill-*` and Authentication-Results in our name. The loop fields of
 * other targets stay.
 */
export function forwardedMail(outgoing: Outgoing, raw: Uint8Array, by: Forwarder, now: number): Buffer | NotForwarded {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  const header = readMailHeader(bytes);
  if (!header) return 'header_too_large';
  if (isLooping(header.fields, by.loopToken)) return 'loop';
  const kept = header.fields.filter((field) => !passesForOurs(field, by.host));
  return Buffer.concat([
    Buffer.from(ourFields(outgoing, header.fields, by, now), 'latin1'),
    ...kept.map((field) => bytes.subarray(field.start, field.end)),
    // What breaks a header off would otherwise be read as part of the last field.
    Buffer.from(startsBody(bytes, header.end) ? '' : '\r\n'),
    bytes.subarray(header.end),
  ]);
}

/** `Name: value` with its line end; folded, since a line of mail may be no longer than 998 bytes. White space within is folding. */
function mailField(name: string, value: string): string {
  return `${name}: ${foldedValue(value)}\r\n`;
}

export function foldedValue(value: string): string {
  return (value.match(/.{1,900}/g) ?? []).join('\r\n ');
}

function isLooping(fields: readonly MailField[], token: string): boolean {
  const loop = LOOP_FIELD.toLowerCase();
  return (
    fields.some((field) => field.name === loop && field.value === token) ||
    fields.filter((field) => field.name === 'received').length >= MOST_RECEIVED
  );
}

function passesForOurs({ name, value }: MailField, host: string): boolean {
  return name !== LOOP_FIELD.toLowerCase() && isForgery(name, value, host);
}

function ourFields(outgoing: Outgoing, fields: readonly MailField[], by: Forwarder, now: number): string {
  const id = deliveryId(outgoing);
  const hasId = fields.some((field) => field.name === 'message-id');
  return [
    `Received: by ${by.host} (Waybill) id ${id};\r\n ${mailDate(now)}\r\n`,
    mailField(LOOP_FIELD, by.loopToken),
    ...headerFields(outgoing).map(([name, value]) => (value === '' ? '' : mailField(name, value))),
    ...(hasId ? [] : [mailField('Message-ID', `<${mailMessageId(outgoing, by.host)}>`)]),
  ].join('');
}

/** Without the angle brackets; the same at every try of a delivery. */
export function mailMessageId(outgoing: Outgoing, domain: string): string {
  return `${outgoing.tenant}.${deliveryId(outgoing)}@${domain}`;
}

/** RFC 5322, in UTC. */
function mailDate(ms: number): string {
  return new Date(ms).toUTCString().replace('GMT', '+0000');
}

function startsBody(bytes: Buffer, at: number): boolean {
  return bytes[at] === 0x0a || (bytes[at] === 0x0d && bytes[at + 1] === 0x0a);
}
