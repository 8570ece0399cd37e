import { createTransport } from 'nodemailer';
import { expect, onTestFinished, test } from 'vitest';
import { Busy, Unavailable, type Verdict } from '../../src/message/verdict.js';
import { settableClock } from '../support/clock.js';
import { until } from '../support/until.js';
import { DEFAULT, everybody, mailSource, OTHER, sequenced, start, Wire } from './smtp-harness.js';

const RAW = Buffer.from('Subject: hi\r\nMessage-ID: <1@example.net>\r\n\r\nhello\r\n');

test('a mail from nodemailer is accepted as one arrival and answered with its id', async () => {
  const { port, calls } = await start();
  const transport = createTransport({ host: '127.0.0.1', port, secure: false, ignoreTLS: true });
  onTestFinished(() => transport.close());
  const info = await transport.sendMail({
    envelope: { from: 'Anna@Sender.Example', to: ['Orders+June@EXAMPLE.com'] },
    raw: 'Subject: hi\r\nMessage-ID: <m1@sender.example>\r\n\r\n.dot\r\n..dots\r\n',
  });
  expect(info.response).toBe('250 2.0.0 Ok: queued as 7-1');
  const arrival = calls[0]?.[0];
  expect(calls).toHaveLength(1);
  expect(arrival).toMatchObject({
    tenant: DEFAULT,
    kind: 'mail',
    account: 'orders+june@example.com',
    type: null,
    externalId: '<m1@sender.example>',
    value: null,
    eventTime: null,
    peer: '127.0.0.1',
    onOtherContent: 'duplicate',
  });
  expect(arrival?.digest).toHaveLength(16);
  expect(Buffer.from(arrival?.raw ?? []).toString()).toBe(
    'Subject: hi\r\nMessage-ID: <m1@sender.example>\r\n\r\n.dot\r\n..dots\r\n',
  );
  expect(JSON.parse(arrival?.meta ?? '')).toEqual({
    from: 'Anna@sender.example',
    to: ['orders+june@example.com'],
    helo: expect.any(String),
    tls: null,
    auth: null,
    remote: '127.0.0.1',
    smtputf8: false,
  });
});

test('what the server can do is announced, and nothing else', async () => {
  const { port } = await start({ maxMessageBytes: 12_345 });
  const wire = await Wire.to(port);
  expect(await wire.reply()).toBe('220 mail.example.com ESMTP');
  expect(await wire.ask('EHLO client.example.net')).toBe(
    [
      '250-mail.example.com',
      '250-PIPELINING',
      '250-8BITMIME',
      '250-SMTPUTF8',
      '250-ENHANCEDSTATUSCODES',
      '250 SIZE 12345',
    ].join('\n'),
  );
});

test('every reply after the greeting carries an RFC 3463 code', async () => {
  const { port } = await start({ maxMessageBytes: 1_000 });
  const wire = await Wire.greeted(port);
  const replies = [];
  for (const command of [
    'NOOP',
    'HELP',
    'VRFY anna',
    'DATA',
    'RCPT TO:<a@example.com>',
    'MAIL FROM:nonsense',
    'MAIL FROM:<a@example.net> SIZE=1001',
    'MAIL FROM:<a@example.net> BODY=BINARYMIME',
    'MAIL FROM:<>',
    'RCPT TO:<nobody@elsewhere.example>',
    'RCPT TO:<a..b@example.com>',
    'RCPT TO:<a@example.com>',
    'BDAT 10 LAST',
    'XCLIENT ADDR=192.0.2.1',
    'XFORWARD ADDR=192.0.2.1',
    'AUTH PLAIN AGEAYg==',
    'STARTTLS',
    'WIZ 1',
    'RSET',
    'QUIT',
  ]) {
    replies.push(await wire.ask(command));
  }
  expect(replies.filter((reply) => !/^[245]\d\d [245]\.\d\.\d{1,2} /.test(reply))).toEqual([]);
  expect(replies.map((reply) => reply.slice(0, 9))).toEqual([
    '250 2.0.0',
    '214 2.0.0',
    '252 2.1.5',
    '503 5.5.1',
    '503 5.5.1',
    '501 5.1.7',
    '552 5.3.4',
    '501 5.5.4',
    '250 2.1.0',
    '550 5.1.1',
    '501 5.1.3',
    '250 2.1.5',
    '500 5.5.2',
    '550 5.7.0',
    '500 5.5.2',
    '500 5.5.2',
    '500 5.5.2',
    '500 5.5.2',
    '250 2.0.0',
    '221 2.0.0',
  ]);
  await wire.closed();
});

