const FIRST_MS = 100;
const LONGEST_MS = 5_000;

/**
 * How long the place of a dead child stays empty, by how many have died in a row with nothing read in between: the
 * first is replaced at once, then each waits twice as long as the one before, up to 5 s.
 */
export function restAfter(deathsInARow: number): number {
  if (deathsInARow <= 1) return 0;
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(deathsInARow - 2, 30));
}
