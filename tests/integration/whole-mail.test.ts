import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { expect, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { check, compareReceipts, type StoredMessage, untilSettled } from '../support/checker.js';
import { consumeQueue } from '../support/consumers.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/* Real mail over SMTP, to two recipients each: one whose mail a rule sends on, and one whose mail waits for a person. */

/** Real mail kept beside the project, as raw bytes. Not part of it: without the folder that test is skipped. */
const CORPUS = process.env.WAYBILL_MAIL_CORPUS ?? new URL('../../../shared/corpus/mail', import.meta.url).pathname;
const MAILS = 300;
const BOOKS = 'books@whole.example';
const PEOPLE = 'people@whole.example';
const CONFIG = {
  smtp: { hostname: 'mx.whole.example', maxMessage: '30 MB' },
  sources: { mail: { kind: 'mail', addresses: ['@whole.example'] } },
  targets: { erp: { kind: 'queue', body: 'raw' } },
};
const RULES = `rules:\n  - { name: books, when: { kind: mail, account: ${BOOKS} }, then: { targets: erp } }\n`;

interface Sample {
  readonly name: string;
  /** As it is to be stored: what goes over the wire between DATA and the last dot. */
  readonly raw: Buffer;
  readonly by: 'wire' | 'nodemailer';
}

const samples = corpus();

test.skipIf(samples.length === 0)(
  `${MAILS} real mails to two recipients each (skipped without ${CORPUS})`,
  async () => {
    expect(samples).toHaveLength(MAILS);
    const site = await install({ config: CONFIG, rules: RULES, broker: true });
    let waybill = await site.start();
    const erp = await consumeQueue(site.vhost);

    const first = await sendAll(waybill, samples, 6);
    for (const { name } of samples)
      expect(first.get(name), name).toMatch(/^250 2\.0\.0 Ok: queued as \d+-\d+, \d+-\d+$/);
    await untilSettled(site.databaseUrl);

    // All of them again, on other connections and by the other program, and once more after a restart.
    const again = await sendAll(waybill, samples.map(byWire), 3);
    expect(await waybill.stop()).toMatchObject({ code: 0 });
    waybill = await site.start();
    const third = await sendAll(waybill, samples.map(byWire).map(relayed), 4);
    for (const { name } of samples) {
      const known = first.get(name)?.replace('queued', 'already queued');
      expect(again.get(name), name).toBe(known);
      expect(third.get(name), name).toBe(known);
    }

    await untilSettled(site.databaseUrl);
    const books = await check(site.databaseUrl);
    expect(books.violations).toEqual([]);
    expect(books.counted.get('default')).toEqual({
      sequenced: 2 * MAILS,
      duplicates: 4 * MAILS,
      conflicts: 0,
      expired: 0,
    });

    // Byte for byte: in the database, over the API, and in what the target got.
    const stored = [...books.messages.values()];
    const bySha = new Map(samples.map((sample) => [sha256(sample.raw), sample]));
    for (const account of [BOOKS, PEOPLE]) {
      const own = stored.filter((message) => message.account === account);
      expect(own.map((message) => bySha.get(message.sha256)?.name).sort()).toEqual(
        samples.map(({ name }) => name).sort(),
      );
    }
    for (const message of stored) {
      const raw = await waybill.call('GET', `/v1/messages/${message.id}/raw`);
      expect(raw.status).toBe(200);
      expect(sha256(raw.bytes), bySha.get(message.sha256)?.name).toBe(message.sha256);
    }
    await until(() => erp.once.length >= MAILS, 'the target to have its half');
    expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
      violations: [],
      distinct: MAILS,
    });
    const gotten = new Map(erp.receipts.map(({ channel, sequence }, i) => [`${channel}-${sequence}`, erp.bodies[i]]));
    for (const message of stored.filter(({ account }) => account === BOOKS)) {
      expect(sha256(gotten.get(message.id) ?? Buffer.alloc(0)), message.id).toBe(message.sha256);
    }

    // The other half waits in the inbox, every one of them and nothing else.
    const waiting = await listed(waybill, 'waiting');
    const people = stored.filter(({ account }) => account === PEOPLE);
    expect(waiting.map(({ id }) => id).sort()).toEqual(people.map(({ id }) => id).sort());

    // Parsed, or marked with what is wrong.
    const unread: string[] = [];
    let withDefects = 0;
    for (const message of people) {
      const { view } = (await waybill.call('GET', `/v1/messages/${message.id}`)).json as { view: View | null };
      const name = bySha.get(message.sha256)?.name ?? '';
      if (!view) unread.push(name);
      else if (view.defects.length > 0) withDefects++;
      if (view && view.rung > 0) expect(view.defects.length, name).toBeGreaterThan(0);
      if (view && KNOWN_DAMAGE.test(name)) expect(view.defects, name).not.toEqual([]);
    }
    expect(unread).toEqual([]);
    expect(withDefects).toBeGreaterThan(20);
  },
  180_000,
);

