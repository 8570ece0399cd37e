import { describe, expect, test } from 'vitest';
import { type Condition, FINDING_CODES, judge, type TargetCondition, verdictOn } from '../../src/overview/judge.js';

const NOW = Date.UTC(2026, 0, 31, 12);
const MINUTE = 60_000;

const WELL: Condition = {
  now: NOW,
  channels: { unowned: [], unread: 0, unreadBefore: 0 },
  targets: [],
  sources: [],
  inbox: { oldest: null },
  filters: [{ generation: 3, keys: 1_000_000, fill: 0.48, falsePositives: 0.0008 }],
  unseen: null,
  newPoison: [],
  surroundings: { disk: null, broker: { state: 'up', problem: null }, clocks: [], backlogged: false },
  sampledAt: NOW - 9_000,
};

const IDLE: TargetCondition = {
  name: 'erp',
  paused: null,
  trouble: null,
  waiting: 0,
  oldest: null,
  before: { five: 0, ten: 0 },
};

const targets = (...all: Partial<TargetCondition>[]): Partial<Condition> => ({
  targets: all.map((one) => ({ ...IDLE, ...one })),
});
const around = (one: Partial<Condition['surroundings']>): Partial<Condition> => ({
  surroundings: { ...WELL.surroundings, ...one },
});
const judged = (changed: Partial<Condition>) => judge({ ...WELL, ...changed });
const told = (changed: Partial<Condition>) =>
  judged(changed).map(({ code, severity, sentence, href }) => `${code} ${severity} ${sentence} → ${href}`);

/** Each rule with what makes it speak. */
const CASES: readonly (readonly [what: string, changed: Partial<Condition>, said: string])[] = [
  [
    'a paused target',
    targets({ paused: { by: 'waybill', reason: 'it answered 401', since: NOW - 3 * MINUTE } }),
    'target_paused bad The target erp has been paused for 3 minutes, by waybill: it answered 401. → /targets/erp',
  ],
  [
    'a target that takes nothing',
    targets({ waiting: 2, oldest: NOW - 1000, trouble: 'http_503: busy' }),
    'target_failing bad 2 messages wait for erp, which did not take what was tried last: http_503: busy. → /targets/erp',
  ],
  [
    'a lag that grows',
    targets({ waiting: 4_000, oldest: NOW - 25 * MINUTE, before: { five: 2_000, ten: 1_000 } }),
    'lag_growing bad 4,000 messages wait for erp, 3,000 more than ten minutes ago; the oldest for 25 minutes. → /targets/erp',
  ],
  [
    'something that waits for long',
    targets({ waiting: 1, oldest: NOW - 16 * MINUTE }),
    'lag_old warn 1 message waits for erp, the oldest for 16 minutes. → /targets/erp',
  ],
  [
    'a channel that nobody owns',
    { channels: { unowned: [4], unread: 0, unreadBefore: 0 } },
    'channel_unowned bad Nobody reads channel 4 onward. → /overview#channels',
  ],
  [
    'reading that falls behind',
    { channels: { unowned: [], unread: 20_000, unreadBefore: 12_000 } },
    'reading_behind bad 20,000 accepted messages are not read yet, 8,000 more than five minutes ago. → /overview#channels',
  ],
  [
    'a queue that can not be consumed',
    { sources: [{ name: 'orders', reason: 'no queue of that name' }] },
    'source_failing bad The queue of orders can not be consumed: no queue of that name. → /messages?source=orders',
  ],
  [
    'a filter that is too full',
    { filters: [{ generation: 3, keys: 1, fill: 0.7, falsePositives: null }] },
    'filter_full warn The filter of generation 3 is too full: 70.0 % of its bits are set, and more keys than usual are looked up. → /overview#filters',
  ],
  [
    'filters that are wrong too often',
    { filters: [1, 2].map((generation) => ({ generation, keys: 9_000, fill: 0.5, falsePositives: 0.02 })) },
    'filter_wrong warn The filters say "maybe seen" of 2.0 % of the keys that are new: verdicts are right, and slower. → /overview#filters',
  ],
  [
    'duplicates that nobody looks up',
    { unseen: NOW - 11 * MINUTE },
    'unseen_old warn Messages that were taken as duplicates by a filter have not been looked up for 11 minutes: does a process with the role ingress run? → /overview#maybe',
  ],
  [
    'a full disk',
    around({ disk: 'the disk of /d has 4.0 % free; make room' }),
    'disk_low bad The disk of /d has 4.0 % free; make room. → /readyz',
  ],
  [
    'a broker that is away',
    around({ broker: { state: 'down', problem: 'connection refused' } }),
    'broker_down bad The broker can not be reached: connection refused. → /targets',
  ],
  [
    'a broker in alarm',
    around({ broker: { state: 'blocked', problem: null } }),
    'broker_alarm bad The broker has an alarm and takes nothing. → /targets',
  ],
  [
    'a tenant that is told to come back',
    around({ backlogged: true }),
    'backlogged bad Senders are told to come back: too much waits for the broker. → /targets',
  ],
  [
    'a clock that is wrong',
    around({ clocks: ['its clock is 90 s ahead'] }),
    'clock_off warn Its clock is 90 s ahead. → /readyz',
  ],
  [
    'poison of a new kind',
    { newPoison: ['q-12'] },
    'quarantine_new warn A message of a new kind could be read on no rung: q-12. → /quarantine/q-12',
  ],
  [
    'poison of several kinds',
    { newPoison: ['q-13', 'q-12'] },
    'quarantine_new warn 2 messages of new kinds could be read on no rung, the last of them q-13. → /quarantine?cause=poison',
  ],
  [
    'a message nobody decides about',
    { inbox: { oldest: NOW - 25 * 60 * MINUTE } },
    'inbox_old warn A message has waited for a person for 1 day. → /inbox',
  ],
  [
    'figures that nobody writes',
    { sampledAt: NOW - 5 * MINUTE },
    'figures_missing warn Figures have not been written down for 5 minutes: does a process with the role ledger run? → /readyz',
  ],
];

