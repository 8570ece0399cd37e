import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DefectCode } from '../../src/content/defects.js';
import { decodeWords } from '../../src/content/words.js';

function decode(value: string): { text: string; codes: DefectCode[] } {
  const codes: DefectCode[] = [];
  return { text: decodeWords(value, (code) => codes.push(code)), codes };
}

describe('encoded words', () => {
  it.each([
    ['plain text', 'plain text'],
    ['=?utf-8?q?Caf=C3=A9?=', 'Café'],
    ['=?UTF-8?B?Q2Fmw6k=?=', 'Café'],
    ['=?iso-8859-1?Q?Caf=E9_au_lait?=', 'Café au lait'],
    ['Re: =?utf-8?q?a?= b =?utf-8?q?c?=!', 'Re: a b c!'],
    // White space between two words belongs to neither, and characters may be cut in two.
    ['=?utf-8?b?w6k=?= \t =?utf-8?b?w6k=?=', 'éé'],
    ['=?utf-8?q?=C3?= =?utf-8?q?=A9?=', 'é'],
    ['=?utf-8?q?=C3?= =?UTF-8?b?qQ==?=', 'é'],
    ['=?iso-2022-jp?b?GyRCJUYbKEI=?= =?iso-2022-jp?b?GyRCJTkbKEI=?=', 'テス'],
    ['=?utf-8*en?q?ok?=', 'ok'],
    ['=?utf-8?q??=', ''],
    ['=?utf-8?x?no?=', '=?utf-8?x?no?='],
    ['=?utf-8?q?never ends', '=?utf-8?q?never ends'],
    ['=?broken =?utf-8?q?inner?=', '=?broken inner'],
  ])('%s', (value, text) => {
    expect(decode(value)).toEqual({ text, codes: [] });
  });

  it('says when the charset is unknown, and guesses', () => {
    expect(decode('=?klingon?q?Caf=C3=A9?=')).toEqual({ text: 'Café', codes: ['charset_unknown'] });
    expect(decode('=?klingon?q?Caf=E9?=')).toEqual({ text: 'Café', codes: ['charset_unknown'] });
  });

  it('says when the bytes are not of the charset', () => {
    expect(decode('=?utf-8?q?Caf=E9?=')).toEqual({ text: 'Caf\ufffd', codes: ['charset_wrong'] });
  });

  it('gives back whatever was encoded', () => {
    const texts = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 60 })
      .map((text) => Buffer.from(text).toString());
    fc.assert(
      fc.property(texts, (text) => {
        const word = `=?utf-8?b?${Buffer.from(text).toString('base64')}?=`;
        expect(decode(`a ${word} b`).text).toBe(`a ${text} b`);
      }),
    );
  });

  it('leaves texts without words as they are', () => {
    const texts = fc.string().filter((text) => !text.includes('=?'));
    fc.assert(
      fc.property(texts, (text) => {
        expect(decode(text).text).toBe(text);
      }),
    );
  });
});
