import { describe, expect, test } from 'vitest';
import { messageId, type Place } from '../../src/message/id.js';
import { quarantined } from '../routes/seed.js';
import { browser, decisions, mail, open, page, shown, site, visit } from './visit.js';

visit('a site each');

async function stateOf({ channel, sequence }: Place): Promise<string | undefined> {
  const { rows } = await site.pool.query<{ state: string }>(
    'select state from standing where tenant = $1 and channel = $2 and sequence = $3',
    [site.tenant.id, channel, sequence],
  );
  return rows[0]?.state;
}

describe('by keyboard', () => {
  test('a message is chosen, assigned and taken back', async () => {
    const older = await site.addMail(mail('older'));
    await site.addMail(mail('newer'));
    await open('/inbox');
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.keyboard.press('2');
    await page.keyboard.press('3');
    await page.keyboard.press('Enter');
    const done = page.getByRole('status');
    await shown(done.filter({ hasText: `Assigned: ${messageId(older)}` }));
    expect(await decisions(older)).toEqual(['assign crm,erp']);
    expect(await page.locator('.row').count()).toBe(1);
    await page.keyboard.press('z');
    await shown(done.filter({ hasText: 'Taken back' }));
    expect(await stateOf(older)).toBe('waiting');
    expect(await page.locator('.row').count()).toBe(2);
  });

  test('what a person assigns can be taken back for ten seconds', async () => {
    const place = await site.addMail(mail('held'));
    await open('/inbox');
    for (const key of ['j', '1', 'Enter']) await page.keyboard.press(key);
    await page.getByRole('status').waitFor();
    const { rows } = await site.pool.query(
      'select extract(epoch from hold_until - decided_at) as held from decision where sequence = $1',
      [place.sequence],
    );
    expect(Number(rows[0].held)).toBe(10);
  });

  test('a message is closed with a reason, and the next one has the focus', async () => {
    await site.addMail(mail('third'));
    const second = await site.addMail(mail('second'));
    await site.addMail(mail('first'));
    await open('/inbox');
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.keyboard.press('e');
    await page.keyboard.type('spam');
    await page.keyboard.press('Enter');
    await shown(page.getByRole('status').filter({ hasText: 'Closed' }));
    expect(await decisions(second)).toEqual(['close spam']);
    await page.keyboard.press('j');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toMatch(/first|third/);
  });

  test('Enter opens a message, and from there it is assigned too', async () => {
    const place = await site.addMail(mail('to be read'));
    await open('/inbox');
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await shown(page.getByRole('heading', { name: 'to be read', level: 1 }));
    await page.keyboard.press('1');
    await page.keyboard.press('Enter');
    await page.getByRole('status').filter({ hasText: 'Assigned' }).waitFor();
    expect(new URL(page.url()).pathname).toBe('/inbox');
    expect(await decisions(place)).toEqual(['assign archive']);
  });

  test('the keys are explained, and typing is not taken for keys', async () => {
    const place = await site.addMail(mail('kept'));
    await open('/inbox');
    await page.keyboard.press('?');
    await page.getByRole('dialog').getByText('take back what you just did').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    await page.keyboard.press('/');
    await page.keyboard.type('j1ex');
    expect(await page.getByRole('searchbox').inputValue()).toBe('j1ex');
    expect(await page.locator('input[name="targets"]:checked').count()).toBe(0);
    expect(await stateOf(place)).toBe('waiting');
  });
});

