import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { simpleParser } from 'mailparser';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { afterEach, describe, expect, test } from 'vitest';
import type { EmailTarget, Target } from '../../../src/delivery/target.js';
import { createEmailSender } from '../../../src/delivery/targets/email.js';
import { loopToken } from '../../../src/delivery/targets/forward.js';
import type { Clock } from '../../../src/message/clock.js';
import type { Outgoing, Sender, SendResult } from '../../../src/message/delivery.js';
import { type Behaviour, type Outcome, type Received, targetConformance } from '../../conformance/target.js';
import { realClock, settableClock } from '../../support/clock.js';
import { outgoing } from '../sample.js';

const cleanup: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanup.splice(0).reverse()) await clean();
});

const INSTALLATION = '6f2c7a54-52d8-4b0e-9f67-5a0c61f2a0b1';
const HOST = 'waybill.example.com';

interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly raw: Buffer;
}

interface Receiver {
  readonly port: number;
  readonly mails: Mail[];
  readonly connections: () => number;
  close(): Promise<void>;
}

/** An SMTP server; `take` may reject with an answer, or never settle. */
async function startReceiver(
  options: Partial<SMTPServerOptions> = {},
  take: (mail: Mail) => Promise<void> = async () => undefined,
): Promise<Receiver> {
  const mails: Mail[] = [];
  let connections = 0;
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    closeTimeout: 100,
    onConnect(_session, done) {
      connections++;
      done();
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        const from = mailFrom === false ? '' : mailFrom.address;
        const mail = { from, to: rcptTo.map(({ address }) => address), raw: Buffer.concat(chunks) };
        take(mail).then(() => {
          mails.push(mail);
          done();
        }, done);
      });
    },
    ...options,
  });
  server.on('error', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.server.address() as AddressInfo).port,
    mails,
    connections: () => connections,
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

const answer = (responseCode: number, message = 'because') => Object.assign(new Error(message), { responseCode });

function target(changes: Partial<EmailTarget>): Target<EmailTarget> {
  return {
    id: 1,
    name: 'crm',
    tenant: { id: 1, name: 'acme', channels: 16 },
    paused: null,
    definition: {
      kind: 'email',
      body: 'forward',
      inlineParts: false,
      order: 'none',
      to: ['desk@example.com'],
      from: 'waybill@example.net',
      server: 'smtp://127.0.0.1:1',
      connections: 4,
      timeoutSeconds: 5,
      ...changes,
    },
  };
}

function senderTo(changes: Partial<EmailTarget>, clock: Clock = realClock): Sender {
  const sender = createEmailSender(target(changes), { clock, host: HOST, installation: INSTALLATION });
  cleanup.push(() => sender.close());
  return sender;
}

async function pair(
  changes: Partial<EmailTarget> = {},
  options: Partial<SMTPServerOptions> = {},
  take?: (mail: Mail) => Promise<void>,
): Promise<{ receiver: Receiver; sender: Sender }> {
  const receiver = await startReceiver(options, take);
  cleanup.push(() => receiver.close());
  return { receiver, sender: senderTo({ server: `smtp://127.0.0.1:${receiver.port}`, ...changes }) };
}

const one = async (sender: Sender, sent: Outgoing = outgoing(1)): Promise<SendResult | undefined> =>
  (await sender.send([sent]))[0];

const mailOf = (raw: string, sender = 'anna@example.org', number = 1): Outgoing =>
  outgoing(number, { mail: { sender, raw: Buffer.from(raw, 'latin1') }, type: null });

const OUTCOMES: Readonly<Record<SendResult['result'], Outcome>> = {
  delivered: 'taken',
  retry: 'again',
  interrupted: 'again',
  pause: 'again',
  refused: 'refused',
};

