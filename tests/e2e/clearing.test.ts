import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { messageId, type Place } from '../../src/message/id.js';
import { createFreshWords } from '../../src/storage/fresh-words.js';
import { fillSearch } from '../../src/storage/search.js';
import { quarantined } from '../routes/seed.js';
import { until } from '../support/until.js';
import { expectAccessible } from './harness.js';
import { decidedBy, mail, open, shown, site, visit } from './visit.js';

visit('a site each');

/** What people decided about a message, as `who action targets reason`. */
const decisions = async (place: Place) => (await decidedBy(place)).map(({ who, what }) => `${who} ${what}`);

const decided = (place: Place, lines: readonly string[]) =>
  until(async () => (await decisions(place)).join() === lines.join(), `${messageId(place)} to be decided`);

const title = (page: Page, name: string) => shown(page.getByRole('heading', { name, level: 1, exact: true }));

describe('from a message to the next', () => {
  test('two keys each, in the order of the list and its filter', async () => {
    const third = await site.addMail(mail('third'));
    await site.addEvent('{"n":1}');
    const second = await site.addMail(mail('second'));
    const first = await site.addMail(mail('first'));
    const page = await open('/inbox?source=mail', { name: 'bea' });
    for (const key of ['j', 'Enter']) await page.keyboard.press(key);
    await title(page, 'first');
    for (const key of ['2', 'Enter']) await page.keyboard.press(key);
    await title(page, 'second');
    expect(new URL(page.url()).pathname).toBe(`/messages/${messageId(second)}`);
    await decided(first, ['bea assign crm']);
    await page.keyboard.press('e');
    await page.keyboard.press('1');
    await title(page, 'third');
    await decided(second, ['bea close nothing to do']);
    await page.keyboard.press('b');
    await page.keyboard.press('1');
    // No other follows: back to the list, with its filter.
    await page.getByText('Nothing here matches.').waitFor();
    expect(new URL(page.url()).searchParams.get('source')).toBe('mail');
    expect(await decisions(third)).toEqual(['bea snooze']);
  });

  test('spam takes one key and offers a rule, and what was done is taken back', async () => {
    await site.addMail(mail('next'));
    const place = await site.addMail(mail('spam'));
    const page = await open('/inbox', { name: 'bea' });
    for (const key of ['j', 'Enter']) await page.keyboard.press(key);
    await title(page, 'spam');
    await page.keyboard.press('!');
    await title(page, 'next');
    const rule = page.getByRole('status').getByRole('link', { name: 'Make a rule of this' });
    expect(await rule.getAttribute('href')).toBe(`/rules/edit?like=${messageId(place)}&close=spam`);
    await decided(place, ['bea close spam']);
    await page.keyboard.press('z');
    await title(page, 'spam');
    expect(await decisions(place)).toEqual(['bea close spam', 'bea reopen']);
  });

  test('of two people at once the second is told who decided what, and nothing is sent twice', async () => {
    await site.addMail(mail('next'));
    const place = await site.addMail(mail('contested'));
    const pages = [await open('/inbox', { name: 'anna' }), await open('/inbox', { name: 'bert' })] as const;
    for (const page of pages) {
      for (const key of ['j', 'Enter']) await page.keyboard.press(key);
      await title(page, 'contested');
    }
    await Promise.all(
      pages.map(async (page) => {
        for (const key of ['2', 'Enter']) await page.keyboard.press(key);
        await title(page, 'next');
      }),
    );
    await until(async () => {
      const told = await Promise.all(pages.map((page) => page.getByRole('alert').allTextContents()));
      return told.flat().length === 1;
    }, 'one of them to be told');
    const told = (await Promise.all(pages.map((page) => page.getByRole('alert').allTextContents()))).flat();
    expect(told[0]).toMatch(/is not decided\. Not done: (anna|bert) decided "assign" meanwhile/);
    expect(await decisions(place)).toHaveLength(1);
  });

  test('a note is written, and a message claimed; others see both', async () => {
    const place = await site.addMail(mail('mine'));
    const page = await open('/inbox', { name: 'bea' });
    for (const key of ['j', 'n']) await page.keyboard.press(key);
    await page.keyboard.type('ask Otto');
    await page.keyboard.press('Enter');
    await page.locator('.note').filter({ hasText: 'bea: ask Otto' }).waitFor();
    await page.keyboard.press('Enter');
    await title(page, 'mine');
    await page.keyboard.press('c');
    await page.getByText('You see to it until').waitFor();
    const other = await open('/inbox', { name: 'carla' });
    await other.getByText('bea sees to it').waitFor();
    await other.getByText('open by bea').waitFor();
    expect(await other.locator('.note').textContent()).toBe('bea: ask Otto');
    await page.goto('/inbox?claim=mine');
    expect(await page.locator('.row').count()).toBe(1);
    await other.locator('.who-open:empty').waitFor({ state: 'attached' });
    await other.keyboard.press('j');
    await other.keyboard.press('!');
    await other.getByRole('status').filter({ hasText: 'Closed' }).waitFor();
    expect((await decisions(place)).at(-1)).toBe('carla close spam');
  });
});

