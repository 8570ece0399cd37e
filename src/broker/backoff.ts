const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 30_000;

/**
 * Milliseconds to wait before connecting again, after so many failures in a row (1, 2, 3 …): doubling from 0.2 s to
 * 30 s, varied by half, so that the processes of an installation don't return together. `random` is in [0, 1).
 */
export function reconnectWait(failures: number, random: number): number {
  const wait = Math.min(FIRST_WAIT_MS * 2 ** Math.min(failures - 1, 16), LONGEST_WAIT_MS);
  return Math.round(wait * (0.5 + random));
}
