import { setTimeout as after } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { Turns } from '../../routes/turns.js';
import { createRulesApart } from '../../src/app/rules-apart.js';
import { compileRuleSet } from '../../src/routing/compile.js';
import { explain, explaining } from '../../src/routing/explain.js';
import { insertRule, NO_RULES } from '../../src/routing/insert.js';
import { lint } from '../../src/routing/lint.js';
import { parseRuleSet } from '../../src/routing/parse.js';
import { LIMITS } from '../../src/routing/rule.js';
import { message } from '../routing/messages.js';
import { longestTurnMs } from '../support/spent.js';

const apart = createRulesApart();
afterAll(() => apart.close());

const TENANT = 1;
const TARGETS = new Map([['crm', null]]);

/** WAYBILL_LONG=1 reads texts as large as they may be; without it an eighth of that. */
const TEXT_BYTES = process.env.WAYBILL_LONG === '1' ? LIMITS.text : LIMITS.text / 8;

/** As many rules as fit. */
function filled(rule: (n: number) => string, most: number = LIMITS.rules, bytes: number = TEXT_BYTES): string {
  const parts = ['rules:\n'];
  let left = bytes - (parts[0] as string).length;
  for (let n = 0; n < most; n++) {
    const next = rule(n);
    left -= Buffer.byteLength(next);
    if (left < 0) break;
    parts.push(next);
  }
  return parts.join('');
}

const usual = (n: number) =>
  `- { name: r${n}, when: { account: a${n}@example.com, data.amount: { numeric: [">", ${n}] } }, then: { targets: crm } }\n`;
const hundredFields = Array.from({ length: 100 }, (_, n) => `data.${n}: 1`).join(', ');
const thousandLiterals = Array.from({ length: 1000 }, (_, n) => n % 2).join(',');
const slowExpression = (n: number) => `(?i)${'(\\pL|'.repeat(40)}a${n}${')'.repeat(40)}`;

const literals = (n: number) => `- {name: r${n}, when: {data.a: [${thousandLiterals}]}, then: {close: x}}\n`;

/** What each text is made to be slow at. */
const TEXTS = {
  'usual rules': filled(usual),
  'twice as many rules as there may be': filled(
    (n) => `- { name: r${n}, when: { data.a: ${n} }, then: { close: x } }\n`,
    10_000,
    LIMITS.text,
  ),
  'a hundred fields each': filled((n) => `- { name: r${n}, when: {${hundredFields}}, then: {close: x} }\n`),
  'a thousand literals each': filled(literals),
  'as large as a rule may be': filled((n) => {
    const lists = Array.from({ length: 60 }, (_, i) => `data.a${i}: [${thousandLiterals}]`);
    return `- {name: r${n}, when: {${lists.join(', ')}}, then: {close: x}}\n`;
  }),
  'wildcards and prefixes': filled((n) => {
    const tests = Array.from(
      { length: 100 },
      (_, i) => `{wildcard: "*${n}a*b${i}c*d*"}, {prefix: "p${n}q${i}rstuvwxyz"}`,
    );
    return `- {name: r${n}, when: {subject: [${tests.join(', ')}]}, then: {close: x}}\n`;
  }),
  expressions: filled(
    (n) => `- {name: r${n}, when: {text: {matches: '${slowExpression(n)}'}}, then: {close: x}}\n`,
    1000,
  ),
} as const;

describe('rules read in a thread of their own', () => {
  it.each(Object.entries(TEXTS))(
    'hold nobody up who waits beside them: %s',
    { timeout: 120_000 },
    async (_name, text) => {
      const longest = await longestTurnMs(async () => {
        expect(await apart.lint(TENANT, text, TARGETS)).not.toBeUndefined();
        const read = await apart.compile(TENANT, text);
        if (read.ok) await new Turns().run(explaining(read.compiled, message({ type: 'order' })));
      });
      // In place each takes this thread half a second and more, in one piece; apart, some hundredths.
      expect(longest).toBeLessThan(150);
    },
  );
});

