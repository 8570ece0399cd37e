import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli } from './harness.js';

interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly user: string | undefined;
  readonly raw: Buffer;
}

let server: SMTPServer;
let mails: Mail[];
let address: string;

beforeEach(async () => {
  mails = [];
  server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    allowInsecureAuth: true,
    disableReverseLookup: true,
    onAuth: ({ username, password }, _session, done) =>
      password === 'secret' ? done(null, { user: username }) : done(new Error('wrong password')),
    onRcptTo: ({ address: to }, _session, done) =>
      done(to.startsWith('nobody') ? Object.assign(new Error('No such recipient here'), { responseCode: 550 }) : null),
    onData: (stream, { envelope, user }, done) => {
      buffer(stream).then((raw) => {
        const from = envelope.mailFrom === false ? '' : envelope.mailFrom.address;
        mails.push({ from, to: envelope.rcptTo.map((one) => one.address), user: user?.toString(), raw });
        done(null, '2.0.0 Ok: queued as 7-10234');
      }, done);
    },
  });
  server.on('error', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `127.0.0.1:${(server.server.address() as AddressInfo).port}`;
});
afterEach(() => new Promise<void>((resolve) => server.close(() => resolve())));

const send = (argv: readonly string[], given: Parameters<typeof cli>[2] = {}) =>
  cli(null, ['send', 'mail', ...argv], { ...given, env: { WAYBILL_SMTP: address, ...given.env } });

describe('a mail goes to WAYBILL_SMTP', () => {
  it('as a sample that is a new one every time', async () => {
    expect(await send([])).toEqual({
      code: 0,
      stdout: 'invoices@example.com: 250 2.0.0 Ok: queued as 7-10234\n',
      stderr: '',
    });
    await send([]);
    expect(mails[0]).toMatchObject({ from: 'sender@example.net', to: ['invoices@example.com'], user: undefined });
    const ids = mails.map(({ raw }) => /^Message-ID: (.*)$/m.exec(raw.toString())?.[1]);
    expect(ids[0]).toBeDefined();
    expect(ids[0]).not.toBe(ids[1]);
    expect(mails[0]?.raw.toString()).toContain('Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n');
  });

  it('byte for byte from stdin, dots and 8-bit bytes and all', async () => {
    const stdin = Buffer.concat([
      Buffer.from('Subject: x\r\n\r\n.\r\n..two\r\n'),
      Buffer.from([0xff, 0xe4, 0x00]),
      Buffer.from('\r\n'),
    ]);
    await send(['-', '--from', '', '--to', 'a@example.com,b@example.com', '--to', 'c@example.com'], { stdin });
    expect(mails[0]?.raw.equals(stdin)).toBe(true);
    expect(mails[0]).toMatchObject({ from: '', to: ['a@example.com', 'b@example.com', 'c@example.com'] });
  });

  it('or, without one, to where a Waybill here takes mail', async () => {
    const data = await mkdtemp(join(tmpdir(), 'waybill-login-'));
    await writeFile(
      join(data, 'client.json'),
      JSON.stringify({ url: 'http://127.0.0.1:1', token: 'left', smtp: address }),
    );
    expect(await send([], { env: { WAYBILL_SMTP: '', WAYBILL_DATA: data } })).toMatchObject({ code: 0, stderr: '' });
    expect(mails).toHaveLength(1);
    await rm(data, { recursive: true });
  });

  it('or to the server that --smtp names, logged in with the token', async () => {
    await send(['--smtp', address, '--user', 'ci'], { env: { WAYBILL_SMTP: '127.0.0.1:1' } });
    expect(mails[0]?.user).toBe('ci');
  });

  it('with its answer as JSON', async () => {
    expect(JSON.parse((await send(['--json'])).stdout)).toEqual({
      accepted: ['invoices@example.com'],
      refused: [],
      answer: '250 2.0.0 Ok: queued as 7-10234',
    });
  });
});

describe('a mail that is not taken ends with 1', () => {
  it('for some of its recipients, who are named', async () => {
    const { code, stdout, stderr } = await send(['--to', 'a@example.com', '--to', 'nobody@example.com']);
    expect(stdout).toBe(
      'a@example.com: 250 2.0.0 Ok: queued as 7-10234\nnobody@example.com refused: 550 No such recipient here\n',
    );
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'waybill: 1 of 2 recipients were refused.\n' });
  });

  it('for all of them', async () => {
    const { code, stdout, stderr } = await send(['--to', 'nobody@example.com']);
    expect({ code, stdout, mails }).toEqual({ code: 1, stdout: '', mails: [] });
    expect(stderr).toContain(`waybill: ${address} refused the mail: 550 No such recipient here\n`);
    expect(stderr).toContain('  nobody@example.com refused: 550 No such recipient here\n');
  });

  it('for a wrong password', async () => {
    const { code, stderr } = await send(['--user', 'ci'], { env: { WAYBILL_TOKEN: 'wrong' } });
    expect(stderr).toMatch(/refused the mail: 535 /);
    expect(code).toBe(1);
  });

  it('where nothing listens', async () => {
    const unused = createServer();
    await new Promise<void>((resolve) => unused.listen(0, '127.0.0.1', resolve));
    const { port } = unused.address() as AddressInfo;
    await new Promise((resolve) => unused.close(resolve));
    const { code, stderr } = await send(['--smtp', `127.0.0.1:${port}`]);
    expect(stderr).toContain(`waybill: The mail could not be given to 127.0.0.1:${port}: `);
    expect(stderr).toContain('Is Waybill running there?');
    expect(code).toBe(1);
  });

  it('from a file that is not there', async () => {
    const { code, stderr } = await send(['/nowhere/at/all.eml']);
    expect(stderr).toContain('there is no such file');
    expect({ code, mails }).toEqual({ code: 1, mails: [] });
  });
});
