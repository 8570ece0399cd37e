import { expect, test } from 'vitest';
import { tooDeep } from '../../src/routing/nesting.js';
import { parseRuleSet } from '../../src/routing/parse.js';

const STEPS = ['[', '{a: ', '- ', '? '];

test.each(STEPS)('a text of %s is told where it becomes too deep, however deep it is', (step) => {
  expect(tooDeep(step.repeat(5), 5)).toBeUndefined();
  expect(tooDeep(`a: b\n---\n${step.repeat(6)}`, 5)).toEqual({ line: 3, column: 5 * step.length + 1 });
  expect(tooDeep(step.repeat(200_000), 5)).toBeDefined();
});

test('values beside each other are not deep', () => {
  expect(tooDeep('- a\n'.repeat(1000), 2)).toBeUndefined();
  expect(tooDeep('"[[[[[["', 2)).toBeUndefined();
  expect(tooDeep('', 0)).toBeUndefined();
});

// Composed by `yaml`, any of these depths could end the process.
test.each(STEPS)('rules of nothing but %s are refused', (step) => {
  for (const depth of [700, 800, 1000, 3000, 100_000]) {
    expect(parseRuleSet(`rules:\n  ${step.repeat(depth)}`)).toEqual({
      ok: false,
      problems: [
        { line: 2, column: expect.any(Number), path: '', message: 'this is nested deeper than any rule can be' },
      ],
      mentions: [],
    });
  }
});
