const FIRST = 10;
const LEAST_MORE = 5;
const SHARE_MORE = 0.1;

/**
 * Whether to learn anew: when a tenth more was decided, and at least something every hour. `decisions` were learnt from before,
 * null for never.
 */
export function isDue(since: {
  readonly fresh: number;
  readonly decisions: number | null;
  readonly isOld: boolean;
}): boolean {
  const { fresh, decisions, isOld } = since;
  if (decisions === null) return fresh >= FIRST;
  return fresh >= Math.max(LEAST_MORE, decisions * SHARE_MORE) || (isOld && fresh > 0);
}
