import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { pauseTarget, resumeTarget } from '../../src/storage/definitions.js';
import { addUnseen } from '../support/unseen.js';
import { until } from '../support/until.js';
import { addHistory, addOwner } from './figures.js';
import { expectAccessible } from './harness.js';
import { page, site, somebody, type Visitor, visit } from './visit.js';

visit('one site', () => addOwner(site));
beforeEach(async () => {
  await resumeTarget(site.pool, site.tenant.id, 'erp', 'test');
  // It goes up to now: a minute later the last point of a chart would be one of which nothing is known.
  await site.pool.query('delete from sample_lag; delete from sample');
  await addHistory(site);
});

const pause = () => pauseTarget(site.pool, site.tenant.id, 'erp', 'anna', 'they are moving house');

async function openOverview(options: Visitor = {}, prepare?: () => Promise<void>): Promise<void> {
  await somebody(options);
  await prepare?.();
  await page.goto('/overview');
}

const sentence = () => page.getByRole('status');

test('says that all is well, and shows what flows', async () => {
  await openOverview();
  expect(await sentence().textContent()).toBe('All is well.');
  const flows = page.getByRole('list').filter({ has: page.getByRole('link', { name: 'accepted' }) });
  expect(await flows.getByRole('listitem').count()).toBe(4);
  const hour = page.getByRole('img', { name: 'sequenced, last hour' });
  const description = await hour.evaluate((svg) => svg.querySelector('desc')?.textContent);
  expect(description).toMatch(/^From \d+ to \d+ a second, at the end \d+\. Of 1[5-8] of 60 points nothing is known\.$/);
  expect(await hour.locator('path.line').getAttribute('d')).toMatch(/^M[^M]+M[^M]+$/);
  expect(await hour.locator('rect.gap').count()).toBe(1);
  const erp = page.getByRole('row').filter({ hasText: 'erp' });
  expect(await erp.getByRole('img', { name: 'waiting for erp, last hour' }).count()).toBe(1);
});

test('says what is not well, and leads there by keyboard', async () => {
  await pause();
  await openOverview();
  expect(await sentence().textContent()).toBe('One thing is not well.');
  const finding = page.getByRole('link', { name: 'The target erp has been paused' });
  for (let i = 0; i < 30; i++) {
    await page.keyboard.press('Tab');
    if (await finding.evaluate((link) => link === document.activeElement)) break;
  }
  await page.keyboard.press('Enter');
  await page.waitForURL('**/targets/erp');
});

test('has the charts in numbers, opened by keyboard', async () => {
  await openOverview();
  const summary = page.locator('summary').filter({ hasText: 'The last hour' });
  await summary.focus();
  await page.keyboard.press('Enter');
  const rows = page.getByRole('group', { name: 'The last hour in numbers' }).locator('tbody tr');
  expect(await rows.count()).toBe(12);
  const cells = await rows.allTextContents();
  expect(cells.filter((row) => /–\s*–\s*–/.test(row)).length).toBeGreaterThanOrEqual(2);
  expect(cells[0]).toMatch(/^\d\d:\d\d–\d\d:\d\d\d/);
});

describe('as time goes by', () => {
  test('what changed is shown without a reload, and nobody is taken from where they are', async () => {
    await openOverview({ viewport: { width: 1280, height: 500 } }, () => page.clock.install());
    const link = page.getByRole('link', { name: 'erp', exact: true });
    await link.focus();
    await page
      .locator('summary')
      .filter({ hasText: 'The last day' })
      .evaluate((one) => ((one.parentElement as HTMLDetailsElement).open = true));
    await page.evaluate(() => scrollTo(0, 300));
    const before = await link.boundingBox();
    await pause();
    const answered = page.waitForResponse('**/overview');
    await page.clock.fastForward(10_000);
    await answered;
    const row = page.getByRole('row').filter({ hasText: 'erp' });
    await row.getByText('paused').waitFor();
    expect(await sentence().textContent()).toBe('One thing is not well.');
    expect(await page.evaluate(() => document.activeElement?.getAttribute('href'))).toBe('/targets/erp');
    // The finding has come above: the page keeps what is seen where it is, from the next frame on.
    const moved = async () => Math.abs(((await link.boundingBox())?.y ?? 0) - (before?.y ?? 0));
    await until(async () => (await moved()) < 2, 'what is seen to be where it was');
    expect(await page.locator('details[open]').count()).toBe(1);
  });

  test('a page that is not seen asks nothing', async () => {
    await openOverview({}, () => page.clock.install());
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { value: true, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await page.clock.fastForward(60_000);
    expect(asked.filter((url) => url.endsWith('/overview'))).toEqual([]);
    const answered = page.waitForResponse('**/overview');
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { value: false });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await answered;
  });
});

describe('what was taken as duplicates by a filter’s word', () => {
  beforeEach(async () => {
    const { pool, tenant, sources } = site;
    const policy = { threshold: '10.00', below: 'duplicate' };
    await pool.query(
      `update source set definition = definition || jsonb_build_object('value', '/data/n', 'maybe', $2::jsonb) where id = $1`,
      [sources.billing, JSON.stringify(policy)],
    );
    await pool.query('insert into unseen_count values ($1, $2, 5000, 3, 12.50, 1)', [tenant.id, sources.billing]);
    const arrivedAt = new Date(Date.now() - 120_000);
    await addUnseen(pool, tenant, { source: sources.billing, account: 'acme', arrivedAt, count: 2 });
  });
  afterEach(async () => {
    await site.pool.query('truncate unseen, unseen_count');
    await site.pool.query(`update source set definition = definition - 'maybe' - 'value'`);
  });

  test.each(['light', 'dark'] as const)('is told by source, %s', async (colorScheme) => {
    await openOverview({ colorScheme });
    const row = page.getByRole('region', { name: 'and not looked up' }).getByRole('row').nth(1);
    expect(await row.getByRole('cell').allTextContents()).toEqual([
      'a duplicate below 10.00',
      '5,002',
      '2',
      'for 2 min',
      '3',
      '12.50',
      '1',
    ]);
    await expectAccessible(page);
    await row.getByRole('link', { name: 'billing' }).click();
    await page.waitForURL('**/messages?source=billing');
  });
});

test('is whole without scripts', async () => {
  await openOverview({ javaScriptEnabled: false });
  expect(await sentence().textContent()).toBe('All is well.');
  expect(await page.locator('svg.spark path.line').count()).toBeGreaterThanOrEqual(9);
});

test('is readable in colours that somebody has chosen', async () => {
  await openOverview({ forcedColors: 'active' });
  await expectAccessible(page);
  const stroke = await page
    .locator('svg.spark path.line')
    .first()
    .evaluate((line) => [getComputedStyle(line).stroke, getComputedStyle(document.body).color]);
  expect(stroke[0]).toBe(stroke[1]);
});
