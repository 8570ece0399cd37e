import type { Portion } from '../message/portion.js';
import type { Decider } from './plan.js';

/** A target whose consumers come and fetch. */
export interface PulledTarget {
  readonly tenant: number;
  readonly id: number;
  /** How many channels its tenant has. */
  readonly channels: number;
  /** Order `channel`: each channel's deliveries in line, and all of a channel with one consumer at a time. */
  readonly inLine: boolean;
  readonly leaseSeconds: number;
}

/** One delivery within its target. */
export interface DeliveryPlace {
  readonly channel: number;
  readonly epoch: number;
  readonly number: number;
}

/** A delivery in a consumer's hands. */
export interface Leased extends DeliveryPlace {
  readonly sequence: number;
  readonly what: 'message' | 'void';
  /** Why a void number is void. */
  readonly reason: string | null;
  readonly rung: number;
  readonly decision: Decider;
  readonly late: boolean;
  readonly replay: boolean;
  readonly portion: Portion | null;
  /** Tries before this one. */
  readonly attempts: number;
  /** Milliseconds since 1970. */
  readonly leasedUntil: number;
  /** Bytes of its message as it came; 0 where that is gone. */
  readonly size: number;
}

/** Who holds a lease: the caller, and the hexadecimal id of the lease; without it, any lease of that caller's. */
export interface Holder {
  readonly who: string;
  readonly lease: string | null;
}

/** What was done about a delivery. `lease_lost`: its lease is over and it is, or will be, somebody else's. */
export type Returned = 'done' | 'lease_lost' | 'unknown';

/** How a consumer gives a delivery back: to be had again after a while, or never. */
export type Nack =
  | { readonly do: 'return'; readonly delaySeconds: number; readonly reason: string | null }
  | { readonly do: 'reject'; readonly code: string; readonly reason: string | null };

/** Leases of deliveries. Everything is in the database, so any process may serve any consumer. */
export interface PullStore {
  /**
   * Takes up to `max` deliveries that are due, for as long as the target says; in line, several of one channel come in
   * order, and no other lease gets that channel until all of them are given back or their time is over.
   */
  lease(target: PulledTarget, holder: { readonly who: string; readonly lease: string }, max: number): Promise<Leased[]>;
  /** Settles deliveries, each on its own; one acked before by the same lease is done again. In the order asked. */
  ack(target: PulledTarget, places: readonly DeliveryPlace[], holder: Holder): Promise<Returned[]>;
  nack(target: PulledTarget, places: readonly DeliveryPlace[], holder: Holder, nack: Nack): Promise<Returned[]>;
  /** Gives back what was leased and not handed out, as if it had not been leased. */
  release(target: PulledTarget, places: readonly DeliveryPlace[], holder: Holder): Promise<void>;
}
