import { createTransport } from 'nodemailer';
import { expect, onTestFinished, test } from 'vitest';
import type { Login } from '../../src/ingress/smtp/arrivals.js';
import { settableClock } from '../support/clock.js';
import { CERTIFICATE, mailSource, OTHER, start, Wire } from './smtp-harness.js';

const RAW = Buffer.from('Subject: hi\r\n\r\nhello\r\n');

async function verifyLogin(user: string, password: string): Promise<Login | null> {
  if (password === 'unreachable') throw new Error('no database');
  return user === 'erp' && password === 'sésame:open' ? { name: 'erp', tenant: 'default' } : null;
}

const plain = (user: string, password: string, behalf = ''): string =>
  `AUTH PLAIN ${Buffer.from(`${behalf}\0${user}\0${password}`).toString('base64')}`;

test('with a certificate STARTTLS is offered, and AUTH only after it', async () => {
  const { port } = await start({ tls: CERTIFICATE }, { verifyLogin });
  const wire = await Wire.to(port);
  await wire.reply();
  const before = await wire.ask('EHLO client.example.net');
  expect(before).toContain('STARTTLS');
  expect(before).not.toContain('AUTH');
  expect(await wire.ask(plain('erp', 'sésame:open'))).toBe('538 5.7.11 Log in after STARTTLS only');
  const secure = await wire.secured();
  // What was said before is forgotten (RFC 3207).
  expect(await secure.ask('MAIL FROM:<a@example.net>')).toMatch(/^503 5\.5\.1 /);
  const after = await secure.ask('EHLO client.example.net');
  expect(after).toContain('AUTH PLAIN LOGIN');
  expect(after).not.toContain('STARTTLS');
  expect(await secure.ask(plain('erp', 'sésame:open'))).toMatch(/^235 2\.7\.0 /);
  expect(await secure.ask(plain('erp', 'sésame:open'))).toMatch(/^503 5\.5\.1 /);
});

test('nodemailer logs in over TLS; the arrival names its peer, the cipher and the user', async () => {
  const { port, calls } = await start({ tls: CERTIFICATE }, { verifyLogin });
  const transport = createTransport({
    host: '127.0.0.1',
    port,
    secure: false,
    requireTLS: true,
    auth: { user: 'erp', pass: 'sésame:open' },
    tls: { rejectUnauthorized: false },
  });
  onTestFinished(() => transport.close());
  await transport.sendMail({ envelope: { from: 'a@example.net', to: ['b@example.com'] }, raw: RAW });
  expect(calls[0]?.[0]?.peer).toBe('erp');
  expect(JSON.parse(calls[0]?.[0]?.meta ?? '')).toMatchObject({
    auth: 'erp',
    remote: '127.0.0.1',
    tls: { cipher: expect.stringMatching(/^TLS_/), version: 'TLSv1.3' },
  });
});

test('AUTH LOGIN in its three steps', async () => {
  const { port } = await start({ loopbackLogin: true }, { verifyLogin });
  const wire = await Wire.greeted(port);
  expect(await wire.ask('AUTH LOGIN')).toBe('334 VXNlcm5hbWU6');
  expect(await wire.ask(Buffer.from('erp').toString('base64'))).toBe('334 UGFzc3dvcmQ6');
  expect(await wire.ask(Buffer.from('sésame:open').toString('base64'))).toMatch(/^235 2\.7\.0 /);
});

test('a login proves nothing to another tenant', async () => {
  const own = mailSource(['@example.com']);
  const others = mailSource(['@other.example'], { from: 'recipient' }, OTHER);
  const { port, calls } = await start({ loopbackLogin: true }, { verifyLogin, sourceList: [own, others] });
  const wire = await Wire.greeted(port);
  await wire.ask(plain('erp', 'sésame:open'));
  await wire.envelope('a@example.net', 'b@example.com', 'b@other.example');
  await wire.body(RAW);
  expect(calls[0]?.map(({ peer, meta }) => [peer, JSON.parse(meta ?? '').auth])).toEqual([
    ['erp', 'erp'],
    ['127.0.0.1', null],
  ]);
});