describe('what comes of them', () => {
  const texts = [
    usual(1),
    '- { name: a, when: { subject: [x, { matches: "a+" }, y] }, then: { close: spam } }\n- { name: b, when: {}, then: { targets: [crm, erp] } }\n',
    '- { name: a, when: { subjct: x }, then: { close: spam } }\n- { name: b, when: {}, then: { targets: nobody } }\n',
  ].map((rules) => `rules:\n${rules}`);

  it.each([...texts, NO_RULES, '', 'rules: [', '- *a'])('is what comes of them in place: %j', async (text) => {
    const parsed = parseRuleSet(text);
    expect(await apart.parse(TENANT, text)).toEqual(parsed);
    expect(await apart.lint(TENANT, text, TARGETS)).toEqual(lint(text, TARGETS));
    if (!parsed.ok) return;
    const compiled = await apart.compile(TENANT, text);
    const one = message({ account: 'a1@example.com', view: { subject: 'baa' } });
    if (!compiled.ok) throw new Error('it holds in place');
    expect(explain(compiled.compiled, one)).toEqual(explain(compileRuleSet(parsed.ruleSet), one));
    const rule = parseRuleSet(texts[0] as string);
    if (!rule.ok) throw new Error('it holds');
    const [added] = rule.ruleSet.rules;
    if (!added) throw new Error('it has one');
    const named = { ...added, name: 'added' };
    expect(await apart.insert(TENANT, text, named, null)).toBe(insertRule(text, named, null));
  });

  it('is a list to read', async () => {
    const text = `mode: all-match\nrules:\n${usual(1)}- { name: first, priority: 1, enabled: false, when: {}, then: { close: x } }\n`;
    expect(await apart.outline(TENANT, text, 1)).toEqual({
      mode: 'all-match',
      count: 2,
      rules: [{ name: 'first', description: null, enabled: false, choice: { close: 'x' }, when: 'when: {}' }],
    });
    expect(await apart.outline(TENANT, 'rules: [', 1)).toBeNull();
  });
});

describe('a text that takes too long', () => {
  it('is given up, as one that is wrong, and the next one is read', async () => {
    const impatient = createRulesApart({ limitMs: 1500 });
    const slow = filled(literals, LIMITS.rules, LIMITS.text);
    const next = impatient.parse(TENANT + 1, NO_RULES);
    const [parsed, linted] = await Promise.all([impatient.parse(TENANT, slow), impatient.lint(TENANT, slow, TARGETS)]);
    expect(parsed).toMatchObject({ ok: false, problems: [{ message: expect.stringContaining('too long to read') }] });
    expect(linted).toMatchObject([{ severity: 'error', code: 'invalid' }]);
    expect(await next).toMatchObject({ ok: true });
    expect(await impatient.parse(TENANT, NO_RULES)).toMatchObject({ ok: true });
    await impatient.close();
  });
});

describe('whoever asks for much', () => {
  it('has so many under way and no more, and others come in between', async () => {
    const busy = createRulesApart();
    const order: string[] = [];
    const mine = Array.from({ length: 8 }, (_, n) => busy.parse(TENANT, NO_RULES).then(() => order.push(`mine ${n}`)));
    await expect(async () => busy.parse(TENANT, NO_RULES)).rejects.toMatchObject({ status: 429, code: 'rules_busy' });
    const other = busy.parse(TENANT + 1, NO_RULES).then(() => order.push('other'));
    await Promise.all([...mine, other]);
    expect(order.indexOf('other')).toBe(1);
    await busy.close();
  });

  it('ends its thread when nothing is asked for a while', async () => {
    const lazy = createRulesApart({ idleMs: 1 });
    expect(await lazy.parse(TENANT, NO_RULES)).toMatchObject({ ok: true });
    await after(20);
    expect(await lazy.parse(TENANT, NO_RULES)).toMatchObject({ ok: true });
    await lazy.close();
  });
});
