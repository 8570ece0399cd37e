import { expect, test } from 'vitest';
import { check, compareReceipts, type Receipt, untilSettled } from '../support/checker.js';
import { consumeQueue, firsts, pullAll } from '../support/consumers.js';
import { rotateGeneration } from '../support/filters.js';
import { sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { install } from '../support/waybill.js';

/* The checker of the other proofs must see what is wrong: true books are tampered with, one wrong at a time. */

/** What is done to the books, and what the checker must say of it. */
const WRONGS: readonly (readonly [sql: string, said: RegExp])[] = [
  ['delete from message where channel = 1 and sequence = 2', /default\/1 has no message 2 of \d+/],
  ['update channel set last_sequence = last_sequence + 1 where channel = 1', /default\/1 has no message/],
  [
    'update message set account = (select account from message where channel = 0 limit 1) where channel = 1',
    /is in two channels/,
  ],
  [
    'update span set first_sequence = 2 where channel = 1 and first_sequence = 1',
    /the first span of .*\/1 begins at 2/,
  ],
  ['update span set generation = 1', /lies in generation 2, its span says 1/],
  [
    `insert into key select 2, tenant, fingerprint, channel, sequence, digest from key where generation = 1 and channel = 1
     and sequence = 1`,
    /key [0-9a-f]{32} of default is there more than once/,
  ],
  ['delete from key where channel = 1 and sequence = 1', /default\/1-1 has no key/],
  ["update message set raw = raw || ' '::bytea where channel = 1 and sequence = 1", /are not those of its hash/],
  [
    "update message set sha256 = sha256('x'::bytea), raw = 'x'::bytea where channel = 1 and sequence = 1",
    /the running hash of plan/,
  ],
  ['update reader set planned = planned - 1 where channel = 1', /default\/1 says \d+ planned, its plans say/],
  ['delete from plan where channel = 1 and number = 1', /plan 2 of default\/1 comes where plan 1 should/],
  ['delete from plan where channel = 1 and number = 1', /default has 40 messages, and \d+ of them stand somewhere/],
  ['update channel set conflicts = conflicts + 1 where channel = 1', /counts 1 conflict, and 0 are kept/],
  ['update channel set expired = expired + 1 where channel = 1', /counts 1 expired, and 0 are kept/],
  [
    `update plan set runs = replace(runs::text, '"s":1,', '"s":2,')::json where channel = 1`,
    /goes on with 2 instead of 1/,
  ],
  ['update plan set open = true where channel = 1', /nobody wrote down what became of it/],
  [
    'insert into plan select tenant, channel, number + 100, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open from plan where channel = 1',
    /is used for \d+ and for \d+/,
  ],
  ['update line set last_number = last_number + 1 where channel = 1', /says its last number is/],
  ['delete from delivery where channel = 1 and number = 1', /was to wait and has no row/],
  [
    'update delivery set sequence = sequence + 1 where channel = 1 and number = 1',
    /is 1 in plan 1, and 2 of plan 1 in its row/,
  ],
  ["update delivery set state = 'pending' where channel = 1 and number = 1", /default\/archive\/\d+\/1-1 still waits/],
  ["update delivery set state = 'failed' where channel = 1 and number = 1", /is failed without a reason/],
  [
    "update delivery set state = 'failed', reason = 'x' where channel = 1 and number = 1",
    /is failed and nobody is told/,
  ],
  ["update delivery set void = 'taken' where channel = 1 and number = 1", /is delivered and void/],
  [
    "insert into standing (tenant, channel, sequence, state, version) select tenant, 1, 1, 'waiting', 1 from channel limit 1",
    /the plan of default\/1-1 says deliver, it stands as waiting/,
  ],
];

test('the checker finds nothing wrong in true books, and every wrong there is in others', async () => {
  const site = await install({
    config: {
      channel: { count: 2 },
      sources: { feed: { kind: 'events' } },
      targets: { erp: { kind: 'queue' }, archive: { kind: 'pull' } },
    },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: [erp, archive] } }\n',
    broker: true,
  });
  const waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  const events = Array.from({ length: 40 }, (_, i) => ({ key: `e-${i}`, account: `a-${i}`, type: 'usage' }));
  await sendEvents(waybill, events.slice(0, 20));
  await until(() => erp.once.length >= 20, 'the first to arrive');
  await rotateGeneration(site.databaseUrl);
  await sendEvents(waybill, events.slice(20));
  await untilSettled(site.databaseUrl, { mayWait: ['default/archive'] });
  await pullAll(waybill, 'archive');
  await untilSettled(site.databaseUrl);
  await until(() => erp.once.length >= 40, 'all to arrive');
  await waybill.stop();
  // What was not confirmed in time comes again: how often is not known.
  const receipts = firsts(erp.receipts);

  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(books.messages.size).toBe(40);
  expect(books.deliveries.size).toBe(80);
  for (const [sql, said] of WRONGS) {
    const { violations } = await check(site.databaseUrl, { tamper: sql });
    expect(violations.join('\n'), sql).toMatch(said);
  }

  const target = { tenant: 'default', target: 'erp' };
  const compare = (receipts: readonly Receipt[]) => compareReceipts(books, target, receipts);
  expect(compare(receipts)).toEqual({ violations: [], repeats: 0, distinct: 40 });
  expect(compare([...receipts, ...receipts.slice(0, 3)])).toEqual({ violations: [], repeats: 3, distinct: 40 });
  const [one, ...others] = receipts as [Receipt, ...Receipt[]];
  for (const [wrong, said] of [
    [others, /booked as delivered and nobody got it/],
    [[...receipts, { ...one, number: 999 }], /no plan gave that number/],
    [[...others, { ...one, sequence: one.sequence + 1 }], /was got as \d+, and is \d+/],
    [[...others, { ...one, externalId: 'another' }], /brought another, stored is e-/],
    [[...receipts, { ...one, tenant: 'acme' }], /came to default\/erp/],
  ] as const) {
    expect(compare(wrong).violations.join('\n')).toMatch(said);
  }
}, 180_000);