test('wrong credentials, somebody else’s name and a broken check are told apart', async () => {
  const { port, refusals } = await start({ loopbackLogin: true }, { verifyLogin });
  const wire = await Wire.greeted(port);
  expect(await wire.ask(plain('erp', 'wr0ng'))).toBe('535 5.7.8 User name or password is wrong');
  expect(await wire.ask(plain('erp', 'sésame:open', 'admin'))).toBe('535 5.7.8 User name or password is wrong');
  expect(await wire.ask(plain('erp', 'unreachable'))).toBe(
    '454 4.7.0 Logins can not be checked just now, try again later',
  );
  expect(await wire.ask(plain('erp', 'sésame:open', 'erp'))).toMatch(/^235 /);
  expect(refusals.map((refusal) => refusal.code)).toEqual(['login_failed', 'login_failed', 'login_unavailable']);
  expect(JSON.stringify(refusals)).not.toMatch(/wr0ng|sésame|unreachable/);
});

test('guessing passwords ends after ten wrong ones a minute, on all connections together', async () => {
  const clock = settableClock();
  const { port } = await start({ loopbackLogin: true }, { verifyLogin, clock });
  const wire = await Wire.greeted(port);
  for (let i = 0; i < 10; i++) expect(await wire.ask(plain('erp', `guess ${i}`))).toMatch(/^535 /);
  expect(await wire.ask(plain('erp', 'guess 10'))).toBe('421 4.7.0 Too many failed logins, try again in a minute');
  await wire.closed();
  const again = await Wire.greeted(port);
  expect(await again.ask(plain('erp', 'sésame:open'))).toMatch(/^421 4\.7\.0 /);
  await again.closed();
  clock.advance(60_000);
  const later = await Wire.greeted(port);
  expect(await later.ask(plain('erp', 'sésame:open'))).toMatch(/^235 /);
});

test('good logins are not counted', async () => {
  const { port } = await start({ loopbackLogin: true }, { verifyLogin, clock: settableClock() });
  for (let i = 0; i < 12; i++) {
    const wire = await Wire.greeted(port);
    expect(await wire.ask(plain('erp', 'sésame:open'))).toMatch(/^235 /);
    await wire.ask('QUIT');
  }
});

test.each([
  ['nobody to ask', { tls: CERTIFICATE, loopbackLogin: true }, undefined],
  ['neither TLS nor the setting', {}, verifyLogin],
])('without %s there is no AUTH at all', async (_, settings, verify) => {
  const { port } = await start(settings, verify ? { verifyLogin: verify } : {});
  const wire = await Wire.to(port);
  await wire.reply();
  expect(await wire.ask('EHLO client.example.net')).not.toContain('AUTH');
  expect(await wire.ask(plain('erp', 'sésame:open'))).toMatch(/^500 5\.5\.2 /);
});

test('what is sent in the clear behind STARTTLS is not believed inside', async () => {
  const { port, calls } = await start({ tls: CERTIFICATE });
  const wire = await Wire.greeted(port);
  wire.write('STARTTLS\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n');
  expect(await wire.reply()).toMatch(/^220 /);
  wire.socket.end();
  await wire.closed();
  expect(calls).toEqual([]);
});

test('STARTTLS in one packet with EHLO is answered in the clear, and then there is TLS', async () => {
  const { port } = await start({ tls: CERTIFICATE });
  const wire = await Wire.to(port);
  await wire.reply();
  wire.write('EHLO client.example.net\r\nSTARTTLS\r\n');
  expect(await wire.reply()).toMatch(/^250-/);
  expect(await wire.reply()).toMatch(/^220 /);
  const secure = await wire.handshake();
  expect(await secure.ask('EHLO client.example.net')).toMatch(/^250-/);
});

test('a broken handshake ends its connection and nothing else', async () => {
  const { port } = await start({ tls: CERTIFICATE });
  const wire = await Wire.greeted(port);
  await wire.ask('STARTTLS');
  wire.write('this is no handshake'.repeat(100));
  await wire.closed();
  expect(await (await Wire.greeted(port)).ask('NOOP')).toMatch(/^250 /);
});

test('a mail of many TLS records with dots is the same mail', async () => {
  const { port, calls } = await start({ tls: CERTIFICATE });
  const wire = await Wire.greeted(port);
  const secure = await wire.secured();
  await secure.ask('EHLO client.example.net');
  await secure.envelope('a@example.net', 'b@example.com');
  const raw = Buffer.from('.line\r\n..\n.\r\n'.repeat(20_000));
  expect(await secure.body(raw)).toMatch(/^250 /);
  expect(Buffer.compare(Buffer.from(calls[0]?.[0]?.raw ?? []), raw)).toBe(0);
});