targetConformance('email', { notices: false }, async () => {
  let behaviour: Behaviour = {};
  const taken: Received[] = [];
  const receiver = await startReceiver({}, async ({ raw }) => {
    const { headers, headerLines, attachments, messageId } = await simpleParser(raw);
    const number = Number(headers.get('waybill-delivery'));
    if (behaviour.hangs?.has(number)) return await new Promise<never>(() => undefined);
    if (behaviour.fails?.has(number)) throw answer(451);
    if (behaviour.refuses?.has(number)) throw answer(554);
    const fields = headerLines
      .filter(({ key }) => key.startsWith('waybill-'))
      .map(
        ({ key, line }) => [key, decodeURIComponent(line.slice(line.indexOf(':') + 1).replace(/\s+/g, ''))] as const,
      );
    const values = Object.fromEntries(fields);
    taken.push({
      id: String(messageId),
      channel: Number(values['waybill-channel']),
      number,
      type: values['waybill-type'] ?? null,
      fields: values,
      contentType: String(attachments[0]?.headers.get('content-type') && attachments[0].contentType),
      body: attachments[0]?.content ?? Buffer.alloc(0),
    });
  });
  const server = `smtp://127.0.0.1:${receiver.port}`;
  const deps = { clock: realClock, host: HOST, installation: INSTALLATION };
  const sender = createEmailSender(target({ server, body: 'message', order: 'channel', timeoutSeconds: 5 }), deps);
  return {
    taken,
    deliver: async (batch) => (await sender.send(batch)).map(({ result }) => OUTCOMES[result]),
    behave(next) {
      behaviour = next;
    },
    async close() {
      await sender.close();
      await receiver.close();
    },
  };
});

