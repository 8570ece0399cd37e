import type { RungReader } from './rungs/rung.js';

/**
 * The rungs there are. A new one is a file in `rungs/` and a line here; the configured ladder puts them in order.
 * They are loaded by the children alone.
 */
export const RUNGS = {
  full: () => import('./rungs/full.js'),
  headers: () => import('./rungs/headers.js'),
  poison: () => import('./rungs/poison.js'),
} satisfies Record<string, () => Promise<RungReader>>;

export type RungName = keyof typeof RUNGS;

/** The names of a ladder from the top; a rung's number is its place in it. The last one is `poison`. */
export type Ladder = readonly RungName[];

export const DEFAULT_LADDER: Ladder = ['full', 'headers', 'poison'];
