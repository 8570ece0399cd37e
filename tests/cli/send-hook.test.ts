import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { WebhookSource } from '../../src/channel/source.js';
import { verify } from '../../src/ingress/hooks/verify.js';
import { cli, problem, type Recorder, startRecorder } from './harness.js';

let server: Recorder;
beforeAll(async () => {
  server = await startRecorder();
});
beforeEach(() => {
  server.seen.length = 0;
  server.answer = (_, response) => void response.status(202).json(SEQUENCED);
});
afterAll(() => server.close());

const SEQUENCED = { id: 'h1', verdict: 'sequenced', message: '7-1', channel: 7, sequence: 1 };
/** The time that the harness's clock shows. */
const NOW = Date.UTC(2026, 0, 1);

type Signed = Exclude<WebhookSource['verify'], { scheme: 'token' | 'none' }>;

function genuine(scheme: Signed): boolean {
  const delivery = server.seen.at(-1);
  if (!delivery) throw new Error('nothing was delivered');
  return verify(scheme, 300, delivery.headers, delivery.body, NOW).genuine;
}

const hmac = { scheme: 'hmac', header: 'X-Sig', algorithm: 'sha512', encoding: 'base64', prefix: 'v=' } as const;
const schemes: [string, Signed][] = [
  ['standard, base64', { scheme: 'standard', secrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'] }],
  ['standard, base64 without its prefix', { scheme: 'standard', secrets: ['MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'] }],
  ['standard, made up', { scheme: 'standard', secrets: ['correct horse battery'] }],
  ['github', { scheme: 'github', secrets: ['correct horse battery'] }],
  ['stripe', { scheme: 'stripe', secrets: ['whsec_correct'] }],
  ['hmac', { ...hmac, secrets: ['correct horse battery'] }],
];

describe('with a secret, a delivery is signed as the source wants it', () => {
  it.each(schemes)('by the definition: %s', async (_, scheme) => {
    const { secrets, ...shown } = scheme;
    server.answer = (seen, response) => {
      const source = { kind: 'webhook', definition: { kind: 'webhook', verify: { ...shown, secrets: { set: 1 } } } };
      response.status(seen.method === 'GET' ? 200 : 202).json(seen.method === 'GET' ? source : SEQUENCED);
    };
    const ran = await cli(server, [
      'send',
      'hook',
      '--tenant',
      'acme',
      '--source',
      'in',
      '--secret',
      secrets[0] as string,
    ]);
    expect(ran).toEqual({ code: 0, stdout: 'sequenced as 7-1\n', stderr: '' });
    expect(server.seen.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'GET /v1/sources/in',
      'POST /v1/hooks/acme/in',
    ]);
    expect(genuine(scheme)).toBe(true);
    expect(genuine({ ...scheme, secrets: ['another secret'] })).toBe(false);
    // The signature is the proof; the token is nobody else's business.
    expect(server.seen[1]?.headers.authorization).toBeUndefined();
  });

  it.each(schemes)('by options: %s', async (_, scheme) => {
    const options =
      scheme.scheme === 'hmac'
        ? [
            '--header',
            scheme.header,
            '--algorithm',
            scheme.algorithm,
            '--encoding',
            scheme.encoding,
            '--prefix',
            scheme.prefix,
          ]
        : [];
    await cli(server, ['send', 'hook', '--scheme', scheme.scheme, '--secret', scheme.secrets[0] as string, ...options]);
    expect(server.seen.map(({ path }) => path)).toEqual(['/v1/hooks/default/shop']);
    expect(genuine(scheme)).toBe(true);
  });

  it('from a file, without its line end', async () => {
    const file = join(tmpdir(), `secret-${randomUUID()}`);
    await writeFile(file, 'correct horse battery\n');
    await cli(server, ['send', 'hook', '--scheme', 'github', '--secret-file', file]);
    await rm(file);
    expect(genuine({ scheme: 'github', secrets: ['correct horse battery'] })).toBe(true);
  });

  it('but a source that is no webhook takes none', async () => {
    server.answer = (_, response) => void response.json({ kind: 'mail', definition: { kind: 'mail' } });
    const { code, stderr } = await cli(server, ['send', 'hook', '--source', 'in', '--secret', 'x']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'waybill: The source "in" is of kind mail, not a webhook.\n' });
  });

  it('and a file that is not there is said', async () => {
    const { code, stderr } = await cli(server, ['send', 'hook', '--secret-file', '/nowhere/at/all']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "waybill: /nowhere/at/all can't be read.\n" });
  });
});

it('without a secret the token goes along, and the sample is a new one every time', async () => {
  await cli(server, ['send', 'hook']);
  await cli(server, ['send', 'hook']);
  const bodies = server.seen.map(({ body }) => JSON.parse(body.toString()) as { id: string; type: string });
  expect(bodies[0]?.type).toBe('order.placed');
  expect(bodies[0]?.id).not.toBe(bodies[1]?.id);
  expect(server.seen[0]).toMatchObject({
    headers: { authorization: 'Bearer secret', 'content-type': 'application/json' },
  });
});

it('a body goes out byte for byte under its type', async () => {
  const stdin = Buffer.from([0, 255, 13, 10, 46]);
  await cli(
    server,
    ['send', 'hook', '-', '--content-type', 'application/octet-stream', '--scheme', 'standard', '--id', 'm1'],
    { stdin },
  );
  expect(server.seen[0]?.body.equals(stdin)).toBe(true);
  expect(server.seen[0]?.headers).toMatchObject({ 'content-type': 'application/octet-stream', 'webhook-id': 'm1' });
});

describe('a delivery that is not in', () => {
  it('is told with its verdict', async () => {
    const rejected = { id: null, verdict: 'rejected', message: null, code: 'too_large', reason: 'It is too large.' };
    server.answer = (_, response) => void response.status(422).json(rejected);
    expect(await cli(server, ['send', 'hook'])).toEqual({
      code: 1,
      stdout: 'rejected (too_large): It is too large.\n',
      stderr: 'waybill: The webhook is not in.\n',
    });
  });

  it('because it is not believed, is an error', async () => {
    server.answer = (_, response) => problem(response, 401, 'signature_invalid', 'The signature does not match.');
    const { code, stderr } = await cli(server, ['send', 'hook', '--scheme', 'github', '--secret', 'x']);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'waybill: The signature does not match. (signature_invalid)\n',
    });
  });
});
