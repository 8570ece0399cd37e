import type { Locator } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { messageId, type Place } from '../../src/message/id.js';
import { parseRuleSet } from '../../src/routing/parse.js';
import { saveRuleSet } from '../../src/storage/rule-sets.js';
import { addMessage, plan } from '../routes/seed.js';
import { expectAccessible } from './harness.js';
import { decisions, isFocused, mail, open, page, shown, site, tabTo, visit } from './visit.js';

visit('a site each');

const rule = (name: string, when: string, then: string) => `  - name: ${name}\n    when: ${when}\n    then: ${then}\n`;

const ORDERS = `# Ours.\nmode: first-match\nrules:\n${rule('orders', '{ type: order.placed }', '{ targets: erp }')}`;

/** Puts rules in force, as somebody else did before. */
async function inForce(text: string, why = 'to begin with', who = 'bert'): Promise<number> {
  const parsed = parseRuleSet(text);
  if (!parsed.ok) throw new Error(`${JSON.stringify(parsed.problems)}`);
  const how = { activate: true, expected: 'any' } as const;
  const saved = await saveRuleSet(site.pool, site.tenant.id, { text, mentions: parsed.mentions, who, why }, how);
  if (saved.result !== 'ok') throw new Error(saved.result);
  return saved.version;
}

async function active(): Promise<{ version: number; text: string; who: string; why: string | null } | undefined> {
  const { rows } = await site.pool.query('select version, text, who, why from rule_set where tenant = $1 and active', [
    site.tenant.id,
  ]);
  return rows[0];
}

const text = () => page.getByLabel('Rules, as YAML');

async function press(locator: Locator, key = 'Enter'): Promise<void> {
  await tabTo(locator);
  await page.keyboard.press(key);
}

/** Writes over everything that stands in the text. */
async function write(written: string): Promise<void> {
  await tabTo(text());
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(written);
}

