import { RE2JS } from 're2js';
import { describe, expect, it } from 'vitest';
import { explain } from '../../src/routing/explain.js';
import { EXPRESSION_LIMITS } from '../../src/routing/expression.js';
import { spentMs } from '../support/spent.js';
import { mail, withData } from './messages.js';
import { compiled, matches, oneRule, problemsOf } from './rules.js';

const { examined } = EXPRESSION_LIMITS;

describe('matches', () => {
  it.each<[string, unknown, boolean]>([
    ['{ data.x: { matches: "b+c" } }', 'abbcd', true],
    ['{ data.x: { matches: "^b+c" } }', 'abbcd', false],
    ['{ data.x: { matches: "(?i)^ORDER-\\\\d{4}$" } }', 'order-2024', true],
    ['{ data.x: { matches: "^a.c$" } }', 'a\nc', false],
    ['{ data.x: { matches: ["^x", "d$"] } }', 'abcd', true],
    ['{ data.x: { matches: "1" } }', 1, false],
    ['{ data.x: { matches: "^b$" } }', ['a', 'b'], true],
    ['{ data.x: { anything-but: { matches: "^\\\\d+$" } } }', 'a1', true],
    ['{ data.x: { anything-but: { matches: "^\\\\d+$" } } }', '12', false],
    ['{ data.x: { anything-but: { matches: "^\\\\d+$" } } }', ['a', '12'], false],
    ['{ data.x: { matches: "\\\\p{Greek}" } }', 'ωmega', true],
  ])('%s on %j is %j', (when, x, expected) => {
    expect(matches(when, withData({ x }))).toBe(expected);
  });

  it('of addresses does not look at capitals', () => {
    const from = [{ name: '', address: 'Anna.B@Example.COM' }];
    expect(matches('{ from: { matches: "^[A-Z]+\\\\.b@example\\\\.com$" } }', mail({ from }))).toBe(true);
    expect(matches('{ from: { matches: "\\\\S+@EXAMPLE" } }', mail({ from }))).toBe(true);
  });

  it('looks at the beginning of a long text, and does not take its end for the end of the text', () => {
    const text = `ab${'-'.repeat(examined)}cd`;
    const of = (expression: string) => {
      const [step] = explain(compiled(oneRule(`{ text: { matches: "${expression}" } }`)), mail({ text })).steps;
      return step?.terms[0]?.clauses[0];
    };
    expect(of('ab')).toMatchObject({ result: 'true', reason: null });
    expect(of('ab.*')).toMatchObject({ result: 'true', reason: null });
    for (const expression of ['cd', '-$', '-\\\\z', 'x']) {
      expect(of(expression)).toMatchObject({
        result: 'error',
        reason: `not found in what was examined; 4 characters beyond the first ${examined} of the field were not examined`,
      });
    }
    expect(matches('{ text: { anything-but: { matches: "x" } } }', mail({ text }))).toBe(false);
    expect(matches('{ text: { anything-but: { matches: "x" } } }', mail({ text: text.slice(0, examined) }))).toBe(true);
  });

  it('looks at so much of all values of a field together', () => {
    const long = 'a'.repeat(examined - 1);
    expect(matches('{ data.x: { matches: b } }', withData({ x: [long, 'b'] }))).toBe(true);
    expect(matches('{ data.x: { matches: b } }', withData({ x: [long, 'a', 'b'] }))).toBe(false);
    expect(matches('{ data.x: { matches: b } }', withData({ x: [long, 'ab', 'b'] }))).toBe(false);
  });

  it.each([
    ['{ subject: { matches: "a(" } }', 3, 33, 'missing closing )'],
    ['{ subject: { matches: "a)(" } }', 3, 33, 'not a regular expression'],
    ['{ subject: { matches: "(?=a)" } }', 3, 33, 'not a regular expression'],
    ['{ subject: { matches: ["a", "(a)\\\\1"] } }', 3, 39, 'not a regular expression'],
    ['{ subject: { matches: "x{200}y{200}" } }', 3, 33, `at most ${EXPRESSION_LIMITS.instructions} steps`],
    ['{ subject: { matches: "" } }', 3, 33, '1 to 512 characters'],
    ['{ value: { matches: "1" } }', 3, 22, 'value is a number'],
  ])('%s is refused at line %i, column %i', (when, line, column, message) => {
    const [problem, another] = problemsOf(oneRule(when));
    expect(problem).toMatchObject({ line, column });
    expect(problem?.message).toContain(message);
    expect(another).toBeUndefined();
  });

  it('takes a bounded time, whatever is asked of whatever text', () => {
    const text = Array.from({ length: 1024 * 1024 }, (_, n) => 'ab'[((n * 7919) % 31) & 1]).join('');
    for (const expression of [
      '(a|b)*a(a|b){60}[^ab]',
      '(a+)+$',
      '(.*)(.*)(.*)x',
      '(?:[ab]?){70}[ab]{70}c',
      '\\\\pL{120}\\\\d',
    ]) {
      const rules = compiled(oneRule(`{ text: { matches: "${expression}" } }`));
      const from = spentMs();
      explain(rules, mail({ text }));
      expect([expression, spentMs() - from < 2_000]).toEqual([expression, true]);
    }
  });

  it('is asked of an engine whose memory can be bounded', () => {
    expect(RE2JS.compile('a').re2().dfa).toMatchObject({
      stateBudget: expect.any(Number),
      memBudget: expect.any(Number),
    });
  });
});
