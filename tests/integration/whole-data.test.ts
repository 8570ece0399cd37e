import { simpleParser } from 'mailparser';
import { createTransport, type SendMailOptions } from 'nodemailer';
import { expect, onTestFinished, test } from 'vitest';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue, type PulledDelivery, receiveHooks } from '../support/consumers.js';
import { openMailbox } from '../support/mailbox.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/* Data that is found in messages reaches targets under their own names, and portions of messages reach every kind of target. */

const LINES = { from: 'lines', labels: { 'Customer no': 'customer-number' } };
const ORDER_MAIL = {
  from: 'anna@elsewhere.example',
  to: 'orders@whole.example',
  subject: 'An order',
  text: [
    'Hello,',
    'Order no.: A-17',
    'Total: 1.250,00 €',
    'Phone: +49 (0)30 123456',
    'Mobile: +49 170 1234567',
    'Customer no: 007',
    '',
  ].join('\n'),
} satisfies SendMailOptions;

test('1.3: data in a mail and in an event reaches a target under its own names, and what it does not know is reported', async () => {
  const crm = await receiveHooks();
  const site = await install({
    config: {
      sources: {
        orders: { kind: 'mail', addresses: ['orders@whole.example'], extract: [LINES] },
        shop: {
          kind: 'events',
          extract: [
            { from: 'pointer', type: 'order-number', pointer: '/data/order/id' },
            { from: 'pointer', type: 'amount', pointer: '/data/total', currency: '/data/currency' },
            { from: 'pointer', type: 'coupon', pointer: '/data/coupon' },
          ],
        },
      },
      targets: {
        erp: {
          kind: 'queue',
          body: 'data',
          fields: { 'order-number': 'orderId', amount: 'total.gross', 'customer-number': 'customer.id' },
        },
        crm: hook(crm.url, { fields: { phone: 'phones', 'order-number': 'order' } }),
      },
    },
    rules: `rules:
  - { name: large, when: { found.amount: { numeric: [">=", 1000] }, found.order-number: { prefix: A- } }, then: { targets: [erp, crm] } }
`,
    broker: true,
  });
  const waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  const mailId = await sendMail(waybill, ORDER_MAIL);
  // Sent as it is written: more digits than a double holds.
  const event = `{"specversion":"1.0","id":"e-1","source":"/shop","type":"order.placed","subject":"anna",
    "data":{"order":{"id":"A-18"},"total":12345678901234567890.10,"currency":"USD","coupon":"SPRING"}}`;
  const posted = await waybill.call('POST', '/v1/events', {
    body: event,
    headers: { 'content-type': 'application/cloudevents+json' },
  });
  expect(posted.status).toBe(202);
  const eventId = posted.json.results[0].message as string;
  await until(() => erp.once.length >= 2 && crm.taken.length >= 2, 'both to have both');

  const bodies = new Map(erp.once.map(({ channel, sequence, body }) => [`${channel}-${sequence}`, body]));
  expect(JSON.parse(String(bodies.get(mailId)))).toEqual({
    orderId: 'A-17',
    total: { gross: { amount: '1250.00', currency: 'EUR', written: '1.250,00 €' } },
    customer: { id: '007' },
  });
  expect(JSON.parse(String(bodies.get(eventId)))).toEqual({
    orderId: 'A-18',
    total: { gross: { amount: '12345678901234567890.10', currency: 'USD', written: '12345678901234567890.10' } },
  });
  const canonical = crm.taken.map(({ body }) => JSON.parse(body)).find(({ id }) => id === mailId);
  expect(canonical.fields).toEqual({ phones: ['+4930123456', '+491701234567'], order: 'A-17' });
  expect(canonical.unmapped).toEqual(['amount', 'customer-number']);
  expect(canonical.text).toContain('Order no.');

  const { found, unmapped } = (await waybill.call('GET', `/v1/messages/${mailId}`)).json;
  expect(found).toContainEqual({
    type: 'amount',
    value: '1250.00',
    currency: 'EUR',
    written: '1.250,00 €',
    where: 'text, line 3',
  });
  expect(unmapped).toEqual([
    { target: 'crm', type: 'amount', count: 1 },
    { target: 'crm', type: 'customer-number', count: 1 },
    { target: 'erp', type: 'phone', count: 2 },
  ]);
  await untilSettled(site.databaseUrl);
  expect((await check(site.databaseUrl)).violations).toEqual([]);
}, 180_000);

