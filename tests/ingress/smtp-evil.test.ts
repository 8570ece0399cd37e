import { expect, onTestFinished, test } from 'vitest';
import type { Verdict } from '../../src/message/verdict.js';
import { until } from '../support/until.js';
import { everybody, mailSource, OTHER, sequenced, start, Wire } from './smtp-harness.js';

const MB = 1_000_000;

test.each(['a reset', 'an end'])(
  '%s in DATA drops the half mail, its memory and its connection, and nothing else',
  async (how) => {
    const { port, ingress, calls } = await start();
    const bystander = await Wire.greeted(port);
    const wire = await Wire.greeted(port);
    await wire.envelope('a@example.net', 'b@example.com');
    wire.write(`Subject: half\r\n\r\n${'x'.repeat(100_000)}`);
    await until(() => ingress.stats().bufferedBytes >= 100_000, 'the half mail to be in memory');
    if (how === 'a reset') wire.socket.resetAndDestroy();
    else wire.socket.destroy();
    await until(() => ingress.stats().bufferedBytes === 0, 'the memory to be free');
    await until(() => ingress.stats().connections === 1, 'the connection to be gone');
    expect(calls).toEqual([]);
    await bystander.envelope('a@example.net', 'b@example.com');
    expect(await bystander.body(Buffer.from('Subject: whole\r\n\r\n'))).toMatch(/^250 /);
  },
);

test('an end of the data that never got its last line feed is no mail', async () => {
  const { port, ingress, calls } = await start();
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  wire.write('Subject: nearly\r\n\r\nall of it\r\n.\r');
  wire.socket.end();
  await wire.closed();
  await until(() => ingress.stats().connections === 0, 'the connection to be gone');
  expect(calls).toEqual([]);
  expect(ingress.stats().bufferedBytes).toBe(0);
});

test('a connection that goes while the mail is stored costs nothing: the mail is in', async () => {
  let commit: (verdicts: Verdict[]) => void = () => {};
  const { port, ingress, calls } = await start({}, { accept: () => new Promise((resolve) => (commit = resolve)) });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  wire.write('Subject: whole\r\n\r\n.\r\n');
  await until(() => calls.length === 1, 'the mail to be handed over');
  wire.socket.resetAndDestroy();
  await until(() => ingress.stats().connections === 0, 'the connection to be gone');
  commit([sequenced(1)]);
  await until(() => ingress.stats().bufferedBytes === 0, 'the memory to be free');
});

test.each([
  'before LF . LF after\n.\nMAIL FROM:<admin@example.com>',
  'before LF . CR LF after\n.\r\nMAIL FROM:<admin@example.com>',
  'before CR LF . LF after\r\n.\nMAIL FROM:<admin@example.com>',
  'before CR . CR after\r.\rMAIL FROM:<admin@example.com>',
  'before CR LF . CR after\r\n.\rMAIL FROM:<admin@example.com>',
  'before CR . CR LF after\r.\r\nMAIL FROM:<admin@example.com>',
  'before CR LF NUL . CR LF after\r\n\0.\r\nMAIL FROM:<admin@example.com>',
  'before CR LF . CR CR LF after\r\n.\r\r\nMAIL FROM:<admin@example.com>',
])('no second mail can be smuggled: %j', async (smuggled) => {
  const { port, calls } = await start();
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  // As a server before us passes it on that sees nothing wrong with it: byte for byte, with only its own end.
  wire.write(`Subject: hi\r\n\r\n${smuggled}\r\nRCPT TO:<x@example.com>\r\nDATA\r\nevil\r\n.\r\nRSET\r\n`);
  expect(await wire.reply()).toBe('250 2.0.0 Ok: queued as 7-1');
  expect(await wire.reply()).toBe('250 2.0.0 Flushed');
  expect(calls).toHaveLength(1);
  // The one dot that goes is the first of a line that CR LF began.
  const kept = smuggled.replace('\r\n.', '\r\n');
  expect(Buffer.from(calls[0]?.[0]?.raw ?? []).toString('latin1')).toBe(
    `Subject: hi\r\n\r\n${kept}\r\nRCPT TO:<x@example.com>\r\nDATA\r\nevil\r\n`,
  );
});

