import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cleanFileName, cleanLine, cleanText, cutText } from '../../src/content/clean.js';

const anything = fc.string({ unit: 'binary' });
const withSurrogates = fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units));

describe('cleaned texts', () => {
  it('hold no NUL and no lone surrogate', () => {
    fc.assert(
      fc.property(withSurrogates, (text) => {
        for (const clean of [cleanText(text), cleanLine(text), cleanFileName(text) ?? '']) {
          expect(clean.includes('\0')).toBe(false);
          expect(clean.isWellFormed()).toBe(true);
        }
      }),
    );
  });

  it('keep what is harmless', () => {
    expect(cleanText('a\tb\nc\u{1f600}')).toBe('a\tb\nc\u{1f600}');
    expect(cleanLine('a \r\n b')).toBe('a   b');
  });

  it('are cut between characters, and never longer than they may be', () => {
    fc.assert(
      fc.property(anything, fc.nat(100), (text, max) => {
        const { text: kept, cut } = cutText(text, max);
        expect(Buffer.byteLength(kept)).toBeLessThanOrEqual(max);
        expect(text.startsWith(kept)).toBe(true);
        expect(cut).toBe(kept !== text);
        expect(Buffer.byteLength(text) - Buffer.byteLength(kept) === 0 || max - Buffer.byteLength(kept) < 4).toBe(true);
      }),
    );
  });
});

describe('file names', () => {
  it.each([
    ['invoice.pdf', 'invoice.pdf'],
    ['../../etc/passwd', 'passwd'],
    ['C:\\Users\\anna\\invoice.pdf', 'invoice.pdf'],
    ['.htaccess', 'htaccess'],
    ['in\u0000voice\r\n.pdf', 'invoice.pdf'],
    // Shown from right to left this would read invoiceexe.pdf.
    ['invoice\u202efdp.exe', 'invoicefdp.exe'],
    ['a<b>:"c"|?*.txt', 'abc.txt'],
    ['..', null],
    ['/', null],
    ['', null],
  ])('%j becomes %j', (name, clean) => {
    expect(cleanFileName(name)).toBe(clean);
  });

  it('hold no path and at most 255 bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 600 }), (name) => {
        const clean = cleanFileName(name);
        expect(clean === null || (!/[/\\]/.test(clean) && Buffer.byteLength(clean) <= 255 && clean !== '..')).toBe(
          true,
        );
      }),
    );
  });
});