describe('forwarding', () => {
  const CRLF = (text: string) => text.replaceAll('\n', '\r\n');
  const PLAIN = CRLF(
    'Received: from a by b; x\nSubject: Hi\n there\nFrom: Anna <anna@example.org>\nMessage-ID: <1@x>\n\nHello\n.\n..dots\n',
  );

  test('sends the mail itself under our fields, its sender kept', async () => {
    const { receiver, sender } = await pair({ to: ['a@example.com', 'b@example.com'] });
    expect(await one(sender, mailOf(PLAIN))).toMatchObject({
      result: 'delivered',
      answer: expect.stringContaining('250'),
    });
    const [mail] = receiver.mails as [Mail];
    expect(mail.from).toBe('anna@example.org');
    expect(mail.to).toEqual(['a@example.com', 'b@example.com']);
    const text = mail.raw.toString('latin1');
    expect(text.endsWith(PLAIN)).toBe(true);
    const ours = text.slice(0, text.length - PLAIN.length);
    expect(ours).toMatch(
      /^Received: by waybill\.example\.com \(Waybill\) id 1767225600\.crm\.7-1;\r\n \w{3}, \d\d \w{3} \d{4} [\d:]{8} \+0000\r\n/,
    );
    expect(ours).toContain(`X-Waybill-Loop: ${loopToken(INSTALLATION, 'acme', 'crm')}\r\n`);
    expect(ours).toContain('waybill-delivery: 1\r\n');
    expect(ours).not.toContain('Message-ID');
  });

  test('bytes beyond ASCII come as they are', async () => {
    const { receiver, sender } = await pair();
    const raw = CRLF('Subject: x\n\n\xe4\xf6\xfc \xff\n');
    await one(sender, mailOf(raw));
    expect(receiver.mails[0]?.raw.toString('latin1').endsWith(raw)).toBe(true);
  });

  test('a mail without an id gets ours, the same at every try', async () => {
    const { receiver, sender } = await pair();
    for (let n = 0; n < 2; n++) await one(sender, mailOf(CRLF('Subject: x\n\nbody\n')));
    for (const { raw } of receiver.mails) {
      expect(raw.toString()).toContain('Message-ID: <acme.1767225600.crm.7-1@waybill.example.com>\r\n');
    }
    expect(receiver.mails).toHaveLength(2);
  });

  test('the null sender stays the null sender', async () => {
    const { receiver, sender } = await pair();
    await one(sender, mailOf(PLAIN, ''));
    expect(receiver.mails[0]?.from).toBe('');
  });

  test('a mail that has been through this target is refused; one of another target goes on with its mark', async () => {
    const { receiver, sender } = await pair();
    await one(sender, mailOf(PLAIN));
    const again = receiver.mails[0]?.raw.toString('latin1') as string;
    expect(await one(sender, mailOf(again))).toMatchObject({ result: 'refused', code: 'loop' });
    const elsewhere = loopToken(INSTALLATION, 'acme', 'desk');
    expect(await one(sender, mailOf(CRLF(`X-Waybill-Loop: ${elsewhere}\n${PLAIN}`)))).toMatchObject({
      result: 'delivered',
    });
    expect(receiver.mails[1]?.raw.toString()).toContain(elsewhere);
  });

  test('a mail that has been handed on a hundred times is taken to go in circles', async () => {
    const { sender } = await pair();
    const raw = `${'Received: by x; y\r\n'.repeat(100)}Subject: x\r\n\r\nx`;
    expect(await one(sender, mailOf(raw))).toMatchObject({ result: 'refused', code: 'loop' });
  });

  test('a header too large to be checked is refused', async () => {
    const { sender } = await pair();
    for (const raw of ['a:\r\n'.repeat(10_001), `Subject: ${'x'.repeat(1024 * 1024)}\r\n\r\n`]) {
      expect(await one(sender, mailOf(raw))).toMatchObject({ result: 'refused', code: 'header_too_large' });
    }
  });

  test('fields that could pass for ours are left out, however they are written', async () => {
    const { receiver, sender } = await pair();
    const raw = CRLF(
      [
        'Waybill-Tenant: evil1',
        'WAYBILL-ACCOUNT : evil2',
        'X-Waybill-Decision: evil3',
        '\tevil4',
        'X-Waybill-Loop: 0123',
        'Authentication-Results: Waybill.Example.COM; spf=pass evil5',
        'Authentication-Results: ((c) d) "waybill.example.com" 1; dkim=pass evil6',
        'Authentication-Results: mx.example.org; spf=fail kept',
        'Subject: kept',
        '',
        'Waybill-Tenant: in the body',
      ].join('\n'),
    );
    await one(sender, mailOf(raw));
    const text = receiver.mails[0]?.raw.toString('latin1') as string;
    expect(text).not.toContain('evil');
    expect(text).toContain('mx.example.org; spf=fail kept');
    expect(text).toContain('X-Waybill-Loop: 0123');
    expect(text).toContain('Waybill-Tenant: in the body');
  });

  test.each([
    ['no header at all', 'just text\r\nmore', '\r\n\r\njust text\r\nmore'],
    ['an mbox line first', 'From a@b Mon\r\nSubject: x\r\n\r\ny', '\r\nSubject: x\r\n\r\ny'],
    ['a header that breaks off', 'Subject: x\r\nbroken line\r\n\r\ny', '\r\nSubject: x\r\n\r\nbroken line\r\n\r\ny'],
    ['an empty line first', '\r\nbody', '\r\n\r\nbody'],
    ['a header alone', 'Subject: x', '\r\nSubject: x'],
    ['nothing', '', '\r\n\r\n'],
  ])('a mail with %s stays readable', async (_, raw, expected) => {
    const { receiver, sender } = await pair();
    expect(await one(sender, mailOf(raw))).toMatchObject({ result: 'delivered' });
    const text = receiver.mails[0]?.raw.toString('latin1') as string;
    expect(text).toContain(expected);
    const { headers } = await simpleParser(receiver.mails[0]?.raw as Buffer);
    expect(headers.get('waybill-tenant')).toBe('acme');
  });
});

