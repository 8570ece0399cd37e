import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readMailHeader } from '../../../src/delivery/targets/mailfields.js';

const line = fc.oneof(
  fc.constantFrom(
    'Subject: x',
    'A:',
    'B :y',
    ' folded',
    '\tfolded',
    '',
    'no field',
    'From a@b',
    '>From a',
    ':',
    'Ä: x',
    'x\0: y',
  ),
  fc.string({ unit: 'grapheme-ascii', maxLength: 20 }),
);
const mail = fc
  .array(fc.tuple(line, fc.constantFrom('\r\n', '\n', '\r')))
  .map((lines) => Buffer.from(lines.map((pair) => pair.join('')).join(''), 'latin1'));

test('whatever the bytes: fields lie one behind the other, and nothing but an mbox line is left out', () => {
  fc.assert(
    fc.property(mail, (raw) => {
      const header = readMailHeader(raw);
      if (!header) throw new Error('a small header was refused');
      let at = header.start;
      for (const field of header.fields) {
        expect(field.start).toBe(at);
        expect(field.end).toBeGreaterThan(field.start);
        expect(field.name).toMatch(/^[\x21-\x39\x3b-\x7e]+$/);
        at = field.end;
      }
      expect(header.end).toBe(at);
      expect(raw.toString('latin1', 0, header.start)).toMatch(/^(?:>?From [^\n]*\n?)?$/);
    }),
  );
});

test('names are read as they were meant, values with their folding', () => {
  const raw = Buffer.from('SUBJECT : Hi\r\n there\nx: y\n\nbody: not a field\n');
  expect(readMailHeader(raw)?.fields.map(({ name, value }) => [name, value])).toEqual([
    ['subject', 'Hi\r\n there'],
    ['x', 'y'],
  ]);
});
