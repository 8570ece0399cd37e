import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readAddresses } from '../../src/content/address.js';
import type { DefectCode } from '../../src/content/defects.js';

function read(value: string): { found: string[]; codes: DefectCode[] } {
  const codes: DefectCode[] = [];
  const found = readAddresses(value, (code) => codes.push(code)).map(({ name, address }) => `${name}<${address}>`);
  return { found, codes };
}

describe('address lists', () => {
  it.each([
    ['anna@example.com', ['<anna@example.com>']],
    ['Anna <anna@example.com>', ['Anna<anna@example.com>']],
    ['"Smith, Anna" <anna@example.com>, bob@example.com', ['Smith, Anna<anna@example.com>', '<bob@example.com>']],
    ['"Anna \\"A\\" Smith" <anna@example.com>', ['Anna "A" Smith<anna@example.com>']],
    ['anna@example.com (Anna Smith)', ['Anna Smith<anna@example.com>']],
    ['=?utf-8?q?J=C3=B6rg?= <joerg@example.com>', ['Jörg<joerg@example.com>']],
    ['"anna@example.com" <anna@example.com>', ['<anna@example.com>']],
    [
      'friends: a@example.com, b@example.com;, c@example.com',
      ['<a@example.com>', '<b@example.com>', '<c@example.com>'],
    ],
    ['undisclosed-recipients:;', []],
    ['<@relay.example,@other.example:anna@example.com>', ['<anna@example.com>']],
    ['Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>', ['Pete<pete@silly.test>']],
    ['<anna @ example . com>', ['<anna@example.com>']],
    ['<"anna smith"@example.com>', ['<"anna smith"@example.com>']],
    ['', []],
    [' , ,, ', []],
  ])('%s', (value, found) => {
    expect(read(value)).toEqual({ found, codes: [] });
  });

  it.each([
    ['Anna', ['Anna<>']],
    ['anna@@example.com', ['<anna@@example.com>']],
    ['Anna <anna@example.com, bob@example.com', ['Anna<anna@example.com>', '<bob@example.com>']],
    ['"Anna <anna@example.com>, bob@example.com', ['Anna<anna@example.com>', '<bob@example.com>']],
  ])('%s: is read as well as it can be, and said to be malformed', (value, found) => {
    const { found: got, codes } = read(value);
    expect(got).toEqual(found);
    expect(codes).toContain('address_malformed');
  });

  it('reads a thousand addresses and says that there are more', () => {
    const { found, codes } = read('a@example.com,'.repeat(1_001));
    expect(found).toHaveLength(1_000);
    expect(codes).toEqual(['too_many_addresses']);
  });

  it('never fails, and never makes more of a text than is in it', () => {
    const texts = fc.string({ unit: fc.constantFrom(...'ab@.,;:<>()"\\ \t=?') });
    fc.assert(
      fc.property(texts, (value) => {
        const length = readAddresses(value, () => undefined)
          .map(({ name, address }) => name.length + address.length)
          .reduce((sum, each) => sum + each, 0);
        expect(length).toBeLessThanOrEqual(2 * value.length);
      }),
    );
  });
});