test('a whole pipelined conversation is answered in order', async () => {
  const { port, calls } = await start();
  const wire = await Wire.greeted(port);
  wire.write(
    'MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<x@elsewhere.example>\r\nDATA\r\n' +
      'Subject: one\r\n\r\n..one\r\n.\r\n' +
      'MAIL FROM:<>\r\nRCPT TO:<c@example.com>\r\nDATA\r\nSubject: two\r\n\r\ntwo\r\n.\r\nQUIT\r\n',
  );
  const codes = [];
  for (let i = 0; i < 10; i++) codes.push((await wire.reply()).slice(0, 9));
  expect(codes).toEqual([
    '250 2.1.0',
    '250 2.1.5',
    '550 5.1.1',
    '354 End d',
    '250 2.0.0',
    '250 2.1.0',
    '250 2.1.5',
    '354 End d',
    '250 2.0.0',
    '221 2.0.0',
  ]);
  expect(calls.map(([arrival]) => Buffer.from(arrival?.raw ?? []).toString())).toEqual([
    'Subject: one\r\n\r\n.one\r\n',
    'Subject: two\r\n\r\ntwo\r\n',
  ]);
});

test('the 250 follows the commit and never precedes it', async () => {
  let commit: (verdicts: Verdict[]) => void = () => {};
  const { port, calls } = await start({}, { accept: () => new Promise((resolve) => (commit = resolve)) });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  const answered = wire.body(RAW);
  await until(() => calls.length === 1, 'the mail to be handed over');
  let early = false;
  void answered.then(() => (early = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(early).toBe(false);
  commit([sequenced(10_234)]);
  expect(await answered).toBe('250 2.0.0 Ok: queued as 7-10234');
});

test.each<[string, Verdict[] | Error, string, string | undefined]>([
  [
    'a duplicate',
    [{ verdict: 'duplicate', of: { channel: 7, sequence: 5 }, basis: 'store', differs: false }],
    '250 2.0.0 Ok: already queued as 7-5',
    undefined,
  ],
  ['one held for a person', [{ verdict: 'expired', quarantine: 3 }], '250 2.0.0 Ok: held as q-3', undefined],
  [
    'a rejected one',
    [{ verdict: 'rejected', code: 'unstorable', reason: 'No.' }],
    '554 5.6.0 The mail can not be stored',
    'unstorable',
  ],
  [
    'one too large to store',
    [{ verdict: 'rejected', code: 'too_large', reason: 'No.' }],
    '552 5.3.4 The mail is larger than this server takes',
    'too_large',
  ],
  ['a busy channel', new Busy(1), '452 4.3.1 Too much mail waits to be stored just now, try again later', 'busy'],
  ['no database', new Unavailable('gone'), '451 4.3.0 Mail can not be stored just now, try again later', 'unavailable'],
  [
    'a defect of ours',
    new TypeError('oops'),
    '451 4.3.0 Mail can not be stored just now, try again later',
    'unavailable',
  ],
])('%s is answered as such', async (_, outcome, reply, code) => {
  const { port, refusals } = await start(
    {},
    {
      accept: async () => {
        if (outcome instanceof Error) throw outcome;
        return outcome;
      },
    },
  );
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(RAW)).toBe(reply);
  expect(refusals.map((refusal) => refusal.code)).toEqual(code === undefined ? [] : [code]);
  for (const refusal of refusals) {
    expect(refusal).toMatchObject({
      tenant: DEFAULT.id,
      ingress: 'smtp',
      peer: '127.0.0.1',
      envelope: { helo: 'client.example.net', from: 'a@example.net', to: 'b@example.com' },
    });
  }
  // The connection is as good as new.
  expect(await wire.ask('MAIL FROM:<a@example.net>')).toBe('250 2.1.0 Accepted');
});

test('when one of several recipients is taken the mail is, and the others are noted', async () => {
  const { port, refusals } = await start(
    {},
    {
      accept: async (arrivals) =>
        arrivals.map((arrival, i) =>
          arrival.account === 'bad@example.com'
            ? { verdict: 'rejected', code: 'unstorable', reason: 'No.' }
            : sequenced(i + 1),
        ),
    },
  );
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'bad@example.com', 'good@example.com');
  expect(await wire.body(RAW)).toBe('250 2.0.0 Ok: queued as 7-2');
  expect(refusals).toMatchObject([{ code: 'unstorable', envelope: { to: 'bad@example.com' }, why: 'No.' }]);
});