test('two mails with one Message-ID and different bodies both arrive, and neither arrives twice', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  let waybill = await site.start();
  const erp = await consumeQueue(site.vhost);
  const mail = (body: string) =>
    Buffer.from(
      `From: a@elsewhere.example\r\nMessage-ID: <same@elsewhere.example>\r\nSubject: Twice\r\n\r\n${body}\r\n`,
    );
  const both = [mail('The first.'), mail('The second.')];
  const send = async () => {
    const wire = await Wire.greeted(waybill.smtp.port);
    const answers = [];
    for (const each of both) {
      await wire.envelope('a@elsewhere.example', BOOKS);
      answers.push(await wire.body(each));
    }
    wire.socket.end();
    return answers;
  };
  const [one, two] = await send();
  expect(one).toMatch(/^250 2\.0\.0 Ok: queued as \d+-\d+$/);
  expect(two).toMatch(/^250 2\.0\.0 Ok: queued as \d+-\d+$/);
  expect(two).not.toBe(one);
  await waybill.stop();
  waybill = await site.start();
  expect(await send()).toEqual([one, two].map((answer) => answer?.replace('queued', 'already queued')));
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  await until(() => erp.once.length >= 2, 'both to arrive');
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: 2,
  });
  expect(erp.once.map(({ body }) => String(body)).sort()).toEqual(both.map(String).sort());
  expect(new Set([...books.messages.values()].map(({ externalId }) => externalId))).toEqual(
    new Set(['<same@elsewhere.example>']),
  );
});

interface View {
  readonly rung: number;
  readonly defects: readonly unknown[];
}

/** Mails whose names in the corpus say what is broken in them. */
const KNOWN_DAMAGE = /low-quality__(malformed-base64|unk-charset-part|unk-encoding|bad-final-boundary)/;

/** So many real mails, no two of them the same once the marks of their way are gone; half for each program. */
function corpus(): Sample[] {
  let files: string[];
  try {
    files = readdirSync(CORPUS, { recursive: true, encoding: 'utf8' }).sort();
  } catch {
    return [];
  }
  const known = new Set<string>();
  const found: Sample[] = [];
  for (const name of files) {
    const path = join(CORPUS, name);
    if (found.length === MAILS || !statSync(path).isFile()) continue;
    const by = found.length % 2 === 0 ? 'wire' : 'nodemailer';
    const raw = ended(by === 'wire' ? readFileSync(path) : withCrLf(readFileSync(path)));
    const content = withoutTrace(raw);
    if (known.has(content)) continue;
    known.add(content);
    found.push({ name, raw, by });
  }
  return found;
}

/** SMTP has no mail without a line break at its end: one that lacks it gains it. */
function ended(raw: Buffer): Buffer {
  return raw.subarray(-2).equals(Buffer.from('\r\n')) ? raw : Buffer.concat([raw, Buffer.from('\r\n')]);
}

/** nodemailer makes CR LF of a bare LF. */
function withCrLf(raw: Buffer): Buffer {
  return Buffer.from(raw.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}

/** The mail without the header fields that a mail gains on its way. */
function withoutTrace(raw: Buffer): string {
  const text = raw.toString('latin1');
  const head = /^\r?\n|\r?\n\r?\n/.exec(text);
  const end = head ? head.index + head[0].length : text.length;
  const fields = text.slice(0, end).split(/(?<=\n)(?![ \t])/);
  const kept = fields.filter(
    (field) => !/^(return-path|received|delivered-to|authentication-results|arc-[^:]*)[ \t]*:/i.test(field),
  );
  return kept.join('') + text.slice(end);
}

function byWire(sample: Sample): Sample {
  return { ...sample, by: 'wire' };
}

/** As another server would hand it on: with one more Received in front. A first line that is no field would take it in. */
function relayed(sample: Sample): Sample {
  if (/^[ \t]/.test(sample.raw.toString('latin1', 0, 1))) return sample;
  const received = 'Received: from there by here;\r\n\tThu, 1 Jan 2026 00:00:00 +0000\r\n';
  return { ...sample, raw: Buffer.concat([Buffer.from(received), sample.raw]) };
}

/** Over so many connections; answers the reply to each by its name. */
async function sendAll(waybill: Waybill, mails: readonly Sample[], connections: number): Promise<Map<string, string>> {
  const replies = new Map<string, string>();
  const waiting = [...mails];
  const transport = createTransport({
    ...waybill.smtp,
    pool: true,
    maxConnections: connections,
    maxMessages: Infinity,
  });
  const lane = async () => {
    const wire = await Wire.greeted(waybill.smtp.port);
    for (let mail = waiting.shift(); mail; mail = waiting.shift()) {
      if (mail.by === 'wire') {
        await wire.envelope('sender@elsewhere.example', BOOKS, PEOPLE);
        replies.set(mail.name, await wire.body(mail.raw));
      } else {
        const envelope = { from: 'sender@elsewhere.example', to: [BOOKS, PEOPLE] };
        const sent = await transport.sendMail({ envelope, raw: mail.raw });
        replies.set(mail.name, sent.response);
      }
    }
    wire.socket.end();
  };
  await Promise.all(Array.from({ length: connections }, lane));
  transport.close();
  return replies;
}

async function listed(waybill: Waybill, state: string): Promise<Pick<StoredMessage, 'id'>[]> {
  const items: { id: string }[] = [];
  for (let cursor = ''; ; ) {
    const page = (await waybill.call('GET', `/v1/messages?state=${state}&limit=100${cursor}`)).json;
    items.push(...page.items);
    if (page.next === null) return items;
    cursor = `&cursor=${encodeURIComponent(page.next)}`;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
