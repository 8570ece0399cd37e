import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { messageId } from '../../src/message/id.js';
import { addDelivery, addMessage, plan, quarantined } from '../routes/seed.js';
import { launchBrowser } from '../support/chromium.js';
import { expectAccessible, startSite, type TestSite } from './harness.js';

let browser: Browser;
let site: TestSite;
let context: BrowserContext;
let page: Page;

beforeAll(async () => {
  browser = await launchBrowser();
  site = await startSite();
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
});
afterEach(() => context?.close());

async function open(path: string, options: Parameters<TestSite['signedIn']>[1] = {}): Promise<void> {
  context = await site.signedIn(browser, options);
  page = await context.newPage();
  await page.goto(path);
}

describe('signing in', () => {
  test('whoever is not signed in is shown how to', async () => {
    context = await browser.newContext({ baseURL: site.origin });
    page = await context.newPage();
    await page.goto('/inbox');
    expect(new URL(page.url()).pathname).toBe('/sign-in');
    await page.getByText('waybill user add NAME').waitFor();
  });

  test('a link works once, when its button is pressed, and signing out ends it', async () => {
    const link = await site.linkFor('newcomer', 'operator');
    context = await browser.newContext();
    page = await context.newPage();
    await page.goto(link);
    await page.getByText('This link signs you in as newcomer of default.').waitFor();
    await page.goto(link);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Inbox' }).waitFor();
    expect(await page.locator('.me').textContent()).toContain('newcomer');
    const again = await page.goto(link);
    expect(again?.status()).toBe(410);
    await page.getByText('This link was used already').waitFor();
    await page.goto(`${site.origin}/inbox`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.goto(`${site.origin}/messages`);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  });
});

test('a target is paused with a reason, says so, and is resumed', async () => {
  await open('/targets');
  await page.getByRole('link', { name: 'archive' }).click();
  await page.getByLabel('Pause, because').fill('they are moving house');
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByText('they are moving house').first().waitFor();
  await page.goto('/targets');
  expect(await page.getByRole('row').filter({ hasText: 'archive' }).textContent()).toMatch(
    /paused[\s\S]*they are moving house/,
  );
  await page.goto('/targets/archive');
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('status').filter({ hasText: 'Resumed.' }).waitFor();
  expect(await page.getByRole('button', { name: 'Resume' }).count()).toBe(0);
});

test('a target shows its deliveries, narrowed by state, and what failed is sent again', async () => {
  const places = [];
  for (let i = 1; i <= 3; i++) {
    const place = await addMessage(site.pool, site.tenant, { source: site.sources.billing, channel: 2 });
    const number = await plan(site.pool, site.tenant, place, {
      targets: [[site.targets.erp, i, i === 2 ? 'later' : 'now']],
    });
    places.push({ place, number });
  }
  const failed = places[1];
  if (!failed) throw new Error('three were made');
  await addDelivery(site.pool, site.tenant, failed.place, {
    target: site.targets.erp,
    number: 2,
    plan: failed.number,
    state: 'failed',
  });
  await site.pool.query('update delivery set decision = $1', [
    JSON.stringify({ by: 'rules', set: 1, rules: ['orders'] }),
  ]);
  await open('/targets/erp');
  expect(await page.locator('tbody tr').count()).toBe(3);
  await page.getByRole('navigation', { name: 'Deliveries by state' }).getByRole('link', { name: 'failed' }).click();
  expect(await page.locator('tbody tr').count()).toBe(1);
  await page.getByRole('button', { name: 'Recover' }).click();
  await page.getByRole('status').filter({ hasText: '1 message goes to it again' }).waitFor();
  const { rows } = await site.pool.query(`select action from decision where channel = 2 and sequence = $1`, [
    failed.place.sequence,
  ]);
  expect(rows).toEqual([{ action: 'replay' }]);
});

test('an entry of the quarantine is looked at and discarded', async () => {
  const number = await quarantined(site.pool, site.tenant, site.sources.billing, 'expired');
  await open('/quarantine');
  await page
    .locator('.row')
    .filter({ hasText: `q-${number}` })
    .getByRole('link')
    .click();
  await page.getByText('outside of what can be de-duplicated').waitFor();
  await page.getByLabel('Discard, because').fill('a test of theirs');
  await page.getByRole('button', { name: 'Discard' }).click();
  await page.getByRole('status').filter({ hasText: 'Discarded.' }).waitFor();
  await page.goto(`/quarantine/q-${number}`);
  expect(await page.getByRole('button', { name: 'Discard' }).count()).toBe(0);
  const { rows } = await site.pool.query('select state from quarantine where number = $1', [number]);
  expect(rows).toEqual([{ state: 'discarded' }]);
});

test('people are added, get links, and are disabled', async () => {
  await open('/people');
  await page.getByLabel('Name').fill('dora');
  await page.getByRole('button', { name: 'Add' }).click();
  const link = await page.getByLabel('Sign-in link').textContent();
  expect(link).toMatch(new RegExp(`^${site.origin}/sign-in/[A-Za-z0-9_-]{43}$`));
  await page.getByLabel('Name').fill('dora');
  await page.getByRole('button', { name: 'Add' }).click();
  await page.getByRole('alert').filter({ hasText: 'There is a person "dora" already.' }).waitFor();
  const dora = page.getByRole('row').filter({ hasText: 'dora' });
  await dora.getByRole('button', { name: 'Disable' }).click();
  await dora.getByRole('button', { name: 'Let in again' }).waitFor();
});

test('a token is shown once, used and revoked', async () => {
  await open('/tokens');
  await page.getByLabel('Name').fill('feeder');
  await page.getByLabel('messages.read').check();
  await page.getByRole('button', { name: 'Make token' }).click();
  const token = await page.getByLabel('Token', { exact: true }).textContent();
  const call = () => fetch(`${site.origin}/v1/messages`, { headers: { authorization: `Bearer ${token}` } });
  expect((await call()).status).toBe(200);
  await page.getByRole('button', { name: 'Revoke feeder' }).click();
  await page.getByText('revoked', { exact: true }).waitFor();
  expect((await call()).status).toBe(401);
  expect(await page.content()).not.toContain(token);
});

describe('every page', () => {
  let paths: string[];

  beforeAll(async () => {
    const mail = await site.addMail(
      'From: Anna <a@b.example>\r\nSubject: An invoice\r\nContent-Type: text/html\r\n\r\n<p>Hello <b>there</b>',
    );
    const event = await site.addEvent('{"amount":1.10,"ok":true,"none":null,"list":[1,2]}');
    const place = await addMessage(site.pool, site.tenant, { source: site.sources.billing, channel: 3 });
    const number = await plan(site.pool, site.tenant, place, { targets: [[site.targets.crm, 1, 'later']] });
    await addDelivery(site.pool, site.tenant, place, {
      target: site.targets.crm,
      number: 1,
      plan: number,
      state: 'failed',
    });
    await site.pool.query(`update delivery set decision = $1, reason = 'no'`, [
      JSON.stringify({ by: 'rules', set: 1, rules: ['a'] }),
    ]);
    await site.pool.query(
      `update target set paused_at = now(), paused_by = 'waybill', paused_code = 'http_401', paused_reason = 'it answered 401' where name = 'crm'`,
    );
    const held = await quarantined(site.pool, site.tenant, site.sources.billing, 'conflict', event);
    const id = messageId(mail);
    paths = [
      '/inbox',
      `/inbox?done=assign&of=${id}:2`,
      '/inbox?q=nothing-has-this',
      '/inbox?state=snoozed',
      '/messages',
      `/messages/${id}`,
      `/messages/${id}?tab=headers`,
      `/messages/${id}?tab=raw`,
      `/messages/${messageId(event)}`,
      `/messages/${messageId(place)}`,
      '/targets',
      '/targets/crm',
      '/targets/archive',
      '/deliveries/1.crm.3-1',
      '/quarantine',
      `/quarantine/q-${held}`,
      '/overview',
      '/people',
      '/tokens',
      '/sign-in',
      '/messages/3-999',
    ];
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`is accessible in ${colorScheme}, and nothing of it lies beyond a narrow screen`, {
      timeout: 120_000,
    }, async () => {
      await open('/inbox', { colorScheme, viewport: { width: 400, height: 800 } });
      for (const path of paths) {
        await page.goto(path);
        await expectAccessible(page);
        const beyond = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        expect(beyond, `${path} is too wide by`).toBe(0);
      }
    });
  }

  test('is accessible on a wide screen, and breaks none of its own rules', { timeout: 120_000 }, async () => {
    await open('/inbox', { viewport: { width: 1280, height: 800 } });
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
    page.on('console', (message) => {
      if (/Content Security Policy|Refused to/.test(message.text()))
        complaints.push(`${page.url()}: ${message.text()}`);
    });
    for (const path of paths) {
      await page.goto(path);
      await expectAccessible(page);
    }
    expect(complaints).toEqual([]);
  });
});