test('every byte there is, bare CR and LF, NUL and 8-bit, with and without 8BITMIME, is kept', async () => {
  const { port, calls } = await start();
  const wire = await Wire.greeted(port);
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const raw = Buffer.concat(
    [Buffer.from('.\r\n..\n..x\n.\r'), bytes, bytes.toReversed(), Buffer.from('\r\n')].map(Buffer.from),
  );
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(raw)).toMatch(/^250 /);
  expect(Buffer.compare(Buffer.from(calls[0]?.[0]?.raw ?? []), raw)).toBe(0);
});

test('a mail that comes byte by byte is the same mail', async () => {
  const { port, calls } = await start();
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  const text = 'Subject: slow\r\n\r\n..\r\n...\r\nend\r\n.\r\nNOOP\r\n';
  for (const character of text) {
    await new Promise<void>((resolve) => wire.socket.write(character, () => resolve()));
  }
  expect(await wire.reply()).toMatch(/^250 2\.0\.0 Ok/);
  expect(await wire.reply()).toBe('250 2.0.0 OK');
  expect(Buffer.from(calls[0]?.[0]?.raw ?? []).toString()).toBe('Subject: slow\r\n\r\n.\r\n..\r\nend\r\n');
});

test('a line of 30 MB is a mail like any other', async () => {
  const { port, calls } = await start({ maxMessageBytes: 40 * MB });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(Buffer.concat([Buffer.alloc(30 * MB, '.'), Buffer.from('\r\n')]))).toMatch(/^250 /);
  expect(calls[0]?.[0]?.raw).toHaveLength(30 * MB + 2);
});

test('a hundred thousand lines that begin with dots', async () => {
  const { port, calls } = await start();
  const wire = await Wire.greeted(port);
  const raw = Buffer.from('.\r\n'.repeat(100_000));
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(raw)).toMatch(/^250 /);
  expect(Buffer.compare(Buffer.from(calls[0]?.[0]?.raw ?? []), raw)).toBe(0);
});

test('a mail over the limit is let go at once and refused at its end; the connection goes on', async () => {
  const { port, ingress, calls, refusals } = await start({ maxMessageBytes: 200_000 });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  wire.write('x'.repeat(150_000));
  await until(() => ingress.stats().bufferedBytes >= 150_000, 'the beginning to be in memory');
  wire.write('x'.repeat(100_000));
  await until(() => ingress.stats().bufferedBytes === 0, 'the memory to be free in the middle of the mail');
  wire.write('\r\n.\r\n');
  expect(await wire.reply()).toBe('552 5.3.4 The mail is larger than this server takes');
  expect(calls).toEqual([]);
  expect(refusals).toMatchObject([{ code: 'too_large', tenant: 1, envelope: { to: 'b@example.com' } }]);
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(Buffer.from('Subject: small\r\n\r\n'))).toMatch(/^250 /);
});

test('a mail of exactly the limit is taken, one byte more is not', async () => {
  const { port } = await start({ maxMessageBytes: 1_000 });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(Buffer.from(`${'x'.repeat(998)}\r\n`))).toMatch(/^250 /);
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(Buffer.from(`${'x'.repeat(999)}\r\n`))).toMatch(/^552 5\.3\.4 /);
});

test('who announces too much is refused before it sends it, and noted', async () => {
  const { port, refusals } = await start({ maxMessageBytes: 1_000 });
  const wire = await Wire.greeted(port);
  expect(await wire.ask('MAIL FROM:<a@example.net> SIZE=1001')).toMatch(/^552 5\.3\.4 /);
  expect(refusals).toMatchObject([{ code: 'too_large', peer: '127.0.0.1' }]);
});

test('who does not stop sending is hung up on', async () => {
  const { port, ingress } = await start({ maxMessageBytes: 100_000 });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  const flood = setInterval(() => wire.socket.writable && wire.write('x'.repeat(50_000)), 1);
  onTestFinished(() => clearInterval(flood));
  expect(await wire.reply()).toBe('552 5.3.4 The mail is larger than this server takes');
  await wire.closed();
  await until(() => ingress.stats().connections === 0, 'the connection to be gone');
});

