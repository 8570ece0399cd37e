import type { Kind } from './arrival.js';
import type { Found } from './found.js';
import type { View } from './view.js';

/** A sequenced message as stored: envelope and raw bytes. */
export interface StoredMessage {
  readonly tenant: number;
  readonly channel: number;
  readonly sequence: number;
  readonly source: number;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly externalId: string | null;
  readonly value: string | null;
  readonly eventTime: string | null;
  /** Milliseconds since 1970. */
  readonly arrivedAt: number;
  readonly peer: string;
  readonly meta: string | null;
  /** SHA-256 of the raw bytes, 32 bytes. */
  readonly sha256: Uint8Array;
  readonly raw: Uint8Array;
  /** A person had its account erased: nothing is left of it but its place and its hash. */
  readonly erased?: true;
}

/** The canonical message: what rules look at and what targets get. Built from a stored message and a view of it. */
export interface CanonicalMessage {
  readonly id: string;
  readonly tenant: string;
  readonly source: string;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly value: string | null;
  readonly externalId: string | null;
  /** RFC 3339. */
  readonly time: string | null;
  /** RFC 3339, when it arrived. */
  readonly received: string;
  readonly peer: string;
  /** The transport's envelope: `{from, to, helo, tls …}` for mail, `{headers}` for webhooks, context attributes for events. */
  readonly envelope: Readonly<Record<string, unknown>>;
  readonly view: View;
  /** Structured data, by the extractors of its source. Looked for when it is first asked for. */
  readonly found: readonly Found[];
}
