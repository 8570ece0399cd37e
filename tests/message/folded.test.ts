import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { excerpt, folded, highlighted, wordsOf } from '../../src/message/folded.js';

describe('words', () => {
  test('are without case, accents and forms', () => {
    expect(folded('Größe')).toBe('grosse');
    expect(folded('ＧＲÖSSE')).toBe('grosse');
    expect(folded('Łódź İstanbul Ærø')).toBe('lodz istanbul aero');
    expect(wordsOf('anna@sender.example, 7-10234: ¡Crème brûlée!', 20)).toEqual([
      'anna',
      'sender',
      'example',
      '7',
      '10234',
      'creme',
      'brulee',
    ]);
  });

  test('hold letters and digits only, are bounded, and the same again when folded again', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
        const words = wordsOf(text, 20);
        expect(words.length).toBeLessThanOrEqual(20);
        for (const word of words) {
          expect(word).toMatch(/^[\p{L}\p{N}]{1,40}$/u);
          expect(word.isWellFormed()).toBe(true);
        }
      }),
    );
  });

  test('come to the same whether or not a text says them again', () => {
    const word = fc.oneof(
      fc.constantFrom('the', 'The', 'Größe', 'GRÖSSE', '㎒', 'ΟΔΟΣ', 'ǅ', 'x2'),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 30 }), (said) => {
        const one = said.flatMap((each) => wordsOf(each, 1_000));
        expect(wordsOf(said.join(' '), 1_000)).toEqual([...new Set(one)]);
      }),
    );
  });
});

describe('hits', () => {
  test('are in pieces that together are the text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.array(fc.string({ minLength: 1, maxLength: 2 })),
        (text, wanted) => {
          expect(
            highlighted(text, wanted)
              .map((one) => one.text)
              .join(''),
          ).toBe(text);
        },
      ),
    );
    expect(highlighted('Die Rechnung, bitte', ['rech'])).toEqual([
      { text: 'Die ', hit: false },
      { text: 'Rechnung', hit: true },
      { text: ', bitte', hit: false },
    ]);
  });

  test('are shown with what is around them', () => {
    expect(excerpt('one two three', ['four'], 5)).toBeNull();
    expect(excerpt(`${'a '.repeat(50)}Größe${' b'.repeat(50)}`, ['grosse'], 6)).toBe('…a a a Größe b b b…');
  });
});
