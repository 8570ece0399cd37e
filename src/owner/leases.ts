import type { Clock } from '../message/clock.js';
import type { Held } from './ports.js';

export interface Lease {
  readonly tenant: number;
  readonly channel: number;
  readonly holder: string | null;
  readonly term: number;
  /** Of the holder; null when its process row is gone. */
  readonly beat: number | null;
}

export interface LeaseStore {
  register(name: string, roles: readonly string[]): Promise<void>;
  beat(): Promise<void>;
  leases(): Promise<Lease[]>;
  /** Takes those leases whose term is still the given one; answers what was taken, with the new terms. */
  take(wanted: readonly Held[]): Promise<Held[]>;
  /** Gives everything back. */
  leave(): Promise<void>;
  /** Removes rows of processes that died long ago. */
  sweep(): Promise<void>;
}

/** How long a holder's beat must stand still, on the observer's own clock, before its lease may be taken. */
export interface LeaseSettings {
  readonly lostAfterMs: number;
}

/**
 * Watches the beats of other processes on this process's own monotonic clock: neither a jump of the wall clock nor a
 * slow database makes a living owner look dead before its beat has stood still for the whole time.
 */
export class BeatWatch {
  readonly #seen = new Map<string, { beat: number; since: number }>();

  constructor(
    private readonly clock: Clock,
    private readonly settings: LeaseSettings,
  ) {}

  /** Leases that nobody living holds, of those not held by `self`. */
  takeable(leases: readonly Lease[], self: string): Held[] {
    const now = this.clock.monotonic();
    const holders = new Set<string>();
    const free = leases.filter((lease) => {
      if (lease.holder === self) return false;
      if (lease.holder === null || lease.beat === null) return true;
      holders.add(lease.holder);
      const seen = this.#seen.get(lease.holder);
      if (!seen || seen.beat !== lease.beat) {
        this.#seen.set(lease.holder, { beat: lease.beat, since: now });
        return false;
      }
      return now - seen.since >= this.settings.lostAfterMs;
    });
    for (const holder of this.#seen.keys()) if (!holders.has(holder)) this.#seen.delete(holder);
    return free.map(({ tenant, channel, term }) => ({ tenant, channel, term }));
  }
}
