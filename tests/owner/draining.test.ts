import { beforeEach, expect, it } from 'vitest';
import { createDraining } from '../../src/owner/draining.js';
import type { ChannelState } from '../../src/owner/state.js';

let now: number;
let atOnce: Set<number>;
let draining: ReturnType<typeof createDraining>;

beforeEach(() => {
  now = 50_000;
  atOnce = new Set([1]);
  const clock = { now: () => 0, monotonic: () => now };
  draining = createDraining({ goesAtOnce: (tenant, target) => tenant === 7 && atOnce.has(target), clock });
});

/** A channel in which deliveries wait, by target. */
function waiting(pending: Record<number, number>): ChannelState {
  const counts = new Map(Object.entries(pending).map(([target, count]) => [Number(target), count]));
  return { held: { tenant: 7, channel: 3, term: 1 }, pending: counts } as unknown as ChannelState;
}

it.each([
  ['nothing waits', {}],
  ['what waits is not sent at once', { 2: 5 }],
  ['too much waits', { 1: 2_001 }],
])('a channel is read on while %s', (_, pending) => {
  expect(draining.holds(waiting(pending))).toBe(false);
});

it('a channel is left for a second, read once, and left again, for as long as a little waits', () => {
  const state = waiting({ 1: 2_000, 2: 50_000 });
  expect(draining.holds(state)).toBe(true);
  now += 999;
  expect(draining.holds(state)).toBe(true);
  now += 1;
  expect(draining.holds(state)).toBe(false);
  expect(draining.holds(state)).toBe(true);
  state.pending.delete(1);
  expect(draining.holds(state)).toBe(false);
});

it('a second begins anew for what falls behind later', () => {
  const state = waiting({ 1: 5 });
  expect(draining.holds(state)).toBe(true);
  now += 900;
  state.pending.clear();
  expect(draining.holds(state)).toBe(false);
  state.pending.set(1, 5);
  now += 900;
  expect(draining.holds(state)).toBe(true);
});

it('nobody waits for a target that did not take something, until it takes again or ten seconds have passed', () => {
  const state = waiting({ 1: 5 });
  draining.settled(1, ['delivered', 'retry']);
  expect(draining.holds(state)).toBe(false);
  draining.settled(1, ['delivered']);
  expect(draining.holds(state)).toBe(true);
  draining.settled(1, ['interrupted']);
  expect(draining.holds(state)).toBe(false);
  now += 10_000;
  expect(draining.holds(state)).toBe(true);
});

it('nobody waits for a broker that does not answer', () => {
  const state = waiting({ 1: 5 });
  atOnce.clear();
  expect(draining.holds(state)).toBe(false);
});
