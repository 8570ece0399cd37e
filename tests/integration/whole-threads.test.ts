import { describe, expect, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { check, untilSettled } from '../support/checker.js';
import { seeded } from '../support/seeded.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/* Conversations, from SMTP and HTTP to what a target gets (1.6). */

const TO = 'orders@whole.example';
const CONFIG = {
  smtp: { hostname: 'mx.whole.example' },
  sources: {
    mail: { kind: 'mail', addresses: ['@whole.example'], extract: [{ from: 'lines' }] },
    feed: {
      kind: 'events',
      thread: '/data/order',
      extract: [{ from: 'pointer', type: 'amount', pointer: '/data/amount' }],
    },
  },
  targets: {
    erp: {
      kind: 'pull',
      body: 'message',
      threads: 'changes',
      fields: { amount: 'total', date: 'due', 'order-number': 'order' },
    },
    crm: { kind: 'pull', body: 'message' },
  },
};
// Answers match no rule: they follow.
const RULES = `rules:
  - { name: orders, when: { kind: mail, subject: { prefix: Order } }, then: { targets: erp } }
  - { name: both, when: { kind: mail, subject: { prefix: Both } }, then: { targets: [erp, crm] } }
  - { name: placed, when: { kind: event, type: order.placed }, then: { targets: erp } }
`;

interface Mail {
  readonly id: string;
  readonly subject: string;
  readonly text: string;
  readonly answers?: readonly string[];
  readonly date?: string;
  readonly to?: string;
}

async function send(waybill: Waybill, { id, subject, text, answers = [], date, to = TO }: Mail): Promise<string> {
  const wire = await Wire.greeted(waybill.smtp.port);
  await wire.envelope('anna@elsewhere.example', to);
  const named = answers.map((one) => `<${one}@elsewhere.example>`);
  const head = [
    'From: anna@elsewhere.example',
    `To: ${to}`,
    `Subject: ${subject}`,
    `Message-ID: <${id}@elsewhere.example>`,
    ...(date === undefined ? [] : [`Date: ${date}`]),
    ...(named.length > 0 ? [`In-Reply-To: ${named.at(-1)}`, `References: ${named.join(' ')}`] : []),
  ];
  const answer = await wire.body(Buffer.from(`${head.join('\r\n')}\r\n\r\n${text.replaceAll('\n', '\r\n')}\r\n`));
  wire.socket.end();
  const place = /queued as (\d+-\d+)$/.exec(answer)?.[1];
  if (place === undefined) throw new Error(answer);
  return place;
}

interface Taken {
  readonly id: string;
  readonly decision: { readonly by: string; readonly number?: number };
  readonly thread?: { readonly id: number; readonly number: number };
  readonly fields?: Record<string, unknown>;
  readonly portion?: { readonly fields: readonly string[] };
  readonly text: string | null;
}

/** Everything that waits for a target, taken. */
async function take(waybill: Waybill, target: string): Promise<Taken[]> {
  const { json } = await waybill.call('POST', `/v1/targets/${target}/pull`, { json: { max: 100, wait: 0 } });
  const { lease, deliveries } = json;
  if (deliveries.length > 0) {
    const ids = deliveries.map(({ id }: { id: string }) => id);
    await waybill.call('POST', `/v1/targets/${target}/ack`, { json: { lease, ids } });
  }
  return deliveries.map(({ body }: { body: Taken }) => body);
}

async function message(waybill: Waybill, id: string) {
  return (await waybill.call('GET', `/v1/messages/${id}`)).json;
}

async function untilPlanned(waybill: Waybill, id: string) {
  return until(async () => {
    const { json, status } = await waybill.call('GET', `/v1/messages/${id}`);
    return status === 200 && json.state !== 'accepted' && json.state !== 'parked' ? json : null;
  }, `${id} to be planned`);
}

describe('1.6: a conversation', () => {
  test('of five mails with shuffled dates is numbered by receipt, and its target gets only what was updated', async () => {
    const site = await install({ config: CONFIG, rules: RULES });
    const waybill = await site.start();
    const dates = seeded(5)
      .shuffled([1, 2, 3, 4, 5])
      .map((day) => `Mon, ${day} Feb 2027 10:00:00 +0000`);
    expect(dates).not.toEqual([...dates].sort());
    const first = 'Order number: 4711\nAmount: 100.00 EUR\nDate: 2027-03-01';
    const texts = [
      first,
      `Amount: 120.00 EUR\n\nOn Mon, 1 Feb 2027 Anna <anna@elsewhere.example> wrote:\n> Amount: 100.00 EUR`,
      'Amount: 120.00 EUR\n> On 1 Feb:\n> Amount: 120.00 EUR',
      'Thank you!\n-- \nAnna\nPhone: 030 1234567',
      'Order number: 4711\nDate: 2027-04-01\nAmount: 120.00 EUR',
    ];
    const ids: string[] = [];
    for (const [i, text] of texts.entries()) {
      const answers = ids.map((_, n) => `mail-${n + 1}`);
      const subject = i === 0 ? 'Order' : 'Re: Order';
      ids.push(await send(waybill, { id: `mail-${i + 1}`, subject, text, answers, date: dates[i] as string }));
      await untilPlanned(waybill, ids[i] as string);
    }
    const states = await Promise.all(ids.map((id) => message(waybill, id)));
    const [{ thread }] = states;
    expect(states.map((one) => one.thread)).toEqual(
      [1, 2, 3, 4, 5].map((number) => ({ id: thread.id, number, of: 5 })),
    );
    expect(states.map(({ state }) => state)).toEqual(['routed', 'routed', 'closed', 'routed', 'routed']);
    expect(states[2].reason).toBe('nothing in it is new to its conversation');

    const taken = await take(waybill, 'erp');
    expect(taken.map(({ id, thread, decision }) => [id, thread?.number, decision.by, decision.number])).toEqual([
      [ids[0], 1, 'rules', undefined],
      [ids[1], 2, 'thread', 1],
      [ids[3], 4, 'thread', 3],
      [ids[4], 5, 'thread', 4],
    ]);
    const [whole, ...portions] = taken;
    expect(whole?.portion).toBeUndefined();
    expect(whole?.text).toContain('Order number: 4711');
    expect(portions.map(({ portion, text }) => [portion?.fields, text])).toEqual([
      [['amount'], null],
      [['phone'], null],
      [['date'], null],
    ]);
    expect(portions.map(({ fields }) => fields)).toMatchObject([
      { total: { amount: '120.00' } },
      {},
      { due: '2027-04-01' },
    ]);
    expect(await take(waybill, 'crm')).toEqual([]);

    // The same over the API, in words.
    const listed = (await waybill.call('GET', `/v1/threads/${thread.id}`)).json;
    expect(listed).toMatchObject({ id: thread.id, of: 5, links: [], next: null });
    expect(listed.items.map((one: { id: string; number: number }) => [one.number, one.id])).toEqual(
      ids.map((id, i) => [i + 1, id]),
    );
    const explained = (await waybill.call('GET', `/v1/messages/${ids[2]}/explain`)).json;
    expect(explained.thread).toMatchObject({
      number: 3,
      of: 5,
      followed: 2,
      compared: [{ target: 'erp', with: [1, 2], sent: 'nothing', fields: [] }],
      changed: { since: 2, text: 'same', newParts: 0 },
    });
    expect(explained.plans).toMatchObject([{ did: 'close', by: `thread ${thread.id}: after 2`, targets: [] }]);
    expect(explained.rules.steps).toHaveLength(3);
    const story = await site.run(['explain', ids[1] as string], {
      WAYBILL_URL: waybill.http,
      WAYBILL_TOKEN: site.adminToken,
    });
    expect(story.stdout).toContain(`thread ${thread.id}, number 2 of 5: no rule matched, so it followed number 1`);
    expect(story.stdout).toContain('erp knew 1: new is amount');
    await untilSettled(site.databaseUrl);
    expect((await check(site.databaseUrl)).violations).toEqual([]);
  }, 180_000);

  test('goes on after a restart, and each of two targets gets its own: the one changes, the other all of it', async () => {
    const site = await install({ config: CONFIG, rules: RULES });
    let waybill = await site.start();
    const mails: Mail[] = [
      { id: 'b1', subject: 'Both', text: 'Amount: 1.00 EUR' },
      { id: 'b2', subject: 'Both again', text: 'Amount: 2.00 EUR', answers: ['b1'] },
      { id: 'b3', subject: 'Re: Both', text: 'Amount: 2.00 EUR', answers: ['b1', 'b2'] },
      { id: 'b4', subject: 'Re: Both', text: 'Please cancel it.', answers: ['b1', 'b2', 'b3'] },
    ];
    const ids = [];
    for (const mail of mails) {
      ids.push(await send(waybill, mail));
      await untilPlanned(waybill, ids.at(-1) as string);
      await waybill.stop();
      waybill = await site.start();
    }
    const erp = await take(waybill, 'erp');
    expect(erp.map(({ id, portion }) => [id, portion?.fields])).toEqual([
      [ids[0], undefined],
      [ids[1], ['amount']],
      // No data, but new.
      [ids[3], undefined],
    ]);
    const crm = await take(waybill, 'crm');
    expect(crm.map(({ id, portion, decision }) => [id, portion, decision.by])).toEqual([
      [ids[0], undefined, 'rules'],
      [ids[1], undefined, 'rules'],
      [ids[2], undefined, 'thread'],
      [ids[3], undefined, 'thread'],
    ]);
    await untilSettled(site.databaseUrl);
    expect((await check(site.databaseUrl)).violations).toEqual([]);
  }, 180_000);

  test('that a person has sent somewhere goes on there; a mail to another address of ours does not', async () => {
    const site = await install({ config: CONFIG, rules: RULES });
    const waybill = await site.start();
    const question = await send(waybill, { id: 'p1', subject: 'Question', text: 'One?' });
    await untilPlanned(waybill, question);
    const { status } = await waybill.call('POST', `/v1/messages/${question}/assign`, {
      json: { version: 1, targets: ['crm'] },
    });
    expect(status).toBe(202);
    await until(async () => (await take(waybill, 'crm')).length === 1, 'what was assigned');
    const answer = await send(waybill, { id: 'p2', subject: 'Re: Question', text: 'Two?', answers: ['p1'] });
    // Another account may be of another channel, which goes on by itself.
    await untilPlanned(waybill, answer);
    const copy = await send(waybill, { id: 'p1', subject: 'Question', text: 'One?', to: 'people@whole.example' });
    const stranger = await send(waybill, { id: 'p3', subject: 'Question', text: 'One?' });
    await Promise.all([answer, copy, stranger].map((id) => untilPlanned(waybill, id)));
    const states = await Promise.all([answer, copy, stranger].map((id) => message(waybill, id)));
    expect(states.map(({ state }) => state)).toEqual(['routed', 'waiting', 'waiting']);
    expect(states.map(({ thread }) => thread.number)).toEqual([2, 3, 1]);
    const [followed] = await take(waybill, 'crm');
    expect(followed).toMatchObject({
      id: answer,
      decision: { by: 'thread', number: 1 },
      text: expect.stringContaining('Two?'),
    });
  }, 180_000);

  test('is new as a whole to a target that a person has sent only a portion of it', async () => {
    const site = await install({ config: CONFIG, rules: RULES });
    const waybill = await site.start();
    const text = 'Amount: 1.00 EUR\nDate: 2027-03-01';
    const first = await send(waybill, { id: 'q1', subject: 'Question', text });
    await untilPlanned(waybill, first);
    const { status } = await waybill.call('POST', `/v1/messages/${first}/assign`, {
      json: { version: 1, targets: ['erp'], fields: ['amount'] },
    });
    expect(status).toBe(202);
    const taken: Taken[] = [];
    await until(async () => taken.push(...(await take(waybill, 'erp'))) > 0, 'the portion');
    const answer = await send(waybill, { id: 'q2', subject: 'Order', text, answers: ['q1'] });
    await until(async () => taken.push(...(await take(waybill, 'erp'))) > 1, 'the answer');
    expect(taken.map(({ id, portion, thread }) => [id, portion?.fields, thread?.number])).toEqual([
      [first, ['amount'], 1],
      [answer, undefined, 2],
    ]);
  }, 180_000);

  test('of events is what its source’s key says; two that a mail belongs to are linked', async () => {
    const site = await install({ config: CONFIG, rules: RULES });
    const waybill = await site.start();
    const event = (id: string, type: string, data: object, subject = 'anna') => ({
      ...{ specversion: '1.0', id, source: '/shop', type, subject, data },
    });
    const { json } = await waybill.call('POST', '/v1/events', {
      json: [
        event('e1', 'order.placed', { order: 7, amount: 10.5 }),
        event('e2', 'order.changed', { order: 7, amount: 10.5 }),
        event('e3', 'order.changed', { order: 7, amount: 11 }),
        event('e4', 'order.changed', { order: 8, amount: 11 }),
        event('e5', 'order.changed', { amount: 11 }),
      ],
      headers: { 'content-type': 'application/cloudevents-batch+json' },
    });
    const ids: string[] = json.results.map(({ message }: { message: string }) => message);
    await Promise.all(ids.map((id) => untilPlanned(waybill, id)));
    const states = await Promise.all(ids.map((id) => message(waybill, id)));
    expect(states.map(({ thread }) => thread?.number ?? null)).toEqual([1, 2, 3, 1, null]);
    expect(states.map(({ state }) => state)).toEqual(['routed', 'closed', 'routed', 'waiting', 'waiting']);
    const taken = await take(waybill, 'erp');
    expect(taken.map(({ id, portion }) => [id, portion?.fields])).toEqual([
      [ids[0], undefined],
      [ids[2], ['amount']],
    ]);

    const one = await send(waybill, { id: 'l1', subject: 'One', text: 'one' });
    const two = await send(waybill, { id: 'l2', subject: 'Two', text: 'two' });
    const both = await send(waybill, { id: 'l3', subject: 'Re: Two', text: 'both', answers: ['l1', 'l2'] });
    await Promise.all([one, two, both].map((id) => untilPlanned(waybill, id)));
    const [a, b, c] = await Promise.all([one, two, both].map((id) => message(waybill, id)));
    expect(c.thread).toEqual({ id: b.thread.id, number: 2, of: 2 });
    expect((await message(waybill, two)).thread.number).toBe(1);
    const links = (await waybill.call('GET', `/v1/threads/${a.thread.id}`)).json.links;
    expect(links).toEqual([{ id: b.thread.id, of: 2 }]);
    expect((await waybill.call('GET', '/v1/threads/999999')).status).toBe(404);
    await untilSettled(site.databaseUrl);
    expect((await check(site.databaseUrl)).violations).toEqual([]);
  }, 180_000);
});
