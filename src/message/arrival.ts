import type { Tenant } from './tenant.js';

export type Kind = 'mail' | 'event' | 'webhook' | 'amqp';

/** Bounds of the fields a source may fill, in bytes of UTF-8. */
export const FIELD_LIMITS = { account: 512, id: 512, type: 512, value: 512, peer: 256 } as const;

/**
 * One message as an ingress hands it over: raw bytes, cleaned envelope, and what tells it apart.
 * Strings hold no NUL and no lone surrogate, and are within FIELD_LIMITS: the ingress saw to it.
 */
export interface Arrival {
  readonly tenant: Tenant;
  /** Row id and name of the source it came in by. */
  readonly source: { readonly id: number; readonly name: string };
  readonly kind: Kind;
  /** Whom the message concerns; decides the channel. */
  readonly account: string;
  readonly type: string | null;
  /** The id its sender gave it (event id, webhook id, Message-ID-less mail has none); for people, not for de-duplication. */
  readonly externalId: string | null;
  /** A number as it was written, every digit kept. */
  readonly value: string | null;
  /** RFC 3339 with at most microseconds, checked; null where the message names none. */
  readonly eventTime: string | null;
  /** Milliseconds since 1970. */
  readonly arrivedAt: number;
  /** Who sent it: token name, authenticated user or address. */
  readonly peer: string;
  /** What else the transport said (SMTP envelope, webhook headers, CloudEvents headers, AMQP properties), as JSON text; null where the raw bytes say all. */
  readonly meta: string | null;
  /** What makes two arrivals the same within their source (DESIGN 1, Identity). Any bytes, any length. */
  readonly identity: Uint8Array;
  /**
   * 16 bytes of a SHA-256 over the content in canonical form, one character (Latin-1) each: same identity, other digest means
   * other content.
   */
  readonly digest: string;
  /** Whether other content under the same identity is a `conflict`, or a `duplicate` that is noted. */
  readonly onOtherContent: 'conflict' | 'duplicate';
  readonly raw: Uint8Array;
  /** SHA-256 of the raw bytes, one character (Latin-1) a byte, where whoever took them in has made it. */
  readonly sha256?: string;
  /** Worth less than this, in absolute value, it is a duplicate as soon as a filter says "maybe seen"; else it is looked up. */
  readonly maybeBelow?: string | undefined;
  /** A person released it from quarantine: its event time is no longer held against it. */
  readonly released?: true;
}

/** JSON as read: `value` has doubles where they print as written; otherwise lossless-json's LosslessNumber. */
export interface ParsedJson {
  readonly value: unknown;
  /** True when some number needed a LosslessNumber. */
  readonly lossless: boolean;
}
