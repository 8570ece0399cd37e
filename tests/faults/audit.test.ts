import { expect, test } from 'vitest';
import { seeded } from '../support/seeded.js';
import { until } from '../support/until.js';
import type { Answers } from './support/answers.js';
import { audit, type Evidence } from './support/audit.js';
import { setStage } from './support/stage.js';

/* The audit of the fault suite must see what is wrong: after a run in which nothing broke, one thing at a time is made so. */

/** What is done to the books, and what the audit must say of it. */
const WRONG_BOOKS: readonly (readonly [sql: string, said: RegExp])[] = [
  [
    `update message set external_id = (select max(external_id) from message where kind = 'event')
     where external_id = (select min(external_id) from message where kind = 'event')`,
    /\d+ events are stored under \d+ keys/,
  ],
  [
    "update message set external_id = 'nobody' where kind = 'webhook'",
    /webhook .* was said to be \d+-\d+, and is undefined/,
  ],
  [
    "update message set raw = raw || ' ', sha256 = sha256(raw || ' ') where kind = 'event'",
    /was taken for the same, and other bytes are stored/,
  ],
  [
    "update message set raw = 'x', sha256 = sha256('x') where kind = 'mail'",
    /a mail was said to be .* and is stored as/,
  ],
  ["update quarantine set external_id = 'nobody' where cause = 'expired'", /expired, and is not kept/],
  ["update quarantine set sha256 = sha256('x') where cause = 'conflict'", /a conflict with .* is not kept/],
  ['update channel set duplicates = 0', /\d+ were answered to be duplicates, and 0 are counted/],
  [
    'update channel set duplicates = duplicates + 1000',
    /arrivals are counted that nobody was told of, and only 0 were not/,
  ],
  ['delete from decision', /was decided to (?:assign|close), and has undefined/],
  ["update decision set plan = null where action in ('assign', 'close')", /of \d+-\d+ was not carried out/],
];

/** What senders are made to have been told. */
const WRONG_ANSWERS: readonly (readonly [change: (answers: Answers) => void, said: RegExp])[] = [
  [
    ({ events }) => events.set('lost', { message: '0-1', same: new Set(), other: new Set(), wasNew: true }),
    /lost was acknowledged and is not there/,
  ],
  [({ events }) => change(events, (known) => ({ ...known, message: '0-999' })), /was said to be 0-999, and is \d+-\d+/],
  [({ events }) => events.delete([...events.keys()][0] as string), /is stored, and nobody sent it/],
  [({ events, expired }) => expired.add([...events.keys()][0] as string), /was expired or rejected, and is stored/],
  [({ hooks }) => change(hooks, () => '0-999'), /webhook .* was said to be 0-999/],
  [({ mails }) => mails.set('none', new Set(['0-999'])), /a mail was said to be 0-999, and is stored as/],
  [({ orders }) => orders.add('lost'), /order lost was in the queue, and is not stored/],
  [({ orders }) => orders.clear(), /order .* is stored, and was not in the queue/],
  [({ decisions }) => decisions.set('0-1', 'assign'), /default\/0-1 was to go to \[.*archive\], and went to/],
];

function change<T>(map: Map<string, T>, to: (known: T) => T): void {
  const [key, known] = [...map][0] as [string, T];
  map.set(key, to(known));
}

test('the audit finds nothing wrong after a quiet run, and every wrong there is in others', async ({
  onTestFinished,
}) => {
  const stage = await setStage({}, seeded(1));
  onTestFinished(() => stage.close());
  await stage.begin();
  const { databaseUrl, answers } = stage;
  const { told, mails, hooks, orders, decisions } = answers;
  const some = () =>
    [...Object.values(told), mails.size, hooks.size, orders.size, decisions.size].every((count) => count > 0);
  await until(some, 'some of everything to have been sent', 30_000);
  const { violations, summary } = await stage.conclude();
  expect(violations).toEqual([]);
  for (const what of ['sequenced', 'duplicates', 'conflicts', 'expired', 'rejected', 'decided', 'deliveries'] as const)
    expect(summary[what], what).toBeGreaterThan(0);
  expect(summary.unanswered).toBe(0);

  const receipts = stage.receipts();
  const truth = { databaseUrl, answers, receipts, inOrder: ['default/erp'] };
  const said = async (changed: Partial<Evidence>) => (await audit({ ...truth, ...changed })).violations.join('\n');
  expect(await said({})).toBe('');
  for (const [tamper, sentence] of WRONG_BOOKS) expect(await said({ tamper }), tamper).toMatch(sentence);
  for (const [alter, sentence] of WRONG_ANSWERS) {
    const copy = structuredClone(answers);
    alter(copy);
    expect(await said({ answers: copy })).toMatch(sentence);
  }
  const erp = receipts.get('default/erp') ?? [];
  expect(await said({ receipts: new Map([['default/erp', [...erp].reverse()]]) })).toMatch(
    /default\/erp: \d+\/\d+-\d+ came after \d+/,
  );
  expect(await said({ receipts: new Map([['default/erp', erp.slice(1)]]) })).toMatch(
    /booked as delivered and nobody got it/,
  );
}, 60_000);
