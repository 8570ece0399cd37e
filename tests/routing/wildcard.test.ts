import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/routing/rule.js';
import { compileWildcard } from '../../src/routing/wildcard.js';
import { spentMs } from '../support/spent.js';

/** What a wildcard means, as an expression that is right and slow. */
function oracle(pattern: string): RegExp {
  const source = pattern.replace(/\\[\\*]|\*|[\s\S]/g, (token) => {
    if (token === '*') return '[\\s\\S]*';
    const character = token.length === 2 ? token.slice(1) : token;
    return character.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  });
  return new RegExp(`^${source}$`);
}

describe('wildcards', () => {
  it('match what the expression of the same meaning matches', () => {
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*', '\\', '.'), maxLength: 8 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '\\', '.'), maxLength: 12 });
    fc.assert(
      fc.property(pattern, text, (wildcard, subject) => {
        expect(compileWildcard(wildcard)(subject)).toBe(oracle(wildcard).test(subject));
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    ['*', '', true],
    ['**', 'anything', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['a*b*a', 'aba', true],
    ['a*bb*ba', 'abba', false],
    ['\\*', '*', true],
    ['\\*', 'x', false],
    ['*.pdf', 'scan.pdf', true],
    ['*\n*', 'two\nlines', true],
  ])('%s on %j', (wildcard, subject, expected) => {
    expect(compileWildcard(wildcard)(subject)).toBe(expected);
  });

  it('stay linear in the text where backtracking would not', () => {
    const text = 'a'.repeat(1024 * 1024);
    const pieces = 'a*'.repeat(LIMITS.wildcard / 2 - 1);
    const worst = 'a'.repeat(LIMITS.wildcard - 3);
    for (const pattern of [`${pieces}b`, `*b${worst}*`, `*${worst}b*`]) {
      const check = compileWildcard(pattern);
      const started = spentMs();
      expect(check(text)).toBe(false);
      // About 5 ms; quadratic would be hours.
      expect(spentMs() - started).toBeLessThan(2000);
    }
  });
});
