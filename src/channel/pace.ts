/** Requests that share a commit while the store has time: about a third of a hundred senders. */
const FEW_REQUESTS = 32;

/** It has, while it lay idle for this share of the time of the last ten commits or so. */
const IDLE_SHARE = 0.05;
const WEIGHT = 0.1;
/** What counts of a rest at most, in commits. */
const LONGEST_REST = 4;

/**
 * How many requests may share a commit. Senders that are answered together come back together: when all of them wait for one commit
 * nobody has anything to do, and then the store lies idle until they are back. While it does, fewer share a commit, so that some are
 * answered while others are stored. Where commits take so long that the store is never idle, as many as there are.
 */
export function createPace(now: () => number) {
  let underWay = 0;
  let changedAt = now();
  /** Milliseconds of a commit, or of several that overlapped, and of the time between two, as they last were. */
  let busyMs = 0;
  let idleMs = 0;

  function since(): number {
    const at = now();
    const ms = at - changedAt;
    changedAt = at;
    return ms;
  }

  return {
    began(): void {
      // Longer than this nobody rests who comes back: nobody sends.
      if (underWay++ === 0) idleMs += WEIGHT * (Math.min(since(), LONGEST_REST * busyMs) - idleMs);
    },
    ended(): void {
      if (--underWay === 0) busyMs += WEIGHT * (since() - busyMs);
    },
    mostRequests(): number {
      return idleMs >= IDLE_SHARE * (idleMs + busyMs) ? FEW_REQUESTS : Number.POSITIVE_INFINITY;
    },
  };
}
