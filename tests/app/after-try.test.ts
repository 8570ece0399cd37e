import { expect, test } from 'vitest';
import { createAfterTry } from '../../src/app/after-try.js';
import type { Target } from '../../src/delivery/target.js';
import type { DueDelivery } from '../../src/owner/ports.js';

const HOUR = 3_600_000;
const target = { definition: { kind: 'webhook' } } as Target;
const due = { what: 'message', firstAttemptAt: 0, targetTakenAt: HOUR, targetResumedAt: null } as DueDelivery;
const retry = { result: 'retry', code: 'timeout', reason: 'no answer' } as const;

test('a schedule that is over by a jump of time is not over: the delivery is tried again', () => {
  let steady = true;
  const afterTry = createAfterTry(
    () => 0.5,
    () => steady,
  );
  const ended = afterTry(due, retry, target, 30 * HOUR, 30 * HOUR);
  expect(ended.becomes.state).toBe('failed');
  steady = false;
  const goesOn = afterTry(due, retry, target, 30 * HOUR, 30 * HOUR);
  expect(goesOn).toEqual({ becomes: { state: 'pending', nextAt: 31 * HOUR }, pause: null });
  // What took nothing all the time would be paused; that is no less a judgement of its age.
  const silent = afterTry({ ...due, targetTakenAt: null }, retry, target, 30 * HOUR, 30 * HOUR);
  expect(silent.pause).toBeNull();
  // A refusal for good is no matter of time.
  const refused = { result: 'refused', code: 'http_400', reason: 'no' } as const;
  expect(afterTry(due, refused, target, 30 * HOUR, 30 * HOUR).becomes.state).toBe('failed');
});
