import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newText } from '../../../src/routing/thread/new-text.js';
import { costMs } from '../../support/spent.js';

describe('the new text of an answer', () => {
  it.each([
    ['as it is', 'Hello,\nthe order is 4711.', 'Hello, the order is 4711.'],
    ['without quoted lines', 'Yes.\n> Is it 4711?\n>> old\n > and more\nBye', 'Yes. Bye'],
    [
      'without what introduces them',
      'Yes.\n\nOn Mon, 3 May 2027 at 10:00, Anna <anna@example.com> wrote:\n\n> Is it?',
      'Yes.',
    ],
    ['in two lines, with a word alone', 'Yes.\nOn Mon, 3 May 2027 at 10:00, Anna\nwrote:\n> Is it?', 'Yes.'],
    ['without a line too many', 'It is 5.\nOn Mon, 3 May 2027, Anna wrote:\n> Is it?', 'It is 5.'],
    ['in two lines, too', 'Ja.\nAm 3. Mai 2027 um 10:00 schrieb Anna\n<anna@example.com>:\n> Ist es?', 'Ja.'],
    ['with what stands below a signature', 'Yes.\n-- \nAnna\n\nPS: two', 'Yes. -- Anna PS: two'],
    ['with what is passed on', 'FYI\n--- Forwarded message ---\nIs it?', 'FYI --- Forwarded message --- Is it?'],
    ['with what stands below a line', `Yes.\n${'_'.repeat(20)}\nAnd two.`, `Yes. ${'_'.repeat(20)} And two.`],
    ['with a line that ends in a colon and introduces nothing', 'I want:\nthree boxes', 'I want: three boxes'],
    ['with what only looks like an introduction', 'My answer:\n> Is it?\nNo.', 'My answer: No.'],
    ['with blanks as one', ' a\t b\r\n\r\nc ', 'a b c'],
    ['of nothing', '', ''],
  ])('%s', (_, text, expected) => {
    expect(newText(text)).toBe(expected);
  });

  it('is the same however often what was quoted is quoted again', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z ]{0,20}$/)), fc.array(fc.string()), (lines, quoted) => {
        const text = lines.join('\n');
        const answer = [text, ...quoted.map((line) => `> ${line.replace(/[\r\n]/g, '')}`)].join('\n');
        expect(newText(answer)).toBe(newText(text));
        expect(newText(newText(text))).toBe(newText(text));
      }),
    );
  });

  it('joins any number of blanks', () => {
    for (const blank of [' ', '\n', '\t '])
      for (const count of [1, 2, 4_095, 4_096, 4_097, 4_098, 10_000, 20_000_000])
        expect(newText(`one${blank.repeat(count)}two`)).toBe('one two');
  });

  it('takes time in proportion to the text, whatever it is made of', () => {
    const lines = ['\n', '\n>\n', '\n\n\n\n> x\n', ':\n> x\n', '1:\n> x\n', ' '.repeat(50), '-- x\n', '_'.repeat(30)];
    for (const line of lines) {
      const [small, large] = [20_000, 200_000].map((count) => {
        const text = line.repeat(count);
        return costMs(() => newText(text));
      }) as [number, number];
      // Ten times the text; a hundred times the time would be quadratic.
      expect(large, JSON.stringify(line)).toBeLessThan(Math.max(500, small * 50));
    }
  });
});
