import { afterFailure } from '../delivery/retry.js';
import type { AfterTry } from '../owner/dispatch.js';

/** What follows from one try, by the retry schedule. `random` is in [0, 1). */
export function createAfterTry(random: () => number): AfterTry {
  return (due, result, target, startedAt, now) => {
    if (result.result === 'delivered') return { becomes: { state: 'delivered' }, pause: null };
    const { kind } = target.definition;
    const tried = { kind, what: due.what, firstAttemptAt: due.firstAttemptAt ?? startedAt, startedAt };
    const taken = { lastTakenAt: due.targetTakenAt, resumedAt: due.targetResumedAt };
    const after = afterFailure(tried, result, taken, now, random);
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