describe('by keyboard', { timeout: 180_000 }, () => {
  test('a message becomes a rule, which is seen at work, put in force, and routes what waits when a person says so', async () => {
    const first = await site.addMail(mail('Invoice 1'));
    const second = await site.addMail(mail('Invoice 2'));
    const other = await site.addMail(mail('Hello', 'Bert <bert@sender.example>'));
    await inForce(ORDERS);
    await open(`/messages/${messageId(first)}`);
    await press(page.getByRole('link', { name: 'Make a rule of this' }));
    await page.getByText('Choose where such messages go').waitFor();
    await press(page.getByRole('checkbox', { name: 'subject' }), 'Space');
    await press(page.getByRole('checkbox', { name: 'crm' }), 'Space');
    await page.getByRole('heading', { name: '+2 crm' }).waitFor();
    expect(await text().inputValue()).toBe(
      `${ORDERS}
  - name: from-anna-sender-example
    description: Like message ${messageId(first)}.
    when:
      kind: mail
      from: anna@sender.example
      subject: { wildcard: Invoice * }
    then: { targets: [ crm ] }
`,
    );
    await page.getByText('Never hit').waitFor();
    await tabTo(page.getByLabel('Why'));
    await page.keyboard.type('Anna’s invoices are for crm');
    await page.keyboard.press('Enter');
    const status = page.getByRole('status');
    await status.filter({ hasText: 'Version 2 is in force.' }).waitFor();
    expect(await active()).toMatchObject({ version: 2, why: 'Anna’s invoices are for crm' });
    await status.filter({ hasText: '2 waiting messages would match now.' }).waitFor();
    expect([await decisions(first), await decisions(second)]).toEqual([[], []]);
    await press(page.getByRole('link', { name: 'Show them' }));
    await shown(page.getByRole('heading', { name: 'What waits and would match' }));
    expect(await page.locator('.row').count()).toBe(2);
    await press(page.getByRole('button', { name: 'Route the selected' }));
    await status.filter({ hasText: '2 messages routed.' }).waitFor();
    const decided = ['assign crm as from-anna-sender-example of rule set 2 says'];
    expect(await Promise.all([first, second, other].map(decisions))).toEqual([decided, decided, []]);
  });

  test('a rule begins with the targets whose digits were pressed for the message', async () => {
    const place = await site.addMail(mail('Invoice 1'));
    await open(`/messages/${messageId(place)}`);
    await page.keyboard.press('2');
    await page.keyboard.press('3');
    await press(page.getByRole('link', { name: 'Make a rule of this' }));
    await page.getByRole('heading', { name: '+1 crm' }).waitFor();
    expect(await text().inputValue()).toContain('then: { targets: [ crm, erp ] }');
    expect(await decisions(place)).toEqual([]);
  });

  test('problems come while one types, and lead the caret to where they are', async () => {
    await inForce(ORDERS);
    await open('/rules/edit');
    await write(`rules:\n${rule('a', '{ kind: mail }', '{ targets: crn }')}`);
    const problems = page.locator('[data-problems] li');
    await problems.filter({ hasText: 'there is no target "crn"' }).waitFor();
    expect(await page.locator('[data-summary]').textContent()).toBe('1 problem');
    expect(await page.locator('.gutter .bad').textContent()).toBe('4');
    await press(problems.getByRole('link'));
    expect(await isFocused(text())).toBe(true);
    const caret = await text().evaluate((area) => {
      const { value, selectionStart, selectionEnd } = area as HTMLTextAreaElement;
      return [selectionStart === selectionEnd, value.slice(selectionStart, selectionStart + 3)];
    });
    expect(caret).toEqual([true, 'crn']);
    await page.keyboard.press('Delete');
    await page.keyboard.press('Delete');
    await page.keyboard.press('Delete');
    await page.keyboard.type('crm');
    await page.locator('[data-summary]').filter({ hasText: 'Nothing is wrong with it.' }).waitFor();
    expect(await problems.count()).toBe(0);
    await page.keyboard.press('Tab');
    expect(await isFocused(text())).toBe(false);
    expect(await text().inputValue()).toContain('{ targets: crm }');
  });

  test('a new line begins where the one before it does, and undoing takes it back', async () => {
    await open('/rules/edit');
    await write('rules:');
    await page.keyboard.press('Enter');
    await page.keyboard.type('- name: a');
    await page.keyboard.press('Enter');
    await page.keyboard.type('x');
    expect(await text().inputValue()).toBe('rules:\n  - name: a\n  x');
    await page.keyboard.press('Control+Z');
    await page.keyboard.press('Control+Z');
    expect(await text().inputValue()).not.toContain('x');
  });

  test('rules are tried on one message, clause by clause, and the text stays', async () => {
    const place = await site.addEvent('{"amount":5}');
    await inForce(ORDERS);
    await open('/rules/edit');
    const written = `rules:\n${rule('large', '{ data.amount: { numeric: [">", 10] } }', '{ targets: crm }')}`;
    await write(written);
    await tabTo(page.getByLabel('On message'));
    await page.keyboard.type(messageId(place));
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: `${messageId(place)} would wait in the inbox` }).waitFor();
    await page.getByText('By the rules in force it would go to erp.').waitFor();
    const tried = page.locator('#tried .rule').filter({ hasText: 'large' });
    await tried.locator('summary').click();
    expect(await tried.getByRole('row').filter({ hasText: 'data.amount' }).textContent()).toMatch(/> 10.*5.*false/);
    expect(await text().inputValue()).toBe(written);
    await page.getByLabel('On message').fill('3-99999');
    await page.keyboard.press('Enter');
    await page.getByText('There is no such message.').waitFor();
  });

  test('versions are compared, and rolled back to', async () => {
    await inForce(ORDERS);
    await inForce(ORDERS.replace('erp', 'crm'), 'erp is being moved');
    await open('/rules');
    await press(page.getByRole('link', { name: 'Version 1', exact: true }));
    await shown(page.getByRole('heading', { name: 'Rules, version 1' }));
    expect(await page.locator('.facts').textContent()).toMatch(/written by bert,[\s\S]*“to begin with”/);
    const difference = page.locator('#difference');
    expect(await difference.locator('del').textContent()).toContain('targets: crm');
    expect(await difference.locator('ins').textContent()).toContain('targets: erp');
    await press(page.getByRole('button', { name: 'Roll back to it' }));
    await page.getByRole('status').filter({ hasText: 'Version 1 is in force.' }).waitFor();
    expect(await active()).toMatchObject({ version: 1, text: ORDERS });
  });
});

