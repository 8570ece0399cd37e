import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parameter, readStructured, textParameter } from '../../src/content/parameters.js';

const text = (field: string, name: string) => textParameter(readStructured(field), name);

describe('a field with parameters', () => {
  it('has its value and its names in lower case, and the rest as it is written', () => {
    const { value, parameters } = readStructured('Text/Plain (a comment); CharSet=UTF-8; Name="A B.TXT"');
    expect(value).toBe('text/plain');
    expect([...parameters]).toEqual([
      ['charset', 'UTF-8'],
      ['name', 'A B.TXT'],
    ]);
  });

  it.each<[string, string | undefined]>([
    ['a; b=c', 'c'],
    ['a; b = c ; d=e', 'c'],
    ['a; b="c;d=e"', 'c;d=e'],
    ['a; b="c \\"d\\" \\\\"', 'c "d" \\'],
    ['a; b=c; b=d', 'c'],
    ['a; b="never closed', 'never closed'],
    ['a; b', ''],
    ['a;;; b=c', 'c'],
    ['a; c=b', undefined],
  ])('%s', (field, value) => {
    expect(parameter(readStructured(field), 'b')).toBe(value);
  });
});

describe('RFC 2231', () => {
  it.each<[string, string, string]>([
    [
      'message/external-body; access-type=URL; URL*0="ftp://"; URL*1="cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"',
      'url',
      'ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar',
    ],
    ["application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", 'title', 'This is ***fun***'],
    [
      "application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
      'title',
      "This is even more ***fun*** isn't it!",
    ],
  ])('%s', (field, name, value) => {
    expect(text(field, name)).toBe(value);
  });

  it.each<[string, string]>([
    ["x; n*=utf-8''caf%C3%A9", 'café'],
    ["x; n*=iso-8859-1'fr'caf%E9", 'café'],
    ["x; n*=''caf%C3%A9", 'café'],
    ["x; n*=klingon''caf%C3%A9", 'café'],
    ['x; n*=caf%C3%A9', 'café'],
    ['x; n*=caf%E9', 'café'],
    ["x; n=plain; n*=utf-8''caf%C3%A9", 'café'],
    ['x; n=plain; n*0=pie; n*1=ces', 'pieces'],
    ['x; n*1=b; n*0=a; n*3=d', 'ab'],
    ["x; n*0*=utf-8''caf%C3; n*1*=%A9", 'café'],
    ["x; n*0*=utf-8''%25; n*1=%41", '%%41'],
  ])('decodes %s', (field, value) => {
    expect(text(field, 'n')).toBe(value);
  });

  it.each(['%', '%4', '%g1', '%1g', '% 1', '%+1', '%-1', '%0x'])(
    'leaves %s, which is no byte in hex, as it is',
    (written) => {
      expect(text(`x; n*=utf-8''a${written}y`, 'n')).toBe(`a${written}y`);
    },
  );

  it('puts a boundary together, whose pieces are no text', () => {
    expect(parameter(readStructured('multipart/mixed; boundary*0=one; boundary*1=two'), 'boundary')).toBe('onetwo');
    expect(parameter(readStructured('multipart/mixed; boundary=%41'), 'boundary')).toBe('%41');
  });

  it('gives back whatever was encoded, however it was cut', () => {
    const texts = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 9 }), (plain, length) => {
        const written = [...Buffer.from(plain)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`);
        const pieces: string[] = [];
        for (let i = 0; i < written.length; i += length) pieces.push(written.slice(i, i + length).join(''));
        const parameters = pieces.map((piece, i) => `; n*${i}*=${i === 0 ? "utf-8''" : ''}${piece}`);
        expect(text(`x${parameters.join('')}`, 'n')).toBe(Buffer.from(plain).toString());
      }),
    );
  });

  it('never fails', () => {
    const bits = fc.constantFrom(
      'n',
      '*',
      '0',
      '1',
      '=',
      ';',
      '"',
      "'",
      '%',
      '%e9',
      'utf-8',
      '\\',
      ' ',
      '(',
      '=?',
      '?=',
      '\ud800',
    );
    fc.assert(
      fc.property(fc.array(bits, { maxLength: 40 }), (each) => {
        expect(text(`x;${each.join('')}`, 'n') ?? '').toBeTypeOf('string');
      }),
    );
  });
});

describe('encoded words in parameters', () => {
  it.each<[string, string]>([
    ['x; n="=?utf-8?q?caf=C3=A9?="', 'café'],
    ['x; n==?utf-8?q?caf=C3=A9?=', 'café'],
    ['x; n="=?iso-8859-1?b?Y2Fm6Q==?= =?utf-8?q?!?="', 'café!'],
    ['x; n="=?broken"', '=?broken'],
  ])('are read, though they should not stand there: %s', (field, value) => {
    expect(text(field, 'n')).toBe(value);
  });
});
