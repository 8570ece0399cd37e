import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reflow } from '../../src/content/reflow.js';
import { costMs } from '../support/spent.js';

const lines = (...each: string[]) => each.join('\n');

describe('flowed text', () => {
  it.each<[string, string, string]>([
    ['a line that ends in a blank goes on', lines('one ', 'two'), 'one two'],
    ['others are paragraphs', lines('one', 'two'), lines('one', 'two')],
    ['lines may end in CR LF', 'one \r\ntwo\r\nthree', lines('one two', 'three')],
    ['empty lines stay', lines('one', '', 'two'), lines('one', '', 'two')],
    ['a blank at the start was stuffed', lines(' From here', '  two'), lines('From here', ' two')],
    ['a quote sign was stuffed', ' > no quote', '> no quote'],
    ['the last paragraph may stay open', 'one ', 'one '],
    ['nothing is nothing', '', ''],
  ])('%s', (_, text, flowed) => {
    expect(reflow(text, false)).toBe(flowed);
  });

  it.each<[string, string, string]>([
    ['paragraphs', lines('> one ', '> two', '> three'), lines('> one two', '> three')],
    ['each depth apart', lines('>> one ', '> two ', 'three'), lines('>> one ', '> two ', 'three')],
    ['without a blank after the sign', lines('>one ', '>two'), '> one two'],
    ['a sign after a blank is text', lines('> > one ', '> > two'), '> > one > two'],
  ])('quoted has %s', (_, text, flowed) => {
    expect(reflow(text, false)).toBe(flowed);
  });

  it('with DelSp loses the blank before each soft break, and no other', () => {
    expect(reflow(lines('Donau ', 'dampf  ', 'schiff', 'end'), true)).toBe(lines('Donaudampf schiff', 'end'));
    expect(reflow(lines('> one ', '> two'), true)).toBe('> onetwo');
  });

  it('keeps a signature apart, with the blank of its separator', () => {
    for (const delSp of [false, true]) {
      expect(reflow(lines('bye', '-- ', 'Anna'), delSp)).toBe(lines('bye', '-- ', 'Anna'));
      expect(reflow(lines('> bye', '> -- ', '> Anna'), delSp)).toBe(lines('> bye', '> -- ', '> Anna'));
    }
    expect(reflow(lines('and ', '-- ', 'Anna'), false)).toBe(lines('and ', '-- ', 'Anna'));
  });

  it('of a conversation keeps each voice apart', () => {
    const text = lines(
      '>>>Take some more tea. ',
      '>>I have had nothing yet, ',
      ">>so I can't take more. ",
      '>You mean ',
      '>less. ',
      'How ',
      'odd.',
    );
    expect(reflow(text, false)).toBe(
      lines(
        '>>> Take some more tea. ',
        ">> I have had nothing yet, so I can't take more. ",
        '> You mean less. ',
        'How odd.',
      ),
    );
  });
});

describe('whatever a program wraps', () => {
  // Alone on a line this would be a signature's separator.
  const word = fc.stringMatching(/^[>a-z-]{1,8}$/).filter((text) => text !== '--');
  const words = fc.array(word, { minLength: 1, maxLength: 20 });
  const paragraphs = fc.array(
    fc.oneof(
      words.map((each) => each.join(' ')),
      fc.constant(''),
    ),
    { minLength: 1 },
  );

  /** RFC 3676, 4.2: soft breaks after blanks, and a blank before what would be misunderstood. */
  function wrapped(paragraph: string, delSp: boolean, quotes: number): string {
    const pieces = paragraph === '' ? [''] : (paragraph.match(/[^ ]+ ?/g) as string[]);
    return pieces
      .map((piece) => (delSp && piece.endsWith(' ') ? `${piece} ` : piece))
      .map((piece) => `${'>'.repeat(quotes)}${quotes > 0 || /^[ >]/.test(piece) ? ' ' : ''}${piece}`)
      .join('\r\n');
  }

  it('is put together again', () => {
    fc.assert(
      fc.property(paragraphs, fc.boolean(), fc.nat(3), (texts, delSp, quotes) => {
        const written = texts.map((text) => wrapped(text, delSp, quotes)).join('\r\n');
        const sign = quotes === 0 ? '' : `${'>'.repeat(quotes)} `;
        expect(reflow(written, delSp)).toBe(texts.map((text) => sign + text).join('\n'));
      }),
    );
  });

  it('takes time in proportion to its length', () => {
    const time = (length: number) => {
      const text = 'abc def \r\n'.repeat(length);
      return costMs(() => reflow(text, false));
    };
    time(10_000);
    const small = Math.min(time(20_000), time(20_000), time(20_000));
    expect(Math.min(time(160_000), time(160_000))).toBeLessThan(24 * small + 20);
  });
});
