import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { check, untilSettled } from '../support/checker.js';
import { consumeQueue } from '../support/consumers.js';
import { sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { type Installation, install, type Waybill } from '../support/waybill.js';

/* Brokers and clocks that are not as they must be: what keeps Waybill from starting, and what it goes on with. */

const CONFIG = { sources: { feed: { kind: 'events' } }, targets: { erp: { kind: 'queue' } } };
const RULES = 'rules:\n  - { name: all, when: { kind: event }, then: { targets: erp } }\n';

async function refusalOf(site: Installation, env: Record<string, string>): Promise<string> {
  const ended = await site.run(['start'], env);
  expect(ended).toMatchObject({ code: 1, stdout: '' });
  expect(ended.stderr).not.toMatch(/\n\s+at /);
  return ended.stderr.split('\n').filter((line) => line.startsWith('waybill: '))[0] ?? ended.stderr;
}

const degraded = async (waybill: Waybill): Promise<string> => {
  const { status, json } = await waybill.call('GET', '/readyz', { token: null });
  expect(status).toBe(200);
  return (json.degraded as string[]).join('\n');
};

test('a second installation on one virtual host does not start, and says why', async () => {
  const first = await install({ config: CONFIG, rules: RULES, broker: true });
  await first.start();
  const second = await install({ config: CONFIG, rules: RULES });
  const refusal = await refusalOf(second, { AMQP_URL: first.vhost.url });
  expect(refusal).toMatch(/another Waybill installation: give this one a virtual host of its own/);
  expect(refusal).toContain(first.vhost.vhost);
}, 180_000);

test('a broker that lets it in but not do its work keeps it from starting; one that is away does not', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  const { vhost } = site;
  const user = `u-${randomBytes(4).toString('hex')}`;
  await vhost.api('PUT', `/users/${user}`, { password: 'secret-word', tags: '' });
  onTestFinished(async () => {
    await vhost.api('DELETE', `/users/${user}`);
  });
  const url = Object.assign(new URL(vhost.url), { username: user, password: 'secret-word' }).href;
  expect(await refusalOf(site, { AMQP_URL: url })).toMatch(/no such virtual host, or the user \S+ has no permission/);
  const allow = (configure: string) =>
    vhost.api('PUT', `/permissions/${vhost.vhost}/${user}`, { configure, write: '.*', read: '.*' });
  await allow('^other');
  const refusal = await refusalOf(site, { AMQP_URL: url });
  expect(refusal).toMatch(/too little permission .* needs configure and read on waybill\.dead/);
  expect(refusal).not.toContain('secret-word');
  const away = await site.start({ AMQP_URL: 'amqp://127.0.0.1:1/nowhere' });
  expect(await degraded(away)).toContain('the broker is down');
  await away.stop();
  await allow('.*');
  const there = await site.start({ AMQP_URL: url });
  await until(async () => (await degraded(there)) === '', 'it to have what it needs of the broker');
}, 180_000);

/** Makes a process's wall clock run ahead, and jump by three days at SIGUSR2. Its monotonic clock goes on. */
async function clockAhead(site: Installation, seconds: number): Promise<Record<string, string>> {
  const path = join(site.directory, `clock-${seconds}.mjs`);
  await writeFile(
    path,
    `const now = Date.now; let ahead = ${seconds * 1000}; Date.now = () => now() + ahead;
     process.on('SIGUSR2', () => { ahead += 3 * 86_400_000; });`,
  );
  return { NODE_OPTIONS: `--import=${path}`, WAYBILL_DATA: join(site.directory, `data-${seconds}`) };
}

test('a clock that is more than a minute off keeps it from starting', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const refusal = await refusalOf(site, await clockAhead(site, 75));
  expect(refusal).toMatch(/This machine's clock is 7[4-6] s ahead of the database's/);
  expect(await refusalOf(site, await clockAhead(site, -3600))).toMatch(/(3599|360[01]) s behind the database's/);
}, 180_000);

test('a process whose clock is more than a minute from that of another one names it', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const early = await site.start(await clockAhead(site, 40));
  const late = await site.start(await clockAhead(site, -40));
  // It sees the other at once; the other sees it when it looks again.
  await until(async () => (await degraded(late)) !== '', 'the second to look at its clock', 30_000);
  expect(await degraded(late)).toMatch(
    new RegExp(`^this machine's clock is (79|80|81) s behind that of \\S+:${early.pid}$`),
  );
}, 180_000);

test('a clock that jumps by days changes nothing but a warning', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  const waybill = await site.start(await clockAhead(site, 0));
  const erp = await consumeQueue(site.vhost);
  const timed = (id: string, at: number) =>
    waybill.call('POST', '/v1/events', {
      body: JSON.stringify({
        specversion: '1.0',
        id,
        source: '/s',
        type: 'usage',
        subject: 'anna',
        time: new Date(at).toISOString(),
      }),
      headers: { 'content-type': 'application/cloudevents+json' },
    });
  const day = 86_400_000;
  await sendEvents(waybill, [{ key: 'before', account: 'anna', type: 'usage' }]);
  process.kill(waybill.pid, 'SIGUSR2');
  await until(async () => (await degraded(waybill)).includes("ahead of the database's"), 'the jump to be seen');
  expect(await degraded(waybill)).toMatch(/2592\d\d s ahead/);
  // Neither are old events taken for too old, nor those of the days that the clock has skipped for timely.
  expect((await timed('old', Date.now() - 34 * day)).status).toBe(202);
  expect((await timed('future', Date.now() + 2 * day)).json.results[0].verdict).toBe('expired');
  const [again] = await sendEvents(waybill, [{ key: 'before', account: 'anna', type: 'usage' }]);
  expect(again?.verdict).toBe('duplicate');
  await until(() => erp.once.length >= 2, 'what was sequenced to be delivered');
  await untilSettled(site.databaseUrl);
  expect((await check(site.databaseUrl)).violations).toEqual([]);
  const stored = await waybill.call('GET', '/v1/messages');
  for (const { received } of stored.json.items)
    expect(Math.abs(Date.parse(received) - Date.now())).toBeLessThan(60_000);
}, 180_000);
