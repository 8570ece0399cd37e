import { afterFailure } from '../delivery/retry.js';
import type { AfterTry } from '../owner/dispatch.js';

/** While it is not known how old a delivery is, its schedule does not end; it is tried again after this time. */
const UNSTEADY_WAIT_MS = 3_600_000;

/**
 * What follows from one try, by the retry schedule. `random` is in [0, 1); `steady` is false after time has jumped, when
 * nothing may be given up for its age.
 */
export function createAfterTry(random: () => number, steady: () => boolean): AfterTry {
  return (due, result, target, startedAt, now) => {
    if (result.result === 'delivered') return { becomes: { state: 'delivered' }, pause: null };
    const { kind } = target.definition;
    const tried = { kind, what: due.what, firstAttemptAt: due.firstAttemptAt ?? startedAt, startedAt };
    const taken = { lastTakenAt: due.targetTakenAt, resumedAt: due.targetResumedAt };
    const after = afterFailure(tried, result, taken, now, random);
    if (result.result === 'retry' && after.next !== 'wait' && !steady())
      return { becomes: { state: 'pending', nextAt: now + UNSTEADY_WAIT_MS }, pause: null };
    switch (after.next) {
      case 'wait':
        return { becomes: { state: 'pending', nextAt: after.at }, pause: null };
      case 'fail': {
        // Nobody reads a notice by e-mail.
        const voided = kind !== 'email';
        return { becomes: { state: 'failed', code: after.code, reason: after.reason, voided }, pause: null };
      }
      case 'pause':
        return { becomes: { state: 'pending', nextAt: now }, pause: { code: after.code, reason: after.reason } };
      default: {
        const never: never = after;
        throw never;
      }
    }
  };
}
