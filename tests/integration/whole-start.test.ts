import { once } from 'node:events';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { check, untilSettled } from '../support/checker.js';
import { pullAll } from '../support/consumers.js';
import { eventJson, Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { install } from '../support/waybill.js';

/* Starting, starting wrongly, re-reading the files, stopping, and being killed with a database of its own. */

const CONFIG = {
  sources: { feed: { kind: 'events' }, mail: { kind: 'mail', addresses: ['@whole.example'] } },
  targets: { archive: { kind: 'pull' }, other: { kind: 'pull' } },
};
const RULES = 'rules:\n  - { name: all, when: { kind: [event, mail] }, then: { targets: archive } }\n';
const isRoot = process.getuid?.() === 0;

test.each(['WAYBILL_HTTP', 'WAYBILL_SMTP'])(
  'a port in use is named, with the variable %s to change',
  async (variable) => {
    const taken = createServer();
    taken.listen(0, '127.0.0.1');
    await once(taken, 'listening');
    onTestFinished(() => {
      taken.close();
    });
    const { port } = taken.address() as AddressInfo;
    const site = await install({ config: CONFIG, rules: RULES });
    const ended = await site.run(['start'], { [variable]: `127.0.0.1:${port}` });
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain(`port ${port} is in use`);
    expect(ended.stderr).toContain(variable);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
  },
);

test('a data directory that can not be written is named', async () => {
  const site = await install({ config: CONFIG, rules: RULES, database: 'embedded' });
  const file = join(site.directory, 'file');
  await writeFile(file, '');
  const readOnly = join(site.directory, 'read-only');
  await mkdir(readOnly);
  await chmod(readOnly, 0o500);
  // Root may write everywhere but where the kernel says no.
  for (const data of [join(file, 'data'), isRoot ? '/sys/waybill' : join(readOnly, 'data')]) {
    const ended = await site.run(['start'], { WAYBILL_DATA: data });
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain(data);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
  }
});

test('a database that could lose what was acknowledged is refused, with the setting that is wrong', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const url = new URL(site.databaseUrl);
  url.searchParams.set('options', '-c synchronous_commit=off');
  const ended = await site.run(['start'], { DATABASE_URL: url.href });
  expect(ended).toMatchObject({ code: 1, stdout: '' });
  expect(ended.stderr).toContain('set synchronous_commit = on');
  expect(ended.stderr).not.toMatch(/\n\s+at /);
});

test('a configuration that does not hold is refused, with every problem and its place', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  await site.write(
    { ...CONFIG, htpp: {}, targets: { erp: { kind: 'queu' } } },
    'rules:\n  - { name: all, then: {} }\n',
  );
  const ended = await site.run(['start']);
  expect(ended).toMatchObject({ code: 1, stdout: '' });
  for (const problem of [/htpp.*http/s, /queu.*queue/s, /rules\.yaml:2:/]) expect(ended.stderr).toMatch(problem);
});

test('rules that do not hold leave the old ones as they are, and the error names line and column', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const waybill = await site.start();
  const send = (key: string) => sendEvents(waybill, [{ key, account: 'anna', type: 'usage' }]);
  const cli = { WAYBILL_URL: waybill.http, WAYBILL_TOKEN: site.adminToken };
  await send('one');

  await site.write(
    CONFIG,
    'rules:\n  - name: all\n    when: { type: { prefx: usage } }\n    then: { targets: other }\n',
  );
  const byApi = await waybill.call('POST', '/v1/apply');
  expect(byApi).toMatchObject({ status: 422 });
  expect(byApi.json).toMatchObject({ code: 'configuration_invalid' });
  expect(byApi.json.problems.join('\n')).toMatch(/rules\.yaml:3:21.*prefx.*prefix/s);
  const byCli = await site.run(['apply'], cli);
  expect(byCli).toMatchObject({ code: 1, stdout: '' });
  expect(byCli.stderr).toMatch(/rules\.yaml:3:21.*prefx.*prefix/s);
  // A target that nobody has is found as well, and a file that is no YAML.
  await site.write(CONFIG, RULES.replace('archive', 'archiv'));
  expect((await site.run(['apply'], cli)).stderr).toMatch(/rules\.yaml:2:\d+.*archiv/s);
  await site.write(CONFIG, 'rules:\n  - { name: all, when: {\n');
  expect((await site.run(['apply'], cli)).stderr).toMatch(/rules\.yaml:\d+:\d+/);
  await send('two');

  await site.write(CONFIG, RULES.replace('archive', 'other'));
  const applied = await site.run(['apply'], cli);
  expect(applied).toMatchObject({ code: 0, stderr: '' });
  expect(applied.stdout).toContain('rules');
  await send('three');
  const waiting = { mayWait: ['default/archive', 'default/other'] };
  await untilSettled(site.databaseUrl, waiting);
  expect((await check(site.databaseUrl, waiting)).violations).toEqual([]);
  expect((await pullAll(waybill, 'archive')).map(({ externalId }) => externalId)).toEqual(['one', 'two']);
  expect((await pullAll(waybill, 'other')).map(({ externalId }) => externalId)).toEqual(['three']);
}, 180_000);

