import type { Arrival } from '../message/arrival.js';
import { msOf } from '../message/iso-time.js';
import type { Tenant } from '../message/tenant.js';
import { fingerprint } from './fingerprint.js';
import { accountHash, channelOf } from './partition.js';
import { sha256 } from './sha256.js';

/** An arrival with everything its channel needs to decide it. Hashes have one character a byte (sha256.ts). */
export interface Candidate {
  readonly arrival: Arrival;
  readonly channel: number;
  /** Tenant and fingerprint: what is stored once. */
  readonly key: string;
  readonly fingerprint: string;
  /** SHA-256 of the account. */
  readonly accountHash: string;
  /** SHA-256 of the raw bytes. */
  readonly sha256: string;
  /** Event time outside what can be de-duplicated. */
  readonly expired: boolean;
}

/** How far an event's own time may lie from its arrival. */
export interface TimeWindow {
  readonly pastMs: number;
  readonly futureMs: number;
}

export function candidate(arrival: Arrival, secret: Uint8Array, window: TimeWindow): Candidate {
  const account = accountHash(arrival.account);
  const print = fingerprint(secret, arrival.tenant.id, arrival.source.id, arrival.identity);
  return {
    arrival,
    channel: channelOf(account, arrival.tenant.channels),
    key: `${arrival.tenant.id}.${print}`,
    fingerprint: print,
    accountHash: account,
    sha256: arrival.sha256 ?? sha256(arrival.raw),
    expired: isExpired(arrival, window),
  };
}

function isExpired(arrival: Arrival, window: TimeWindow): boolean {
  if (arrival.eventTime === null || arrival.released) return false;
  const time = msOf(arrival.eventTime);
  return time < arrival.arrivedAt - window.pastMs || time > arrival.arrivedAt + window.futureMs;
}

/** Where one tenant's channel stood before a batch. */
export interface ChannelStart {
  readonly tenant: number;
  readonly channel: number;
  readonly lastSequence: number;
}

/** The store's answer for a row that did not simply get the next number. */
export interface Exception {
  readonly row: number;
  readonly verdict: 'sequenced' | 'duplicate' | 'conflict' | 'expired';
  readonly channel: number;
  /** The original's; for `sequenced` its own (a repeated batch); 0 for `expired`. */
  readonly sequence: number;
  readonly differs: boolean;
  /** n of its `q-<n>`, 0 without one. */
  readonly quarantine: number;
}

/**
 * One group commit as the store takes it. A fingerprint occurs twice only where every row that has it is expired, or
 * its key is stored already and looked up for each of them: the store refuses to insert a key twice, as `contended`.
 */
export interface Batch {
  /** Positive, random: names this commit, also when it has to be repeated. */
  readonly id: number;
  /** Which of the commits a process does at once it is, from 0. */
  readonly lane: number;
  /** Its answer was lost: what it may have stored keeps its verdicts. */
  readonly repeated: boolean;
  readonly rows: readonly Candidate[];
  /**
   * How many more arrivals each row stands for: of the same key, content and account. They come to what it comes to, as its duplicates, and
   * the store has only to count them. Empty where no row has any.
   */
  readonly repeats: readonly number[];
  /** The generation the look-ups were made for. */
  readonly generation: number;
  /** Pairs (row, generation) that the filters could not rule out. */
  readonly lookUps: readonly (readonly [row: number, generation: number])[];
  /** Beside these rows: taken as duplicates by a filter's word, to be kept in the same transaction. */
  readonly unseen: readonly Candidate[];
}

export interface BatchAnswer {
  readonly starts: readonly ChannelStart[];
  readonly exceptions: readonly Exception[];
}

/** How the store failed, and what follows from it. */
export type StoreFailure =
  /** Can't be reached, or its answer was lost: repeat under the same id. */
  | 'unavailable'
  /** Deadlock, serialization failure, or a key that another process was first with: nothing was stored; do it again. */
  | 'contended'
  /** One of the rows can't be stored: find it. */
  | 'data'
  /** A fault of ours: the batch fails. */
  | 'fault';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  constructor(
    readonly failure: StoreFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Stores a batch in one transaction. Rejects with StoreError. */
export type CommitBatch = (batch: Batch) => Promise<BatchAnswer>;

/** Distinct (tenant, channel) of a batch in locking order. */
export function channelsOf(rows: readonly Candidate[]): { tenant: Tenant; channel: number }[] {
  const seen = new Map<number, { tenant: Tenant; channel: number }>();
  for (const { arrival, channel } of rows) {
    // At most 1,024 channels a tenant, so this is one number a pair.
    const key = arrival.tenant.id * 1024 + channel;
    if (!seen.has(key)) seen.set(key, { tenant: arrival.tenant, channel });
  }
  return [...seen.values()].sort((a, b) => a.tenant.id - b.tenant.id || a.channel - b.channel);
}
