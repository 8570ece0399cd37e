/** A rest is no longer than this times the round before, and no longer than this, in ms: what it delays, it delays by no more. */
const TIMES_A_ROUND = 2;
const LONGEST_MS = 50;
/** Messages of each channel that are worth a round. */
const WORTH_A_ROUND = 8;

/**
 * Milliseconds between a round and the next. A round writes a plan for each channel it takes from, however few messages that has; while
 * fewer wait than are worth that, it rests until more have come. After a time without any, the first one finds no rest.
 */
export function restAfter(round: {
  readonly tookMs: number;
  readonly waiting: number;
  readonly channels: number;
}): number {
  if (round.waiting >= WORTH_A_ROUND * round.channels) return 0;
  return Math.min(TIMES_A_ROUND * round.tookMs, LONGEST_MS);
}
