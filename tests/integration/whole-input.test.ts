import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { stuffed, Wire } from '../ingress/smtp-harness.js';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue } from '../support/consumers.js';
import { until } from '../support/until.js';
import { type Answer, install, type Waybill } from '../support/waybill.js';

/* What comes in broken: each has a code and a sentence, its neighbours are taken, and nothing is lost. */

const SECRET = Buffer.from('a secret of this test').toString('base64');
const CONFIG = {
  http: { maxBody: '64 KiB', maxEventsPerRequest: 50 },
  smtp: { maxMessage: '64 KiB', hostname: 'mx.whole.example' },
  sources: {
    feed: { kind: 'events', accepts: ['/whole', '/other/*'] },
    shop: { kind: 'webhook', verify: { scheme: 'standard', secrets: [`whsec_${SECRET}`] } },
    mail: { kind: 'mail', addresses: ['@whole.example'] },
  },
  targets: { erp: { kind: 'queue' } },
};
const RULES = 'rules:\n  - { name: all, when: { kind: [event, webhook, mail] }, then: { targets: erp } }\n';

test('of a batch of broken events each is rejected with its code and its index, and its neighbours are taken', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  const waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  const nul = '\u0000';
  const good = { specversion: '1.0', id: 'good', source: '/whole', type: 'usage', subject: 'anna', data: 1 };
  const json = (change: Record<string, unknown>) => JSON.stringify({ ...good, ...change });
  const lines: [line: string | Buffer, verdict: string][] = [
    [json({ id: 'first' }), 'sequenced'],
    ['{"specversion":"1.0","id":"cut', 'json_malformed'],
    [json({ id: 'second' }), 'sequenced'],
    ['[]', 'not_an_object'],
    ['"text"', 'not_an_object'],
    [json({ id: undefined }), 'id_missing'],
    [json({ id: null }), 'id_missing'],
    [json({ id: '' }), 'id_invalid'],
    [json({ id: 7 }), 'id_invalid'],
    [json({ id: 'x'.repeat(10_000) }), 'id_invalid'],
    [json({ id: `a${nul}b` }), 'id_invalid'],
    ['{"specversion":"1.0","id":"a\\ud800b","source":"/whole","type":"usage"}', 'id_invalid'],
    [`{"specversion":"1.0","id":"raw${nul}","source":"/whole","type":"usage"}`, 'json_malformed'],
    [json({ specversion: '0.3' }), 'specversion_unsupported'],
    [json({ specversion: undefined }), 'specversion_unsupported'],
    [json({ source: undefined }), 'source_missing'],
    [json({ source: '/nobody' }), 'source_invalid'],
    [json({ type: undefined }), 'type_missing'],
    [json({ type: 'x'.repeat(513) }), 'type_invalid'],
    [json({ id: 's', subject: 'x'.repeat(10_000) }), 'subject_invalid'],
    [json({ id: 't', time: 'yesterday' }), 'time_invalid'],
    [json({ id: 'deep', data: JSON.parse('['.repeat(70) + ']'.repeat(70)) }), 'json_too_deep'],
    [Buffer.from([0x7b, 0xff, 0x7d]), 'json_malformed'],
    // What is odd but can be told apart is taken whole.
    [json({ id: 'nul', data: { text: `a${nul}b` } }), 'sequenced'],
    ['{"specversion":"1.0","id":"lone","source":"/whole","type":"usage","data":{"text":"a\\ud800b"}}', 'sequenced'],
    [
      '{"specversion":"1.0","id":"digits","source":"/whole","type":"usage","data":{"n":12345678901234567890.1230}}',
      'sequenced',
    ],
    [json({ id: 'last' }), 'sequenced'],
  ];
  const body = Buffer.concat(lines.flatMap(([line]) => [Buffer.from(line), Buffer.from('\n')]));
  const answer = await ndjson(waybill, body);
  expect(answer.status).toBe(422);
  expect(told(answer)).toEqual(lines.map(([, verdict], index) => `${index} ${verdict}`));
  for (const { verdict, code, reason } of answer.json.results) {
    if (verdict === 'rejected') expect(reason, code).toMatch(/^.{15,}$/);
  }
  // Sending it all again is safe.
  expect(told(await ndjson(waybill, body))).toEqual(
    lines.map(([, verdict], index) => `${index} ${verdict === 'sequenced' ? 'duplicate' : verdict}`),
  );
  // One alone has a status of its own.
  expect((await single(waybill, json({ id: undefined }))).status).toBe(422);
  expect((await single(waybill, json({ id: 'first' }))).status).toBe(200);
  expect((await single(waybill, json({ id: 'first', data: 2 }))).status).toBe(409);
  expect((await single(waybill, json({ id: 'old', time: '1999-01-01T00:00:00Z' }))).status).toBe(422);

  const wanted = ['first', 'second', 'nul', 'lone', 'digits', 'last'];
  await until(() => erp.once.length >= wanted.length, 'the good ones to be delivered');
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect([...books.messages.values()].map(({ externalId }) => externalId).sort()).toEqual([...wanted].sort());
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: 6,
  });
  expect(books.counted.get('default')).toEqual({ sequenced: 6, duplicates: 7, conflicts: 1, expired: 1 });
  const bodies = new Map(erp.receipts.map(({ externalId }, i) => [externalId, (erp.bodies[i] as Buffer).toString()]));
  expect(JSON.parse(bodies.get('nul') as string).data).toEqual({ text: `a${nul}b` });
  expect(JSON.parse(bodies.get('lone') as string).data).toEqual({ text: 'a\ud800b' });
  expect(bodies.get('digits')).toContain('12345678901234567890.1230');
}, 180_000);