test('when nothing is wrong all is well', () => {
  expect(judge(WELL)).toEqual([]);
  expect(verdictOn([])).toBe('All is well.');
});

test.each(CASES)('%s is told, with where to look', (_, changed, said) => {
  expect(told(changed)).toEqual([said]);
});

test('every code has a case', () => {
  const codes = new Set(CASES.map(([, , said]) => said.split(' ')[0]));
  expect([...codes].toSorted()).toEqual([...FINDING_CODES].toSorted());
});

describe('what is no reason to worry', () => {
  const calm: readonly (readonly [string, Partial<Condition>])[] = [
    ['an installation without a broker', around({ broker: null })],
    [
      'the first minute, before anything is counted',
      { sampledAt: null, channels: { unowned: [], unread: 50_000, unreadBefore: null } },
    ],
    [
      'a burst that is being worked off',
      targets({ waiting: 5_000, oldest: NOW - 2 * MINUTE, before: { five: 9_000, ten: 0 } }),
    ],
    [
      'a lag that stands still',
      targets({ waiting: 5_000, oldest: NOW - 2 * MINUTE, before: { five: 5_000, ten: 5_000 } }),
    ],
    ['a burst of this minute', targets({ waiting: 5_000, oldest: NOW - 30_000, before: { five: 0, ten: 0 } })],
    ['a trend nobody knows', targets({ waiting: 5_000, oldest: NOW - 2 * MINUTE, before: null })],
    ['a few that wait', targets({ waiting: 99, oldest: NOW - 2 * MINUTE, before: { five: 1, ten: 0 } })],
    ['a trouble that is over', targets({ waiting: 0, trouble: 'http_503' })],
    ['a filter that was asked little', { filters: [{ generation: 1, keys: 9_999, fill: 0.1, falsePositives: 1 }] }],
    [
      'exactly at the limits',
      { inbox: { oldest: NOW - 24 * 60 * MINUTE }, sampledAt: NOW - MINUTE, unseen: NOW - 10 * MINUTE },
    ],
  ];
  test.each(calm)('%s', (_, changed) => {
    expect(told(changed)).toEqual([]);
  });
});

test('one finding a target, that which explains the others', () => {
  const paused = { by: 'anna', reason: 'moving house.', since: NOW - 1_000 };
  const wrong = { waiting: 9_000, oldest: NOW - 60 * MINUTE, before: { five: 100, ten: 10 }, trouble: 'x' };
  expect(judged(targets({ ...wrong, paused })).map(({ code }) => code)).toEqual(['target_paused']);
  expect(judged(targets(wrong)).map(({ code }) => code)).toEqual(['target_failing']);
});

test('the worst comes first, and the sentence counts', () => {
  const both = judged({ ...around({ clocks: ['x'] }), ...targets({ waiting: 1, oldest: NOW - 1, trouble: 'y' }) });
  expect(both.map(({ severity }) => severity)).toEqual(['bad', 'warn']);
  expect(verdictOn(both)).toBe('One thing is not well, and one more should be looked at.');
  expect(verdictOn(both.slice(1))).toBe('Messages flow. One thing should be looked at.');
  expect(verdictOn([...both, ...both])).toBe('2 things are not well, and 2 more should be looked at.');
});
