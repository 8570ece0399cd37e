import fc from 'fast-check';
import { expect, test } from 'vitest';
import { figure, sparkOf } from '../../../routes/pages/sparkline.js';

const spark = (series: readonly (number | null)[]) => sparkOf('x', 'title', 'a second', series);

test('a line goes through each value, from the beginning of the first to the end of the last', () => {
  const { line, area, gaps } = spark([0, 10, 5, 10]);
  expect(line).toBe('M0 38L30 38L90 2L150 20L210 2L240 2');
  expect(area).toBe('M0 40L0 38L30 38L90 2L150 20L210 2L240 2L240 40Z');
  expect(gaps).toEqual([]);
});

test('where nothing is known there is no line, and one value alone is seen', () => {
  const { line, gaps } = spark([null, 4, null, null]);
  expect(line).toBe('M60 2L90 2L120 2');
  expect(gaps).toEqual([
    { x: 0, width: 60 },
    { x: 120, width: 120 },
  ]);
});

test('nothing but zeros is a line at the bottom, and nothing at all is a gap', () => {
  expect(spark([0, 0]).line).toBe('M0 38L60 38L180 38L240 38');
  expect(spark([null, null])).toMatchObject({ line: '', area: '', gaps: [{ x: 0, width: 240 }] });
  expect(spark([])).toMatchObject({ line: '', area: '', gaps: [] });
});

test('it is told in words', () => {
  expect(spark([0, 12.34, null, 3]).description).toBe(
    'From 0 to 12 a second, at the end 3. Of 1 of 4 points nothing is known.',
  );
  expect(spark([1, null]).description).toBe('From 1 to 1 a second. Of 1 of 2 points nothing is known.');
  expect(spark([null])).toMatchObject({ description: 'No figures yet.', most: '–' });
  expect([spark([0]).most, spark([3, null, 12.4]).most]).toEqual(['0', '12']);
});

test('every point lies within the drawing, and each value is in exactly one line or gap', () => {
  const series = fc.array(fc.option(fc.double({ min: 0, max: 1e12, noNaN: true })), { maxLength: 100 });
  fc.assert(
    fc.property(series, (values) => {
      const { line, area, gaps } = spark(values);
      for (const path of [line, area]) {
        expect(path).toMatch(/^(?:[MLZ]|\d+(?:\.\d)? \d+(?:\.\d)?)*$/);
        for (const [, x, y] of path.matchAll(/([\d.]+) ([\d.]+)/g)) {
          expect(Number(x)).toBeLessThanOrEqual(240);
          expect(Number(y)).toBeLessThanOrEqual(40);
        }
      }
      const known = values.filter((value) => value !== null).length;
      const runs = line.split('M').length - 1;
      expect((line.match(/[ML]/g)?.length ?? 0) - 2 * runs).toBe(known);
      const inGaps = gaps.reduce((sum, { width }) => sum + (width / 240) * values.length, 0);
      expect(Math.abs(inGaps - (values.length - known))).toBeLessThan(values.length / 100 + 0.01);
    }),
    { numRuns: 300 },
  );
});

test.each([
  [null, '–'],
  [0, '0'],
  [0.04, '<0.1'],
  [3, '3'],
  [3.14, '3.1'],
  [9.96, '10.0'],
  [12_345.6, '12,346'],
])('%s is written %s', (value, written) => {
  expect(figure(value)).toBe(written);
});