test('1.1: one attachment, or some fields, of a message reach every kind of target, and again the same', async () => {
  const desk = await startMailbox();
  let refusing = true;
  const files = await receiveHooks(() => (refusing ? 422 : 204));
  const crm = await receiveHooks();
  const site = await install({
    config: {
      sources: { orders: { kind: 'mail', addresses: ['orders@whole.example'], extract: [LINES] } },
      targets: {
        archive: { kind: 'pull' },
        crm: hook(crm.url, { fields: { phone: 'phones', 'order-number': 'order' } }),
        desk: { kind: 'email', to: ['desk@elsewhere.example'], from: 'waybill@whole.example', server: desk.url },
        erp: { kind: 'queue', body: 'data' },
        files: hook(files.url, { body: 'raw' }),
      },
    },
    broker: true,
  });
  const waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  const id = await sendMail(waybill, {
    ...ORDER_MAIL,
    attachments: [
      { filename: 'a.csv', contentType: 'text/csv', content: 'a;b\n' },
      { filename: 'Grüße.pdf', contentType: 'application/pdf', content: Buffer.from('%PDF-1.7 ü\0ff') },
    ],
  });
  await until(async () => (await waybill.call('GET', `/v1/messages/${id}`)).json.state === 'waiting', 'it to wait');

  const assign = (body: object) => decide(waybill, id, 'assign', body);
  // What can't be is refused now, with a code, and nothing is sent.
  for (const [body, code] of [
    [{ targets: ['files'], part: 3 }, 'no_such_part'],
    [{ targets: ['files'], fields: ['iban'] }, 'field_not_found'],
    [{ targets: ['crm', 'files'], fields: ['phone'] }, 'portion_not_possible'],
    [{ targets: ['erp'], part: 2, fields: ['phone'] }, 'portion_not_possible'],
    [{ targets: ['crm'], fields: ['amount'] }, 'fields_unknown_to_target'],
    [{ targets: ['nobody'], part: 2 }, 'unknown_target'],
    [{ targets: ['crm'], fields: [] }, 'invalid_body'],
  ] as const) {
    const { status, json } = await assign(body);
    expect([status, json.code]).toEqual([422, code]);
  }

  const pdf = Buffer.from('%PDF-1.7 ü\0ff');
  expect((await assign({ targets: ['archive', 'desk', 'erp', 'files'], part: 2 })).json).toMatchObject({
    portion: { part: 2 },
  });
  await until(() => erp.once.length >= 1 && files.asked.length >= 1 && desk.mails.length >= 1, 'all to be tried');
  expect(erp.once[0]?.body).toEqual(pdf);
  expect(files.asked[0]?.headers).toMatchObject({ 'content-type': 'application/pdf', 'waybill-portion': 'part=2' });
  const forwarded = await simpleParser(desk.mails[0] as Buffer);
  expect(forwarded.attachments.map(({ filename, contentType, content }) => [filename, contentType, content])).toEqual([
    ['Grüße.pdf', 'application/pdf', pdf],
  ]);
  expect(forwarded.text).toContain('Portion: part=2');
  expect(forwarded.text).not.toContain('A-17');
  const [pulled] = (await waybill.call('POST', '/v1/targets/archive/pull', { json: {} })).json
    .deliveries as PulledDelivery[];
  expect(pulled?.headers['waybill-portion']).toBe('part=2');
  expect(pulled?.body).toMatchObject({
    headers: [],
    text: null,
    html: null,
    parts: [{ n: 2, name: 'Grüße.pdf' }],
    portion: { part: 2 },
  });
  await waybill.call('POST', '/v1/targets/archive/ack', { json: { ids: [pulled?.id] } });

  // Another portion is another delivery, to the same target too; the same one is not sent twice.
  expect((await assign({ targets: ['erp', 'crm'], fields: ['phone', 'order-number', 'phone'] })).json.portion).toEqual({
    fields: ['order-number', 'phone'],
  });
  await until(() => erp.once.length >= 2 && crm.taken.length >= 1, 'the fields to come');
  expect(JSON.parse(String(erp.once[1]?.body))).toEqual({
    'order-number': 'A-17',
    phone: ['+4930123456', '+491701234567'],
  });
  expect(JSON.parse(crm.taken[0]?.body ?? '')).toMatchObject({
    text: null,
    parts: [],
    fields: { order: 'A-17', phones: ['+4930123456', '+491701234567'] },
    unmapped: [],
    portion: { fields: ['order-number', 'phone'] },
  });
  expect((await assign({ targets: ['erp'], part: 2 })).json.code).toBe('already_assigned');

  // What was refused for good is sent again as what it was; and a replay is what each target had.
  refusing = false;
  const failed = await until(
    async () => (await waybill.call('GET', '/v1/deliveries?state=failed')).json.items[0],
    'the refusal to be written down',
  );
  expect(failed).toMatchObject({ target: 'files', portion: { part: 2 } });
  expect((await waybill.call('POST', `/v1/deliveries/${failed.id}/retry`)).json).toMatchObject({
    portion: { part: 2 },
  });
  await until(() => files.taken.filter(({ what }) => what === 'message').length >= 1, 'the file to come again');
  expect((await decide(waybill, id, 'replay', { targets: ['erp'] })).status).toBe(202);
  await until(() => erp.once.length >= 4, 'both portions to come again');
  const portions = (from: number) => erp.once.slice(from, from + 2).map(({ body }) => String(body));
  expect(portions(2).sort()).toEqual(portions(0).sort());

  // The whole is more than what it had.
  expect((await assign({ targets: ['erp'] })).json).toMatchObject({ portion: null, targets: ['erp'] });
  await until(() => erp.once.length >= 5, 'the whole to come');
  expect(String(erp.once[4]?.body)).toContain('Subject: An order');

  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: 5,
  });
  const verified = await site.run(['verify'], { WAYBILL_URL: waybill.http, WAYBILL_TOKEN: site.adminToken });
  expect(verified, verified.stdout).toMatchObject({ code: 0 });
}, 180_000);