describe('before it goes live', () => {
  test('what would match everything is said, and wants a second press for just that', async () => {
    await inForce(ORDERS);
    await open('/rules/edit');
    const everything = `${ORDERS}${rule('rest', '{}', '{ targets: archive }')}`;
    await write(everything);
    await page.getByLabel('Why').fill('nothing may wait');
    await page.getByRole('button', { name: 'Put in force' }).click();
    const alert = page.getByRole('alert').filter({ hasText: 'Before it goes live' });
    await alert.filter({ hasText: '"rest" matches every message' }).waitFor();
    expect((await active())?.version).toBe(1);
    await write(everything.replace('rest', 'others'));
    await page.getByRole('button', { name: 'Put in force all the same' }).click();
    await alert.filter({ hasText: '"others" matches every message' }).waitFor();
    expect((await active())?.version).toBe(1);
    await page.getByRole('button', { name: 'Put in force all the same' }).click();
    await page.getByRole('status').filter({ hasText: 'Version 2 is in force.' }).waitFor();
    // What is in force already has been agreed to.
    await page.goto('/rules/edit');
    await write(`${everything.replace('rest', 'others')}# Nothing else.\n`);
    await page.getByLabel('Why').fill('a comment');
    await page.getByRole('button', { name: 'Put in force' }).click();
    await page.getByRole('status').filter({ hasText: 'Version 3 is in force.' }).waitFor();
  });

  test('a version with warnings wants a second press, too', async () => {
    await inForce(`${ORDERS}${rule('rest', '{}', '{ targets: archive }')}`);
    await inForce(ORDERS);
    await open('/rules');
    await page.getByRole('button', { name: 'Roll back to it: version 1' }).click();
    await page.getByRole('alert').filter({ hasText: 'matches every message' }).waitFor();
    expect((await active())?.version).toBe(2);
    await page.getByRole('button', { name: 'Roll back to it all the same' }).click();
    await page.getByRole('status').filter({ hasText: 'Version 1 is in force.' }).waitFor();
  });

  test('what does not hold together is not saved, not even as a draft', async () => {
    await inForce(ORDERS);
    await open('/rules/edit');
    await write('rules:\n  - name: x\n    whem: {}\n');
    await page.getByLabel('Why').fill('a try');
    for (const name of ['Keep as draft', 'Put in force']) {
      await page.getByRole('button', { name }).click();
      await page.getByRole('alert').filter({ hasText: 'Those in force stay.' }).waitFor();
      expect(await text().inputValue()).toBe('rules:\n  - name: x\n    whem: {}\n');
    }
    const { rows } = await site.pool.query('select version from rule_set where tenant = $1', [site.tenant.id]);
    expect(rows).toEqual([{ version: 1 }]);
  });

  test('a draft is kept without touching what is in force, and wants a reason', async () => {
    await inForce(ORDERS);
    await open('/rules/edit');
    await write(`${ORDERS}# A thought.\n`);
    await page.getByRole('button', { name: 'Keep as draft' }).click();
    await page.getByRole('alert').filter({ hasText: 'Say why' }).waitFor();
    await page.getByLabel('Why').fill('to be talked about');
    await page.getByRole('button', { name: 'Keep as draft' }).click();
    await page.getByRole('status').filter({ hasText: 'Kept as version 2. It is not in force.' }).waitFor();
    expect((await active())?.version).toBe(1);
    await page.getByRole('row').filter({ hasText: 'to be talked about' }).getByText('What is different').click();
    await page.getByRole('link', { name: 'Edit from this version' }).click();
    expect(await text().inputValue()).toBe(`${ORDERS}# A thought.\n`);
  });

  test('the second of two people is told what came in force meanwhile, and loses nothing', async () => {
    await inForce(ORDERS);
    await open('/rules/edit');
    await write(`${ORDERS}# Mine.\n`);
    await page.getByLabel('Why').fill('my change');
    await inForce(`${ORDERS}# Hers.\n`, 'her change', 'carla');
    await page.getByRole('button', { name: 'Put in force' }).click();
    await page.getByRole('alert').filter({ hasText: 'version 2 by carla came in force: “her change”' }).waitFor();
    expect((await active())?.version).toBe(2);
    expect(await text().inputValue()).toBe(`${ORDERS}# Mine.\n`);
    expect(await page.locator('[data-difference] del').textContent()).toContain('# Hers.');
    await page.getByRole('button', { name: 'Put in force' }).click();
    await page.getByRole('status').filter({ hasText: 'Version 3 is in force.' }).waitFor();
  });

  test('a version is not put in force over one that was not seen', async () => {
    await inForce(ORDERS);
    await inForce(`${ORDERS}# Two.\n`);
    await open('/rules/1');
    await inForce(`${ORDERS}# Three.\n`, 'quick', 'carla');
    await page.getByRole('button', { name: 'Roll back to it' }).click();
    await page.getByRole('alert').filter({ hasText: 'version 3 by carla came in force: “quick”' }).waitFor();
    expect((await active())?.version).toBe(3);
  });
});