test('requests that are refused whole say why, and are counted', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const waybill = await site.start();
  const event = '{"specversion":"1.0","id":"a","source":"/whole","type":"usage"}';
  const refused = async (answer: Promise<Answer>) => {
    const { status, headers, json } = await answer;
    expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(json.detail ?? json.title).toMatch(/\w+/);
    return `${status} ${json.code}`;
  };

  // Too large, by its length and without one.
  expect(await refused(ndjson(waybill, Buffer.alloc(70_000, 'x')))).toBe('413 body_too_large');
  const chunked = fetch(`${waybill.http}/v1/events`, {
    method: 'POST',
    duplex: 'half',
    headers: { authorization: `Bearer ${site.adminToken}`, 'content-type': 'application/x-ndjson' },
    body: new ReadableStream({
      start(controller) {
        for (let i = 0; i < 10; i++) controller.enqueue(Buffer.alloc(10_000, 'x'));
        controller.close();
      },
    }),
  } as RequestInit);
  expect((await chunked).status).toBe(413);
  expect(await refused(ndjson(waybill, Buffer.from(`${event}\n`.repeat(51))))).toBe('413 too_many_events');
  expect(await refused(post(waybill, '/v1/events', '[{]', 'application/cloudevents-batch+json'))).toBe(
    '400 json_malformed',
  );
  expect(await refused(post(waybill, '/v1/events', event, 'text/plain'))).toBe('415 media_type_unsupported');
  expect(await refused(post(waybill, '/v1/hooks/default/nobody', '{}', 'application/json'))).toBe('404 source_unknown');
  expect(await refused(post(waybill, '/v1/hooks/nobody/shop', '{}', 'application/json'))).toBe('404 source_unknown');
  expect(await refused(waybill.call('POST', '/v1/events', { token: 'wrong', body: event }))).toBe('401 token_invalid');
  expect(await refused(waybill.call('POST', '/v1/events', { token: null, body: event }))).toBe('401 unauthenticated');

  // Signatures: right, forged, altered on the way, right but old or of the future.
  const now = Math.floor(Date.now() / 1000);
  expect((await hook(waybill, { id: 'h-1', at: now })).status).toBe(202);
  expect((await hook(waybill, { id: 'h-1', at: now })).status).toBe(200);
  expect(await refused(hook(waybill, { id: 'h-2', at: now, secret: 'another' }))).toBe('401 signature_invalid');
  expect(await refused(hook(waybill, { id: 'h-3', at: now, sent: '{"altered":true}' }))).toBe('401 signature_invalid');
  expect(await refused(hook(waybill, { id: 'h-4', at: now - 3_600 }))).toBe('401 signature_expired');
  expect(await refused(hook(waybill, { id: 'h-5', at: now + 3_600 }))).toBe('401 signature_expired');
  expect(await refused(post(waybill, '/v1/hooks/default/shop', '{}', 'application/json'))).toBe(
    '401 signature_invalid',
  );

  expect(await waybill.metric('waybill_refused_total', { ingress: 'hooks', code: 'signature_invalid' })).toBe(3);
  expect(await waybill.metric('waybill_refused_total', { ingress: 'hooks', code: 'signature_expired' })).toBe(2);
  const listed = await until(async () => {
    const { items } = (await waybill.call('GET', '/v1/refusals?limit=100')).json as {
      items: { code: string; count: number }[];
    };
    const counts = new Map<string, number>();
    for (const { code, count } of items) counts.set(code, (counts.get(code) ?? 0) + count);
    return (counts.get('signature_expired') ?? 0) === 2 && (counts.get('source_unknown') ?? 0) === 2 ? counts : null;
  }, 'the refusals to be listed');
  expect(Object.fromEntries(listed)).toMatchObject({
    signature_invalid: 3,
    signature_expired: 2,
    source_unknown: 2,
    body_too_large: 2,
    too_many_events: 1,
    json_malformed: 1,
    media_type_unsupported: 1,
  });
  await untilSettled(site.databaseUrl, { mayWait: ['default/erp'] });
  const books = await check(site.databaseUrl, { mayWait: ['default/erp'] });
  expect(books.violations).toEqual([]);
  expect([...books.messages.values()].map(({ externalId }) => externalId)).toEqual(['h-1']);
}, 180_000);

