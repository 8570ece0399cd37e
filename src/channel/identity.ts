/**
 * What tells messages apart (DESIGN 1, Identity): canonical forms, digests and identities as plain functions over
 * plain values. The fingerprint is made from an identity elsewhere, keyed and with tenant and source in front.
 */
import { createHash } from 'node:crypto';
import { JsonBytes } from '../content/json/bytes.js';
import { bytesOf, sha256, textOf } from './sha256.js';

/** Bytes of a SHA-256 that are kept to compare content. */
export const DIGEST_BYTES = 16;

/** An event's data in whichever form it came: none, a JSON value, or bytes that are no JSON. */
export type EventData =
  | { readonly form: 'none' }
  | { readonly form: 'json'; readonly value: unknown }
  | { readonly form: 'bytes'; readonly bytes: Uint8Array };

/** What counts as an event's content: a resend that equals it in these is the same event. `time` is normalised. */
export interface EventContent {
  readonly type: string;
  readonly subject: string | null;
  readonly time: string | null;
  readonly data: EventData;
}

/** 16 bytes over an event's content in canonical form, as `Arrival.digest`. The same whether it came structured or binary. */
export function eventDigest(content: EventContent): string {
  const { type, subject, time, data } = content;
  json.begin().json('[').text(type).json(',').text(subject).json(',').text(time);
  switch (data.form) {
    case 'none':
      return digest(json.json(']').view());
    case 'json':
      return digest(json.json(',{"json":').canonical(data.value).json('}]').view());
    case 'bytes': {
      const head = json.json(',"bytes"]').view();
      return createHash('sha256').update(head).update(data.bytes).digest('binary').slice(0, DIGEST_BYTES);
    }
    default: {
      const never: never = data;
      return never;
    }
  }
}

const json = new JsonBytes();

/** 16 bytes over bytes as they came, as `Arrival.digest`: for webhooks, and for events that have no canonical form. */
export function bytesDigest(bytes: Uint8Array): string {
  return digest(bytes);
}

function digest(content: Uint8Array): string {
  return sha256(content).slice(0, DIGEST_BYTES);
}

/** What makes two events the same: the CloudEvents `source` and `id`, length-prefixed so that no two pairs run together. */
export function eventIdentity(source: string, id: string): Uint8Array {
  return prefixed(source, id);
}

/** What makes two deliveries of a webhook the same. The forms never meet: an id can't be made to equal a body's hash. */
export type DeliveryKey =
  /** An id its sender gave. */
  | { readonly by: 'id'; readonly id: string }
  /** The same bytes are the same delivery. */
  | { readonly by: 'body'; readonly body: Uint8Array }
  /** Every delivery is new: 16 random bytes. */
  | { readonly by: 'chance'; readonly bytes: Uint8Array };

export function deliveryIdentity(key: DeliveryKey): Uint8Array {
  switch (key.by) {
    case 'id':
      return prefixed('id', key.id);
    case 'body':
      return Buffer.concat([Buffer.from('body'), bytesOf(sha256(key.body), 32)]);
    case 'chance':
      return Buffer.concat([Buffer.from('new'), key.bytes]);
    default: {
      const never: never = key;
      return never;
    }
  }
}

/** Both texts in UTF-8, the first with its length (4 bytes, big-endian) before it. */
function prefixed(first: string, second: string): Buffer {
  const length = Buffer.byteLength(first);
  const bytes = Buffer.allocUnsafe(4 + length + Buffer.byteLength(second));
  bytes.writeUInt32BE(length, 0);
  bytes.write(first, 4);
  bytes.write(second, 4 + length);
  return bytes;
}

/** Header fields that a mail gains on its way, so that two copies of it may differ in them. ARC fields are another three. */
const TRACE_FIELDS: ReadonlySet<string> = new Set([
  'return-path',
  'received',
  'delivered-to',
  'authentication-results',
]);
const LONGEST_TRACE_FIELD = 64;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/**
 * SHA-256 (32 bytes) of a mail without its trace fields (Return-Path, Received, Delivered-To, Authentication-Results,
 * ARC-*), wherever in the header they stand. Never fails: what is no header is content.
 */
export function mailContentHash(raw: Uint8Array, pieces = withoutTrace(raw)): Uint8Array {
  if (pieces.length === 1) return bytesOf(sha256(raw), 32);
  const sha = createHash('sha256');
  for (const piece of pieces) sha.update(piece);
  return sha.digest();
}

/** A mail's bytes without its trace fields, in pieces: what its identity is the SHA-256 of. A single piece is all of it. */
export function withoutTrace(raw: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  // Start of the bytes not yet kept; everything before is kept or dropped.
  let kept = 0;
  let at = 0;
  while (at < raw.length && !blankLineAt(raw, at)) {
    const next = fieldEnd(raw, at);
    if (isTraceField(raw, at)) {
      pieces.push(raw.subarray(kept, at));
      kept = next;
    }
    at = next;
  }
  pieces.push(raw.subarray(kept));
  return pieces;
}

/**
 * What makes two mails the same, and their digest. `recipient` as the source sees it (the caller lower-cases it, if
 * its addresses are compared so). For one mail to many recipients, hash it once and pass `contentHash`.
 */
export function mailIdentity(
  recipient: string,
  raw: Uint8Array,
  contentHash: Uint8Array = mailContentHash(raw),
): { readonly identity: Uint8Array; readonly digest: string } {
  const name = Buffer.from(recipient);
  return { identity: Buffer.concat([contentHash, name]), digest: textOf(contentHash.subarray(0, DIGEST_BYTES)) };
}

function blankLineAt(raw: Uint8Array, at: number): boolean {
  return raw[at] === LF || (raw[at] === CR && raw[at + 1] === LF);
}

/** Where the field that starts at `at` ends: after its line and all continuation lines. */
function fieldEnd(raw: Uint8Array, at: number): number {
  let end = at;
  do {
    const lineFeed = raw.indexOf(LF, end);
    if (lineFeed === -1) return raw.length;
    end = lineFeed + 1;
  } while (raw[end] === SPACE || raw[end] === TAB);
  return end;
}

function isTraceField(raw: Uint8Array, at: number): boolean {
  const colon = raw.subarray(at, at + LONGEST_TRACE_FIELD).indexOf(COLON);
  if (colon === -1) return false;
  const name = Buffer.from(raw.buffer, raw.byteOffset + at, colon)
    .toString('latin1')
    .trimEnd()
    .toLowerCase();
  return TRACE_FIELDS.has(name) || name.startsWith('arc-');
}
