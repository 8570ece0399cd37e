import type { Kind } from '../message/arrival.js';
import type { Tenant } from '../message/tenant.js';
import { bytesOf, sha256 } from './sha256.js';

/** Something that came and that no arrival could be made of: what the quarantine keeps of it, whole. */
export interface Undecodable {
  readonly tenant: Tenant;
  readonly source: { readonly id: number; readonly name: string };
  /** What it is when a person lets it in all the same. */
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly externalId: string | null;
  /** Milliseconds since 1970. */
  readonly arrivedAt: number;
  readonly peer: string;
  /** JSON text. */
  readonly meta: string | null;
  readonly raw: Uint8Array;
  /** What can't be read of it, as a sentence. */
  readonly reason: string;
  /** Tells it from others of its source: the same content again only raises the count of its entry. */
  readonly content: Uint8Array;
}

/** Keeps them durably, all or none. */
export type Quarantine = (entries: readonly Undecodable[]) => Promise<void>;

/** 32 bytes that stand for several pieces of content, however they are cut. */
export function contentOf(...pieces: readonly (string | Uint8Array)[]): Uint8Array {
  return Buffer.concat(pieces.map((piece) => bytesOf(sha256(piece), 32)));
}