test('what failed at a target is recovered portion by portion, after a kill as before', async () => {
  let refusing = true;
  const files = await receiveHooks(() => (refusing ? 422 : 204));
  const site = await install({
    config: {
      sources: { orders: { kind: 'mail', addresses: ['orders@whole.example'], extract: [LINES] } },
      targets: { files: hook(files.url, { body: 'raw' }) },
    },
  });
  const started = await site.start();
  const id = await sendMail(started, {
    ...ORDER_MAIL,
    attachments: [
      { filename: 'a.csv', contentType: 'text/csv', content: 'the first' },
      { filename: 'b.csv', contentType: 'text/csv', content: 'the second' },
    ],
  });
  await until(async () => (await started.call('GET', `/v1/messages/${id}`)).json.state === 'waiting', 'it to wait');
  for (const part of [1, 2])
    expect((await decide(started, id, 'assign', { targets: ['files'], part })).status).toBe(202);
  const failures = async (of: Waybill) => (await of.call('GET', '/v1/deliveries?state=failed')).json.items as unknown[];
  await until(async () => (await failures(started)).length === 2, 'both to fail');
  await started.kill();

  const waybill = await site.start();
  refusing = false;
  const recovered = await waybill.call('POST', '/v1/targets/files/recover', {
    json: { since: '2020-01-01T00:00:00Z' },
  });
  expect(recovered.json).toMatchObject({ recovered: 2 });
  const messages = () => files.taken.filter(({ what }) => what === 'message');
  await until(() => messages().length >= 2, 'both to come');
  expect(
    messages()
      .map(({ body, headers }) => [body, headers['waybill-portion']])
      .sort(),
  ).toEqual([
    ['the first', 'part=1'],
    ['the second', 'part=2'],
  ]);
  expect(
    (await waybill.call('POST', '/v1/targets/files/recover', { json: { since: '2020-01-01T00:00:00Z' } })).json,
  ).toMatchObject({ recovered: 0 });
  await untilSettled(site.databaseUrl);
  expect((await check(site.databaseUrl)).violations).toEqual([]);
}, 180_000);

function hook(url: string, more: object) {
  return { kind: 'webhook', url, allowPrivateAddresses: true, ...more };
}

async function decide(waybill: Waybill, id: string, action: string, body: object) {
  const { version } = (await waybill.call('GET', `/v1/messages/${id}`)).json;
  return waybill.call('POST', `/v1/messages/${id}/${action}`, { json: { version, ...body } });
}

/** Sends a mail and answers the id of the message it became. */
async function sendMail(waybill: Waybill, mail: SendMailOptions): Promise<string> {
  const transport = createTransport({ ...waybill.smtp, secure: false, ignoreTLS: true });
  const { response } = await transport.sendMail(mail);
  transport.close();
  return /queued as (\d+-\d+)/.exec(response)?.[1] ?? `none: ${response}`;
}

/** A mail server that takes everything. It ends with the test. */
async function startMailbox(): Promise<{ readonly url: string; readonly mails: readonly Buffer[] }> {
  const mails: Buffer[] = [];
  const mailbox = await openMailbox((mail) => mails.push(mail) > 0);
  onTestFinished(() => mailbox.close());
  return { url: `smtp://127.0.0.1:${mailbox.port}`, mails };
}
