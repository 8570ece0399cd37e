import type { Kind } from '../message/arrival.js';

/** What of a quarantined message is needed to take it in after all. */
export interface HeldEntry {
  readonly source: { readonly id: number; readonly name: string };
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly externalId: string | null;
  readonly value: string | null;
  readonly eventTime: string | null;
  readonly peer: string;
  readonly meta: string | null;
  readonly digest: Buffer;
  readonly raw: Buffer;
}
