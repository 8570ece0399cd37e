import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { launchBrowser } from '../support/chromium.js';
import { until } from '../support/until.js';
import { startSite, type TestSite } from './harness.js';

/*
 * Clearing a large inbox while more comes in. WAYBILL_LONG=1 has a million messages wait, and holds the figures; without it
 * a few thousand do, and it holds that the way is right.
 */
const LONG = process.env.WAYBILL_LONG === '1';
const WAITING = LONG ? 1_000_000 : 5_000;
const CLEARED = LONG ? 200 : 25;
const ARRIVING_MS = 200;

let browser: Browser;
let site: TestSite;
let context: BrowserContext;
let page: Page;

beforeAll(async () => {
  browser = await launchBrowser();
  site = await startSite();
  await fill();
  context = await site.signedIn(browser, { name: 'bea' });
  page = await context.newPage();
}, 900_000);
afterAll(async () => {
  await context?.close();
  await browser?.close();
  await site?.close();
});

/** Messages that wait, spread over the channels, one a second into the past. */
async function fill(): Promise<void> {
  const { pool, tenant, sources } = site;
  const each = WAITING / tenant.channels;
  await pool.query(
    `insert into span (tenant, channel, first_sequence, generation)
    select $1::int, n, 1, 1 from generate_series(0, $2::int - 1) n`,
    [tenant.id, tenant.channels],
  );
  for (let from = 1; from <= each; from += 25_000) {
    const to = Math.min(each, from + 24_999);
    for (let channel = 0; channel < tenant.channels; channel++) {
      const of = [tenant.id, channel, from, to];
      await pool.query(
        `insert into message (generation, tenant, channel, sequence, source, kind, account, type, arrived_at, peer, meta, sha256, batch, raw)
           select 1, $1::int, $2::smallint, n, $5::int, 'mail', 'desk' || n % 50 || '@example.com', 'mail', now() - n * interval '1 second', 'x', null,
             sha256(int8send(n)), 1, convert_to('Subject: m' || n || E'\\r\\n\\r\\nbody', 'UTF8') from generate_series($3::bigint, $4::bigint) n`,
        [...of, sources.mail],
      );
      await pool.query(
        `insert into view (generation, tenant, channel, sequence, rung, body)
           select 1, $1::int, $2::smallint, n, 0, ($5::jsonb || jsonb_build_object('subject', 'Message ' || $2::smallint || '-' || n,
             'text', 'The text of it, ' || n))::json
           from generate_series($3::bigint, $4::bigint) n`,
        [...of, JSON.stringify(EMPTY_VIEW)],
      );
      await pool.query(
        `insert into standing (tenant, channel, sequence, state, version, since)
           select $1::int, $2::smallint, n, 'waiting', 1, now() - n * interval '1 second' from generate_series($3::bigint, $4::bigint) n`,
        of,
      );
    }
  }
  await pool.query('update channel set last_sequence = $2, generation = 1 where tenant = $1', [tenant.id, each]);
  await pool.query('update reader set planned = $2 where tenant = $1', [tenant.id, each]);
  await pool.query('analyze');
}

/** The p-th of some times, in ms. */
function percentile(times: readonly number[], p: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

/** Has the page write down how long each new heading took from the last key, up to the frame that shows it. */
async function watchHeadings(): Promise<void> {
  await page.evaluate(() => {
    const heading = () => document.querySelector('h1')?.textContent;
    const times: number[] = [];
    let began = 0;
    let last = heading();
    Object.assign(globalThis, { times });
    addEventListener('keydown', () => (began = performance.now()), true);
    new MutationObserver(() => {
      if (heading() === last) return;
      last = heading();
      requestAnimationFrame((shown) => times.push(Math.max(shown, performance.now()) - began));
    }).observe(document.body, { childList: true, subtree: true });
  });
}

test(`of ${WAITING.toLocaleString('en')} that wait, ${CLEARED} are cleared at two keys each while more come in`, async () => {
  let arrived = 0;
  let arriving = true;
  const coming = (async () => {
    while (arriving) {
      site.announce(await site.addMail(`From: x@sender.example\r\nSubject: fresh ${arrived}\r\n\r\nx`));
      arrived++;
      await new Promise((resolve) => setTimeout(resolve, ARRIVING_MS));
    }
  })();
  try {
    const pages: number[] = [];
    for (let i = 0; i < 20; i++) {
      const began = performance.now();
      const response = await page.request.get('/inbox');
      expect(response.status()).toBe(200);
      await response.body();
      pages.push(performance.now() - began);
    }
    await page.goto('/inbox?source=mail');
    for (const key of ['j', 'Enter']) await page.keyboard.press(key);
    await page.locator('[data-reading][data-next]').waitFor();
    await watchHeadings();
    for (let i = 0; i < CLEARED; i++) {
      for (const key of ['e', '1']) await page.keyboard.press(key);
      await page.waitForFunction((n) => (globalThis as unknown as { times: number[] }).times.length === n, i + 1);
    }
    const times = await page.evaluate(() => (globalThis as unknown as { times: number[] }).times);
    const figures = {
      waiting: WAITING,
      arrived,
      page: { p50: percentile(pages, 0.5), p95: percentile(pages, 0.95) },
      keyToNext: { p50: percentile(times, 0.5), p95: percentile(times, 0.95), most: Math.max(...times) },
    };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    const decided = async () => {
      const { rows } = await site.pool.query<{ n: number }>(
        `select count(*) as n from decision where tenant = $1 and action = 'close' and who = 'bea'`,
        [site.tenant.id],
      );
      return rows[0]?.n;
    };
    await until(async () => (await decided()) === CLEARED, 'the last of them to be written');
    expect(await page.getByRole('alert').count()).toBe(0);
    arriving = false;
    await coming;
    const { rows } = await site.pool.query<{ n: number }>(
      `select count(*) as n from standing where tenant = $1 and state = 'waiting'`,
      [site.tenant.id],
    );
    const counts = await (await page.request.get('/v1/inbox/counts')).json();
    expect(counts.waiting).toBe(rows[0]?.n);
    expect(counts.waiting).toBe(WAITING + arrived - CLEARED);
    if (!LONG) return;
    expect(figures.keyToNext.p95).toBeLessThanOrEqual(100);
    expect(figures.page.p50).toBeLessThanOrEqual(50);
  } finally {
    arriving = false;
    await coming;
  }
}, 600_000);
