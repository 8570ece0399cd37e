import { describe, expect, it, test } from 'vitest';
import { linesOf, shownDiff } from '../../../routes/pages/diff.js';
import { beginningOf } from '../../../routes/pages/rule-backtest.js';
import { choiceText, confirmationOf, outcomeText, toConfirm } from '../../../routes/pages/rule-words.js';
import type { LintProblem } from '../../../src/routing/lint.js';

function problem(code: LintProblem['code'], rule: string | null, severity: LintProblem['severity'] = 'warning') {
  return { severity, code, rule, line: 1, column: 1, message: `${code} of ${rule}` };
}

describe('what is to be confirmed', () => {
  it('is what the rules in force do not have already, and no rule that is off', () => {
    const everything = problem('matches_everything', 'rest');
    const found = [
      problem('shadowed', 'late'),
      everything,
      problem('disabled', 'off'),
      problem('invalid', null, 'error'),
    ];
    expect(toConfirm(found, [])).toEqual([problem('shadowed', 'late'), everything]);
    expect(toConfirm(found, [everything])).toEqual([problem('shadowed', 'late')]);
    expect(toConfirm(found, [problem('matches_everything', 'late')])).toHaveLength(2);
  });

  it('is agreed to for one text and what was said of it, wherever that stood', () => {
    const warnings = [problem('shadowed', 'late')];
    const agreed = confirmationOf('a', warnings);
    expect(confirmationOf('a', [{ ...problem('shadowed', 'late'), line: 7 }])).toBe(agreed);
    for (const [text, said] of [
      ['b', warnings],
      ['a', []],
      ['a', [problem('shadowed', 'later')]],
    ] as const) {
      expect(confirmationOf(text, said)).not.toBe(agreed);
    }
  });
});

test('a range begins at midnight UTC, or so many days ago, or not at all', () => {
  const now = Date.parse('2026-03-31T15:30:00Z');
  const begins = (['today', 'week', 'month', 'all', 'waiting'] as const).map((range) => beginningOf(range, now));
  expect(begins.map((at) => at?.toISOString())).toEqual([
    '2026-03-31T00:00:00.000Z',
    '2026-03-24T15:30:00.000Z',
    '2026-03-01T15:30:00.000Z',
    undefined,
    undefined,
  ]);
});

test('what rules choose, and what would become of a message, are said in words', () => {
  expect(choiceText({ targets: ['erp', 'crm'] })).toBe('→ erp, crm');
  expect(choiceText({ close: 'spam' })).toBe('close: spam');
  expect(outcomeText({ do: 'deliver', targets: ['erp', 'crm'] })).toBe('go to erp, crm');
  expect(outcomeText({ do: 'close', reason: 'spam' })).toBe('be closed: spam');
  expect(outcomeText({ do: 'wait' })).toBe('wait in the inbox');
});

test('texts are compared by lines, and the same ones say so', () => {
  expect(shownDiff(linesOf('a\nb\n'), linesOf('a\nb'))).toEqual({ same: true });
  expect(shownDiff(linesOf('a\nb\n'), linesOf('a\nc\n'))).toEqual({
    diff: [
      { same: true, text: '  a' },
      { removed: true, text: '- b' },
      { added: true, text: '+ c' },
    ],
  });
});
