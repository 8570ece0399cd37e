import { expect, test } from 'vitest';
import { messageId, type Place } from '../../src/message/id.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { addDelivery, addMessage, plan, quarantined } from '../routes/seed.js';
import { until } from '../support/until.js';
import { expectAccessible } from './harness.js';
import { open, page, site, type Visitor, visit } from './visit.js';

visit('one site');

const openMessage = (place: Place, options: Visitor = {}) => open(`/messages/${messageId(place)}`, options);

/** A mail that was read on rung 6 after a crash, routed to two targets, one of which refused it once. */
async function travelled(): Promise<Place> {
  const { pool, tenant, sources, targets } = site;
  const setAside = {
    where: '2',
    n: 2,
    name: 'bill.pdf',
    type: 'application/pdf',
    size: 812,
    sha256: '',
    why: 'it crashed the parser',
  };
  const place = await addMessage(pool, tenant, {
    source: sources.mail,
    kind: 'mail',
    channel: 1,
    raw: 'Subject: a bill\r\n\r\nHello',
    view: { ...EMPTY_VIEW, rung: 6, subject: 'a bill', text: 'Hello', setAside: [setAside] },
  });
  await pool.query(
    `update message set meta = '{"to":["a@example.com"],"tls":{"version":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384"}}'
     where tenant = $1 and channel = 1 and sequence = $2`,
    [tenant.id, place.sequence],
  );
  await pool.query(
    `insert into attempt (tenant, channel, first_sequence, last_sequence, rung, stage, try, process, child, ended_at, outcome, reason)
     values ($1, 1, $2, $2, 0, 'begun', 1, gen_random_uuid(), '3', now(), 'failed', 'file of part 2: crashed'),
       ($1, 1, $2, $2, 6, 'begun', 1, gen_random_uuid(), '4', now(), 'processed', null)`,
    [tenant.id, place.sequence],
  );
  const number = await plan(pool, tenant, place, {
    targets: [
      [targets.crm, place.sequence, 'later'],
      [targets.erp, place.sequence, 'later'],
    ],
  });
  await addDelivery(pool, tenant, place, {
    target: targets.crm,
    number: place.sequence,
    plan: number,
    state: 'delivered',
  });
  await addDelivery(pool, tenant, place, {
    target: targets.erp,
    number: place.sequence,
    plan: number,
    state: 'pending',
  });
  // As written in one transaction: the plan's clock is the later one.
  await pool.query("update plan set planned_at = now() + interval '5 ms' where tenant = $1 and number = $2", [
    tenant.id,
    number,
  ]);
  await pool.query("update delivery set created_at = now() where tenant = $1 and channel = 1 and state = 'pending'", [
    tenant.id,
  ]);
  await pool.query('update delivery set attempts = 1 where channel = 1');
  await pool.query(
    `insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result, code, reason, answer)
     values ($1, $2, 1, 1, $3, 1, 'message', now(), 41, 'retry', 'http_503', 'busy', '<b>later</b>')`,
    [tenant.id, targets.erp, place.sequence],
  );
  await quarantined(pool, tenant, sources.mail, 'conflict', place, { kind: 'mail' });
  return place;
}

test.each([400, 1280])('a message’s way is a picture whose stations lead to the list, %i wide', async (width) => {
  const place = await travelled();
  await openMessage(place, { viewport: { width, height: 900 } });
  const way = page.getByRole('navigation', { name: 'Its way' });
  expect((await way.getByRole('listitem').allTextContents()).map((text) => text.replace(/\s+/g, ' ').trim())).toEqual([
    'Received mail by mail, 24 B',
    `Channel 1 number ${place.sequence}, 1 conflict later`,
    'Read on rung 6, 1 part left out',
    'Rules Routed by orders',
    'crm delivered, 1 try',
    'erp pending, 1 try',
  ]);
  const list = page.locator('.timeline');
  const titles = (await list.getByRole('listitem').allTextContents()).map((text) => text.trim());
  const cause = titles.findIndex((text) => text.startsWith('Routed by orders'));
  expect(cause).toBeGreaterThan(0);
  expect(titles.findIndex((text) => text.startsWith('erp: not taken yet'))).toBeGreaterThan(cause);
  for (const said of [
    /over TLSv1\.3 \(TLS_AES_256_GCM_SHA384\)/,
    /its recipients \(a@example\.com\) and its bytes without trace fields/,
    /The same key came with other content/,
    /Reading failed/,
    /Left out: bill\.pdf, 812 B: it crashed the parser/,
    /Try 1, .* 41 ms: retry, http_503 busy; it answered “<b>later<\/b>”/,
  ]) {
    expect(await list.getByText(said).count(), String(said)).toBe(1);
  }
  await way.getByRole('link', { name: 'Received' }).focus();
  for (const _ of [1, 2, 3, 4, 5]) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  const told = page.locator('.timeline li:target');
  expect(await told.textContent()).toContain('erp: not taken yet');
  const inView = async () => {
    const { y = -1 } = (await told.boundingBox()) ?? {};
    return y >= 0 && y < 900;
  };
  await until(inView, 'the station in the list');
  for (const link of await way.getByRole('link').all()) {
    const href = await link.getAttribute('href');
    expect(await page.locator(`[id="${href?.slice(1)}"]`).count(), String(href)).toBe(1);
  }
  const beyond = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(beyond).toBe(0);
  await expectAccessible(page);
});

test('the way of a message that was decided hundreds of times is told from both ends', async () => {
  const { pool, tenant, targets, sources } = site;
  const place = await addMessage(pool, tenant, { source: sources.billing, channel: 2 });
  await plan(pool, tenant, place, { targets: [[targets.archive, 1, 'later']] });
  for (let n = 1; n <= 150; n++)
    await addDelivery(pool, tenant, place, { target: targets.archive, number: n, plan: 1, state: 'delivered' });
  await pool.query('update delivery set attempts = 1 where channel = 2');
  await pool.query(
    `insert into decision (tenant, channel, sequence, version, who, action, targets, reason, plan)
     select $1, 2, $2, n, 'anna', 'replay', array[$3::int], 'again', 0 from generate_series(2, 501) n`,
    [tenant.id, place.sequence, targets.archive],
  );
  await openMessage(place);
  const items = page.locator('.timeline > li');
  expect(await items.count()).toBe(101);
  expect(await items.nth(20).textContent()).toMatch(/\d{3} more are not shown here: waybill explain tells them/);
  expect(
    await page.getByRole('navigation', { name: 'Its way' }).getByText('delivered, 1 try, 50 deliveries').count(),
  ).toBe(1);
  const told = await page.request.get(`/v1/messages/${messageId(place)}/explain`);
  const body = await told.json();
  expect([told.status(), body.decisions.length, body.deliveries.length, body.olderDeliveries]).toEqual([
    200, 500, 50, 100,
  ]);
});

test('what a person assigned is a branch before it is sent', async () => {
  const place = await site.addMail('From: a@b.example\r\nSubject: for crm\r\n\r\nHello');
  await openMessage(place);
  await page.getByRole('checkbox', { name: 'crm' }).check();
  await page.getByRole('button', { name: 'Assign' }).click();
  await page.getByRole('status').filter({ hasText: 'Assigned' }).waitFor();
  await page.goto(`/messages/${messageId(place)}`);
  const way = page.getByRole('navigation', { name: 'Its way' });
  await way.getByRole('link', { name: 'crm goes out soon' }).waitFor();
  expect(await way.getByText(/anna-\w+ assigned it to crm/).count()).toBe(1);
});
