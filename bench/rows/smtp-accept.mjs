import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createTransport } from 'nodemailer';
import { atLeast, atMost, compared, inTurn, median, PAIRS, steadily, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const CONNECTIONS = 100;
const MAIL_BYTES = 5_000;

/** A process that has just started is slow until its code is compiled: so many rounds go before. */
export const WARM_UPS = 3;

/**
 * What accepting alone costs, as in batch accept: without an owner, whose reading on is part of the mail row. (With one,
 * its children went on reading during the limit's rounds, and made the limit look slower than it is.)
 * Mails of 5 kB over 100 connections by nodemailer's pool, durable; against smtp-server that throws them away.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false, roles: 'ingress,web' });
  const bare = fork(new URL('../peers/smtp.mjs', import.meta.url));
  const [{ port }] = await once(bare, 'message');
  const tails = { a: [], b: [] };
  try {
    // Rounds of some seconds: while the other had its turn, the kernel may have taken pages from whoever was idle.
    const count = Math.ceil(9000 * scale);
    const ours = (into) => () => send(Number(stack.smtp.split(':').at(-1)), count, into);
    const theirs = (into) => () => send(port, count, into);
    await inTurn(WARM_UPS, ours([]), theirs([]));
    const figures = await inTurn(PAIRS, ours(tails.a), theirs(tails.b));
    const found = compared(figures);
    return {
      row: 'SMTP accept, 5 kB mails, 100 connections, durable',
      unit: 'mails/s',
      ...found,
      limitIs: 'smtp-server that throws the mail away, same client',
      goals: [atLeast('ratio', found.ratio, 0.85), atMost('p99 ms', tenths(median(tails.a)), 50)],
      also: { p99MsOfTheLimit: tenths(median(tails.b)) },
    };
  } finally {
    bare.kill();
    await stack.stop();
  }
}

const TEXT = 'A line of text that is seventy characters long, near enough to be so.\r\n'.repeat(MAIL_BYTES / 71);
let made = 0;

function mail() {
  const n = made++;
  const head = `From: a@example.org\r\nTo: user${n % 500}@example.com\r\nSubject: mail ${n}\r\nMessage-ID: <${process.pid}.${n}@bench>\r\n\r\n`;
  return head + TEXT;
}

/** Mails a second, after a fifth of as many to run in; adds the wait of the slowest hundredth to `tails`. */
export async function send(port, count, tails) {
  const transport = createTransport({
    host: '127.0.0.1',
    port,
    pool: true,
    maxConnections: CONNECTIONS,
    maxMessages: Infinity,
    ignoreTLS: true,
  });
  const runIn = Math.ceil(count / 5);
  // Each mail is made as it is sent and kept by nobody: what lives on is copied by the collector, 4 ms at a time.
  const jobs = Array.from(
    { length: runIn + count },
    (_, i) => () =>
      transport.sendMail({ envelope: { from: 'a@example.org', to: `user${i % 500}@example.com` }, raw: mail() }),
  );
  const { rate, p99Ms } = await steadily(CONNECTIONS, runIn, jobs);
  transport.close();
  tails.push(p99Ms);
  return rate;
}
