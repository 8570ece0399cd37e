import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { brokenBase64 } from '../../src/content/base64.js';
import { readHead } from '../../src/content/head.js';
import { MAIL_LIMITS } from '../../src/content/limits.js';
import { scanStructure } from '../../src/content/scan.js';
import { decodedLeaf, quotedPrintableBytes } from '../../src/content/transfer.js';

/** The bytes of a mail's one leaf. */
function decoded(encoding: string, body: string | Buffer): Buffer {
  const head = `Content-Transfer-Encoding: ${encoding}\r\n\r\n`;
  const raw = Buffer.concat([Buffer.from(head), typeof body === 'string' ? Buffer.from(body, 'latin1') : body]);
  const structure = scanStructure(raw, readHead(raw, MAIL_LIMITS), MAIL_LIMITS);
  const [leaf] = structure.leaves;
  if (leaf === undefined) throw new Error('no leaf');
  return decodedLeaf(raw, leaf, brokenBase64(raw, structure).has(leaf));
}

const text = (encoding: string, body: string) => decoded(encoding, body).toString('latin1');
const quoted = (body: string) => quotedPrintableBytes(Buffer.from(body, 'latin1')).toString('latin1');
const bytes = fc.uint8Array({ maxLength: 2_000, size: 'max' }).map((each) => Buffer.from(each));

describe('quoted-printable', () => {
  it.each<[string, string, string]>([
    ['a byte in hex', 'caf=C3=A9', 'caf\xc3\xa9'],
    ['lower case, which is not allowed', 'caf=c3=a9', 'caf\xc3\xa9'],
    ['a soft line break', 'one=\r\ntwo', 'onetwo'],
    ['a soft line break of LF', 'one=\ntwo', 'onetwo'],
    ['a soft line break before blanks', 'one= \t\r\ntwo', 'onetwo'],
    ['a soft line break at the end', 'one=', 'one'],
    ['blanks at the end of a line', 'one \t\r\ntwo  \nthree ', 'one\r\ntwo\nthree'],
    ['a blank in hex at the end of a line', 'one=20\r\ntwo=20', 'one \r\ntwo '],
    ['a blank before a soft line break', 'one =\r\ntwo', 'one two'],
    ['a sign that encodes nothing', 'a=b =XY =', 'a=b =XY '],
    ['one digit alone', 'a=4', 'a=4'],
    ['a sign before a sign', '==41', '=A'],
    ['bytes beyond ASCII', 'caf\xe9', 'caf\xe9'],
    ['empty lines', '\r\n\r\n', '\r\n\r\n'],
    ['nothing', '', ''],
  ])('reads %s', (_, written, expected) => {
    expect(quoted(written)).toBe(expected);
    expect(text('quoted-printable', written)).toBe(expected);
  });

  /** As RFC 2045 allows it: whatever need not be written in hex may be, and lines may be cut anywhere. */
  function encoded(plain: Buffer, choices: readonly number[]): string {
    const pieces = [...plain].map((byte, i) => {
      const choice = choices[i % choices.length] as number;
      const isPlain = byte > 0x20 && byte < 0x7f && byte !== 0x3d && choice % 2 === 0;
      const hex = byte.toString(16).padStart(2, '0');
      const piece = isPlain ? String.fromCharCode(byte) : `=${choice % 4 < 2 ? hex.toUpperCase() : hex}`;
      return choice % 5 === 0 ? `${piece}=\r\n` : piece;
    });
    return pieces.join('');
  }

  it('gives back whatever was encoded', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(99), { minLength: 1, maxLength: 50 }), (plain, choices) => {
        expect(quotedPrintableBytes(Buffer.from(encoded(plain, choices))).equals(plain)).toBe(true);
      }),
    );
  });

  it('makes nothing longer, whatever it is given', () => {
    const pieces = fc.array(fc.constantFrom('=', ' ', '\t', '\r', '\n', '4', 'F', 'x', '=\r\n', '=3D'));
    fc.assert(
      fc.property(pieces, (each) => {
        const written = Buffer.from(each.join(''));
        expect(quotedPrintableBytes(written).length).toBeLessThanOrEqual(written.length);
      }),
    );
  });
});

describe('base64', () => {
  it('gives back whatever was encoded, in lines of any length', () => {
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 100 }), (plain, length) => {
        const lines = plain.toString('base64').match(new RegExp(`.{1,${length}}`, 'g')) ?? [];
        expect(decoded('base64', lines.join('\r\n')).equals(plain)).toBe(true);
      }),
    );
  });

  it('that is broken gives the same where other characters are strewn in', () => {
    const strewn = fc.array(fc.constantFrom('*', '!', '\xe9', '\0', '-', ' ', '\r\n', ''), { minLength: 1 });
    fc.assert(
      fc.property(bytes, strewn, (plain, others) => {
        const written = [...plain.toString('base64').replace(/=+$/, '')];
        const body = written.map((char, i) => char + (others[i % others.length] as string)).join('');
        expect(decoded('base64', `*${body}`).equals(plain)).toBe(true);
      }),
    );
  });

  it('of several texts put together gives all of them', () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 5 }), (texts) => {
        const written = texts.map((each) => each.toString('base64')).join('\r\n');
        expect(decoded('base64', written).equals(Buffer.concat(texts))).toBe(true);
      }),
    );
  });

  it.each<[string, string]>([
    ['aGVsbG8', 'hello'],
    ['aGVsbG8===', 'hello'],
    ['aGVsbG8=aGk=', 'hellohi'],
    ['=aGVsbG8=', 'hello'],
    ['aGVsbG', 'hell'],
    ['aGVsb', 'hel'],
    ['====', ''],
    ['*', ''],
    ['', ''],
  ])('cut short or gone on, as %s, is read as far as it goes', (written, expected) => {
    expect(text('base64', written)).toBe(expected);
  });
});

describe('no encoding', () => {
  it.each(['7bit', '8bit', 'binary', 'x-magic', ''])('%s leaves the bytes as they stand', (encoding) => {
    fc.assert(
      fc.property(bytes, (plain) => {
        expect(decoded(encoding, plain).equals(plain)).toBe(true);
      }),
      { numRuns: 20 },
    );
  });
});