test('an unknown recipient is refused at RCPT and noted; the known ones get the mail', async () => {
  const { port, calls, refusals } = await start({}, { sourceList: [mailSource(['orders@example.com'])] });
  const wire = await Wire.greeted(port);
  await wire.ask('MAIL FROM:<a@example.net>');
  expect(await wire.ask('RCPT TO:<nobody@example.com>')).toBe('550 5.1.1 Nobody receives mail at this address');
  await wire.ask('RCPT TO:<orders@example.com>');
  await wire.ask('DATA');
  expect(await wire.body(RAW)).toMatch(/^250 /);
  expect(calls[0]?.map((arrival) => arrival.account)).toEqual(['orders@example.com']);
  expect(refusals).toEqual([
    {
      tenant: null,
      ingress: 'smtp',
      peer: '127.0.0.1',
      envelope: { helo: 'client.example.net', from: 'a@example.net', to: 'nobody@example.com' },
      code: 'recipient_unknown',
      why: 'Nobody receives mail at this address',
    },
  ]);
});

test('only unknown recipients: no DATA', async () => {
  const { port, calls } = await start({}, { sourceList: [] });
  const wire = await Wire.greeted(port);
  await wire.ask('MAIL FROM:<a@example.net>');
  await wire.ask('RCPT TO:<nobody@example.com>');
  expect(await wire.ask('DATA')).toBe('503 5.5.1 Error: need RCPT command');
  expect(calls).toEqual([]);
});

test('postmaster gets mail, with and without a domain, in any case', async () => {
  const own = mailSource(['post@default.example']);
  const others = mailSource(['post@other.example'], { from: 'recipient' }, OTHER);
  const { port, calls } = await start(
    {},
    {
      sourceList: [own, others],
      postmaster: (domain) => (domain === null ? own : domain === 'other.example' ? others : undefined),
    },
  );
  const wire = await Wire.greeted(port);
  await wire.ask('MAIL FROM:<>');
  expect(await wire.ask('RCPT TO:<PostMaster>')).toBe('250 2.1.5 Accepted');
  expect(await wire.ask('RCPT TO:<POSTMASTER@Other.Example>')).toBe('250 2.1.5 Accepted');
  expect(await wire.ask('RCPT TO:<postmaster@elsewhere.example>')).toMatch(/^550 5\.1\.1 /);
  await wire.ask('DATA');
  await wire.body(RAW);
  expect(calls[0]?.map(({ tenant, account }) => [tenant.name, account])).toEqual([
    ['default', 'postmaster'],
    ['other', 'postmaster@other.example'],
  ]);
});

test('one message for each source and account; the identity names every recipient of it', async () => {
  const bySender = mailSource(['@sender.example'], { from: 'sender' });
  const { port, calls } = await start({}, { sourceList: [bySender, ...everybody] });
  const wire = await Wire.greeted(port);
  const send = async (...to: string[]): Promise<void> => {
    await wire.envelope('Anna@Example.NET', ...to);
    expect(await wire.body(RAW)).toMatch(/^250 /);
  };
  await send('one@sender.example', 'a@example.com', 'two@sender.example', 'A@EXAMPLE.com');
  await send('two@sender.example', 'one@sender.example');
  await send('one@sender.example');
  expect(calls.map((call) => call.map(({ account, meta }) => [account, JSON.parse(meta ?? '').to]))).toEqual([
    [
      ['anna@example.net', ['one@sender.example', 'two@sender.example']],
      ['a@example.com', ['a@example.com']],
    ],
    [['anna@example.net', ['two@sender.example', 'one@sender.example']]],
    [['anna@example.net', ['one@sender.example']]],
  ]);
  const [both, again, one] = calls.map(([arrival]) => Buffer.from(arrival?.identity ?? []).toString('hex'));
  expect(again).toBe(both);
  expect(one).not.toBe(both);
  expect(calls[0]?.[1]?.raw).toBe(calls[0]?.[0]?.raw);
});

test('the same mail by another way is the same; another body under the same Message-ID is not', async () => {
  const { port, calls } = await start();
  const send = async (raw: string): Promise<void> => {
    const wire = await Wire.greeted(port);
    await wire.envelope('a@example.net', 'b@example.com');
    await wire.body(Buffer.from(raw));
  };
  await send('Received: from x\r\n\tby y; today\r\nMessage-ID: <1@x>\r\nSubject: hi\r\n\r\nhello\r\n');
  await send('Received: from z\r\nMessage-ID: <1@x>\r\nSubject: hi\r\n\r\nhello\r\n');
  await send('Message-ID: <1@x>\r\nSubject: hi\r\n\r\nhello!\r\n');
  const [first, second, third] = calls.map(([arrival]) => arrival);
  expect(second?.identity).toEqual(first?.identity);
  expect(second?.digest).toEqual(first?.digest);
  expect(third?.identity).not.toEqual(first?.identity);
  expect(third?.externalId).toBe('<1@x>');
});

