import { expect, test } from 'vitest';
import { start, Wire } from './smtp-harness.js';

const RAW = Buffer.from('Subject: hi\r\n\r\nhello\r\n');

const PROXY = 'PROXY TCP4 203.0.113.9 192.0.2.1 5000 25\r\n';

async function proxied(port: number, line: string): Promise<Wire> {
  const wire = await Wire.to(port);
  wire.write(line);
  await wire.reply();
  await wire.ask('EHLO client.example.net');
  return wire;
}

test.each([
  ['PROXY TCP4 203.0.113.9 192.0.2.1 5000 25\r\n', '203.0.113.9'],
  ['PROXY TCP6 2001:DB8::9 2001:db8::1 5000 25\r\n', '2001:db8::9'],
  ['PROXY UNKNOWN\r\n', '127.0.0.1'],
])('a trusted proxy names its client: %j', async (line, remote) => {
  const { port, calls } = await start({ trusted: { proxies: ['127.0.0.0/8'], xclient: [] } });
  const wire = await proxied(port, line);
  await wire.envelope('a@example.net', 'b@example.com');
  expect(await wire.body(RAW)).toMatch(/^250 /);
  expect(calls[0]?.[0]?.peer).toBe(remote);
});

test.each([
  'EHLO x\r\n',
  'PROXY TCP4 evil 192.0.2.1 1 2\r\n',
  'PROXY TCP4 203.0.113.9\r\n',
  '\r\n\r\n\0\r\nQUIT\n',
  'x'.repeat(5_000),
])('a trusted proxy that does not name one properly is hung up on: %j', async (line) => {
  const { port, ingress } = await start({ trusted: { proxies: ['127.0.0.1'], xclient: [] } });
  const wire = await Wire.to(port);
  wire.write(line);
  await wire.closed();
  expect(ingress.stats().connections).toBe(0);
});

test('a PROXY line of anybody else is never believed, before the greeting or after', async () => {
  const { port, calls } = await start({ trusted: { proxies: ['10.0.0.0/8', '::1'], xclient: [] } });
  const early = await Wire.to(port);
  early.write(PROXY);
  expect(await early.reply()).toMatch(/^421 4\.7\.0 /);
  await early.closed();
  const late = await Wire.to(port);
  await late.reply();
  expect(await late.ask(PROXY.trim())).toMatch(/^500 5\.5\.2 /);
  await late.ask('EHLO client.example.net');
  await late.envelope('a@example.net', 'b@example.com');
  await late.body(RAW);
  expect(calls[0]?.[0]?.peer).toBe('127.0.0.1');
});

test('limits count the client, not the proxy', async () => {
  const { port } = await start({
    trusted: { proxies: ['127.0.0.1'], xclient: [] },
    messagesPerMinute: 1,
    maxConnectionsPerPeer: 1,
  });
  const one = await proxied(port, PROXY);
  expect(await one.ask('MAIL FROM:<a@example.net>')).toMatch(/^250 /);
  const other = await proxied(port, PROXY.replace('203.0.113.9', '203.0.113.10'));
  expect(await other.ask('MAIL FROM:<a@example.net>')).toMatch(/^250 /);
  const again = await Wire.to(port);
  again.write(PROXY);
  expect(await again.reply()).toMatch(/^421 4\.7\.0 /);
});

test('behind a proxy on the loopback interface nobody is local', async () => {
  const { port } = await start(
    { trusted: { proxies: ['127.0.0.1'], xclient: [] }, loopbackLogin: true },
    { verifyLogin: async () => ({ name: 'erp', tenant: 'default' }) },
  );
  const wire = await Wire.to(port);
  wire.write(PROXY);
  await wire.reply();
  expect(await wire.ask('EHLO client.example.net')).not.toContain('AUTH');
  expect(await wire.ask('AUTH PLAIN AGVycAB4')).toMatch(/^538 5\.7\.11 /);
});

test('XCLIENT names the client of a trusted mail server, once, and never who it is', async () => {
  const { port, calls } = await start(
    { trusted: { proxies: [], xclient: ['127.0.0.0/8'] }, maxConnectionsPerPeer: 1, loopbackLogin: true },
    { verifyLogin: async () => ({ name: 'erp', tenant: 'default' }) },
  );
  const wire = await Wire.to(port);
  await wire.reply();
  expect(await wire.ask('EHLO relay.example.net')).toContain('XCLIENT');
  expect(await wire.ask('XCLIENT ADDR=203.0.113.9 LOGIN=erp')).toMatch(/^220 /);
  const second = await wire.ask('EHLO client.example.net');
  expect(second).not.toContain('XCLIENT');
  expect(second).not.toContain('AUTH');
  expect(await wire.ask('XCLIENT ADDR=203.0.113.10')).toMatch(/^550 5\.7\.0 /);
  await wire.envelope('a@example.net', 'b@example.com');
  await wire.body(RAW);
  expect(calls[0]?.[0]?.peer).toBe('203.0.113.9');
  expect(JSON.parse(calls[0]?.[0]?.meta ?? '')).toMatchObject({ auth: null, remote: '203.0.113.9' });

  // The same client by another connection of the relay is one too many; the relay itself is not counted.
  const other = await Wire.greeted(port);
  await other.ask('XCLIENT ADDR=203.0.113.9');
  await other.ask('EHLO client.example.net');
  expect(await other.ask('MAIL FROM:<a@example.net>')).toMatch(/^421 4\.7\.0 /);
});

test('XCLIENT of anybody else is refused', async () => {
  const { port } = await start({ trusted: { proxies: [], xclient: ['10.0.0.1'] } });
  const wire = await Wire.to(port);
  await wire.reply();
  expect(await wire.ask('EHLO relay.example.net')).not.toContain('XCLIENT');
  expect(await wire.ask('XCLIENT ADDR=203.0.113.9')).toMatch(/^550 5\.7\.0 /);
});
