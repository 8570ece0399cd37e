import type { Clock } from '../message/clock.js';
import { type ChannelState, channelKey } from './state.js';

/** A channel whose last rounds failed. */
export interface Trouble {
  /** On the monotonic clock: it is let alone until then. */
  readonly until: number;
  readonly failures: number;
}

/**
 * Whose turn it is, of channels for which there is work: all that go well together, or one in trouble alone, by turns.
 * `trouble` is by `channelKey`, as it stands at each asking.
 */
export function createTurns(
  trouble: ReadonlyMap<string, Trouble>,
  clock: Clock,
): (wanting: readonly ChannelState[]) => readonly ChannelState[] {
  let aloneNext = false;
  return (wanting) => {
    if (trouble.size === 0) return wanting;
    const troubleOf = ({ held }: ChannelState) => trouble.get(channelKey(held.tenant, held.channel));
    const well = wanting.filter((state) => !troubleOf(state));
    const ready = wanting.filter((state) => (troubleOf(state)?.until ?? Number.POSITIVE_INFINITY) <= clock.monotonic());
    aloneNext = !aloneNext;
    return ready.length > 0 && (aloneNext || well.length === 0) ? ready.slice(0, 1) : well;
  };
}