test.each([
  ['header', { from: 'header', header: 'X-Customer' }, 'acme gmbh'],
  ['subject, encoded', { from: 'subject', pattern: 'Größe #(\\d+)' }, '4711'],
  ['a pattern that does not match', { from: 'subject', pattern: 'invoice (\\d+)' }, 'b@example.com'],
  ['a pattern that is none', { from: 'subject', pattern: '(' }, 'b@example.com'],
  ['a header that is not there', { from: 'header', header: 'X-Other' }, 'b@example.com'],
] as const)('account by %s', async (_, account, expected) => {
  const { port, calls } = await start({}, { sourceList: [mailSource(['@example.com'], account)] });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  await wire.body(
    Buffer.from(
      'x-customer:\r\n acme\r\n gmbh\r\nSubject: =?utf-8?Q?Gr=C3=B6=C3=9Fe?= #4711\r\nX-Customer: 2\r\n\r\nX-Other: no\r\n',
    ),
  );
  expect(calls[0]?.[0]?.account).toBe(expected);
});

test('internationalised addresses: one form for each domain, local parts as they are', async () => {
  const { port, calls } = await start({}, { sourceList: [mailSource(['@xn--bcher-kva.example'])] });
  const wire = await Wire.greeted(port);
  expect(await wire.ask('MAIL FROM:<jürgen@bücher.example> SMTPUTF8 BODY=8BITMIME')).toBe('250 2.1.0 Accepted');
  expect(await wire.ask('RCPT TO:<JÜRGEN@BÜCHER.example>')).toBe('250 2.1.5 Accepted');
  expect(await wire.ask('RCPT TO:<anna@xn--bcher-kva.example>')).toBe('250 2.1.5 Accepted');
  await wire.ask('DATA');
  await wire.body(RAW);
  expect(calls[0]?.map((arrival) => arrival.account)).toEqual([
    'jürgen@xn--bcher-kva.example',
    'anna@xn--bcher-kva.example',
  ]);
  expect(JSON.parse(calls[0]?.[0]?.meta ?? '')).toMatchObject({ from: 'jürgen@xn--bcher-kva.example', smtputf8: true });
});

test('a null sender has an account all the same', async () => {
  const { port, calls } = await start({}, { sourceList: [mailSource(['@example.com'], { from: 'sender' })] });
  const wire = await Wire.greeted(port);
  await wire.envelope('', 'b@example.com');
  await wire.body(RAW);
  expect(calls[0]?.[0]).toMatchObject({ account: 'b@example.com', peer: '127.0.0.1' });
  expect(JSON.parse(calls[0]?.[0]?.meta ?? '').from).toBe('');
});

test('a thousand recipients: the hundred allowed are taken, the rest is told to come again', async () => {
  const { port, calls, refusals } = await start({ maxRecipients: 100 });
  const wire = await Wire.greeted(port);
  const commands = Array.from({ length: 1_000 }, (_, i) => `RCPT TO:<r${i}@example.com>\r\n`);
  wire.write(`MAIL FROM:<a@example.net>\r\n${commands.join('')}DATA\r\n`);
  const replies = [];
  for (let i = 0; i < 1_002; i++) replies.push(await wire.reply());
  expect(replies.filter((reply) => reply === '250 2.1.5 Accepted')).toHaveLength(100);
  expect(
    replies.filter((reply) => reply === '452 4.5.3 Too many recipients for one mail, send the rest in another'),
  ).toHaveLength(900);
  expect(await wire.body(RAW)).toBe(
    `250 2.0.0 Ok: queued as ${Array.from({ length: 16 }, (_, i) => `7-${i + 1}`).join(', ')} and 84 more`,
  );
  expect(calls[0]).toHaveLength(100);
  expect(refusals[0]).toMatchObject({ code: 'too_many_recipients', tenant: DEFAULT.id });
});