describe('the backtest', { timeout: 180_000 }, () => {
  test('says what would go elsewhere, with the messages behind each number, and what was never hit', async () => {
    for (let i = 0; i < 3; i++) await site.addEvent(`{"amount":${i}}`, { account: `account-${i}` });
    const letter = await site.addMail(mail('A letter'));
    const gone = await addMessage(site.pool, site.tenant, { source: site.sources.billing, dropped: true });
    await plan(site.pool, site.tenant, gone, { mode: 'close' });
    await inForce(ORDERS);
    await open('/rules/edit');
    await write(
      `rules:\n${rule('orders', '{ type: order.placed }', '{ targets: crm }')}${rule('mail', '{ kind: mail }', '{ close: nobody reads it }')}${rule('never', '{ type: x }', '{ targets: crm }')}`,
    );
    await page.getByRole('combobox', { name: 'On' }).selectOption('everything that is kept');
    await press(page.getByRole('button', { name: 'Backtest' }));
    const tested = page.locator('#tested');
    const headline = tested.getByRole('heading');
    await headline.filter({ hasText: '+3 crm, −3 erp, −1 waiting in the inbox, +1 closed' }).waitFor();
    await tested.getByText(/4 messages looked at; 4 would be decided otherwise/).waitFor();
    await tested.getByText('Of 1 message the content is gone').waitFor();
    expect(await tested.getByText('Never hit').locator('..').textContent()).toContain('never');
    const closed = tested.locator('.delta').filter({ hasText: 'closed' });
    await closed.locator('summary').click();
    expect(await closed.getByRole('link', { name: 'A letter' }).getAttribute('href')).toBe(
      `/messages/${messageId(letter)}`,
    );
  });

  test('of what waits in the inbox looks at nothing else', async () => {
    const waits = await site.addEvent('{"n":1}');
    const closed = await site.addEvent('{"n":2}', { account: 'other' });
    await site.pool.query(`update standing set state = 'closed' where channel = $1 and sequence = $2`, [
      closed.channel,
      closed.sequence,
    ]);
    await open(`/rules/edit?like=${messageId(waits)}&targets=crm`);
    await page.getByRole('heading', { name: '+2 crm' }).waitFor();
    await page.getByRole('combobox', { name: 'On' }).selectOption('what waits in the inbox');
    await page.getByRole('button', { name: 'Backtest' }).click();
    await page.getByRole('heading', { name: '+1 crm' }).waitFor();
  });

  test('is stopped when one has seen enough', async () => {
    await site.addEvent('{"n":1}');
    await inForce(ORDERS);
    await open('/rules/edit');
    const client = await site.pool.connect();
    try {
      await client.query(
        'begin; set local idle_in_transaction_session_timeout = 0; lock table message in access exclusive mode',
      );
      await press(page.getByRole('button', { name: 'Backtest' }));
      await press(page.getByRole('button', { name: 'Stop' }));
      await page.locator('[data-result="tested"]').getByText('Stopped.').waitFor();
      expect(await page.getByRole('button', { name: 'Stop' }).count()).toBe(0);
    } finally {
      await client.query('rollback');
      client.release();
    }
    await page.getByRole('button', { name: 'Backtest' }).click();
    await page.getByRole('heading', { name: 'Nothing would be different' }).waitFor();
  });
});