test('SIGTERM lets what is under way end, takes nothing new, and exits with 0', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const waybill = await site.start();
  const wire = await Wire.greeted(waybill.smtp.port);
  await wire.envelope('a@elsewhere.example', 'anna@whole.example');
  wire.write('Subject: Half\r\n\r\nHalf of it,');
  const body = `${eventJson({ key: 'slow', account: 'anna', type: 'usage' })}\n`;
  const { hostname, port } = new URL(waybill.http);
  const slow = request({
    hostname,
    port,
    method: 'POST',
    path: '/v1/events',
    headers: {
      authorization: `Bearer ${site.adminToken}`,
      'content-type': 'application/x-ndjson',
      expect: '100-continue',
    },
  });
  slow.flushHeaders();
  await once(slow, 'continue');
  slow.write(body.slice(0, 20));
  const answered = once(slow, 'response');
  const waiting = waybill.call('POST', '/v1/targets/other/pull', { json: { wait: 30 } });
  await until(async () => (await waybill.metric('waybill_accept_waiting_messages')) === 0, 'it to answer');

  const stopped = waybill.stop();
  await until(() => waybill.log.some(({ msg }) => msg === 'stopping'), 'the stop to begin');
  slow.end(body.slice(20));
  const [response] = await answered;
  expect(response.statusCode).toBe(202);
  expect(await text(response)).toContain('"verdict":"sequenced"');
  expect((await waiting).json).toMatchObject({ deliveries: [] });
  wire.write(' and the other half.\r\n.\r\n');
  expect(await wire.reply()).toMatch(/^250 2\.0\.0 Ok: queued as /);
  expect(await stopped).toMatchObject({ code: 0, signal: null });
  await expect(waybill.call('GET', '/healthz')).rejects.toThrow();

  const again = await site.start();
  await untilSettled(site.databaseUrl, { mayWait: ['default/archive'] });
  expect(await pullAll(again, 'archive')).toHaveLength(2);
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(books.messages.size).toBe(2);
}, 180_000);

test('with its own database: a second start is refused, kill -9 loses nothing, and a start after it takes over', async () => {
  const site = await install({ config: CONFIG, rules: RULES, database: 'embedded' });
  let waybill = await site.start();
  const ledger = new Ledger();
  const events: SentEvent[] = Array.from({ length: 300 }, (_, i) => ({
    key: `e-${i}`,
    account: `a-${i % 9}`,
    type: 'usage',
  }));
  ledger.note(events, await sendEvents(waybill, events));

  const second = await site.run(['start']);
  expect(second).toMatchObject({ code: 1, stdout: '' });
  expect(second.stderr).toContain(join(site.directory, 'data'));
  expect(second.stderr).toMatch(new RegExp(`in use.*${waybill.pid}`, 's'));
  expect(second.stderr).not.toMatch(/\n\s+at /);
  expect((await waybill.call('GET', '/readyz')).status).toBe(200);

  await waybill.kill();
  const began = performance.now();
  waybill = await site.start();
  console.info(`started after kill -9 in ${Math.round(performance.now() - began)} ms`);
  ledger.note(events, await sendEvents(waybill, events));
  expect(ledger.tally).toEqual({ sequenced: 300, duplicate: 300, conflict: 0 });
  expect(ledger.violations).toEqual([]);
  const pulled: string[] = [];
  await until(
    async () => pulled.push(...(await pullAll(waybill, 'archive')).map(({ externalId }) => String(externalId))) >= 300,
    'everything to be pulled',
    20_000,
  );
  expect(pulled.sort()).toEqual(events.map(({ key }) => key).sort());

  // A terminal's Ctrl-C, and the same again as npm hands it on.
  process.kill(waybill.pid, 'SIGINT');
  await until(() => waybill.log.some(({ msg }) => msg === 'stopping'), 'the stop to begin');
  process.kill(waybill.pid, 'SIGINT');
  expect(await waybill.ended).toMatchObject({ code: 0, signal: null });
}, 180_000);