test('the memory of all mails together is bounded: who comes too late is told to come again', async () => {
  const { port, ingress, calls, refusals } = await start({ maxBufferedBytes: 300_000 });
  const [first, second, third] = [await Wire.greeted(port), await Wire.greeted(port), await Wire.greeted(port)];
  await first.envelope('a@example.net', 'b@example.com');
  await second.envelope('a@example.net', 'b@example.com');
  first.write('x'.repeat(200_000));
  await until(() => ingress.stats().bufferedBytes >= 200_000, 'the first mail to be in memory');
  second.write('y'.repeat(200_000));
  second.write('\r\n.\r\n');
  expect(await second.reply()).toBe('452 4.3.1 Too much mail is coming in just now, try again later');
  expect(await third.ask('MAIL FROM:<a@example.net> SIZE=200000')).toBe(
    '452 4.3.1 Too much mail is coming in just now, try again later',
  );
  first.write('\r\n.\r\n');
  expect(await first.reply()).toMatch(/^250 /);
  expect(calls).toHaveLength(1);
  expect(refusals.map((refusal) => refusal.code)).toEqual(['buffers_full', 'buffers_full']);
  await until(() => ingress.stats().bufferedBytes === 0, 'the memory to be free');
});

test('mail to one tenant takes half of that memory at most, and leaves the rest to the others', async () => {
  const { port, ingress } = await start(
    { maxBufferedBytes: 600_000 },
    { sourceList: [...everybody, mailSource(['@other.example'], { from: 'recipient' }, OTHER)] },
  );
  const wires = await Promise.all(Array.from({ length: 4 }, () => Wire.greeted(port)));
  const [first, second, third, others] = wires as [Wire, Wire, Wire, Wire];
  for (const wire of [first, second]) await wire.envelope('a@example.net', 'b@example.com');
  first.write('x'.repeat(200_000));
  await until(() => ingress.stats().bufferedBytes >= 200_000, 'the first mail to be in memory');
  second.write('y'.repeat(200_000));
  second.write('\r\n.\r\n');
  expect(await second.reply()).toBe('452 4.3.1 Too much mail is coming in just now, try again later');
  // Said before the data, where the size is.
  await until(() => ingress.stats().bufferedBytes < 300_000, 'the second mail to be let go');
  await third.ask('MAIL FROM:<a@example.net> SIZE=300000');
  expect(await third.ask('RCPT TO:<b@example.com>')).toMatch(/^452 4\.3\.1 /);
  expect(await third.ask('RCPT TO:<b@other.example>')).toMatch(/^250 /);
  await others.envelope('a@example.net', 'b@other.example');
  expect(await others.body(Buffer.from(`${'z'.repeat(300_000)}\r\n`))).toMatch(/^250 /);
  first.write('\r\n.\r\n');
  expect(await first.reply()).toMatch(/^250 /);
  await until(() => ingress.stats().bufferedBytes === 0, 'the memory to be free');
});

test('a connection that says nothing is closed', async () => {
  const { port } = await start({ idleMs: 1_000 });
  const wire = await Wire.greeted(port);
  expect(await wire.reply()).toMatch(/^421 4\.4\.2 /);
  await wire.closed();
});

test.each(['commands', 'data'])('a connection that trickles %s is closed all the same', async (what) => {
  const { port, ingress, refusals } = await start({ idleMs: 10_000, transactionMs: 1_500 });
  const wire = await Wire.greeted(port);
  if (what === 'data') await wire.envelope('a@example.net', 'b@example.com');
  const trickle = setInterval(() => wire.socket.writable && wire.write('x'), 20);
  onTestFinished(() => clearInterval(trickle));
  expect(await wire.reply()).toBe('421 4.4.2 No mail was completed in time');
  await wire.closed();
  clearInterval(trickle);
  await until(() => ingress.stats().connections === 0, 'the connection to be gone');
  await until(() => ingress.stats().bufferedBytes === 0, 'the memory to be free');
  expect(refusals.map((refusal) => refusal.code)).toEqual(['too_slow']);
});