test('mail that is too large or for nobody is refused by its code, and odd mail is taken whole', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  const waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  const wire = await Wire.greeted(waybill.smtp.port);

  expect(await wire.ask('MAIL FROM:<a@elsewhere.example> SIZE=100000')).toMatch(/^552 5\.3\.4 /);
  await wire.envelope('a@elsewhere.example', 'anna@whole.example');
  expect(await wire.body(Buffer.from(`Subject: Large\r\n\r\n${'x'.repeat(70)}\r\n`.repeat(1_500)))).toMatch(
    /^552 5\.3\.4 /,
  );
  expect(await wire.ask('MAIL FROM:<a@elsewhere.example>')).toMatch(/^250 /);
  expect(await wire.ask('RCPT TO:<anna@nobody.example>')).toMatch(/^550 5\.\d\.\d /);
  expect(await wire.ask('RCPT TO:<anna@whole.example>')).toMatch(/^250 /);
  expect(await wire.ask('DATA')).toMatch(/^354 /);
  expect(await wire.body(Buffer.from('Subject: After all that\r\n\r\nok\r\n'))).toMatch(/^250 2\.0\.0 Ok: queued as /);

  const odd: Buffer[] = [
    Buffer.from('Subject: a\u0000b\r\n\r\nNUL \u0000 in it\r\n'),
    Buffer.from('no header at all\r\n'),
    Buffer.from('\r\n'),
    Buffer.from(`Subject: ${'x'.repeat(20_000)}\r\n\r\nlong\r\n`),
    Buffer.concat([
      Buffer.from('Subject: \xff\xfe\r\n\r\n', 'latin1'),
      Buffer.from([0xff, 0xfe, 0x00, 0x80]),
      Buffer.from('\r\n'),
    ]),
    Buffer.from('From: a\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n--b\r\n--b\r\n'),
    Buffer.from('Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nbare\n.\nlines\r\n'),
    Buffer.from(`Content-Type: text/html; charset=utf-8\r\n\r\n${'<div>'.repeat(5_000)}\r\n`),
  ];
  for (const mail of odd) {
    await wire.envelope('', 'anna@whole.example');
    expect(await wire.body(mail), JSON.stringify(stuffed(mail).toString('latin1').slice(0, 60))).toMatch(/^250 /);
  }
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  await until(() => erp.once.length >= odd.length + 1, 'all of them to be delivered');
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: odd.length + 1,
  });
  const raws = await Promise.all(
    [...books.messages.keys()].map(async (name) =>
      (await waybill.call('GET', `/v1/messages/${name.split('/')[1]}/raw`)).bytes.toString('latin1'),
    ),
  );
  for (const mail of odd) expect(raws).toContain(mail.toString('latin1'));
  const refusals = await until(async () => {
    const { items } = (await waybill.call('GET', '/v1/refusals')).json as {
      items: { ingress: string; code: string }[];
    };
    return items.length >= 2 && items;
  }, 'the refusals to be listed');
  expect(new Set(refusals.map(({ ingress }) => ingress))).toEqual(new Set(['smtp']));
  expect(await waybill.metric('waybill_refused_total', { ingress: 'smtp' })).toBe(3);
  wire.socket.end();
}, 180_000);

function post(waybill: Waybill, path: string, body: string, type: string): Promise<Answer> {
  return waybill.call('POST', path, { body, headers: { 'content-type': type } });
}

function single(waybill: Waybill, event: string): Promise<Answer> {
  return post(waybill, '/v1/events', event, 'application/cloudevents+json');
}

function ndjson(waybill: Waybill, body: Buffer): Promise<Answer> {
  return waybill.call('POST', '/v1/events', {
    body: new Uint8Array(body),
    headers: { 'content-type': 'application/x-ndjson' },
  });
}

function told(answer: Answer): string[] {
  const results = answer.json.results as { index: number; verdict: string; code?: string }[];
  return results.map(({ index, verdict, code }) => `${index} ${code ?? verdict}`);
}

interface Hook {
  readonly id: string;
  /** Seconds since 1970. */
  readonly at: number;
  readonly secret?: string;
  /** What goes over the wire instead of what was signed. */
  readonly sent?: string;
}

/** A delivery signed as Standard Webhooks says. */
function hook(waybill: Waybill, { id, at, secret = SECRET, sent }: Hook): Promise<Answer> {
  const body = JSON.stringify({ id, type: 'order.paid' });
  const key = Buffer.from(secret, 'base64');
  const signature = createHmac('sha256', key).update(`${id}.${at}.${body}`).digest('base64');
  return waybill.call('POST', '/v1/hooks/default/shop', {
    token: null,
    body: sent ?? body,
    headers: {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': String(at),
      'webhook-signature': `v1,${signature}`,
    },
  });
}
