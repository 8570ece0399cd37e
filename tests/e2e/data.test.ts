import { expect, test } from 'vitest';
import { messageId } from '../../src/message/id.js';
import { decisionsOf } from '../../src/storage/decisions.js';
import { expectAccessible } from './harness.js';
import { open, page, shown, site, somebody, type Visitor, visit } from './visit.js';

visit('one site', async () => {
  site.lookFor(site.sources.mail, [{ from: 'lines', labels: {} }]);
  await define(site.targets.erp, { kind: 'pull', fields: { 'order-number': 'orderId', amount: 'total.gross' } });
  await define(site.targets.archive, { kind: 'pull', body: 'raw' });
});

function define(target: number, definition: object) {
  return site.pool.query('update target set definition = $1 where id = $2', [definition, target]);
}

const MAIL = `From: anna@elsewhere.example
To: invoices@example.com
Subject: An order
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/plain; charset=utf-8

Order no: A-17
Total: 1.234
Phone: +49 30 123456
Mobile: +49 170 1234567
Name: \u202eanna<script>
--x
Content-Type: text/csv; name="rows.csv"
Content-Disposition: attachment; filename="rows.csv"

a;b
--x--
`.replaceAll('\n', '\r\n');

async function openMail(options: Visitor = {}): Promise<string> {
  const place = await site.addMail(MAIL);
  await open(`/messages/${messageId(place)}`, options);
  return messageId(place);
}

async function decided(id: string) {
  const [channel = 0, sequence = 0] = id.split('-').map(Number);
  const decisions = await decisionsOf(site.pool, site.tenant.id, { channel, sequence });
  return decisions.map(({ action, targets, portion }) => ({ action, targets, portion }));
}

const choice = (name: string | RegExp) => page.getByRole('radio', { name });

test.each(['light', 'dark'] as const)(
  'what was found is shown with its place, and what no target knows is said (%s)',
  async (colorScheme) => {
    await openMail({ colorScheme });
    const table = page.getByRole('region', { name: 'Found in it' });
    const row = (type: string) =>
      table.getByRole('row').filter({ has: page.getByRole('rowheader', { name: type, exact: true }) });
    expect(await row('order-number').textContent()).toMatch(/A-17\s+text, line 1\s+erp: orderId/);
    expect(await row('amount').textContent()).toMatch(/1\.234 unclear\s+text, line 2\s+erp: total\.gross/);
    expect(await row('phone').count()).toBe(2);
    expect(await page.getByText('erp does not know: phone ×2, name').count()).toBe(1);
    expect(await table.locator('script').count()).toBe(0);
    await expectAccessible(page);
  },
);

test('nothing is said where nothing is looked for', async () => {
  const place = await site.addEvent('{"order":"A-17"}');
  await somebody();
  await page.goto(`/messages/${messageId(place)}`);
  expect(await page.getByRole('heading', { name: 'Found in it' }).count()).toBe(0);
  expect(await page.getByRole('group', { name: 'What of it' }).count()).toBe(0);
});

test('an attachment alone is assigned, by keys', async () => {
  const id = await openMail();
  await page.keyboard.press('1');
  await choice('only rows.csv').focus();
  await page.keyboard.press('Space');
  // Keys go on while a choice has the focus.
  await page.keyboard.press('3');
  await page.getByRole('button', { name: 'Assign' }).press('Enter');
  await shown(page.getByText('Held for 10 seconds before it goes out'));
  expect(await decided(id)).toEqual([
    { action: 'assign', targets: [site.targets.archive, site.targets.erp], portion: { part: 1 } },
  ]);
  expect(await page.getByText('Only attachment 1.').count()).toBe(1);
});

test('an attachment alone is assigned from a list, and the next message opens', async () => {
  const next = await openMail();
  const id = messageId(await site.addMail(MAIL.replace('An order', 'A later order')));
  await page.goto(`/messages/${id}?back=/inbox`);
  await page.waitForLoadState('networkidle');
  await page.keyboard.press('1');
  await choice('only rows.csv').focus();
  await page.keyboard.press('Space');
  await page.getByRole('button', { name: 'Assign' }).press('Enter');
  await page.waitForURL((url) => url.pathname === `/messages/${next}`);
  expect(await decided(id)).toMatchObject([{ action: 'assign', portion: { part: 1 } }]);
});

test('fields alone are assigned to who can have them, and whoever can not is named', async () => {
  const id = await openMail();
  await page.getByRole('checkbox', { name: /erp/ }).check();
  await page.getByRole('checkbox', { name: /archive/ }).check();
  await page.getByRole('checkbox', { name: /order-number/ }).check();
  expect(await choice('only these fields').isChecked()).toBe(true);
  await page.getByRole('button', { name: 'Assign' }).click();
  expect(await page.getByRole('alert').textContent()).toContain('Target "archive" gets raw bytes');
  expect(await decided(id)).toEqual([]);
  // What was chosen is still chosen.
  expect(await page.getByRole('checkbox', { name: /order-number/ }).isChecked()).toBe(true);
  await page.getByRole('checkbox', { name: /archive/ }).uncheck();
  await page.getByRole('button', { name: 'Assign' }).click();
  await page.getByText('Held for 10 seconds before it goes out').waitFor();
  expect(await decided(id)).toEqual([
    { action: 'assign', targets: [site.targets.erp], portion: { fields: ['order-number'] } },
  ]);
});

test('without scripts, ticked fields beside another choice are asked about and not guessed', async () => {
  const id = await openMail({ javaScriptEnabled: false });
  await page.getByRole('checkbox', { name: /erp/ }).check();
  await page.getByRole('checkbox', { name: /order-number/ }).check();
  await page.getByRole('button', { name: 'Assign' }).click();
  expect(await page.getByRole('alert').textContent()).toContain('choose “only these fields”');
  expect(await decided(id)).toEqual([]);
});