describe('what waits and would match', { timeout: 180_000 }, () => {
  test('all of it is routed when a person says so, page after page', async () => {
    const places: Place[] = [];
    for (let i = 0; i < 120; i++) places.push(await site.addEvent(`{"n":${i}}`, { account: `account-${i}` }));
    const letter = await site.addMail(mail('Not matched'));
    await inForce(`${ORDERS}${rule('letters', '{ subject: Matched }', '{ close: read }')}`);
    const matched = await site.addMail(mail('Matched'));
    await open('/rules/waiting');
    expect(await page.locator('.row').first().textContent()).toContain('would be closed: read');
    await press(page.getByRole('button', { name: 'Route all that match' }));
    await page.getByRole('status').filter({ hasText: '121 messages routed.' }).waitFor();
    const { rows } = await site.pool.query(
      `select action, count(*) as n, count(distinct who) as people from decision where tenant = $1 group by 1 order by 1`,
      [site.tenant.id],
    );
    expect(rows).toEqual([
      { action: 'assign', n: 120, people: 1 },
      { action: 'close', n: 1, people: 1 },
    ]);
    expect([await decisions(matched), await decisions(letter)]).toEqual([['close read'], []]);
  });

  test('what somebody decided about meanwhile is left, and said', async () => {
    const taken = await site.addEvent('{"n":1}');
    const free = await site.addEvent('{"n":2}', { account: 'other' });
    await inForce(ORDERS);
    await open('/rules/waiting');
    await site.pool.query(
      `with s as (update standing set version = 2, state = 'closed' where channel = $1 and sequence = $2 returning *)
       insert into decision (tenant, channel, sequence, version, who, action, reason, plan)
         select tenant, channel, sequence, 2, 'carla', 'close', 'hers', 0 from s`,
      [taken.channel, taken.sequence],
    );
    await page.getByRole('button', { name: 'Route the selected' }).click();
    const alert = page.getByRole('alert');
    await alert.filter({ hasText: '1 of 2 routed' }).waitFor();
    expect(await alert.textContent()).toContain(`${messageId(taken)}: carla closed it`);
    expect([await decisions(taken), await decisions(free)]).toEqual([
      ['close hers'],
      ['assign erp as orders of rule set 1 says'],
    ]);
  });

  test('is not routed by rules that were not seen', async () => {
    const place = await site.addEvent('{"n":1}');
    await inForce(ORDERS);
    await open('/rules/waiting');
    await inForce(ORDERS.replace('erp', 'crm'));
    await page.getByRole('button', { name: 'Route the selected' }).click();
    await page.getByRole('alert').filter({ hasText: 'Other rules are in force by now' }).waitFor();
    expect(await decisions(place)).toEqual([]);
    await page.locator('.row').filter({ hasText: 'would go to crm' }).waitFor();
  });
});

describe('without JavaScript', () => {
  test('rules are checked, tried, tested and put in force', async () => {
    const place = await site.addEvent('{"n":1}');
    await open('/rules/edit', { javaScriptEnabled: false });
    await text().fill('rules:\n  - name: x\n    whem: {}\n');
    await page.getByRole('button', { name: 'Check' }).click();
    await page.locator('#problems').filter({ hasText: '3:5' }).waitFor();
    await text().fill(ORDERS);
    await page.getByLabel('On message').fill(messageId(place));
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.locator('#tried').filter({ hasText: 'would go to erp' }).waitFor();
    await page.getByRole('button', { name: 'Backtest' }).click();
    await page.locator('#tested').filter({ hasText: '+1 erp' }).waitFor();
    await page.getByLabel('Why').fill('the first');
    await page.getByRole('button', { name: 'Put in force' }).click();
    await page.getByRole('status').filter({ hasText: '1 waiting message would match now.' }).waitFor();
    expect(await active()).toMatchObject({ version: 1, text: ORDERS, why: 'the first' });
    await page.getByRole('link', { name: 'Show them' }).click();
    await page.getByRole('button', { name: 'Route the selected' }).click();
    await page.getByRole('status').filter({ hasText: '1 message routed.' }).waitFor();
    expect(await decisions(place)).toEqual(['assign erp as orders of rule set 1 says']);
  });
});

