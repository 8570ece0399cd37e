import type { Logger } from 'pino';
import type { LinkState } from '../broker/link.js';
import type { Clock } from '../message/clock.js';
import type { TenantBacklog } from '../storage/backlog.js';

/** A broker that has just come back may go again: it counts as there once it has been up for so long. */
const UP_FOR_MS = 5_000;
/** Whoever was refused is taken again when this share of the bound is left. */
const TAKEN_AGAIN_AT = 0.9;

export interface BacklogDeps {
  /** Most messages that may wait for the broker, of all tenants together. */
  readonly maxMessages: number;
  readonly broker: () => LinkState;
  /** What waits for the broker, by tenant; counts beyond `most` need not be exact. */
  readonly waiting: (most: number) => Promise<readonly TenantBacklog[]>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Logger;
}

/**
 * While the broker is away or in alarm, messages are taken in and wait. When too many wait, the tenants that have at
 * least an equal share of the bound are told to come back; those that have less still fill theirs.
 */
export interface Backlog {
  /** Whether so much of a tenant waits for the broker that no more is taken of it. */
  isFull(tenant: number): boolean;
  /** Tenants of which no more is taken. */
  full(): ReadonlySet<number>;
  /** What waited at the last look, by tenant; nothing while the broker is there, when nobody looks. */
  waiting(): readonly TenantBacklog[];
  /** To be called every second. */
  look(): Promise<void>;
}

export function createBacklog(deps: BacklogDeps): Backlog {
  const { maxMessages, clock, log } = deps;
  let awayAt = Number.NEGATIVE_INFINITY;
  let waiting: readonly TenantBacklog[] = [];
  let full: ReadonlySet<number> = new Set();

  function refuse(tenants: ReadonlySet<number>): void {
    if (tenants.size > 0 && full.size === 0)
      log.warn({ tenants: tenants.size }, 'too much waits for the broker: no more is taken until it is back');
    if (tenants.size === 0 && full.size > 0) log.info('messages are taken again, though the broker has been away');
    full = tenants;
  }

  return {
    isFull: (tenant) => full.has(tenant),
    full: () => full,
    waiting: () => waiting,
    async look() {
      if (deps.broker() !== 'up') awayAt = clock.monotonic();
      const away = clock.monotonic() - awayAt < UP_FOR_MS;
      waiting = away ? await deps.waiting(maxMessages) : [];
      const most = evenShare(waiting, maxMessages);
      const mostAgain = evenShare(waiting, maxMessages * TAKEN_AGAIN_AT);
      const over = waiting.filter(
        ({ tenant, messages }) => messages >= most || (full.has(tenant) && messages >= mostAgain),
      );
      refuse(new Set(over.map(({ tenant }) => tenant)));
    },
  };
}

/**
 * The most that a tenant may have so that all together have no more than `bound`, when who has less leaves the rest to
 * the others. Infinite while everything fits.
 */
export function evenShare(waiting: readonly TenantBacklog[], bound: number): number {
  let left = bound;
  const ascending = waiting.map(({ messages }) => messages).sort((a, b) => a - b);
  for (const [i, messages] of ascending.entries()) {
    const share = left / (ascending.length - i);
    if (messages >= share) return share;
    left -= messages;
  }
  return Number.POSITIVE_INFINITY;
}
