import { beforeAll, describe, expect, test } from 'vitest';
import { messageId } from '../../src/message/id.js';
import { addDelivery, addMessage, plan, quarantined, stand } from '../routes/seed.js';
import { addBilling, addUsage } from './billed.js';
import { addHistory, addOwner } from './figures.js';
import { expectAccessible } from './harness.js';
import { open, page, shown, site, stranger, visit } from './visit.js';

/** WAYBILL_LONG=1 has axe look at every page in both themes and both layouts; else each theme and each layout once. */
const LONG = process.env.WAYBILL_LONG === '1';

visit('one site');

describe('signing in', () => {
  test('whoever is not signed in is shown how to', async () => {
    await stranger();
    await page.goto('/inbox');
    expect(new URL(page.url()).pathname).toBe('/sign-in');
    await page.getByText('waybill user add NAME').waitFor();
  });

  test('a link works once, when its button is pressed, and signing out ends it', async () => {
    const link = await site.linkFor('newcomer', 'operator');
    await stranger();
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
  await shown(page.getByRole('status').filter({ hasText: 'Resumed.' }));
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
  await page.waitForURL(/state=failed/);
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

const BOMB = [
  'From: "<b>Eve</b>" <eve@example.com>',
  'Subject: =?utf-8?Q?<script>document.title=3D"taken"</script>?=',
  'MIME-Version: 1.0',
  'Content-Type: multipart/mixed; boundary=b',
  '',
  '--b',
  'Content-Type: text/plain',
  '',
  'The text of it, <i>as written</i>.',
  '--b',
  'Content-Type: application/pdf; name="bill.pdf"',
  'Content-Disposition: attachment',
  '',
  'x',
  '--b--',
  '',
].join('\r\n');

/** A mail that no rung could read, with the try that says why. */
async function poison(crash: string): Promise<{ id: string; sequence: number }> {
  const { pool, tenant, sources } = site;
  const place = await addMessage(pool, tenant, { source: sources.mail, kind: 'mail', channel: 2, raw: BOMB });
  await plan(pool, tenant, place, { mode: 'quarantine' });
  await stand(pool, tenant, place, 'quarantined');
  await pool.query(
    `insert into attempt (tenant, channel, first_sequence, last_sequence, rung, stage, try, process, ended_at, outcome, reason)
     values ($1, $2, $3, $3, 0, 'begun', 1, '7f6e4a52-0000-4000-8000-000000000003', now(), 'failed', 'file of part 2: crashed: <img src=x>')`,
    [tenant.id, place.channel, place.sequence],
  );
  const number = await quarantined(pool, tenant, sources.mail, 'poison', place, { kind: 'mail', raw: BOMB, crash });
  return { id: `q-${number}`, sequence: place.sequence };
}

async function standingOf(sequence: number) {
  const { rows } = await site.pool.query(
    `select state, rung, by_hand, ready_at > now() as later, reason from standing where channel = 2 and sequence = $1`,
    [sequence],
  );
  return rows[0];
}

test('a poison mail is looked at rung by rung, and read again on one of them', async () => {
  const { id, sequence } = await poison('ab'.repeat(32));
  await open(`/quarantine/${id}`);
  const tries = page.getByRole('group', { name: 'Tries of reading it' });
  await tries.getByText('file of part 2: crashed: <img src=x>').waitFor();
  await page.getByRole('link', { name: '6 files' }).focus();
  await page.keyboard.press('Enter');
  const view = page.getByRole('region', { name: 'On rung 6, files' });
  await view.getByText('<script>document.title="taken"</script>').waitFor();
  await shown(view.getByText('The text of it, <i>as written</i>.'));
  const diff = page.getByRole('region', { name: 'Different from rung 5, nested' });
  expect(await diff.locator('del').allTextContents()).toContainEqual(expect.stringMatching(/^- 2 bill\.pdf/));
  expect(await diff.locator('ins').allTextContents()).toContainEqual(expect.stringMatching(/^\+ 2 \(bill\.pdf/));
  expect(await page.title()).not.toContain('taken');
  expect(await page.locator('.reading img, .reading script').count()).toBe(0);
  await page.getByRole('link', { name: '0 full' }).click();
  await page.getByRole('heading', { name: 'Nothing is above it' }).waitFor();

  await page.getByRole('combobox', { name: 'On rung' }).selectOption('6');
  await page.getByRole('combobox', { name: 'When' }).selectOption('4');
  await page.getByLabel('Because', { exact: true }).fill('the parser is mended');
  await page.getByRole('button', { name: 'Read again' }).click();
  await page.getByRole('status').filter({ hasText: 'Will be read once more.' }).waitFor();
  const standing = { state: 'parked', rung: 6, by_hand: true, later: true, reason: 'the parser is mended' };
  expect(await standingOf(sequence)).toEqual(standing);
});

test('a poison mail is released as it is', async () => {
  const { id, sequence } = await poison('ac'.repeat(32));
  await open(`/quarantine/${id}`);
  await page.getByRole('button', { name: 'Release as it is' }).click();
  await page.waitForURL(`**/messages/2-${sequence}`);
  expect(await standingOf(sequence)).toMatchObject({ state: 'parked', rung: 10, by_hand: true });
});

test('all that fail as one another are decided about together', async () => {
  const crash = 'ad'.repeat(32);
  const [first, second, other] = [await poison(crash), await poison(crash), await poison('ae'.repeat(32))];
  await open(`/quarantine/${first?.id}`);
  await page.getByRole('link', { name: 'All like it' }).click();
  await shown(page.getByText('Only those that fail as one another'));
  expect(await page.locator('.row').count()).toBe(2);
  await page.getByRole('button', { name: 'Discard all' }).click();
  await page.getByRole('status').filter({ hasText: 'Discarded: 2 entries.' }).waitFor();
  expect((await standingOf(first?.sequence ?? 0)).state).toBe('closed');
  expect((await standingOf(second?.sequence ?? 0)).state).toBe('closed');
  expect((await standingOf(other?.sequence ?? 0)).state).toBe('quarantined');
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
  await shown(page.getByText('revoked', { exact: true }));
  expect((await call()).status).toBe(401);
  expect(await page.content()).not.toContain(token);
});

describe('every page', () => {
  let paths: string[];

  beforeAll(async () => {
    await addOwner(site);
    await addHistory(site);
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
    const billed = await addBilling(site);
    const used = await addUsage(billed, 'acme/eu & co');
    await billed.hold('late/1');
    await billed.use('filled/1', { n: 1, region: 'eu' }, billed.lastMonth, { id: 'came' });
    const backfill = await billed.fill('filled/1', ['came', 'other']);
    await billed.take();
    await site.backfills.end(site.tenant, backfill.id, { action: 'close', who: 'anna', why: '', adjust: false });
    const unclosed = await billed.fill('filled/1', ['more']);
    await billed.take();
    const account = `/billing/accounts/${encodeURIComponent('acme/eu & co')}`;
    paths = [
      '/inbox',
      `/inbox?done=assign&of=${id}:2`,
      '/inbox?q=nothing-has-this',
      '/inbox?state=snoozed',
      '/inbox/all',
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
      `/quarantine/${(await poison('af'.repeat(32))).id}?rung=6`,
      `/quarantine?crash=${'af'.repeat(32)}`,
      '/billing',
      '/billing?q=nobody',
      account,
      `${account}?meter=gb&by=region&window=day`,
      `${account}?meter=calls&window=hour&from=2020-01-01`,
      `${account}/events?meter=gb&from=2020-01-01T00:00:00Z&to=2900-01-01T00:00:00Z`,
      `${account}/correct/${used.last}`,
      `${account}/statements/${billed.lastPeriod}`,
      `/messages/${used.last}`,
      '/billing/gaps',
      '/billing/gaps?list=problems',
      '/billing/gaps?list=unmetered',
      '/billing/gaps?list=held',
      '/billing/backfills',
      `/billing/backfills/${backfill.id}`,
      `/billing/backfills/${unclosed.id}`,
      '/billing/meters',
      '/billing/meters?type=never.metered',
      '/billing/rate-cards?edit=basic',
      '/billing/subscriptions',
      '/overview',
      '/rules',
      '/rules/1',
      '/rules/edit',
      '/rules/waiting',
      '/people',
      '/tokens',
      '/sign-in',
      new URL(await site.linkFor('a-late-one')).pathname,
      '/messages/3-999',
    ];
  });

  test('is in this list', () => {
    const asked = paths.map((path) => new URL(path, site.origin).pathname);
    const pages = site.routes.filter(({ method, replies }) => method === 'get' && replies[200]?.type === 'text/html');
    const unseen = pages
      .map(({ path }) => path)
      // The document within the frame of a mail's HTML is no page of ours.
      .filter((path) => path !== '/messages/:id/html')
      .filter((path) => !asked.some((one) => new RegExp(`^${path.replace(/:[A-Za-z]+/g, '[^/]+')}$`).test(one)));
    expect(unseen, 'pages that are not looked at').toEqual([]);
  });

  // Colours don't depend on the width but for the two layouts that there are, nor layouts on the colours. At 800 the columns of
  // the wide one stand one below the other: axe finds nothing else there, and what is too wide there long runs find.
  describe.each([
    ['light', LONG ? [400, 800, 1280, 1920] : [400, 1920]],
    ['dark', LONG ? [400, 1280] : [1280]],
  ] as const)('in %s', (colorScheme, widths) => {
    test.each(widths)(
      '%i wide is accessible, no wider than the screen, and breaks none of its own rules',
      {
        timeout: 240_000,
      },
      async (width) => {
        // What axe finds depends on the layout, of which there is a narrow and a wide one, and on the colours.
        const looked: readonly number[] = LONG ? [400, 1280] : colorScheme === 'dark' ? [1280] : [400];
        await open('/inbox', { colorScheme, viewport: { width, height: 900 } });
        const complaints: string[] = [];
        page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
        page.on('console', (message) => {
          if (/Content Security Policy|Refused to/.test(message.text()))
            complaints.push(`${page.url()}: ${message.text()}`);
        });
        for (const path of paths) {
          const response = await page.goto(path);
          expect(response?.headers()['content-security-policy'], path).toBe(POLICY);
          await picture(path, colorScheme, width);
          const beyond = await page.evaluate(
            () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
          );
          expect(beyond, `${path} is too wide by`).toBe(0);
          if (looked.includes(width)) await expectAccessible(page);
        }
        expect(complaints).toEqual([]);
      },
    );
  });
});

/** Nothing from elsewhere, and neither scripts nor styles within a page. */
const POLICY =
  "default-src 'self';img-src 'self' data:;object-src 'none';base-uri 'none';form-action 'self';frame-ancestors 'self'";

/** For whoever wants to look: every page goes into the directory that WAYBILL_PICTURES names. */
async function picture(path: string, colorScheme: string, width: number): Promise<void> {
  const directory = process.env.WAYBILL_PICTURES;
  if (directory === undefined) return;
  const name = path.replaceAll(/[^a-z0-9]+/gi, '-').slice(0, 120);
  await page.screenshot({ path: `${directory}/${name}-${width}-${colorScheme}.png`, fullPage: true });
}