describe('rules that the file names', () => {
  test('are read, can be tried, and are changed there', async () => {
    await inForce(ORDERS);
    await inForce(`${ORDERS}# Two.\n`);
    await site.pool.query(`update rule_set set managed_by = 'file' where active`);
    await open('/rules');
    await page.getByText('waybill apply').first().waitFor();
    expect(await page.getByRole('button', { name: /Roll back|Put in force/ }).count()).toBe(0);
    await page.getByRole('link', { name: 'Try a change' }).first().click();
    await shown(text());
    expect(await page.getByRole('button', { name: /Put in force|Keep as draft/ }).count()).toBe(0);
    const csrf = await page.locator('input[name="_csrf"]').first().inputValue();
    const refused = await page.request.post('/rules/save', {
      form: { _csrf: csrf, text: ORDERS, why: 'x', seen: '2', do: 'activate' },
      headers: { origin: site.origin, accept: 'text/html' },
    });
    expect([refused.status(), await refused.text()]).toEqual([409, expect.stringContaining('waybill apply')]);
    expect((await active())?.version).toBe(2);
  });
});

describe('a rule made of a message', () => {
  test('chooses what a person chose, stands where it is asked, and has a name of its own', async () => {
    const place = await site.addEvent('{"n":1}');
    await inForce(ORDERS.replace('orders', 'order-placed'));
    await open(`/messages/${messageId(place)}`);
    await page.getByRole('checkbox', { name: 'archive' }).check();
    await page.getByRole('checkbox', { name: 'crm' }).check();
    await page.getByRole('button', { name: 'Assign' }).click();
    await page.getByRole('status').filter({ hasText: 'Assigned' }).waitFor();
    await page.goto(`/messages/${messageId(place)}`);
    await page.getByRole('link', { name: 'Make a rule of this' }).click();
    const parsed = parseRuleSet(await text().inputValue());
    const names = parsed.ok ? parsed.ruleSet.rules.map(({ name, choice }) => [name, choice]) : [];
    expect(names).toEqual([
      ['order-placed-2', { targets: ['archive', 'crm'] }],
      ['order-placed', { targets: ['erp'] }],
    ]);
    await page.getByRole('heading', { name: /\+1 archive/ }).waitFor();
  });

  test('closes where that was the choice', async () => {
    const place = await site.addMail(mail('Win a prize'));
    await open(`/rules/edit?like=${messageId(place)}&close=spam`);
    await page.getByRole('heading', { name: '−1 waiting in the inbox, +1 closed' }).waitFor();
    expect(await text().inputValue()).toContain('then: { close: spam }');
    await page.goto('/rules/edit?like=3-99999');
    await page.getByText('There is no such message.').waitFor();
  });
});

test('who may not change rules can try them, and is offered nothing else', async () => {
  await inForce(ORDERS);
  const place = await site.addEvent('{"n":1}');
  await open('/rules', { role: 'operator' });
  expect(await page.getByRole('button', { name: /Roll back|Put in force/ }).count()).toBe(0);
  await page.goto('/rules/edit');
  expect(await page.getByRole('button', { name: /Put in force|Keep as draft/ }).count()).toBe(0);
  await page.getByLabel('On message').fill(messageId(place));
  await page.getByRole('button', { name: 'Explain' }).click();
  await page.getByRole('heading', { name: /would go to erp/ }).waitFor();
  for (const path of ['/rules/save', '/rules/1/activate']) {
    const refused = await page.request.post(path, { form: { text: 'rules: []', why: 'x', do: 'activate' } });
    expect([path, refused.status()]).toEqual([path, 403]);
  }
  await page.goto(`/messages/${messageId(place)}`);
  expect(await page.getByRole('link', { name: 'Make a rule of this' }).count()).toBe(0);
});

test('versions go on where the page before ended', async () => {
  for (let i = 1; i <= 23; i++) await inForce(`${ORDERS}# ${i}\n`, `change ${i}`);
  await open('/rules');
  const versions = () => page.getByRole('row').filter({ hasText: 'change' }).count();
  expect(await versions()).toBe(20);
  await page.getByRole('link', { name: 'Older' }).click();
  await shown(page.getByRole('link', { name: 'Newest' }));
  expect(await versions()).toBe(3);
  await page.getByRole('link', { name: 'Newest' }).click();
  await shown(page.getByRole('link', { name: 'Older' }));
  expect(await versions()).toBe(20);
});

