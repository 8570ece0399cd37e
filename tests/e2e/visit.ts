import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import type { Role } from '../../src/access/permission.js';
import type { Place } from '../../src/message/id.js';
import { launchBrowser } from '../support/chromium.js';
import { startSite, type TestSite } from './harness.js';

/* What the browser tests of one file share: a browser, the site, and the page that was opened last. */

export type Visitor = BrowserContextOptions & { readonly role?: Role; readonly name?: string };

export let browser: Browser;
export let site: TestSite;
export let page: Page;
let contexts: BrowserContext[] = [];

/** Starts the browser once a file, and the site once a file or before each test; what a test opens is closed after it. */
export function visit(
  sites: 'one site' | 'a site each',
  furnish: () => Promise<unknown> = async () => undefined,
): void {
  const start = async () => {
    site = await startSite();
    await furnish();
  };
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser?.close());
  if (sites === 'one site') {
    beforeAll(start);
    afterAll(() => site?.close());
  } else {
    beforeEach(start);
    afterEach(() => site?.close());
  }
  // Hooks of a kind run last first: what was opened is closed before the site is.
  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
  });
}

/** A browser's window that nobody has signed in to. */
export async function stranger(options: BrowserContextOptions = {}): Promise<Page> {
  return appear(await browser.newContext({ baseURL: site.origin, ...options }));
}

/** A window of somebody who has signed in, before it shows anything. */
export async function somebody(options: Visitor = {}, of = site): Promise<Page> {
  return appear(await of.signedIn(browser, options));
}

async function appear(context: BrowserContext): Promise<Page> {
  contexts.push(context);
  page = await context.newPage();
  return page;
}

/** A window of somebody who has signed in and opened a page. */
export async function open(path: string, options: Visitor = {}, of = site): Promise<Page> {
  await somebody(options, of);
  await page.goto(path);
  return page;
}

/** Goes on with Tab until something has the focus: once the page's scripts have run, which may move it themselves. */
export async function tabTo(locator: Locator): Promise<void> {
  await locator.waitFor();
  await page.waitForLoadState();
  for (let i = 0; i < 400; i++) {
    if (await isFocused(locator)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`Tab does not lead to ${locator}`);
}

/** Waits until something is shown that a press or a click has led to, and until the page that shows it is whole and has its keys. */
export async function shown(locator: Locator): Promise<void> {
  await locator.first().waitFor();
  await locator.page().waitForLoadState();
}

export const isFocused = (locator: Locator) => locator.evaluate((element) => element === document.activeElement);

/** A mail of one line of text. */
export const mail = (subject: string, from = 'Anna <anna@sender.example>') =>
  `From: ${from}\r\nTo: invoices@example.com\r\nSubject: ${subject}\r\n\r\nThe text of ${subject}.\r\n`;

/** What people decided about a message, as `action targets reason` each. */
export async function decisions({ channel, sequence }: Place): Promise<string[]> {
  return (await decidedBy({ channel, sequence })).map(({ what }) => what);
}

/** As {@link decisions}, with who did. */
export async function decidedBy({
  channel,
  sequence,
}: Place): Promise<{ readonly who: string; readonly what: string }[]> {
  const { rows } = await site.pool.query<{ who: string; what: string }>(
    `select d.who, concat_ws(' ', d.action, (select string_agg(t.name, ',' order by t.name) from target t
        where t.tenant = d.tenant and t.id = any(d.targets)), nullif(d.reason, '')) as what
       from decision d where tenant = $1 and channel = $2 and sequence = $3 order by version`,
    [site.tenant.id, channel, sequence],
  );
  return rows;
}
