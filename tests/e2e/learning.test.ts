import { expect, test } from 'vitest';
import { messageId, type Place } from '../../src/message/id.js';
import { plan } from '../routes/seed.js';
import { addDecision, learnNow } from '../support/learning.js';
import { expectAccessible } from './harness.js';
import { mail, open, page, site, visit } from './visit.js';

visit('a site each');

/** People send invoices to erp and crm, and close the news. */
async function teach(): Promise<void> {
  const { archive: _, crm, erp } = site.targets;
  for (let i = 0; i < 12; i++) {
    const ago = 1000 - i;
    await addDecision(site.pool, site.tenant, await site.addMail(mail('Invoice')), {
      action: 'assign',
      targets: [erp, crm],
      ago,
    });
    await addDecision(site.pool, site.tenant, await site.addMail(mail('News')), { action: 'close', ago });
  }
  await learnNow(site.pool);
}

async function assigned({ channel, sequence }: Place): Promise<number[]> {
  const { rows } = await site.pool.query<{ targets: number[] }>(
    'select targets from decision where tenant = $1 and channel = $2 and sequence = $3',
    [site.tenant.id, channel, sequence],
  );
  return rows.flatMap(({ targets }) => targets).sort((a, b) => a - b);
}

test('a suggestion says why, and its one button takes it', async () => {
  await teach();
  const place = await site.addMail(mail('Invoice'));
  await open(`/messages/${messageId(place)}`);
  const suggestion = page.locator('.suggestion');
  await suggestion.waitFor();
  await suggestion.locator('summary').first().click();
  expect(await suggestion.textContent()).toMatch(/subject\s+invoice\s+×\d/);
  await expectAccessible(page);
  await page.locator('[data-take-suggestion]').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('status').filter({ hasText: 'Assigned' }).waitFor();
  expect(await assigned(place)).toEqual([site.targets.crm, site.targets.erp].sort((a, b) => a - b));
});

test('nothing is suggested for what people close, nor before anything was learnt', async () => {
  const early = await site.addMail(mail('Invoice'));
  await open(`/messages/${messageId(early)}`);
  await page.getByRole('heading', { name: 'Invoice' }).waitFor();
  expect(await page.locator('.suggestion').count()).toBe(0);
  await teach();
  await page.goto(`/messages/${messageId(await site.addMail(mail('News')))}`);
  await page.getByRole('heading', { name: 'News' }).waitFor();
  expect(await page.locator('.suggestion').count()).toBe(0);
});

test('hostile words are shown as words', async () => {
  await teach();
  const place = await site.addMail(mail('Invoice <img src=x onerror=alert(1)> \u202ekcab'));
  await open(`/messages/${messageId(place)}`);
  await page.locator('.suggestion summary').first().click();
  expect(await page.locator('.suggestion img').count()).toBe(0);
});

test('a message’s page says by which probability it was routed, or what it lacked', async () => {
  await teach();
  const { erp, crm } = site.targets;
  const place = await site.addMail(mail('Invoice'));
  const scores = [
    [erp, 0.7, 0.6],
    [crm, 0.7, 0.8],
  ] as const;
  await plan(site.pool, site.tenant, place, {
    kind: 'extra',
    targets: [[erp, 1, 'later']],
    by: { by: 'suggestion', set: 0, model: 1, scores },
  });
  await open(`/messages/${messageId(place)}`);
  const section = page.getByRole('region', { name: 'What decisions before said of it' });
  expect(await section.locator('summary').allTextContents()).toEqual([
    expect.stringMatching(/^exceeded erp 0\.7, above 0\.6$/),
    expect.stringMatching(/^not exceeded crm 0\.7 of 0\.8 needed$/),
  ]);
  expect(await section.textContent()).toContain('subject invoice');
  await expectAccessible(page);
});

test('a target’s page says what was learnt of it and what each threshold would have meant', async () => {
  await teach();
  await site.pool.query(
    `update target set definition = definition || '{"automatic":{"threshold":0.6,"decisions":30}}' where id = $1`,
    [site.targets.erp],
  );
  await open('/targets/erp');
  const section = page.getByRole('region', { name: /By probability/ });
  expect(await section.textContent()).toContain('Needs 30 decisions, has 24');
  expect(await section.textContent()).toContain('Learnt from 24 decisions, 12 of which chose it');
  const row = section.locator('tr.current');
  expect((await row.textContent())?.replace(/\s+/g, ' ').trim()).toBe('0.63100 %100 %');
  await expectAccessible(page);
});