test('the letters in colour stand where those of the text do, however far it is scrolled', async () => {
  const long = `# ${'x'.repeat(300)}\nrules:\n${Array.from({ length: 300 }, (_, i) => rule(`rule-${i}`, '{ subject: "ÄÖ → ✓ 10" }', '{ targets: erp }')).join('')}`;
  await inForce(long);
  await open('/rules/edit', { viewport: { width: 1000, height: 700 } });
  for (const [top, left] of [
    [0, 0],
    [1003, 57],
    [100_000, 0],
  ]) {
    await text().evaluate((area, [y, x]) => area.scrollTo(x ?? 0, y ?? 0), [top, left]);
    const off = await page.waitForFunction(() => {
      const area = document.querySelector<HTMLTextAreaElement>('[data-text]');
      const lines = [...document.querySelectorAll('.shade .line')];
      const numbers = [...document.querySelectorAll('.gutter .drawn > div')];
      if (!area || lines.length === 0 || lines.length !== numbers.length) return false;
      const style = getComputedStyle(area);
      const height = Number.parseFloat(style.lineHeight);
      const box = area.getBoundingClientRect();
      const written = area.value.split('\n');
      const offs = lines.map((line, i) => {
        const n = Number(numbers[i]?.textContent) - 1;
        if (line.textContent !== (written[n] || ' ')) return Number.POSITIVE_INFINITY;
        const top = box.top + Number.parseFloat(style.paddingTop) + n * height - area.scrollTop;
        const left = box.left + Number.parseFloat(style.paddingLeft) - area.scrollLeft;
        const drawn = line.getBoundingClientRect();
        return Math.max(Math.abs(drawn.top - top), Math.abs(drawn.left - left), Math.abs(drawn.height - height));
      });
      return Math.max(...offs) < 0.5;
    });
    expect(await off.jsonValue()).toBe(true);
  }
  const metrics = await page.evaluate(() =>
    ['.shade .line', '[data-text]'].map((selector) => {
      const element = document.querySelector(selector);
      if (!element) return null;
      const { font, letterSpacing, tabSize, fontVariantLigatures, whiteSpace, fontFeatureSettings, wordSpacing } =
        getComputedStyle(element);
      return { font, letterSpacing, tabSize, fontVariantLigatures, whiteSpace, fontFeatureSettings, wordSpacing };
    }),
  );
  expect(metrics[0]).toEqual(metrics[1]);
});

describe('every page of rules', () => {
  // What the test of all pages does not come to: with problems, results and differences on them.
  for (const [colorScheme, width] of [
    ['light', 400],
    ['dark', 1280],
  ] as const) {
    test(`is accessible in ${colorScheme} at ${width} pixels, fits, and breaks none of its own rules`, {
      timeout: 120_000,
    }, async () => {
      const place = await site.addMail(mail('Invoice 7 <b>'));
      await site.addEvent('{"n":1}');
      await inForce(`${ORDERS}${rule('rest', '{ kind: mail, subject: Nothing }', '{ close: "# no: comment" }')}`);
      await inForce(ORDERS, 'simpler');
      await open('/rules', { colorScheme, viewport: { width, height: 800 } });
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
      page.on('console', (message) => {
        if (message.type() === 'error') complaints.push(`${page.url()}: ${message.text()}`);
      });
      const look = async () => {
        await expectAccessible(page);
        const beyond = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        expect(beyond, `${page.url()} is too wide by`).toBe(0);
      };
      await look();
      for (const path of ['/rules/1', '/rules/waiting', '/rules/waiting?routed=1', '/rules?done=active&version=2']) {
        await page.goto(path);
        await look();
      }
      await page.goto(`/rules/edit?like=${messageId(place)}&targets=crm`);
      await page.getByRole('heading', { name: '+1 crm' }).waitFor();
      await page.locator('#tested summary').first().click();
      await page.getByRole('button', { name: 'Explain' }).click();
      await page.locator('#tried').waitFor();
      await look();
      await write('rules:\n  - name: x # so\n    when: { kind: [mail, "event"], value: 5, nothing: null }\n');
      await page.locator('[data-problems] li').first().waitFor();
      await look();
      expect(complaints).toEqual([]);
    });
  }
});
