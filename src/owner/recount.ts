import type { OwnerStore } from './ports.js';
import { type ChannelState, channelKey, countPending, lineKey } from './state.js';

/**
 * What waits is counted in memory. What others did to it shows only in the database: a notice that is due because of a
 * dead letter another process read, deliveries that consumers fetched. Counts that are missing are taken from there;
 * `resting` says that nothing was sent that may yet have to wait, and then counts of which nothing is left are dropped.
 */
export async function recount(
  store: Pick<OwnerStore, 'waitingLines' | 'countWaiting'>,
  states: ReadonlyMap<string, ChannelState>,
  resting: boolean,
): Promise<void> {
  const counted = new Set(countedLines(states).map(({ key }) => key));
  const waiting = await store.waitingLines([...states.values()].map((state) => state.held));
  for (const line of waiting) {
    const state = states.get(channelKey(line.tenant, line.channel));
    if (!state || counted.has(lineKey(line)) || state.pending.has(line.target)) continue;
    const count = await store.countWaiting(line);
    if (!state.pending.has(line.target)) countPending(state, line.target, count);
  }
  if (!resting) return;
  const left = new Set(waiting.map(lineKey));
  for (const { state, target, key } of countedLines(states)) {
    if (counted.has(key) && !left.has(key)) state.pending.delete(target);
  }
}

function countedLines(
  states: ReadonlyMap<string, ChannelState>,
): { state: ChannelState; target: number; key: string }[] {
  return [...states.values()].flatMap((state) =>
    [...state.pending.keys()].map((target) => ({ state, target, key: lineKey({ ...state.held, target }) })),
  );
}
