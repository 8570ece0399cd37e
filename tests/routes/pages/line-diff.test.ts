import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DiffLine, folded, lineDiff, MOST_LINES } from '../../../routes/pages/line-diff.js';

const MARKS = { same: ' ', added: '+', removed: '-', skipped: '…' } as const;
const written = (diff: readonly DiffLine[]) => diff.map(({ kind, text }) => MARKS[kind] + text);
const of = (text: string) => text.split('');

describe('what is different between two texts', () => {
  test.each([
    ['', '', ''],
    ['abc', 'abc', ' a  b  c'],
    ['abc', 'axc', ' a -b +x  c'],
    ['abc', 'ac', ' a -b  c'],
    ['ac', 'abc', ' a +b  c'],
    ['aa', 'a', ' a -a'],
    ['abcd', 'bcde', '-a  b  c  d +e'],
    ['ab', 'ba', '-a  b +a'],
    ['', 'ab', '+a +b'],
  ])('%s to %s', (before, after, expected) => {
    expect(written(lineDiff(of(before), of(after))).join(' ')).toBe(expected);
  });

  test('leads from one to the other, and keeps as many lines as it can', () => {
    const lines = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 });
    fc.assert(
      fc.property(lines, lines, (before, after) => {
        const diff = lineDiff(before, after);
        const without = (kind: DiffLine['kind']) => diff.filter((one) => one.kind !== kind).map(({ text }) => text);
        expect(without('added')).toEqual(before);
        expect(without('removed')).toEqual(after);
        expect(diff.filter(({ kind }) => kind === 'same')).toHaveLength(mostInCommon(before, after));
      }),
    );
  });

  test('is bounded, however long they are', () => {
    const [before, after] = ['x', 'y'].map((name) => Array.from({ length: 10_000 }, (_, n) => `${name}${n}`));
    const diff = lineDiff(before ?? [], after ?? []);
    expect(diff).toHaveLength(2 * MOST_LINES);
    expect(diff.slice(0, MOST_LINES).every(({ kind }) => kind === 'removed')).toBe(true);
  });
});

/** Of all orders of leaving lines out, tried one by one. */
function mostInCommon([one, ...rest]: string[], other: string[]): number {
  if (one === undefined) return 0;
  const at = other.indexOf(one);
  const without = mostInCommon(rest, other);
  return at < 0 ? without : Math.max(without, 1 + mostInCommon(rest, other.slice(at + 1)));
}

describe('lines that are the same', () => {
  test('are left out where nothing near has changed', () => {
    const before = of('abcdefghijk');
    const after = of('abcdeXghijk');
    expect(written(folded(lineDiff(before, after)))).toEqual([
      '…3 lines are the same',
      ' d',
      ' e',
      '-f',
      '+X',
      ' g',
      ' h',
      '…3 lines are the same',
    ]);
  });

  test('all of them, where nothing has changed', () => {
    expect(written(folded(lineDiff(of('abcdef'), of('abcdef'))))).toEqual(['…6 lines are the same']);
  });

  test('a single one stands for itself', () => {
    expect(written(folded(lineDiff(of('abcX'), of('abcY'))))).toEqual([' a', ' b', ' c', '-X', '+Y']);
  });
});
