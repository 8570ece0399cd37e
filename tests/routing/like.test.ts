import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { compileRuleSet } from '../../src/routing/compile.js';
import { decide } from '../../src/routing/decide.js';
import { LIKENESSES, likenessesOf, ruleLike, usualLikenesses } from '../../src/routing/like.js';
import { printRuleSet } from '../../src/routing/print.js';
import type { Rule, Term } from '../../src/routing/rule.js';
import { spentMs } from '../support/spent.js';
import { messages } from './arbitraries.js';
import { mail, message } from './messages.js';
import { read } from './rules.js';

const NONE: ReadonlySet<string> = new Set();
const CRM = { targets: ['crm'] };

function ruleSet(...rules: Rule[]) {
  return { mode: 'first-match', rules } as const;
}

function termOn(rule: Rule, path: string): Term | undefined {
  return rule.when.find((term) => 'path' in term && term.path === path);
}

describe('a rule made after a message', () => {
  it('matches that message, whatever it is made by, and is written as any other', () => {
    const subjects = fc.oneof(
      fc.string({ maxLength: 300 }),
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.constantFrom('Re: Invoice 12 *', 'AW: WG: 7\\8', 'Order 1 2 3', ' * ', '\\*1', 'Re:'),
    );
    const any = fc
      .tuple(messages, subjects, fc.subarray([...LIKENESSES]))
      .map(([one, subject, by]) => ({ one: { ...one, view: { ...one.view, subject } }, by }));
    fc.assert(
      fc.property(any, ({ one, by }) => {
        const rule = ruleLike(one, by, CRM, NONE);
        expect(decide(compileRuleSet(ruleSet(rule)), one)).toEqual({
          rules: [rule.name],
          outcome: { do: 'deliver', ...CRM },
        });
        expect(read(printRuleSet(ruleSet(rule)))).toEqual(ruleSet(rule));
      }),
      { numRuns: 1000 },
    );
  });

  it('asks for all that it is made by and that the message has', () => {
    fc.assert(
      fc.property(messages, fc.subarray([...LIKENESSES]), (one, by) => {
        const asked = by.filter((each) => likenessesOf(one).includes(each)).length;
        expect(ruleLike(one, by, CRM, NONE).when).toHaveLength(1 + asked);
      }),
    );
  });

  test.each([
    ['Invoice 2026-117 from Acme', { op: 'wildcard', any: ['Invoice * from Acme'] }],
    ['Re: AW: Your order', { op: 'wildcard', any: ['*Your order'] }],
    ['Re: Order #99', { op: 'wildcard', any: ['*Order *'] }],
    ['A * of 3', { op: 'wildcard', any: ['A \\* of *'] }],
    ['2026 01 31', { op: 'equals', any: ['2026 01 31'] }],
    ['Weekly report', { op: 'equals', any: ['Weekly report'] }],
    ['word '.repeat(60), { op: 'prefix', any: ['word '.repeat(20)] }],
  ])('of the subject %s asks for what stays the same', (subject, wanted) => {
    expect(termOn(ruleLike(mail({ subject }), ['subject'], CRM, NONE), 'subject')).toEqual({
      path: 'subject',
      tests: [wanted],
    });
  });

  it('leaves out what no rule can hold', () => {
    const odd = mail({ subject: 'a\0b', from: [{ name: '', address: `${'x'.repeat(600)}@example.com` }] });
    expect(likenessesOf(odd)).toEqual(['source', 'account']);
    expect(likenessesOf(mail({ subject: '\ud800' }))).not.toContain('subject');
  });

  it('is by sender of a mail, by source and type of all else, and by source where there is nothing better', () => {
    expect(usualLikenesses(mail({ from: [{ name: 'A', address: 'a@example.com' }] }))).toEqual(['sender']);
    expect(usualLikenesses(mail({}))).toEqual(['source']);
    expect(usualLikenesses(message())).toEqual(['source', 'type']);
  });

  it('has a name of its own', () => {
    const anna = mail({ from: [{ name: '', address: 'Anna@Example.com' }] });
    const named = (...taken: string[]) => ruleLike(anna, ['sender'], CRM, new Set(taken)).name;
    expect(named()).toBe('from-anna-example-com');
    expect(named('from-anna-example-com')).toBe('from-anna-example-com-2');
    expect(named('from-anna-example-com', 'from-anna-example-com-2')).toBe('from-anna-example-com-3');
    expect(ruleLike(message({ type: 'x'.repeat(100) }), ['type'], CRM, new Set(['x'.repeat(63)])).name).toBe(
      `${'x'.repeat(61)}-2`,
    );
    expect(ruleLike(message({ type: '…' }), ['type'], CRM, NONE).name).toBe('new-rule');
  });

  it('takes time in proportion to a subject, however it is made', () => {
    const hostile = ['x'.repeat(1_000_000), 're:'.repeat(300_000), `${' re'.repeat(80)}`, '1 '.repeat(120)];
    const before = spentMs();
    for (const subject of hostile) ruleLike(mail({ subject }), ['subject'], CRM, NONE);
    expect(spentMs() - before).toBeLessThan(500);
  });
});
