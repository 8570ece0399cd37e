import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DotReader } from '../../src/ingress/smtp/dots.js';
import { stuffed } from './smtp-harness.js';

/** Reads pieces until the end: what was content, and what followed. Null when it did not end. */
function read(pieces: readonly Buffer[]): { content: string; rest: string } | null {
  const reader = new DotReader();
  const content: Buffer[] = [];
  for (const [i, piece] of pieces.entries()) {
    const { content: some, rest } = reader.read(piece);
    content.push(some);
    if (rest) {
      const after = Buffer.concat([rest, ...pieces.slice(i + 1)]);
      return { content: Buffer.concat(content).toString('latin1'), rest: after.toString('latin1') };
    }
  }
  return null;
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...ends, bytes.length]
    .map((end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end))
    .filter((p) => p.length > 0);
}

const noisy = fc.array(fc.constantFrom('\r', '\n', '\r\n', '.', '..', '\r\n.', '\n.\r\n', '\0', 'x', 'ü'), {
  maxLength: 40,
});
const places = fc.array(fc.nat(200), { maxLength: 20 });

test('every mail comes out as its sender meant it, wherever the network cuts it', () => {
  fc.assert(
    fc.property(noisy, places, (parts, cuts) => {
      const raw = Buffer.from(`${parts.join('')}\r\n`, 'latin1');
      const wire = Buffer.concat([stuffed(raw), Buffer.from('.\r\nRSET\r\n')]);
      expect(read(cut(wire, cuts))).toEqual({ content: raw.toString('latin1'), rest: 'RSET\r\n' });
    }),
    { numRuns: 2_000 },
  );
});

test('where the network cuts makes no difference to anything', () => {
  fc.assert(
    fc.property(noisy, places, (parts, cuts) => {
      const wire = Buffer.from(parts.join(''), 'latin1');
      expect(read(cut(wire, cuts))).toEqual(read([wire]));
    }),
    { numRuns: 2_000 },
  );
});

test.each([
  ['\n.\n', 'LF . LF'],
  ['\n.\r\n', 'LF . CR LF'],
  ['\r\n.\n', 'CR LF . LF'],
  ['\r.\r', 'CR . CR'],
  ['\r\n.\r', 'CR LF . CR'],
  ['\r.\r\n', 'CR . CR LF'],
  ['\n\r\n.\r\r\n', 'CR LF . CR CR LF'],
  ['\r\n\0.\r\n', 'CR LF NUL . CR LF'],
])('%j does not end the data (%s)', (end) => {
  expect(read([Buffer.from(`hello${end}MAIL FROM:<a@b>\r\n`)])).toBeNull();
});

test('an empty mail, and one that begins with the end, are empty', () => {
  expect(read([Buffer.from('.\r\n')])).toEqual({ content: '', rest: '' });
  expect(read([Buffer.from('.'), Buffer.from('\r'), Buffer.from('\nQUIT\r\n')])).toEqual({
    content: '',
    rest: 'QUIT\r\n',
  });
});

test('a dot after a bare line feed stays, and so does the one after it', () => {
  expect(read([Buffer.from('a\n..b\n.c\r\n.\r\n')])).toEqual({ content: 'a\n..b\n.c\r\n', rest: '' });
});

test('a dot that begins a line goes even where its sender forgot to double it (RFC 5321 4.5.2)', () => {
  expect(read([Buffer.from('.a\r\n.b\r\n.\r\n')])).toEqual({ content: 'a\r\nb\r\n', rest: '' });
});