describe('by mouse', () => {
  test('a message is opened, assigned to two targets, and is out of the inbox', async () => {
    const place = await site.addMail(mail('by mouse'));
    await open('/inbox');
    await page.getByRole('link', { name: 'by mouse' }).click();
    await page.getByRole('checkbox', { name: 'archive' }).check();
    await page.getByRole('checkbox', { name: 'erp' }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    await page.getByText('Nothing waits for you.').waitFor();
    expect(await decisions(place)).toEqual(['assign archive,erp']);
    await page.getByRole('button', { name: 'Take back' }).click();
    await page.getByRole('link', { name: 'by mouse' }).waitFor();
  });

  test('several are assigned at once', async () => {
    const places = [
      await site.addMail(mail('one')),
      await site.addMail(mail('two')),
      await site.addMail(mail('three')),
    ];
    await open('/inbox');
    await page.getByRole('checkbox', { name: `Select ${messageId(places[0] as Place)}` }).check();
    await page.getByRole('checkbox', { name: `Select ${messageId(places[2] as Place)}` }).check();
    await page.getByRole('checkbox', { name: 'crm' }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    await page.getByRole('status').filter({ hasText: 'Assigned' }).waitFor();
    expect(await Promise.all(places.map(decisions))).toEqual([['assign crm'], [], ['assign crm']]);
  });
});

describe('without JavaScript', () => {
  test('messages are read, assigned, closed and taken back', async () => {
    const first = await site.addMail(mail('to assign'));
    const second = await site.addMail(mail('to close'));
    await open('/inbox', { javaScriptEnabled: false });
    await page.getByRole('link', { name: 'to assign' }).click();
    expect(await page.getByLabel('Text', { exact: true }).textContent()).toContain('The text of to assign.');
    await page.getByRole('checkbox', { name: 'erp' }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    await page.getByRole('button', { name: 'Take back' }).click();
    await shown(page.getByRole('status').filter({ hasText: 'Taken back' }));
    expect(await decisions(first)).toEqual(['assign', 'unassign erp']);

    await page.getByRole('checkbox', { name: `Select ${messageId(first)}` }).check();
    await page.getByRole('checkbox', { name: 'erp' }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    await shown(page.getByRole('status').filter({ hasText: 'Assigned' }));
    expect((await decisions(first)).at(-1)).toBe('assign erp');

    await page.getByRole('link', { name: 'to close' }).click();
    await page.getByLabel('Close, because').fill('nothing to do');
    await page.getByRole('button', { name: 'Close', exact: true }).click();
    await shown(page.getByText('Nothing waits for you.'));
    expect(await decisions(second)).toEqual(['close nothing to do']);
    await page.getByRole('button', { name: 'Reopen' }).click();
    await page.getByRole('link', { name: 'to close' }).waitFor();
  });

  test('what is missing is said where it is missing, and nothing that was filled in is lost', async () => {
    const place = await site.addMail(mail('unfinished'));
    await open('/inbox', { javaScriptEnabled: false });
    await page.getByRole('checkbox', { name: `Select ${messageId(place)}` }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    expect(await page.getByRole('alert').textContent()).toContain('Choose at least one target');
    expect(await page.getByRole('checkbox', { name: `Select ${messageId(place)}` }).isChecked()).toBe(true);
    expect(await stateOf(place)).toBe('waiting');
  });
});

describe('two people at once', () => {
  test('the second is told who decided what, and can then decide about what it has become', async () => {
    const place = await site.addMail(mail('contested'));
    await open(`/messages/${messageId(place)}`, { name: 'bert' });
    const first = await site.signedIn(browser, { name: 'anna' });
    const other = await first.newPage();
    await other.goto(`/messages/${messageId(place)}`);
    await other.getByLabel('Close, because').fill('mine');
    await other.getByRole('button', { name: 'Close', exact: true }).click();
    await other.getByRole('status').waitFor();
    await first.close();

    await page.getByRole('checkbox', { name: 'crm' }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    await page.getByRole('alert').filter({ hasText: 'anna closed it since you loaded this page' }).waitFor();
    expect(await decisions(place)).toEqual(['close mine']);
    expect(await page.getByRole('checkbox', { name: 'crm' }).isChecked()).toBe(true);
    await page.getByRole('button', { name: 'Assign' }).click();
    await page.getByRole('status').filter({ hasText: 'Assigned' }).waitFor();
    expect(await decisions(place)).toEqual(['close mine', 'assign crm']);
  });

  test('of several, the others are done and the one is named', async () => {
    const taken = await site.addMail(mail('taken'));
    const free = await site.addMail(mail('free'));
    await open('/inbox');
    await site.pool.query(
      `with s as (update standing set version = 2, state = 'closed' where sequence = $1 returning *)
       insert into decision (tenant, channel, sequence, version, who, action, reason, plan)
         select tenant, channel, sequence, 2, 'carla', 'close', 'hers', 0 from s`,
      [taken.sequence],
    );
    for (const place of [taken, free]) {
      await page.getByRole('checkbox', { name: `Select ${messageId(place)}` }).check();
    }
    await page.getByRole('checkbox', { name: 'crm' }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    const alert = page.getByRole('alert');
    await alert.filter({ hasText: '1 of 2 done' }).waitFor();
    expect(await alert.textContent()).toContain(`${messageId(taken)}: carla closed it`);
    expect(await decisions(free)).toEqual(['assign crm']);
  });
});

describe('live', () => {
  test('what is new is announced, and comes in when it is asked for, without moving the focus', async () => {
    await site.addMail(mail('was here'));
    await open('/inbox');
    await page.keyboard.press('j');
    const at = await page.locator('.row').boundingBox();
    const place = await site.addMail(mail('has just come'));
    site.announce(place);
    const bar = page.getByRole('button', { name: '1 new' });
    await bar.waitFor();
    expect(await page.locator('.row').boundingBox()).toEqual(at);
    expect(await page.locator('.row').count()).toBe(1);
    expect(await page.locator('[data-inbox-count]').textContent()).toBe('2');
    await page.keyboard.press('r');
    await page.getByRole('link', { name: 'has just come' }).waitFor();
    expect(await page.locator('.row').count()).toBe(2);
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('was here');
    expect(await bar.isVisible()).toBe(false);
  });

  test('an inbox that was empty takes the first one in', async () => {
    await open('/inbox');
    await page.getByText('Nothing waits for you.').waitFor();
    site.announce(await site.addMail(mail('the first')));
    await page.getByRole('button', { name: '1 new' }).click();
    await page.getByRole('link', { name: 'the first' }).waitFor();
    await page.getByRole('button', { name: 'Assign' }).waitFor();
  });

  test('what somebody else has decided is seen to be gone', async () => {
    const place = await site.addMail(mail('going'));
    await open('/inbox');
    await site.pool.query(`update standing set state = 'closed' where sequence = $1`, [place.sequence]);
    site.announce(place);
    await page.locator('.row.gone').filter({ hasText: 'going' }).waitFor();
  });

  test('a message that changes while it is read says so', async () => {
    const place = await site.addMail(mail('open'));
    await open(`/messages/${messageId(place)}`);
    // The page listens once it has heard of this one.
    site.announce(await site.addMail(mail('another')));
    await page.locator('[data-inbox-count]').filter({ hasText: '2' }).waitFor();
    site.announce(place);
    await page.getByRole('button', { name: 'This message has changed' }).waitFor();
  });
});

test('filters are in the address, and pages go on where the last one ended', async () => {
  for (let i = 0; i < 53; i++) await site.addEvent(`{"n":${i}}`, { account: `account-${i}` });
  await site.addMail(mail('a single mail'));
  await open('/inbox');
  expect(await page.locator('.row').count()).toBe(50);
  await page.getByRole('link', { name: 'Older' }).click();
  await shown(page.getByRole('link', { name: 'Newest' }));
  expect(await page.locator('.row').count()).toBe(4);
  await page.getByRole('link', { name: 'Newest' }).click();
  await shown(page.getByRole('link', { name: 'Older' }));
  await page.getByLabel('Source').selectOption('mail');
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.waitForURL(/source=mail/);
  await page.getByRole('link', { name: 'a single mail' }).waitFor();
  expect(await page.locator('.row').count()).toBe(1);
  expect(new URL(page.url()).searchParams.get('source')).toBe('mail');
  await page.goto('/inbox?q=nobody-has-this');
  await page.getByText('Nothing here matches.').waitFor();
});

test('the oldest come first when that is asked for, on every page, and in the messages that open one after another', async () => {
  const places: Place[] = [];
  for (let i = 0; i < 52; i++) places.push(await site.addEvent(`{"n":${i}}`, { account: `account-${i}` }));
  await site.pool.query(
    `update standing s set since = now() - make_interval(mins => 100 - r.n::int)
       from (select channel, sequence, row_number() over (order by since) as n from standing) r
      where s.channel = r.channel and s.sequence = r.sequence`,
  );
  const ids = () => page.locator('.row').evaluateAll((rows) => rows.map((row) => (row as HTMLElement).dataset.id));
  await open('/inbox');
  await page.getByRole('link', { name: 'Oldest first' }).click();
  await shown(page.getByRole('link', { name: 'Newest first' }));
  expect(await ids()).toEqual(places.slice(0, 50).map(messageId));
  await page.getByRole('link', { name: 'Newer' }).click();
  await shown(page.getByRole('link', { name: '← Oldest' }));
  expect(await ids()).toEqual(places.slice(50).map(messageId));
  await page.getByRole('link', { name: '← Oldest' }).click();
  await shown(page.getByRole('link', { name: 'Newer' }));
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.locator(`[data-reading][data-id="${messageId(places[0] as Place)}"]`).waitFor();
  expect(await page.locator('[data-reading]').getAttribute('data-next')).toContain(messageId(places[1] as Place));
});

test('an entry of the quarantine is claimed, others see that, and see who has it open', async () => {
  const number = await quarantined(site.pool, site.tenant, site.sources.billing, 'conflict');
  await open(`/quarantine/q-${number}`, { name: 'bert' });
  await page.getByRole('button', { name: 'Claim' }).click();
  await page.getByText('You see to it until').waitFor();
  await open('/inbox');
  const row = page.locator('.row', { hasText: 'bert sees to it' });
  await row.getByText('open by bert').waitFor();
  await row.getByRole('link').first().click();
  await page.getByText('bert sees to it until').waitFor();
  await page.getByRole('button', { name: 'Claim it from bert' }).click();
  await page.getByRole('button', { name: 'Not after all' }).click();
  await page.getByRole('button', { name: 'Claim', exact: true }).waitFor();
});

test('what is held in quarantine is in the list, and how long the oldest has waited is said', async () => {
  const place = await site.addMail(mail('old'));
  await site.pool.query(`update standing set since = now() - interval '3 hours' where sequence = $1`, [place.sequence]);
  await quarantined(site.pool, site.tenant, site.sources.billing, 'conflict');
  await open('/inbox');
  expect(await page.getByText('oldest 3 h').count()).toBe(1);
  expect(await page.locator('.row').count()).toBe(2);
  await page.getByRole('link', { name: '1 conflict' }).click();
  await page.waitForURL(/need=conflict/);
  await page.locator('.row[data-need="conflict"]').waitFor();
  expect(await page.locator('.row').count()).toBe(1);
});

test('who may only read is offered nothing else, and refused it', async () => {
  const place = await site.addMail(mail('for reading'));
  await open('/inbox', { role: 'viewer' });
  expect(await page.getByRole('button', { name: 'Assign' }).count()).toBe(0);
  await page.getByRole('link', { name: 'for reading' }).click();
  await shown(page.getByText('The text of for reading.'));
  expect(await page.getByRole('button', { name: 'Assign' }).count()).toBe(0);
  const refused = await page.request.post(`/messages/${messageId(place)}/close`, {
    form: { version: '1', reason: 'x' },
  });
  expect(refused.status()).toBe(403);
  expect(await stateOf(place)).toBe('waiting');
});

test('a form from elsewhere decides nothing', async () => {
  const place = await site.addMail(mail('not for others'));
  await open('/inbox');
  const form = { version: '1', reason: 'x' };
  const refused = await page.request.post(`/messages/${messageId(place)}/close`, {
    form,
    headers: { accept: 'text/html' },
  });
  expect(refused.status()).toBe(403);
  expect(await refused.text()).toContain('load the page again');
  expect(await stateOf(place)).toBe('waiting');
});