test('what a mail comes to for all its recipients is bounded, at RCPT where its size is known', async () => {
  const { port, calls } = await start({ maxFanOutBytes: 3_000 });
  const wire = await Wire.greeted(port);
  await wire.ask('MAIL FROM:<a@example.net> SIZE=1400');
  expect(await wire.ask('RCPT TO:<a@example.com>')).toMatch(/^250 /);
  expect(await wire.ask('RCPT TO:<b@example.com>')).toMatch(/^250 /);
  expect(await wire.ask('RCPT TO:<c@example.com>')).toMatch(/^452 4\.5\.3 /);
  await wire.ask('RSET');
  await wire.envelope('a@example.net', 'a@example.com', 'b@example.com');
  expect(await wire.body(Buffer.from(`${'x'.repeat(1_600)}\r\n`))).toBe(
    '552 5.3.4 The mail is too large for so many recipients, send it to fewer at a time',
  );
  expect(calls).toEqual([]);
});

test('connections of one peer are limited, and those that end make room', async () => {
  const { port, refusals, ingress } = await start({ maxConnectionsPerPeer: 2 });
  const first = await Wire.greeted(port);
  await Wire.greeted(port);
  const third = await Wire.to(port);
  expect(await third.reply()).toBe('421 4.7.0 Too many connections from your address, try again later');
  await third.closed();
  expect(refusals).toMatchObject([{ code: 'too_many_connections_of_peer', tenant: null, peer: '127.0.0.1' }]);
  await first.ask('QUIT');
  await first.closed();
  await until(() => ingress.stats().connections === 1, 'the first connection to be forgotten');
  expect(await Wire.greeted(port)).toBeDefined();
});

test('all connections together are limited', async () => {
  const { port } = await start({ maxConnections: 1 });
  await Wire.greeted(port);
  const second = await Wire.to(port);
  expect(await second.reply()).toBe('421 4.3.2 Too many connections, try again later');
  await second.closed();
});

test('mails and recipients a minute are limited by the clock', async () => {
  const clock = settableClock();
  const { port } = await start({ messagesPerMinute: 2, recipientsPerMinute: 3 }, { clock });
  const wire = await Wire.greeted(port);
  const mail = async (): Promise<string> => {
    await wire.ask('RSET');
    return wire.ask('MAIL FROM:<a@example.net>');
  };
  expect(await mail()).toMatch(/^250 /);
  expect(await mail()).toMatch(/^250 /);
  const other = await Wire.greeted(port);
  expect(await other.ask('MAIL FROM:<a@example.net>')).toBe(
    '451 4.7.1 Too many mails from your address, try again in a minute',
  );
  clock.advance(30_000);
  expect(await mail()).toMatch(/^250 /);
  for (let i = 0; i < 3; i++) await wire.ask(`RCPT TO:<nobody${i}@elsewhere.example>`);
  expect(await wire.ask('RCPT TO:<b@example.com>')).toBe(
    '451 4.7.1 Too many recipients from your address, try again in a minute',
  );
  clock.advance(20_000);
  expect(await wire.ask('RCPT TO:<b@example.com>')).toBe('250 2.1.5 Accepted');
});

test('closing lets a mail under way end, sends the idle away, and takes nobody new', async () => {
  let commit: (verdicts: Verdict[]) => void = () => {};
  const { port, ingress, calls } = await start({}, { accept: () => new Promise((resolve) => (commit = resolve)) });
  const busy = await Wire.greeted(port);
  const idle = await Wire.greeted(port);
  await busy.envelope('a@example.net', 'b@example.com');
  busy.write('Subject: hi\r\n\r\nhalf of it ');
  const closed = ingress.close();
  expect(await idle.reply()).toBe('421 4.3.2 This server is closing down, try again later');
  await idle.closed();
  await expect(Wire.to(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  busy.write('and the rest\r\n.\r\n');
  await until(() => calls.length === 1, 'the mail to be handed over');
  commit([sequenced(1)]);
  expect(await busy.reply()).toBe('250 2.0.0 Ok: queued as 7-1');
  expect(await busy.reply()).toBe('421 4.3.2 This server is closing down, try again later');
  await busy.closed();
  await closed;
  expect(ingress.stats()).toEqual({ connections: 0, bufferedBytes: 0 });
});

test('closing does not wait longer than it was told to', async () => {
  const { port, ingress, calls } = await start({ drainMs: 50 });
  const wire = await Wire.greeted(port);
  await wire.envelope('a@example.net', 'b@example.com');
  wire.write('never ending');
  await ingress.close();
  await wire.closed();
  expect(calls).toEqual([]);
});

test('a port in use is an error that says so', async () => {
  const { port } = await start();
  await expect(start({ port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
});

test('a trusted network that is none is an error at the start', async () => {
  await expect(start({ trusted: { proxies: ['10.0.0.0/99'], xclient: [] } })).rejects.toThrow();
});