describe('what is held stands in the same list', () => {
  test('keys do what fits, and say so when they don’t', async () => {
    await site.addMail(mail('a message'));
    const number = await quarantined(site.pool, site.tenant, site.sources.billing, 'conflict');
    const page = await open('/inbox');
    expect(await page.locator('.row').count()).toBe(2);
    await page.keyboard.press('j');
    await page.keyboard.press('1');
    await page.getByText(`q-${number} is in quarantine: a releases it, e discards it.`).waitFor();
    expect(await page.locator('input[name="targets"]:checked').count()).toBe(0);
    await page.keyboard.press('b');
    expect(await page.getByRole('dialog').count()).toBe(0);
    await page.keyboard.press('e');
    await page.keyboard.press('1');
    await shown(page.getByRole('status').filter({ hasText: 'Discarded' }));
    const { rows } = await site.pool.query('select state from quarantine where number = $1', [number]);
    expect(rows).toEqual([{ state: 'discarded' }]);
    await page.keyboard.press('j');
    await page.keyboard.press('a');
    await page.getByText('is not in quarantine: assign it with a digit').waitFor();
    expect(await page.locator('[data-inbox-count]').textContent()).toBe('1');
  });

  test('it is filtered by kind, and the filter is kept on the way back', async () => {
    await site.addMail(mail('a message'));
    const number = await quarantined(site.pool, site.tenant, site.sources.billing, 'expired');
    const page = await open('/inbox');
    await page.getByRole('link', { name: '1 expired' }).click();
    await page.waitForURL(/need=expired/);
    expect(await page.locator('.row').count()).toBe(1);
    await page.locator('[data-row]').click();
    await shown(page.getByRole('button', { name: 'Discard' }));
    expect(new URL(page.url()).pathname).toBe(`/quarantine/q-${number}`);
    await page.keyboard.press('u');
    await page.getByRole('heading', { name: 'Inbox' }).waitFor();
    expect(new URL(page.url()).search).toBe('?need=expired');
  });
});

describe('many at once', () => {
  test('a range is selected by keys and closed', async () => {
    const places = [];
    for (const name of ['d', 'c', 'b', 'a']) places.push(await site.addMail(mail(name)));
    const page = await open('/inbox', { name: 'bea' });
    for (const key of ['j', 'x', 'j', 'j', 'Shift+X', 'e', '1']) await page.keyboard.press(key);
    await shown(page.getByRole('status').filter({ hasText: 'Closed' }));
    expect(await Promise.all(places.map(decisions))).toEqual([[], ...Array(3).fill(['bea close nothing to do'])]);
    await page.getByLabel('Select all on this page').check();
    expect(await page.locator('.row input:checked').count()).toBe(1);
  });

  test('all that match are confirmed with their count, decided with progress; what changed is left and said', async () => {
    const places: Place[] = [];
    for (let i = 0; i < 60; i++) places.push(await site.addMail(mail(`offer ${i}`)));
    const event = await site.addEvent('{"n":1}');
    const page = await open('/inbox?source=mail', { name: 'bea' });
    await page.getByRole('link', { name: 'All that match' }).click();
    await shown(page.getByLabel('Because'));
    await expectAccessible(page);
    await page.getByLabel('Because').fill('old offers');
    const late = await site.addMail(mail('has come since'));
    await page.getByRole('button', { name: 'Close all 60' }).click();
    await page.getByText('60 of 60 decided.').waitFor();
    expect(await decisions(places[59] as Place)).toEqual(['bea close old offers']);
    expect([await decisions(late), await decisions(event)]).toEqual([[], []]);
  });
});

test('words are found and marked, whatever a sender writes', async () => {
  await site.addMail(mail('=?utf-8?Q?<b>Gr=C3=B6=C3=9Fe</b>_bestellt?='));
  await site.addMail(mail('something else'));
  await fillSearch(site.pool, ['mail'], createFreshWords(1e6), () => false);
  const page = await open('/inbox');
  await page.keyboard.press('/');
  await page.keyboard.type('groß');
  await page.keyboard.press('Enter');
  await shown(page.locator('.row mark'));
  expect(await page.locator('.row').count()).toBe(1);
  expect(await page.locator('.title').textContent()).toBe('<b>Größe</b> bestellt');
  expect(await page.locator('.title mark').textContent()).toBe('Größe');
  await expectAccessible(page);
});

test('what turns the direction of writing is seen, in a list and on a page', async () => {
  const trick = '\u202egpj.exe';
  const encoded = `=?utf-8?B?${Buffer.from(`bill ${trick}`).toString('base64')}?=`;
  await site.addMail(
    mail(encoded, `=?utf-8?B?${Buffer.from(`Bank\u2066\u200b`).toString('base64')}?= <x@sender.example>`),
  );
  const page = await open('/inbox');
  expect(await page.locator('.title').textContent()).toBe('bill ⟨202E⟩gpj.exe');
  expect(await page.locator('.what .sub').first().textContent()).toMatch(/^Bank⟨2066⟩⟨200B⟩$/);
  await page.locator('[data-row]').click();
  await title(page, 'bill ⟨202E⟩gpj.exe');
});

test('narrow and wide, light and dark, nothing is out of reach', async () => {
  for (let i = 0; i < 3; i++) await site.addMail(mail(`a subject that says a little more than others, ${i}`));
  await quarantined(site.pool, site.tenant, site.sources.billing, 'conflict');
  for (const [colorScheme, width] of [
    ['light', 400],
    ['dark', 1280],
  ] as const) {
    const page = await open('/inbox', { colorScheme, viewport: { width, height: 900 } });
    await expectAccessible(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    expect(wide).toBe(false);
    const shots = process.env.WAYBILL_SHOTS;
    if (shots) await page.screenshot({ path: `${shots}/inbox-${colorScheme}-${width}.png`, fullPage: true });
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.keyboard.press('b');
    await page.getByRole('dialog').waitFor();
    if (shots) await page.screenshot({ path: `${shots}/menu-${colorScheme}-${width}.png` });
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    await page.keyboard.press('Enter');
    await shown(page.locator('[data-reading]'));
    await expectAccessible(page);
    if (shots) await page.screenshot({ path: `${shots}/message-${colorScheme}-${width}.png`, fullPage: true });
    await page.goto('/inbox/all');
    if (shots) await page.screenshot({ path: `${shots}/all-${colorScheme}-${width}.png`, fullPage: true });
  }
});