describe('new mails', () => {
  test('carry the body attached, and say what it is', async () => {
    const { receiver, sender } = await pair({ body: 'message' });
    await one(sender, outgoing(5, { account: 'Zoë\r\nX-Evil: 1', defects: ['charset_unknown'] }));
    const [mail] = receiver.mails as [Mail];
    expect(mail.from).toBe('waybill@example.net');
    const read = await simpleParser(mail.raw);
    expect(read.subject).toBe('Waybill 7-10005: com.example.invoice.created');
    expect(read.messageId).toBe('<acme.1767225600.crm.7-5@example.net>');
    expect(read.date).toEqual(new Date(Date.UTC(2026, 0, 1, 12)));
    expect(read.headers.get('auto-submitted')).toBe('auto-generated');
    expect(read.text).toContain('Account: Zoë X-Evil: 1\n');
    expect(read.text).toContain('Defects: charset_unknown\n');
    expect(read.headers.has('x-evil')).toBe(false);
    expect(read.attachments[0]).toMatchObject({
      filename: '7-10005.json',
      contentType: 'application/vnd.waybill.message+json',
    });
  });

  test('about what came with the null sender go out with it', async () => {
    const { receiver, sender } = await pair({ body: 'message' });
    await one(sender, outgoing(1, { mail: { sender: '', raw: Buffer.from('x') } }));
    expect(receiver.mails[0]?.from).toBe('');
  });

  test('what is no mail can not be forwarded: it goes as a new mail', async () => {
    const { receiver, sender } = await pair({ body: 'forward' });
    await one(sender, outgoing(1));
    expect(receiver.mails[0]?.raw.toString()).toContain('Subject: Waybill 7-10001');
  });

  test('carry a portion of a mail as the file it is, by a name that is only a name', async () => {
    const { receiver, sender } = await pair({ body: 'forward' });
    const mail = { sender: 'a@example.org', raw: Buffer.from('Subject: secret\r\n\r\nsecret\r\n') };
    const file = { contentType: 'application/pdf', body: Buffer.from('%PDF'), mail };
    for (const [n, name] of [
      [1, 'Grüße.pdf'],
      [2, '../../etc/\u202epa:ss"wd\r\nX: 1'],
      [3, '...'],
      [4, null],
    ] as const) {
      await one(sender, outgoing(n, { ...file, only: { text: 'part=2', name } }));
    }
    const read = await Promise.all(receiver.mails.map(({ raw }) => simpleParser(raw)));
    expect(
      read.map(({ attachments }) => attachments.map(({ filename, content }) => [filename, String(content)])),
    ).toEqual([
      [['Grüße.pdf', '%PDF']],
      [['_.._etc_\u202epa_ss_wd X_ 1', '%PDF']],
      [['7-10003.bin', '%PDF']],
      [['7-10004.bin', '%PDF']],
    ]);
    expect(read.every(({ headers }) => headers.get('waybill-portion') === 'part=2')).toBe(true);
    expect(receiver.mails.map(({ raw }) => raw.toString()).join()).not.toContain('secret');
  });

  test('no line is longer than mail allows, whatever the account', async () => {
    const { receiver, sender } = await pair({ body: 'message' });
    const account = 'é'.repeat(250);
    await one(sender, outgoing(1, { account }));
    const text = receiver.mails[0]?.raw.toString('latin1') as string;
    expect(Math.max(...text.split('\r\n').map((line) => line.length))).toBeLessThanOrEqual(998);
    const field = /^waybill-account: ((?:.|\r\n )*?)\r\n\S/im.exec(text)?.[1] as string;
    expect(decodeURIComponent(field.replace(/\s+/g, ''))).toBe(account);
  });
});