test('a mail that is being stored slowly is not the sender’s fault', async () => {
  let commit: (verdicts: Verdict[]) => void = () => {};
  const { port, calls } = await start(
    { idleMs: 1_500, transactionMs: 1_500 },
    {
      accept: () =>
        new Promise((resolve) => {
          commit = resolve;
        }),
    },
  );
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  wire.write('Subject: hi\r\n\r\n.\r\n');
  await until(() => calls.length === 1, 'the mail to be handed over');
  // One that came later has been too slow already.
  const later = await Wire.to(port);
  await later.closed();
  commit([sequenced(1)]);
  expect(await wire.reply()).toBe('250 2.0.0 Ok: queued as 7-1');
});

test('who talks before the greeting is sent away', async () => {
  const { port } = await start();
  const wire = await Wire.to(port);
  wire.write('EHLO eager.example\r\n');
  expect(await wire.reply()).toBe('421 4.7.0 mail.example.com You talk too soon');
  await wire.closed();
});

test('a browser is sent away', async () => {
  const { port, calls } = await start();
  const wire = await Wire.to(port);
  await wire.reply();
  wire.write('POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n');
  expect(await wire.reply()).toMatch(/^421 4\.\d\.\d HTTP/);
  await wire.closed();
  expect(calls).toEqual([]);
});

test('a command line without end is cut off', async () => {
  const { port } = await start();
  const wire = await Wire.greeted(port);
  wire.write('x'.repeat(30 * MB));
  expect(await wire.reply()).toMatch(/^421 4\.\d\.\d .*too long/);
  await wire.closed();
});

test('who sends nothing but nonsense is sent away', async () => {
  const { port } = await start();
  const wire = await Wire.greeted(port);
  wire.write('NONSENSE\r\n'.repeat(20));
  for (let i = 0; i < 9; i++) expect(await wire.reply()).toMatch(/^500 5\.5\.2 /);
  expect(await wire.reply()).toMatch(/^421 4\.\d\.\d /);
  await wire.closed();
});

test('who never comes to the point is sent away', async () => {
  const { port, refusals } = await start();
  const wire = await Wire.greeted(port);
  wire.write('NOOP\r\n'.repeat(10_001));
  let reply = await wire.reply();
  while (reply.startsWith('250')) reply = await wire.reply();
  expect(reply).toBe('421 4.7.0 Too many commands without a mail');
  await wire.closed();
  expect(refusals).toMatchObject([{ code: 'too_many_commands' }]);
});

test('control characters in addresses and names get nowhere', async () => {
  const { port, calls } = await start();
  const wire = await Wire.greeted(port);
  expect(await wire.ask('EHLO bad\0name')).toMatch(/^501/);
  expect(await wire.ask('MAIL FROM:<a\0b@example.net>')).toMatch(/^501 5\.1\.7 /);
  expect(await wire.ask('MAIL FROM:<a@example.net> ENVID=a+0D+0Ab')).toMatch(/^501 5\./);
  await wire.ask('MAIL FROM:<a@example.net>');
  expect(await wire.ask('RCPT TO:<b\u0000@example.com>')).toMatch(/^501 5\.1\.3 /);
  wire.write(
    Buffer.from([...Buffer.from('RCPT TO:<'), 0xff, 0xfe, 0xed, 0xa0, 0x80, ...Buffer.from('@example.com>\r\n')]),
  );
  expect(await wire.reply()).toBe('250 2.1.5 Accepted');
  await wire.ask('DATA');
  await wire.body(Buffer.from('X: y\r\n\r\n'));
  const account = calls[0]?.[0]?.account ?? '';
  expect(Buffer.from(account).toString()).toBe(account);
  expect(account).toMatch(/^\ufffd+@example\.com$/);
});

test('an address longer than 254 bytes is none', async () => {
  const { port } = await start();
  const wire = await Wire.greeted(port);
  expect(await wire.ask(`MAIL FROM:<${'ü'.repeat(130)}@example.net> SMTPUTF8`)).toMatch(/^553 5\.1\.7 /);
  await wire.ask('MAIL FROM:<a@example.net> SMTPUTF8');
  expect(await wire.ask(`RCPT TO:<${'ü'.repeat(130)}@example.com>`)).toMatch(/^553 5\.1\.3 /);
});
