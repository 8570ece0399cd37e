import { randomBytes } from 'node:crypto';
import { simpleParser } from 'mailparser';
import { createTransport } from 'nodemailer';
import { abreast, atLeast, compared, familyCpuMs, inTurn, median, perSecond, tenths, until } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const CONNECTIONS = 20;
const TEXT_BYTES = 2_000;
const HTML_BYTES = 6_000;
const ATTACHMENT_BYTES = 15_500;

/**
 * Mails of 30 kB (text, HTML, an attachment) in over SMTP until each is stored, parsed in a child and routed; against
 * simpleParser, which only parses them, in a process of its own one after the other.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false });
  const pool = stack.pool();
  const costs = [];
  try {
    const count = Math.ceil(1200 * scale);
    const figures = await inTurn(
      5,
      async () => {
        const before = familyCpuMs(stack.pid);
        const rate = await route(stack, pool, count);
        costs.push(((familyCpuMs(stack.pid) - before) * 1000) / count);
        return rate;
      },
      () => parse(count),
    );
    const found = compared(figures);
    return {
      row: 'mail: SMTP → stored → parsed → routed, 30 kB',
      unit: 'mails/s',
      ...found,
      limitIs: 'simpleParser alone on one core',
      goals: [atLeast('ratio', found.ratio, 1.0)],
      also: { nodeMicrosPerMail: Math.round(median(costs)), parked: await parked(pool), bytes: tenths(mail().length) },
    };
  } finally {
    await stack.stop();
  }
}

async function route(stack, pool, count) {
  const transport = createTransport({
    host: '127.0.0.1',
    port: Number(stack.smtp.split(':').at(-1)),
    pool: true,
    maxConnections: CONNECTIONS,
    maxMessages: Number.POSITIVE_INFINITY,
    ignoreTLS: true,
  });
  const mails = Array.from({ length: count }, mail);
  const begun = performance.now();
  await abreast(
    CONNECTIONS,
    mails.map(
      (raw, i) => () =>
        transport.sendMail({ envelope: { from: 'a@example.org', to: `user${i % 500}@example.com` }, raw }),
    ),
  );
  await until(async () => (await unplanned(pool)) === 0, 'all mails to be routed');
  const took = performance.now() - begun;
  transport.close();
  return perSecond(count, took);
}

/** Mails that no plan names yet, and those that were set aside to be parsed later. */
async function unplanned(pool) {
  const { rows } = await pool.query(
    `select (select coalesce(sum(c.last_sequence - r.planned), 0) from channel c join reader r using (tenant, channel))::float8
       + (select count(*) from standing where state = 'parked')::float8 as count`,
  );
  return rows[0].count;
}

/** How many were set aside for a time, since a try took too long. */
async function parked(pool) {
  const { rows } = await pool.query(`select count(*)::float8 as count from plan where kind = 'extra'`);
  return rows[0].count;
}

async function parse(count) {
  const mails = Array.from({ length: count }, mail);
  const begun = performance.now();
  for (const raw of mails) await simpleParser(raw);
  return perSecond(count, performance.now() - begun);
}

let made = 0;
const LINE = 'A line of text that is seventy characters long, near enough to be so.\r\n';
const PARAGRAPH =
  '<p>A <b>paragraph</b> of a letter with a <a href="https://example.org/offer">link</a> and an entity &amp; more.</p>\r\n';

function mail() {
  const n = made++;
  const attachment = randomBytes(ATTACHMENT_BYTES).toString('base64').replace(/.{76}/g, '$&\r\n');
  return Buffer.from(
    [
      'Received: from mx.example.org by mail.example.com; Sun, 22 Nov 2026 06:00:00 +0000',
      'From: "A Sender" <a@example.org>',
      `To: user${n % 500}@example.com`,
      `Subject: =?utf-8?Q?mail_${n}_=E2=80=93_offer?=`,
      `Message-ID: <${process.pid}.${n}@bench>`,
      'Date: Sun, 22 Nov 2026 06:00:00 +0000',
      'MIME-Version: 1.0',
      'Content-Type: multipart/mixed; boundary="outer"',
      '',
      '--outer',
      'Content-Type: multipart/alternative; boundary="inner"',
      '',
      '--inner',
      'Content-Type: text/plain; charset=utf-8',
      'Content-Transfer-Encoding: quoted-printable',
      '',
      LINE.repeat(TEXT_BYTES / LINE.length),
      '--inner',
      'Content-Type: text/html; charset=utf-8',
      '',
      `<html><body>${PARAGRAPH.repeat(HTML_BYTES / PARAGRAPH.length)}</body></html>`,
      '--inner--',
      '--outer',
      'Content-Type: application/pdf; name="offer.pdf"',
      'Content-Transfer-Encoding: base64',
      'Content-Disposition: attachment; filename="offer.pdf"',
      '',
      attachment,
      '--outer--',
      '',
    ].join('\r\n'),
  );
}
