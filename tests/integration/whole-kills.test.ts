import { expect, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue, pullAll, receiveHooks } from '../support/consumers.js';
import { rotateGeneration } from '../support/filters.js';
import { type Seeded, seeded } from '../support/seeded.js';
import { inLanes, Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/*
 * Killed in the middle of taking, reading, planning and sending; started again; everything sent once more. The short form
 * runs with `npm test`; WAYBILL_LONG=1 kills 20 times. WAYBILL_SEED repeats what a run chose.
 */

const long = process.env.WAYBILL_LONG === '1';
const KILLS = long ? 20 : 3;
const EVENTS_A_ROUND = long ? 1_500 : 500;
const MAILS_A_ROUND = 8;
const SEED = Number(process.env.WAYBILL_SEED ?? Math.floor(Math.random() * 2 ** 31));

const RULES = `rules:
  - { name: usage, when: { type: { prefix: usage } }, then: { targets: erp } }
  - { name: orders, when: { type: { prefix: order } }, then: { targets: [erp, archive] } }
  - { name: notes, when: { type: { prefix: note } }, then: { targets: [crm, erp] } }
  - { name: books, when: { kind: mail, account: books@whole.example }, then: { targets: erp } }
`;

test(
  `${KILLS} times kill -9, start and send again: nothing lost, nothing twice (seed ${SEED})`,
  async () => {
    const random = seeded(SEED);
    const crm = await receiveHooks();
    const site = await install({
      config: {
        // A killed process is missed sooner than usual, so that the test is shorter.
        lease: { beatMs: 200, lostAfterMs: 1_000 },
        sources: { feed: { kind: 'events' }, mail: { kind: 'mail', addresses: ['@whole.example'] } },
        targets: {
          erp: { kind: 'queue' },
          archive: { kind: 'pull' },
          crm: { kind: 'webhook', url: crm.url, allowPrivateAddresses: true },
        },
      },
      rules: RULES,
      broker: true,
    });
    const ledger = new Ledger();
    const events: SentEvent[] = [];
    const mails: Buffer[] = [];
    let waybill = await site.start();
    const erp = await consumeQueue(site.vhost);

    for (let round = 0; round < KILLS; round++) {
      const fresh = eventsOf(round, random);
      const again = Array.from({ length: Math.min(events.length, fresh.length) }, () => random.pick(events));
      events.push(...fresh);
      const freshMails = mailsOf(round);
      mails.push(...freshMails);
      const sending = Promise.allSettled([
        sendAll(waybill, random.shuffled([...fresh, ...again]), ledger, random),
        sendMails(waybill, [...freshMails, ...mails.slice(0, 4)]),
        random.below(3) === 0 ? rotateGeneration(site.databaseUrl) : null,
      ]);
      await killSometime(waybill, sending, random);
      waybill = await site.start();
    }

    // What was acknowledged before is a duplicate now, what was not is new: nobody needs to know which is which.
    await sendAll(waybill, random.shuffled(events), ledger, random);
    await sendMails(waybill, mails);
    await untilSettled(site.databaseUrl, { mayWait: ['default/archive'] });
    const archived = await pullAll(waybill, 'archive');
    await untilSettled(site.databaseUrl);

    const books = await check(site.databaseUrl);
    expect(books.violations).toEqual([]);
    expect(ledger.violations).toEqual([]);
    const stored = [...books.messages.values()];
    expect(ids(stored.filter(({ kind }) => kind === 'event').map((one) => one.externalId as string))).toEqual(
      ids(events.map(({ key }) => key)),
    );
    for (const { kind, id, externalId } of stored) {
      if (kind === 'event') expect(ledger.messages.get(externalId as string)).toBe(id);
    }
    expect(stored.filter(({ kind }) => kind === 'mail')).toHaveLength(mails.length * 2);
    const wanted = new Map([
      ['erp', events.length + mails.length],
      ['archive', events.filter(({ type }) => type.startsWith('order')).length],
      ['crm', events.filter(({ type }) => type.startsWith('note')).length],
    ]);
    for (const [target, count] of wanted) {
      const booked = [...books.deliveries.values()].filter((one) => one.target === target);
      expect(booked, target).toHaveLength(count);
    }
    await until(() => distinct(erp.receipts) >= (wanted.get('erp') as number), 'the queue to be empty');
    for (const [target, receipts] of [
      ['erp', erp.receipts],
      ['archive', archived],
      ['crm', crm.taken],
    ] as const) {
      const compared = compareReceipts(books, { tenant: 'default', target }, receipts);
      expect(compared, target).toMatchObject({ violations: [], distinct: wanted.get(target) });
    }
  },
  long ? 1_200_000 : 120_000,
);

function eventsOf(round: number, random: Seeded): SentEvent[] {
  return Array.from({ length: EVENTS_A_ROUND }, (_, i) => ({
    key: `r${round}-${i}`,
    account: `customer-${random.below(100)}`,
    type: random.pick(['usage', 'usage', 'usage', 'order', 'note']),
  }));
}

function mailsOf(round: number): Buffer[] {
  return Array.from({ length: MAILS_A_ROUND }, (_, i) =>
    Buffer.from(
      `From: sender@elsewhere.example\r\nTo: books@whole.example\r\nSubject: ${round} ${i}\r\n` +
        `Message-ID: <${round}.${i}@elsewhere.example>\r\n\r\nMail ${i} of round ${round}.\r\n`,
    ),
  );
}

async function sendAll(waybill: Waybill, events: readonly SentEvent[], ledger: Ledger, random: Seeded): Promise<void> {
  const tasks: (() => Promise<void>)[] = [];
  for (let at = 0; at < events.length; ) {
    const batch = events.slice(at, at + 1 + random.below(120));
    at += batch.length;
    tasks.push(async () => ledger.note(batch, await sendEvents(waybill, batch)));
  }
  await inLanes(4, tasks);
}

/** Each mail to two recipients, one of whom no rule knows. */
async function sendMails(waybill: Waybill, mails: readonly Buffer[]): Promise<void> {
  const wire = await Wire.greeted(waybill.smtp.port);
  for (const mail of mails) {
    await wire.envelope('sender@elsewhere.example', 'books@whole.example', 'people@whole.example');
    expect(await wire.body(mail)).toMatch(/^250 2\.0\.0 Ok: (already )?queued as /);
  }
  wire.socket.end();
}

/** While it is being sent to, or when that is over and what was sent is on its way. */
async function killSometime(waybill: Waybill, sending: Promise<unknown>, random: Seeded): Promise<void> {
  const afterwards = random.below(4) === 0;
  const delay = random.below(afterwards ? 150 : 700);
  if (afterwards) await sending;
  await new Promise((resolve) => setTimeout(resolve, delay));
  await waybill.kill();
  await sending;
}

function ids(keys: readonly string[]): string[] {
  return [...keys].sort();
}

function distinct(receipts: readonly { channel: number; number: number; epoch: number }[]): number {
  return new Set(receipts.map(({ epoch, channel, number }) => `${epoch}/${channel}-${number}`)).size;
}
