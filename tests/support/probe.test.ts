import { expect, test } from 'vitest';
import { launchBrowser } from './chromium.js';
import { freshDatabase } from './postgres.js';
import { builtProgram } from './program.js';
import { freshVhost } from './rabbitmq.js';

test('rabbit', async () => {
  const v = await freshVhost();
  expect(await v.api('GET', `/queues/${v.vhost}`)).toEqual([]);
  const amqp = await import('amqplib');
  const c = await amqp.connect(v.url);
  await c.close();
  await v.drop();
});
test('chromium', async () => {
  const b = await launchBrowser();
  const p = await b.newPage();
  await p.setContent('<p>x</p>');
  expect(await p.textContent('p')).toBe('x');
  await b.close();
});
test('leak', async () => {
  const db = await freshDatabase();
  const c = await db.pool.connect();
  await expect(db.drop()).rejects.toThrow('left connected');
  c.release();
});
test('built', async () => {
  console.log(await builtProgram());
});
