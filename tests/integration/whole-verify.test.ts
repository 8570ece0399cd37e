import pg from 'pg';
import { expect, test } from 'vitest';
import { untilSettled } from '../support/checker.js';
import { rotateGeneration } from '../support/filters.js';
import { type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { type Ended, type Installation, install, type Waybill } from '../support/waybill.js';

/* What a user can prove of a running Waybill: after tampering, after an account was erased, and after retention. */

const CONFIG = {
  channel: { count: 2 },
  sources: { feed: { kind: 'events' } },
  targets: { archive: { kind: 'pull' } },
};
const RULES = 'rules:\n  - { name: usage, when: { type: usage }, then: { targets: archive } }\n';

function events(count: number, prefix: string, type: string): SentEvent[] {
  return Array.from({ length: count }, (_, i) => ({ key: `${prefix}-${i}`, account: `${prefix} ${i % 5}`, type }));
}

function command(site: Installation, waybill: Waybill, argv: readonly string[]): Promise<Ended> {
  return site.run(argv, { WAYBILL_URL: waybill.http, WAYBILL_TOKEN: site.adminToken });
}

async function sql(site: Installation, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: site.databaseUrl, options: '-c search_path=waybill,public' });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}

const mayWait = ['default/archive'];

test('waybill verify holds on a live system, finds what was tampered with, and passes after erasing and retention', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  let waybill = await site.start();
  await sendEvents(waybill, events(60, 'used', 'usage'));
  await sendEvents(waybill, events(10, 'asked', 'question'));
  await untilSettled(site.databaseUrl, { mayWait });

  const before = await command(site, waybill, ['verify']);
  expect(before).toMatchObject({ code: 0, stderr: '' });
  expect(before.stdout).toMatch(/^70 messages, \d+ plans and 70 keys of 2 channels: all of it holds\n/);
  const signer = before.stdout.split('\n').at(-2);

  const raw = (await sql(site, 'select encode(raw, $$hex$$) as raw from message where channel = 1 and sequence = 2'))
    .rows[0].raw;
  await sql(site, "update message set raw = raw || ' '::bytea where channel = 1 and sequence = 2");
  const tampered = await command(site, waybill, ['--json', 'verify']);
  expect(tampered.code).toBe(1);
  const told = tampered.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(told).toMatchObject([
    { event: 'finding', code: 'message_altered', message: '1-2' },
    { event: 'result', ok: false, findings: 1 },
  ]);
  await sql(site, `update message set raw = decode('${raw}', 'hex') where channel = 1 and sequence = 2`);

  const erased = await command(site, waybill, [
    '--json',
    'erase',
    '--account',
    'asked 2',
    '--reason',
    'asked to',
    '--yes',
  ]);
  expect(JSON.parse(erased.stdout)).toMatchObject({ messages: 2, closed: 2, left: 0 });
  const found = await waybill.call('GET', `/v1/messages?account=${JSON.parse(erased.stdout).pseudonym}`);
  const id = found.json.items[0].id as string;
  expect((await waybill.call('GET', `/v1/messages/${id}/raw`)).json).toMatchObject({
    status: 410,
    code: 'content_erased',
  });
  expect((await command(site, waybill, ['verify'])).stdout).toContain(
    'of 2 messages an erased account left only the hash',
  );

  // Time goes by: keys go first, then at the next start or hour the content.
  await rotateGeneration(site.databaseUrl);
  await sendEvents(waybill, events(10, 'late', 'usage'));
  await untilSettled(site.databaseUrl, { mayWait });
  await sql(
    site,
    "update generation set last_arrival = last_arrival - interval '100 days' where sealed_at is not null",
  );
  await until(
    async () => (await sql(site, 'select from generation where keys_dropped_at is not null')).rows.length > 0,
    'the keys to go',
  );
  expect(await waybill.stop()).toMatchObject({ code: 0 });
  await sql(site, "update delivery set state = 'delivered' where channel = 0 and sequence <= 3");
  waybill = await site.start();
  await until(
    async () => (await waybill.metric('waybill_retention_total', { what: 'generation_dropped' })) === 1,
    'the content to go',
  );
  const gone = await waybill.call('GET', '/v1/messages/0-2/raw');
  expect(gone.json).toMatchObject({ status: 410, code: 'content_gone' });
  const page = await waybill.call('GET', '/messages/0-2', { headers: { accept: 'text/html' } });
  expect([page.status, page.bytes.toString()]).toEqual([410, expect.stringContaining('older than what is kept')]);
  expect((await waybill.call('GET', '/v1/messages')).status).toBe(200);
  const after = await command(site, waybill, ['verify']);
  expect(after).toMatchObject({ code: 0, stderr: '' });
  expect(after.stdout).toContain('what 2 channels have dropped is held by checkpoints');
  expect(after.stdout.split('\n').at(-2)).toBe(signer);

  await sql(site, 'update checkpoint set plan = plan - 1 where channel = 0');
  const forged = await command(site, waybill, ['verify', '--channel', '0']);
  expect(forged.code).toBe(1);
  expect(forged.stdout).toContain('checkpoint_altered: ');
}, 180_000);
