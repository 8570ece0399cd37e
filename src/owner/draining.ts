import type { Clock } from '../message/clock.js';
import type { SendResult } from '../message/delivery.js';
import type { ChannelState } from './state.js';

/** Deliveries of one line that wait and are gone in a second or so: a large backlog is not waited for. */
const FEW = 2_000;
/** How long a channel is left unread at a stretch, in ms; then a round takes of it, since it has messages for others, too. */
const LONGEST_MS = 1_000;
/** How long nobody waits for a target that did not take something, in ms. */
const IN_TROUBLE_MS = 10_000;

/** Which channels are not read on for a moment, so that what fell behind in them can catch up. */
export interface Draining {
  holds(state: ChannelState): boolean;
  /** What became of deliveries that waited. */
  settled(target: number, results: readonly SendResult['result'][]): void;
}

/**
 * A delivery that waits in a row costs twice what one costs that goes at once, and whatever is planned behind it has to wait, too. After a
 * broker's moment of slowness an owner under full load would make such rows faster than they go out, and never find back to
 * sending at once. So a line that goes at once but for a few that wait is let go out first, for as long as it does go out.
 */
export function createDraining(deps: {
  /** Whether a target's deliveries would go at once now if none of them waited. */
  readonly goesAtOnce: (tenant: number, target: number) => boolean;
  readonly clock: Clock;
}): Draining {
  const since = new WeakMap<ChannelState, number>();
  const troubledUntil = new Map<number, number>();

  function isDraining({ held, pending }: ChannelState, now: number): boolean {
    for (const [target, count] of pending) {
      if (count > FEW || now < (troubledUntil.get(target) ?? 0)) continue;
      if (deps.goesAtOnce(held.tenant, target)) return true;
    }
    return false;
  }

  return {
    holds(state) {
      const now = deps.clock.monotonic();
      const begun = since.get(state) ?? now;
      if (isDraining(state, now) && now - begun < LONGEST_MS) {
        since.set(state, begun);
        return true;
      }
      since.delete(state);
      return false;
    },
    settled(target, results) {
      if (results.every((result) => result === 'delivered')) troubledUntil.delete(target);
      else troubledUntil.set(target, deps.clock.monotonic() + IN_TROUBLE_MS);
    },
  };
}
