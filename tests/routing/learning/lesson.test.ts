import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerOf, lessonOf, type Said } from '../../../src/routing/learning/lesson.js';
import { ACTIONS } from '../../../src/routing/person.js';

const [A, B, C] = [1, 2, 3];
const said = (action: Said['action'], ...targets: number[]): Said => ({ action, targets });

/** What was answered of A, B and C: `+` chosen, `-` refused, `.` unsaid. */
function answers(decisions: readonly Said[], had: readonly number[] = []): string | null {
  const lesson = lessonOf(decisions, had);
  if (!lesson) return null;
  return [A, B, C]
    .map((target) => answerOf(lesson, target))
    .map((answer) => (answer === undefined ? '.' : answer ? '+' : '-'))
    .join('');
}

describe('what decisions teach', () => {
  it.each([
    ['an assignment chooses its targets and no other', [said('assign', A, C)], [], '+-+'],
    ['several are one', [said('assign', A), said('assign', B)], [], '++-'],
    ['a close refuses all', [said('close')], [], '---'],
    ['a close that was reopened says nothing', [said('close'), said('reopen')], [], null],
    ['one’s own choice taken back says nothing', [said('assign'), said('unassign', A)], [], null],
    ['… and leaves the rest of it', [said('assign', A, B), said('unassign', A)], [], '-+-'],
    ['what Waybill chose and nobody touched says nothing', [said('note')], [A], null],
    [
      'what Waybill chose and a person took back is refused, and says nothing of others',
      [said('unassign', A)],
      [A, B],
      '-..',
    ],
    ['what Waybill chose beside a person’s choice is not learnt', [said('assign', B)], [A], '.+-'],
    ['taken back and given to another', [said('unassign', A), said('assign', B)], [A], '-+-'],
    ['taken back, then chosen by a person after all', [said('unassign', A), said('assign', A)], [A], '+--'],
    ['snoozes, notes and replays say nothing', [said('snooze'), said('note'), said('replay', A)], [], null],
  ] as const)('%s', (_, decisions, had, expected) => {
    expect(answers(decisions, had)).toBe(expected);
  });

  it('never chooses what no person assigned', () => {
    const target = fc.constantFrom(A, B, C);
    const decision = fc.record({ action: fc.constantFrom(...ACTIONS), targets: fc.uniqueArray(target) });
    fc.assert(
      fc.property(fc.array(decision), fc.uniqueArray(target), (decisions, had) => {
        const assigned = new Set(
          decisions.filter(({ action }) => action === 'assign').flatMap(({ targets }) => targets),
        );
        const lesson = lessonOf(decisions, had);
        for (const chosen of lesson?.chosen ?? []) expect(assigned).toContain(chosen);
      }),
    );
  });
});
