import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AfterFailure,
  afterFailure,
  LONGEST_PUT_OFF,
  SCHEDULE,
  type TriedDelivery,
  type TriedTarget,
} from '../../src/delivery/retry.js';
import type { SendResult } from '../../src/message/delivery.js';

const START = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;
const middle = () => 0.5;

type Failure = Exclude<SendResult, { result: 'delivered' }>;
const retry = (afterMs?: number): Failure => ({
  result: 'retry',
  code: 'http_500',
  reason: 'the target answered 500',
  ...(afterMs !== undefined && { afterMs }),
});

const webhook = (startedAt: number, changes: Partial<TriedDelivery> = {}): TriedDelivery => ({
  kind: 'webhook',
  what: 'message',
  firstAttemptAt: START,
  startedAt,
  ...changes,
});
const fresh: TriedTarget = { lastTakenAt: null, resumedAt: null };

/** Plays a delivery that fails every time: when it was tried, and how that ended. */
function play(
  delivery: Partial<TriedDelivery>,
  target: TriedTarget,
  options: { tookMs?: number; random?: () => number; result?: Failure; most?: number } = {},
): { tries: number[]; end: AfterFailure | undefined } {
  const tries: number[] = [];
  let at = START;
  while (tries.length < (options.most ?? 50)) {
    tries.push(at);
    const now = at + (options.tookMs ?? 20);
    const next = afterFailure(webhook(at, delivery), options.result ?? retry(), target, now, options.random ?? middle);
    if (next.next !== 'wait') return { tries, end: next };
    expect(next.at).toBeGreaterThan(now);
    at = next.at;
  }
  return { tries, end: undefined };
}

describe('webhook and e-mail', () => {
  test('are tried eight times in 27 h 35 min, then fail where the target took others meanwhile', () => {
    const { tries, end } = play({}, { lastTakenAt: START + HOUR, resumedAt: null });
    const gaps = tries.slice(1).map((at, i) => at - (tries[i] as number));
    expect(gaps.map((gap, i) => Math.abs(gap - (SCHEDULE[i] as number)) <= 50)).toEqual(SCHEDULE.map(() => true));
    expect(end).toEqual({
      next: 'fail',
      code: 'http_500',
      reason: 'not taken in 28 hours; last: the target answered 500',
    });
  });

  test('pause the target instead when it took nothing in all that time', () => {
    expect(play({}, fresh).end).toMatchObject({ next: 'pause', code: 'nothing_taken' });
    expect(play({}, { lastTakenAt: START - 1, resumedAt: null }).end).toMatchObject({ next: 'pause' });
    expect(play({ kind: 'email' }, fresh).end).toMatchObject({ next: 'pause' });
  });

  test('begin their schedule anew when the target is resumed', () => {
    const resumedAt = START + 100 * HOUR;
    const next = afterFailure(
      webhook(resumedAt + 1_000),
      retry(),
      { lastTakenAt: resumedAt + 500, resumedAt },
      resumedAt + 1_020,
      middle,
    );
    expect(next).toEqual({ next: 'wait', at: resumedAt + 1_020 + 5_000 });
  });

  test('a try that hangs does not cost the next one', () => {
    const { tries } = play({}, fresh, { tookMs: 15_000 });
    expect(tries).toHaveLength(8);
    expect((tries[1] as number) - START).toBe(20_000);
  });

  test('honour Retry-After, up to the end of the schedule', () => {
    const later = afterFailure(webhook(START), retry(2 * HOUR), fresh, START + 20, middle);
    expect(later).toEqual({ next: 'wait', at: START + 20 + 2 * HOUR });
    const { tries, end } = play({}, fresh, { result: retry(23 * HOUR) });
    expect(tries.map((at) => Math.round((at - START) / HOUR))).toEqual([0, 23, 28]);
    expect(end?.next).toBe('pause');
  });

  test('whatever the jitter and however long each try takes: at most eight tries, the last about 28 hours after the first', () => {
    fc.assert(
      fc.property(
        fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
        fc.integer({ min: 0, max: 60_000 }),
        (randoms, tookMs) => {
          const { tries, end } = play({}, fresh, { tookMs, random: () => randoms.next().value as number });
          expect(tries.length).toBeLessThanOrEqual(8);
          expect(tries.length).toBeGreaterThanOrEqual(7);
          const last = (tries.at(-1) as number) - START;
          expect(last).toBeGreaterThan(26 * HOUR);
          expect(last).toBeLessThan(29 * HOUR);
          expect(end?.next).toBe('pause');
        },
      ),
    );
  });

  test('notices of void numbers never end', () => {
    const { tries, end } = play({ what: 'void' }, fresh, { most: 30 });
    expect(end).toBeUndefined();
    expect(tries).toHaveLength(30);
    expect((tries[29] as number) - (tries[28] as number)).toBe(10 * HOUR + 20);
  });
});

describe('queue and pull', () => {
  test.each(['queue', 'pull'] as const)('%s waits for ever, between one second and half a minute', (kind) => {
    const { tries, end } = play({ kind }, fresh, { most: 300 });
    expect(end).toBeUndefined();
    const gaps = tries.slice(1).map((at, i) => at - (tries[i] as number));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1_000);
    expect(gaps.at(-1)).toBe(30_020);
  });
});

test('the other results have one consequence each', () => {
  const next = (result: Failure) => afterFailure(webhook(START), result, fresh, START + 20, middle);
  expect(next({ result: 'refused', code: 'http_400', reason: 'r' })).toEqual({
    next: 'fail',
    code: 'http_400',
    reason: 'r',
  });
  expect(next({ result: 'pause', code: 'http_404', reason: 'r' })).toEqual({
    next: 'pause',
    code: 'http_404',
    reason: 'r',
  });
  expect(next({ result: 'interrupted', reason: 'r' })).toEqual({ next: 'wait', at: START + 1_020 });
  expect(next({ result: 'interrupted', reason: 'r', afterMs: 60_000 })).toEqual({ next: 'wait', at: START + 60_020 });
});

test('no wait is ever longer than a day and a tenth, nor in the past', () => {
  const kinds = fc.constantFrom('queue', 'pull', 'webhook', 'email');
  const times = fc.integer({ min: 0, max: 400 * HOUR });
  fc.assert(
    fc.property(
      kinds,
      fc.constantFrom('message', 'void'),
      times,
      fc.option(times, { nil: null }),
      fc.option(times, { nil: undefined }),
      (kind, what, elapsed, resumed, afterMs) => {
        const now = START + elapsed;
        const target = { lastTakenAt: null, resumedAt: resumed === null ? null : Math.min(START + resumed, now) };
        const next = afterFailure(
          { kind, what, firstAttemptAt: START, startedAt: now },
          retry(afterMs),
          target,
          now,
          middle,
        );
        if (next.next !== 'wait') return;
        expect(next.at).toBeGreaterThan(now);
        expect(next.at).toBeLessThanOrEqual(now + LONGEST_PUT_OFF * 1.1 + 5_000);
      },
    ),
  );
});