describe('answers', () => {
  test.each([
    [421, 'retry', 'smtp_421'],
    [450, 'retry', 'smtp_450'],
    [452, 'retry', 'smtp_452'],
    [503, 'retry', 'smtp_503'],
    [550, 'refused', 'smtp_550'],
    [552, 'refused', 'smtp_552'],
    [554, 'refused', 'smtp_554'],
  ])('%i to the mail: %s', async (code, result, expected) => {
    const { sender } = await pair({}, {}, async () => {
      throw answer(code);
    });
    expect(await one(sender)).toMatchObject({ result, code: expected });
  });

  test.each([
    [450, 'retry', 'smtp_450'],
    [530, 'pause', 'smtp_530'],
    [550, 'refused', 'smtp_550'],
  ])('%i to the sender: %s', async (code, result, expected) => {
    const { sender } = await pair({}, { onMailFrom: (_address, _session, done) => done(answer(code)) });
    expect(await one(sender)).toMatchObject({ result, code: expected });
  });

  test.each([
    [451, 'retry'],
    [550, 'refused'],
  ])('%i to every recipient: %s', async (code, result) => {
    const { sender } = await pair({}, { onRcptTo: (_address, _session, done) => done(answer(code)) });
    expect(await one(sender)).toMatchObject({ result, code: `smtp_${code}` });
  });

  test('a recipient that is refused beside others that are not is told with the answer', async () => {
    const { receiver, sender } = await pair(
      { to: ['a@example.com', 'gone@example.com'] },
      {
        onRcptTo: ({ address }, _session, done) =>
          address.startsWith('gone') ? done(answer(550, 'no such user')) : done(),
      },
    );
    const result = await one(sender);
    expect(result).toMatchObject({ result: 'delivered', answer: expect.stringContaining('no such user') });
    expect(receiver.mails[0]?.to).toEqual(['a@example.com']);
  });

  test('a greeting that refuses everybody pauses the target, one that is busy does not', async () => {
    const refusing = await pair({}, { onConnect: (_session, done) => done(answer(554)) });
    expect(await one(refusing.sender)).toMatchObject({ result: 'pause', code: 'smtp_554' });
    const busy = await pair({}, { onConnect: (_session, done) => done(answer(421)) });
    expect(await one(busy.sender)).toMatchObject({ result: 'retry' });
  });

  test('a login that is refused pauses the target, and says nothing of the password', async () => {
    const receiver = await startReceiver({
      authMethods: ['PLAIN', 'LOGIN'],
      allowInsecureAuth: true,
      onAuth: (auth, _session, done) =>
        auth.password === 'right p@ss' ? done(null, { user: auth.username }) : done(answer(535, 'bad login')),
    });
    cleanup.push(() => receiver.close());
    const wrong = senderTo({ server: `smtp://desk:wrong-secret@127.0.0.1:${receiver.port}` });
    const result = await one(wrong);
    expect(result).toMatchObject({ result: 'pause', code: 'smtp_535' });
    expect(JSON.stringify(result)).not.toContain('wrong-secret');
    const right = senderTo({ server: `smtp://desk:right%20p%40ss@127.0.0.1:${receiver.port}` });
    expect(await one(right)).toMatchObject({ result: 'delivered' });
  });

  test('a certificate nobody vouches for is not trusted', async () => {
    const [key, cert] = await Promise.all(['key', 'cert'].map((name) => readFile(`tests/fixtures/smtp/${name}.pem`)));
    const { receiver, sender } = await pair({}, { key, cert, disabledCommands: [] });
    expect(await one(sender)).toMatchObject({
      result: 'retry',
      code: 'network',
      reason: expect.stringContaining('certificate'),
    });
    expect(receiver.mails).toEqual([]);
  });

  test('nobody there', async () => {
    const { receiver, sender } = await pair();
    await receiver.close();
    expect(await one(sender)).toMatchObject({
      result: 'retry',
      code: 'network',
      reason: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test('a server that hangs, and one that keeps talking without an answer', async () => {
    const silent = await rawServer(() => undefined);
    expect(await one(senderTo({ server: `smtp://127.0.0.1:${silent}`, timeoutSeconds: 0.1 }))).toMatchObject({
      result: 'retry',
      code: 'timeout',
    });
    const talking = await rawServer((socket) => {
      socket.write('220-hello\r\n');
      const timer = setInterval(() => socket.write('220-still here\r\n'), 20);
      socket.on('close', () => clearInterval(timer));
    });
    expect(await one(senderTo({ server: `smtp://127.0.0.1:${talking}`, timeoutSeconds: 0.1 }))).toMatchObject({
      result: 'retry',
      code: 'timeout',
    });
  });

  async function rawServer(onConnection: (socket: Socket) => void): Promise<number> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      onConnection(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanup.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
    return (server.address() as AddressInfo).port;
  }
});

test('goes over a connection that is kept', async () => {
  const { receiver, sender } = await pair();
  for (let n = 1; n <= 3; n++) await one(sender, outgoing(n));
  expect(receiver.connections()).toBe(1);
});

test('a server that fails again and again is left alone for a while', async () => {
  const { receiver, sender: _ } = await pair();
  await receiver.close();
  const clock = settableClock();
  const sender = senderTo({ server: `smtp://127.0.0.1:${receiver.port}` }, clock);
  for (let n = 1; n <= 5; n++) expect(await one(sender, outgoing(n))).toMatchObject({ code: 'network' });
  expect(await one(sender)).toMatchObject({ result: 'interrupted', afterMs: 10_000 });
  clock.advance(10_000);
  expect(await one(sender)).toMatchObject({ result: 'retry' });
});
