import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { messageId } from '../../src/message/id.js';
import { plan } from '../routes/seed.js';
import { addBilling, type Billed } from './billed.js';
import { startSite } from './harness.js';
import { open, page, shown, site, tabTo, visit } from './visit.js';

let billed: Billed;

visit('one site');

const pathOf = (account: string) => `/billing/accounts/${encodeURIComponent(account)}`;

test('an installation without a meter says how to make one; it is made by keyboard, with its mistakes shown where they are', async () => {
  const empty = await startSite();
  onTestFinished(() => empty.close());
  await open('/billing', {}, empty);
  await page.getByText('Nothing is metered yet.').waitFor();
  await tabTo(page.getByRole('link', { name: 'Make the first one' }));
  await page.keyboard.press('Enter');
  await page.waitForURL('**/billing/meters');
  const text = page.getByLabel('What it says');
  expect(await text.inputValue()).toContain('aggregation: sum');
  await tabTo(page.getByLabel('Name'));
  await page.keyboard.type('seats');
  await text.fill('type: seat.*\naggregation: unique\nvalue: data/user\n');
  await page.getByLabel('Name').press('Enter');
  const alert = page.getByRole('alert');
  expect(await alert.textContent()).toContain('Line 3, column 8: value: a JSON pointer such as /data/amount');
  await text.fill('type: seat.*\naggregation: [unique\n');
  await page.getByRole('button', { name: 'Make it' }).click();
  await alert.filter({ hasText: /Line \d+, column \d+: .*\]/ }).waitFor();
  expect(await page.getByLabel('Name').inputValue()).toBe('seats');
  await text.fill('{"type": "seat.*", "aggregation": "unique", "value": "/data/user"}');
  await page.getByRole('button', { name: 'Make it' }).click();
  await page.getByRole('status').filter({ hasText: '“seats” is in use.' }).waitFor();

  await page.getByLabel('Name').fill('seats');
  await text.fill('type: seat\naggregation: count');
  await page.getByRole('button', { name: 'Make it' }).click();
  await page.getByRole('alert').filter({ hasText: 'There is a meter "seats" already.' }).waitFor();

  await page.locator('summary').filter({ hasText: 'seats' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Take seats out of use' }).press('Enter');
  await page.getByRole('status').filter({ hasText: '“seats” is out of use.' }).waitFor();
  const { rows } = await empty.pool.query(
    "select until is not null as ended from billing_definition where name = 'seats'",
  );
  expect(rows).toEqual([{ ended: true }]);
});

describe('with usage', () => {
  beforeAll(async () => {
    billed = await addBilling(site);
  });

  /** An account of its own with 7 GB of today and 12.5 and 3 of last month. */
  async function account(name: string) {
    const { define, use, take, lastMonth, lastPeriod } = billed;
    const from = `${lastPeriod}-01`;
    await define('subscription', name, { account: `${name}/1`, rateCard: 'basic', currency: 'EUR', from });
    const old = await use(`${name}/1`, { n: 12.5, region: 'eu' }, lastMonth);
    await use(`${name}/1`, { n: 3, region: 'us' }, lastMonth);
    const today = await use(`${name}/1`, { n: 7, region: 'eu' }, new Date());
    await take();
    return { path: pathOf(`${name}/1`), old, today };
  }

  test('accounts are found by how they begin, page by page, and what is incomplete is marked', async () => {
    for (let i = 10; i < 35; i += 1) {
      const of = { account: `many-${i}`, rateCard: 'basic', currency: 'EUR', from: '2020-01-01' };
      await billed.define('subscription', `many-${i}`, of);
    }
    await account('found');
    await billed.use('found/1', { n: 1, region: 'eu' }, new Date(), { mode: 'park' });
    await billed.take();
    await open('/billing?q=many');
    const rows = page.locator('tbody tr');
    expect(await rows.count()).toBe(20);
    await page.getByRole('link', { name: 'More →' }).click();
    await shown(rows.filter({ hasText: 'many-34' }));
    expect(await rows.allTextContents()).toEqual([30, 31, 32, 33, 34].map((i) => expect.stringContaining(`many-${i}`)));
    await page.keyboard.press('/');
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type('fou');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/billing?q=fou');
    expect(await rows.count()).toBe(1);
    expect((await rows.textContent())?.replace(/\s+/g, ' ')).toMatch(/found\/1 .*calls 1 .*gb 7 GB .*incomplete/);
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'found/1' }).waitFor();
  });

  test('a chart is gone through by arrows; a bar leads to its events, and those to their bytes', async () => {
    const { path, today } = await account('charted');
    await open(path);
    await page.getByLabel('Meter').selectOption('gb');
    await page.getByRole('button', { name: 'Show' }).press('Enter');
    await page.getByRole('combobox', { name: 'By' }).selectOption('region');
    await page.getByLabel('From').fill(`${billed.lastPeriod}-01`);
    await page.getByRole('button', { name: 'Show' }).click();
    await page.waitForURL('**by=region**');
    const chart = page.getByRole('group', { name: 'gb, eu, by day' });
    const bars = chart.getByRole('link');
    expect(await bars.count()).toBe(2);
    await tabTo(bars.last());
    const read = page.locator('.plot').first().locator('[data-read]');
    expect(await read.textContent()).toMatch(/^\d{4}-\d\d-\d\d: 7 GB, 1 event$/);
    await page.keyboard.press('ArrowLeft');
    expect(await read.textContent()).toBe(`${billed.lastPeriod}-15: 12.5 GB, 1 event`);
    await page.keyboard.press('End');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/events?**');
    const row = page.locator('tbody tr');
    expect(await row.count()).toBe(1);
    expect((await row.textContent())?.replace(/\s+/g, ' ')).toMatch(/ 7 GB region eu counted/);
    await tabTo(page.getByRole('link', { name: messageId(today), exact: true }));
    await page.keyboard.press('Enter');
    await page.waitForURL(`**/messages/${messageId(today)}**`);
    await page.getByRole('link', { name: 'Raw' }).click();
    await shown(page.getByLabel('Raw message'));
    expect(await page.getByLabel('Raw message').textContent()).toContain('"n":7,"region":"eu"');
    await page.keyboard.press('u');
    await page.waitForURL('**/events?**');

    await page.goto(`${path}?meter=gb&window=hour&from=2020-01-01`);
    await page.getByRole('alert').filter({ hasText: 'At most 400 bars are drawn' }).waitFor();
    await page.goto(`${path}?meter=gb&window=month&from=${billed.lastPeriod}-01`);
    await page.locator('summary').filter({ hasText: 'In numbers' }).press('Enter');
    const numbers = page.getByRole('group', { name: 'Usage in numbers' }).locator('tbody tr');
    expect((await numbers.allTextContents()).map((line) => line.replace(/\s+/g, ' ').trim())).toEqual([
      `${billed.lastPeriod}15.5`,
      expect.stringMatching(/7$/),
    ]);
  });

  test('an event is amended and voided from its page, each mistake said where it is made', async () => {
    const { path, today } = await account('corrected');
    const id = messageId(today);
    await open(`${path}/correct/${id}`);
    const amend = page.getByRole('form', { name: 'Amend' });
    await amend.getByLabel('/data/n').fill('plenty');
    await amend.getByLabel('Amend, because').fill('a typo');
    await amend.getByLabel('Amend, because').press('Enter');
    await amend.getByRole('alert').filter({ hasText: 'value not a number' }).waitFor();
    expect(await amend.getByLabel('/data/n').inputValue()).toBe('plenty');
    await amend.getByLabel('/data/n').fill('7.5');
    await amend.getByLabel('When it happened').fill('yesterday');
    await amend.getByRole('button', { name: 'Amend' }).press('Enter');
    await amend.getByRole('alert').filter({ hasText: 'The time is not one' }).waitFor();
    await amend.getByLabel('When it happened').fill('');
    await amend.getByRole('button', { name: 'Amend' }).press('Enter');
    await page.getByRole('status').filter({ hasText: 'Amended.' }).waitFor();
    await billed.take();
    await page.reload();
    expect(await page.locator('.figures').textContent()).toContain('7.5 GB');
    const made = page.getByRole('group', { name: 'Corrections' }).locator('tbody tr');
    expect((await made.textContent())?.replace(/\s+/g, ' ')).toMatch(/amended by \S+ ?a typo/);

    await page.goto(`${path}/correct/${id}`);
    await page.getByText('Amended by').or(page.getByText('Amended')).first().waitFor();
    expect(await page.getByRole('button', { name: 'Void' }).count()).toBe(0);
    await page.getByRole('link', { name: 'Correct the amendment' }).click();
    const voiding = page.getByRole('form', { name: 'Void' });
    await voiding.getByLabel('Void, because').fill('never happened');
    await voiding.getByRole('button', { name: 'Void' }).press('Enter');
    await page.getByRole('status').filter({ hasText: 'Voided.' }).waitFor();
    await billed.take();
    await page.goto(`/messages/${id}`);
    const way = page.getByRole('navigation', { name: 'Its way' });
    expect(await way.getByRole('link', { name: 'Usage' }).textContent()).toMatch(/corrected by \d+-\d+/);
    await way.getByRole('link', { name: 'Usage' }).press('Enter');
    await page.locator('#way-usage').getByText('gb: 7 GB (region eu)').waitFor();
    await page.locator('#way-usage').getByText('“a typo”').waitFor();
  });

  test('a statement waits for its gaps, is made final as it is, and is corrected in the next one', async () => {
    const { path, old } = await account('charged');
    const lost = await billed.use('charged/1', { n: 1, region: 'eu' }, billed.lastMonth, { mode: 'park' });
    await billed.take();
    const statement = `${path}/statements/${billed.lastPeriod}`;
    await open(path);
    await page.getByRole('link', { name: billed.lastPeriod }).click();
    await page.waitForURL(`**${statement}`);
    await page.getByText('Incomplete:').waitFor();
    await page.getByRole('link', { name: messageId(lost) }).waitFor();
    // 10 × 1 + 2 and 2.5 × 0.50; 3 × 1 + 2; (3 − 1) × 0.01 of calls, of which one is the lost one; 5.
    expect(await page.locator('.total').textContent()).toContain('23.26 EUR');
    await page.getByRole('button', { name: 'Make it final' }).press('Enter');
    await page.getByRole('alert').filter({ hasText: 'Gaps are open.' }).waitFor();
    await page.getByLabel('Although what the gaps hold is not counted').press('Space');
    await page.getByRole('button', { name: 'Make it final' }).press('Enter');
    await shown(page.getByRole('status').filter({ hasText: 'Final.' }));
    expect(await page.locator('.proof').textContent()).toMatch(/SHA-256\s*[0-9a-f]{64}/);
    expect(await page.getByRole('button', { name: 'Make it final' }).count()).toBe(0);
    const csv = await page.request.get(`${statement}/csv`);
    expect(csv.headers()['content-disposition']).toContain(`statement-${billed.lastPeriod}.csv`);
    expect(await csv.text()).toContain('usage,gb,region=eu,');
    const json = await page.getByRole('link', { name: 'JSON' }).getAttribute('href');
    expect((await (await page.request.get(json ?? '')).json()).state).toBe('final');

    await page.goto(`${path}/correct/${messageId(old)}`);
    const voiding = page.getByRole('form', { name: 'Void' });
    await voiding.getByLabel('Void, because').fill('counted by mistake');
    await voiding.getByRole('button', { name: 'Void', exact: true }).press('Enter');
    await voiding
      .getByRole('alert')
      .filter({ hasText: `The statement of ${billed.lastPeriod} is final` })
      .waitFor();
    await voiding.getByRole('button', { name: 'Adjust in the next statement' }).press('Enter');
    await page.getByRole('status').filter({ hasText: 'Voided.' }).waitFor();
    await billed.take();
    await page.goto(`${path}/statements/${new Date().toISOString().slice(0, 7)}`);
    const adjusted = page.getByRole('group', { name: 'Adjustments' }).locator('tbody tr');
    expect((await adjusted.allTextContents()).map((line) => line.replace(/\s+/g, ' '))).toContainEqual(
      expect.stringMatching(new RegExp(`gb of ${billed.lastPeriod}.*−12.5 GB.*−13.25`)),
    );
  });

  test('a statement prints as a document: its lines in a table, and nothing to press', async () => {
    const { path } = await account('printed');
    await open(`${path}/statements/${billed.lastPeriod}`, {
      colorScheme: 'dark',
      viewport: { width: 700, height: 900 },
    });
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
    for (const gone of [page.locator('.top'), page.getByRole('link', { name: 'CSV' }), page.locator('.card.close')])
      expect(await gone.isVisible()).toBe(false);
    expect(await page.locator('.letterhead').isVisible()).toBe(true);
    const looks = await page.evaluate(() => ({
      ink: getComputedStyle(document.body).color,
      paper: getComputedStyle(document.documentElement).backgroundColor,
      row: getComputedStyle(document.querySelector('.lines tbody tr') as Element).display,
    }));
    expect(looks).toEqual({ ink: 'rgb(0, 0, 0)', paper: 'rgb(255, 255, 255)', row: 'table-row' });
    expect((await page.pdf({ format: 'A4' })).subarray(0, 5).toString()).toBe('%PDF-');
  });

  test('what something else names is not taken out of use, and that is said', async () => {
    await account('named');
    await open('/billing/meters');
    await page.locator('summary').filter({ hasText: 'gb' }).press('Enter');
    await page.getByRole('button', { name: 'Take gb out of use' }).press('Enter');
    await page.getByRole('alert').filter({ hasText: '“gb” stays: It is named by the rate card "basic"' }).waitFor();
    await page.goto('/billing/meters/gb/remove');
    expect(new URL(page.url()).pathname).toBe('/billing/meters');
    await page.getByRole('link', { name: 'Rate cards' }).click();
    await page.locator('summary').filter({ hasText: 'basic' }).press('Enter');
    await page.getByRole('link', { name: 'Change: basic' }).press('Enter');
    const text = page.getByLabel('What it says');
    const written = await text.inputValue();
    await text.fill(written.replace('"0.01"', '0.01'));
    await page.getByRole('button', { name: 'Change', exact: true }).press('Enter');
    expect(await page.getByRole('alert').textContent()).toMatch(
      /Line \d+, column \d+: versions\.0\.prices\.2\.price: write the number in quotes/,
    );
    await text.fill(written);
    await page.getByRole('button', { name: 'Change', exact: true }).press('Enter');
    await page.getByRole('status').filter({ hasText: '“basic” is in use.' }).waitFor();
  });

  test('gaps are asked for again, and heal when the message is whole', async () => {
    await account('gapped');
    const parked = await billed.use('gapped/1', { n: 2, region: 'eu' }, new Date(), { mode: 'park' });
    await billed.take();
    const id = messageId(parked);
    await open('/billing/gaps');
    const row = page.getByRole('row').filter({ hasText: id });
    expect(await row.textContent()).toContain('gapped/1');
    await page.getByRole('button', { name: `Ask again for ${id}` }).press('Enter');
    await shown(page.getByRole('status').filter({ hasText: 'none of them is whole yet' }));
    expect(await row.textContent()).toContain('1 time');
    await plan(site.pool, site.tenant, parked, { kind: 'extra' });
    await page.getByRole('button', { name: `Ask again for ${id}` }).press('Enter');
    await shown(page.getByRole('status').filter({ hasText: '1 message was counted now' }));
    expect(await row.count()).toBe(0);
  });

  test('what no meter counts says why, and leads to making one', async () => {
    const { use, take } = billed;
    const odd = await use('odd/1', { n: '1e400', region: 'eu' }, new Date());
    const other = await use('odd/1', {}, new Date(), { type: 'nobody.asked' });
    await take();
    await open('/billing/gaps?list=problems');
    const row = page.getByRole('row').filter({ hasText: messageId(odd) });
    expect(await row.textContent()).toContain('its value has too many digits');
    await page.getByRole('link', { name: 'No meter' }).click();
    await page.getByRole('link', { name: messageId(other) }).waitFor();
    await page.getByRole('link', { name: 'Make a meter for nobody.asked' }).press('Enter');
    expect(await page.getByLabel('What it says').inputValue()).toBe('type: nobody.asked\naggregation: count\n');
    await page.goto(`/messages/${messageId(other)}`);
    await page.getByRole('link', { name: 'Usage no meter counts it' }).waitFor();
  });

  test('what a meter held is accepted by keyboard, with a reason', async () => {
    const id = messageId(await billed.hold('held/1'));
    await billed.take();
    await open('/billing/gaps');
    await page.getByRole('link', { name: 'Held' }).click();
    const row = page.getByRole('row').filter({ hasText: id });
    expect((await row.textContent())?.replace(/\s+/g, ' ')).toContain('held/1 seats');
    await tabTo(page.getByLabel(`Accept ${id}, because`));
    await page.keyboard.type('their clock was wrong');
    await page.keyboard.press('Enter');
    await page
      .getByRole('status')
      .filter({ hasText: `Accepted: ${id}` })
      .waitFor();
    expect(await row.getByRole('button').count()).toBe(0);
    await billed.take();
    await page.reload();
    expect(await row.count()).toBe(0);
    await page.goto('/billing/gaps/held');
    await page.getByText('Nothing is held.').waitFor();
  });

  test('a backfill is closed by keyboard, after saying what will count, and says what counts', async () => {
    await billed.use('filled/1', { n: 2, region: 'eu' }, billed.lastMonth, { id: 'came' });
    const { id } = await billed.fill('filled/1', ['came', 'x', 'y']);
    await billed.take();
    await open('/billing/backfills');
    await page.getByRole('link', { name: `Backfill ${id}` }).press('Enter');
    const close = page.getByRole('form', { name: 'Close' });
    await close.getByText('gb 3 events').waitFor();
    await tabTo(close.getByRole('checkbox'));
    await page.keyboard.press('Space');
    await close.getByRole('button', { name: 'Close it' }).press('Enter');
    await page.getByRole('status').filter({ hasText: 'Closed.' }).waitFor();
    await billed.take();
    await page.reload();
    expect((await page.locator('.figures').textContent())?.replace(/\s+/g, ' ')).toMatch(/Counted ?2.*Known ?1/);
    expect(await page.getByRole('group', { name: 'Known already' }).locator('tbody tr').count()).toBe(1);
    const viewer = await open(`/billing/backfills/${id}`, { role: 'viewer' });
    await page.getByText('Reverting takes the permission billing.correct.').waitFor();
    for (const [path, form] of [
      ['/billing/gaps/held', { message: '1-1', why: 'x' }],
      [`/billing/backfills/${id}`, { action: 'revert', why: 'x' }],
    ] as const)
      expect((await viewer.request.post(path, { form })).status()).toBe(403);
  });

  test('who only reads is offered nothing to change, and who may not is told what it takes', async () => {
    const { path, today } = await account('viewed');
    await open(`${path}/correct/${messageId(today)}`, { role: 'viewer' });
    await page.getByRole('heading', { name: 'How it counts' }).waitFor();
    expect(await page.getByRole('button', { name: /Void|Amend/ }).count()).toBe(0);
    await page.goto('/billing/meters');
    expect(await page.getByLabel('What it says').count()).toBe(0);
    await page.goto(`${path}/statements/${billed.lastPeriod}`);
    expect(await page.getByRole('button', { name: 'Make it final' }).count()).toBe(0);
    const refused = await page.request.post(`${path}/correct/${messageId(today)}`, {
      form: { action: 'void', why: 'x' },
    });
    expect(refused.status()).toBe(403);
    const nobody = await page.request.get(pathOf('nobody'));
    expect(nobody.status()).toBe(404);
    const others = await page.request.get(`${pathOf('charged/1')}/correct/${messageId(today)}`);
    expect(others.status()).toBe(404);
  });
});
