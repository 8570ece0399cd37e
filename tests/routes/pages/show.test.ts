import fc from 'fast-check';
import { parse, stringify } from 'lossless-json';
import { describe, expect, test } from 'vitest';
import { address, backField, readForm, seenField } from '../../../routes/pages/form.js';
import { frameDocument } from '../../../routes/pages/frame.js';
import { showJson } from '../../../routes/pages/json.js';
import { size, when } from '../../../routes/pages/words.js';
import { Problem } from '../../../routes/route.js';

describe('JSON on a page', () => {
  test('is the same text, whatever pieces it is shown in', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const shown = showJson(value).pieces.map(({ text }) => text);
        expect(shown.join('')).toBe(stringify(value, undefined, 2)?.toWellFormed());
      }),
    );
  });

  test('keeps every digit, and tells keys, texts, numbers and words apart', () => {
    const { pieces } = showJson(parse('{"n":1.10,"big":12345678901234567890.1,"s":"a \\"b\\": 1","ok":true}'));
    const of = (kind: string) => pieces.filter((piece) => piece.kind === kind).map(({ text }) => text);
    expect(of('key')).toEqual(['"n":', '"big":', '"s":', '"ok":']);
    expect(of('number')).toEqual(['1.10', '12345678901234567890.1']);
    expect(of('string')).toEqual(['"a \\"b\\": 1"']);
    expect(of('word')).toEqual(['true']);
  });

  test('is cut where nobody would read on, and says so', () => {
    const { pieces, cut } = showJson('x'.repeat(300_000));
    expect(cut).toBe(true);
    expect(pieces.map(({ text }) => text).join('')).toHaveLength(200_000);
  });
});

describe('forms', () => {
  test.each([
    'https://evil.example/',
    '//evil.example',
    '/\\evil.example',
    '/inbox\\@evil',
    '/sign-out',
    '/inbox?a=\r\nb',
    '/inboxes',
  ])('lead back to no %j', (path) => {
    expect(() => readForm(backField, path)).toThrow(Problem);
  });

  test('lead back to our own lists', () => {
    for (const path of [
      '/inbox',
      '/inbox?source=a%20b&q=%26',
      '/messages?state=waiting',
      '/targets/crm?state=failed',
    ]) {
      expect(readForm(backField, path)).toBe(path);
    }
  });

  test('name a message and the version that was seen', () => {
    expect(readForm(seenField, '7-10234:3')).toEqual({ place: { channel: 7, sequence: 10234 }, version: 3 });
    for (const wrong of ['7-10234', '7-10234:0', '7-10234:x', 'x:1', '7-0:1']) {
      expect(() => readForm(seenField, wrong), wrong).toThrow(Problem);
    }
  });

  test('make addresses with what is given', () => {
    expect(address('/inbox', { q: 'a&b', source: undefined, of: ['1-1:2', '1-2:2'] })).toBe(
      '/inbox?q=a%26b&of=1-1%3A2&of=1-2%3A2',
    );
    expect(address('/inbox', { q: undefined })).toBe('/inbox');
  });
});

test('the frame says what was left out, and what could not be read', () => {
  expect(frameDocument({ html: '<p>hi</p>', blocked: 0 })).not.toContain('left out');
  expect(frameDocument({ html: '<p>hi</p>', blocked: 1 })).toContain('left out one thing');
  expect(frameDocument({ html: '<p>hi</p>', blocked: 1200 })).toContain('left out 1,200 things');
  expect(frameDocument(null)).toContain('could not be read');
});

test('times and sizes are written in their greatest unit', () => {
  const at = new Date('2026-01-31T12:00:00Z');
  const ago = (ms: number) => when(at, at.getTime() + ms).ago;
  expect([0, 59_999, 60_000, 7_200_000, 200_000_000].map(ago)).toEqual(['0 s', '59 s', '1 min', '2 h', '2 d']);
  expect(when(at, 0).full).toBe('2026-01-31 12:00:00 UTC');
  expect([0, 999, 1000, 4_149, 99_500, 3_200_000].map(size)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '4.1 kB',
    '100 kB',
    '3.2 MB',
  ]);
});
