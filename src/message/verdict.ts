import type { Place } from './id.js';

/** What a channel says of one arrival. Every arrival gets exactly one. */
export type Verdict =
  | { readonly verdict: 'sequenced'; readonly channel: number; readonly sequence: number }
  | {
      readonly verdict: 'duplicate';
      /** Looked up exactly. */
      readonly basis: 'store';
      readonly of: Place;
      /** Content differed from the original's, where the source notes that rather than calling it a conflict. */
      readonly differs: boolean;
    }
  /** Taken from the filter alone, by the policy of its source, and kept until it has been looked up. */
  | { readonly verdict: 'duplicate'; readonly basis: 'filter' }
  /** `quarantine` is the n of its `q-<n>` entry. */
  | { readonly verdict: 'conflict'; readonly of: Place; readonly quarantine: number }
  | { readonly verdict: 'expired'; readonly quarantine: number }
  | Rejected;

export interface Rejected {
  readonly verdict: 'rejected';
  readonly code: RejectCode;
  /** A sentence for people: what is wrong and what to do. */
  readonly reason: string;
  /** JSON pointer to the place, where there is one. */
  readonly pointer?: string;
}

export type RejectCode =
  | 'json_malformed'
  | 'json_too_deep'
  | 'not_an_object'
  | 'id_missing'
  | 'id_invalid'
  | 'source_missing'
  | 'source_invalid'
  | 'type_missing'
  | 'type_invalid'
  | 'subject_invalid'
  | 'time_invalid'
  | 'specversion_unsupported'
  | 'value_invalid'
  | 'too_large'
  | 'unstorable'
  // Of events of a backfill.
  | 'account_missing'
  | 'account_differs'
  | 'time_missing'
  | 'outside_range';

/** The channel can't take more just now; the sender should try again after `retryAfterSeconds`. */
export class Busy extends Error {
  override readonly name = 'Busy';
  constructor(readonly retryAfterSeconds: number) {
    super(`too many messages are waiting to be stored; try again in ${retryAfterSeconds} s`);
  }
}

/** Nothing can be stored just now (database away, disk short); its sentence says whether anything was accepted. */
export class Unavailable extends Error {
  override readonly name: string = 'Unavailable';
}

/** So much waits for the broker that no more is taken until it has some of it. Nothing was accepted. */
export class Backlogged extends Unavailable {
  override readonly name = 'Backlogged';
}

/**
 * Makes arrivals durable and says what became of each, in the same order. Resolves only after the commit.
 * Rejects with Busy or Unavailable; then it is not known that any was taken, and sending all again is safe.
 */
export type Accept = (arrivals: readonly Arrival[]) => Promise<Verdict[]>;

import type { Arrival } from './arrival.js';
