import type { SendResult } from '../message/delivery.js';
import type { TargetDefinition } from './target.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Waits between the tries of a webhook or e-mail delivery, milliseconds: Svix's schedule, eight tries in 27 h 35 min. */
export const SCHEDULE: readonly number[] = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  10 * HOUR,
];

/** When each try is due after the first: 0, 5 s, 5 min 5 s … 27 h 35 min 5 s. */
const TIMELINE: readonly number[] = [0, ...SCHEDULE.map((_, i) => sum(SCHEDULE.slice(0, i + 1)))];
const LAST_TRY = TIMELINE.length - 1;

/** Every wait is varied by up to this part of it, so that deliveries which failed together don't return together. */
const JITTER = 0.1;

/** A queue or puller that refused is asked again after a quarter of the time it has refused so far, within these bounds. */
const STANDING_WAIT = { part: 0.25, least: 1 * SECOND, most: 30 * SECOND } as const;

/** After our own surroundings failed. */
const INTERRUPTED_WAIT = 1 * SECOND;

/** Most a target may put off its next try by Retry-After. */
export const LONGEST_PUT_OFF = 24 * HOUR;

export interface TriedDelivery {
  readonly kind: TargetDefinition['kind'];
  readonly what: 'message' | 'void';
  /** Start of the first try, milliseconds since 1970; of a void notice the first since it is one. */
  readonly firstAttemptAt: number;
  /** Start of this try. */
  readonly startedAt: number;
}

export interface TriedTarget {
  /** When the target last took anything; null for never. */
  readonly lastTakenAt: number | null;
  /** When it was last resumed after a pause; null for never. What waited meanwhile starts its schedule anew. */
  readonly resumedAt: number | null;
}

export type AfterFailure =
  /** Stays pending until then. */
  | { readonly next: 'wait'; readonly at: number }
  /** Failed for good; a void notice follows a message. */
  | { readonly next: 'fail'; readonly code: string; readonly reason: string }
  /** The target is paused with an alarm, the delivery stays pending. */
  | { readonly next: 'pause'; readonly code: string; readonly reason: string };

/**
 * What follows from a try that did not deliver. `now` is when it ended; `random` is in [0, 1).
 * Webhook and e-mail messages end about 28 hours after their first try: failed, or, where the target took nothing in
 * all that time, with the target paused. Queues, pullers and void notices wait for ever.
 */
export function afterFailure(
  delivery: TriedDelivery,
  result: Exclude<SendResult, { result: 'delivered' }>,
  target: TriedTarget,
  now: number,
  random: () => number,
): AfterFailure {
  switch (result.result) {
    case 'refused':
      return { next: 'fail', code: result.code, reason: result.reason };
    case 'pause':
      return { next: 'pause', code: result.code, reason: result.reason };
    case 'interrupted':
      return { next: 'wait', at: now + jittered(result.afterMs ?? INTERRUPTED_WAIT, random) };
    case 'retry':
      return isScheduled(delivery)
        ? afterScheduledTry(delivery, result, target, now, random)
        : { next: 'wait', at: now + Math.max(standingWait(delivery, now, random), putOff(result)) };
    default: {
      const never: never = result;
      return never;
    }
  }
}

type Retry = Extract<SendResult, { result: 'retry' }>;

function isScheduled(delivery: TriedDelivery): boolean {
  return delivery.kind === 'webhook' || delivery.kind === 'email';
}

function standingWait(delivery: TriedDelivery, now: number, random: () => number): number {
  const soFar = Math.max(0, now - delivery.firstAttemptAt);
  const wait = Math.min(Math.max(soFar * STANDING_WAIT.part, STANDING_WAIT.least), STANDING_WAIT.most);
  return jittered(wait, random);
}

function afterScheduledTry(
  delivery: TriedDelivery,
  result: Retry,
  target: TriedTarget,
  now: number,
  random: () => number,
): AfterFailure {
  const start = Math.max(delivery.firstAttemptAt, target.resumedAt ?? 0);
  const tried = triesPassed(delivery.startedAt - start);
  if (tried < LAST_TRY) return { next: 'wait', at: nextTry(start, tried, result, now, random) };
  if (delivery.what === 'void') {
    return { next: 'wait', at: now + Math.max(jittered(SCHEDULE.at(-1) as number, random), putOff(result)) };
  }
  const hours = Math.round((now - start) / HOUR);
  return tookSomething(target, start)
    ? { next: 'fail', code: result.code, reason: `not taken in ${hours} hours; last: ${result.reason}` }
    : { next: 'pause', code: 'nothing_taken', reason: `took nothing in ${hours} hours; last: ${result.reason}` };
}

/** How far along the timeline a try was that started so long after the first. Tries come up to a tenth early. */
function triesPassed(elapsed: number): number {
  let passed = 0;
  while (passed < LAST_TRY && elapsed >= (TIMELINE[passed + 1] as number) * (1 - JITTER)) passed++;
  return passed;
}

/**
 * The next point of the timeline, never sooner than the shortest wait from now (a try that hung may have passed it).
 * A target may put it off, but not beyond the last point: there its delivery ends.
 */
function nextTry(start: number, tried: number, result: Retry, now: number, random: () => number): number {
  const onTimeline = start + (TIMELINE[tried] as number) + jittered(SCHEDULE[tried] as number, random);
  const soonest = now + jittered(SCHEDULE[0] as number, random);
  const last = Math.max(start + (TIMELINE[LAST_TRY] as number), soonest);
  return Math.max(onTimeline, soonest, Math.min(now + putOff(result), last));
}

function tookSomething(target: TriedTarget, since: number): boolean {
  return target.lastTakenAt !== null && target.lastTakenAt >= since;
}

function putOff(result: Retry): number {
  return Math.min(result.afterMs ?? 0, LONGEST_PUT_OFF);
}

function jittered(wait: number, random: () => number): number {
  return Math.round(wait * (1 - JITTER + random() * 2 * JITTER));
}

function sum(waits: readonly number[]): number {
  return waits.reduce((total, wait) => total + wait, 0);
}
