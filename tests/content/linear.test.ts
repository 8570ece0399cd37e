import { expect, it } from 'vitest';
import { brokenBase64 } from '../../src/content/base64.js';
import { checkBody, checkHead } from '../../src/content/checks.js';
import { DefectList } from '../../src/content/defects.js';
import { readFields } from '../../src/content/fields.js';
import { readHead } from '../../src/content/head.js';
import { MAIL_LIMITS } from '../../src/content/limits.js';
import { scanStructure } from '../../src/content/scan.js';

/*
 * Our own reader takes time in proportion to its input, whatever that is made of. Limits are off here: with them no
 * header comes to this size. Eight times the input takes 8 times the time when it is linear, 64 times when quadratic.
 */
const SMALL = 128 * 1024;
const GROWTH = 8;
const ALLOWED = 24;
const NO_LIMITS = { ...MAIL_LIMITS, headerBytes: 1e9, headerLines: 1e9, parts: 1e9 };

function readAll(raw: Buffer): void {
  const defects = new DefectList();
  const head = readHead(raw, NO_LIMITS);
  checkHead(head, defects);
  readFields(head, defects);
  const structure = scanStructure(raw, head, NO_LIMITS);
  checkBody(raw, head, structure, brokenBase64(raw, structure), defects);
}

/** The least processor time of some runs, in microseconds: others share the machine. */
function leastTime(raw: Buffer): number {
  return Math.min(
    ...Array.from({ length: 3 }, () => {
      const before = process.cpuUsage();
      readAll(raw);
      const { user, system } = process.cpuUsage(before);
      return user + system;
    }),
  );
}

const MIXED = 'Content-Type: multipart/mixed; boundary=x\r\n\r\n';

it.each([
  ['parentheses in an address list', 'To: ', '('],
  ['quotes in an address list', 'To: ', '"'],
  ['escaped quotes in an address list', 'To: ', '"\\'],
  ['brackets in an address list', 'To: ', '<'],
  ['colons in an address list', 'To: a"b"', 'a@b:'],
  ['addresses', 'To: ', 'a@b,'],
  ['blanks in an address', 'To: <', ' '],
  ['beginnings of encoded words', 'Subject: ', '=?a?q?'],
  ['encoded words', 'Subject: ', '=?utf-8?q?a?= '],
  ['ids', 'References: ', '<a@b> '],
  ['ids without end', 'References: ', '<'],
  ['pieces of a parameter', 'Content-Type: text/plain', ';\r\n n*1*=%41'],
  ['comments in a type', 'Content-Type: ', '('],
  ['folded lines', 'X: ', 'a\r\n '],
  ['lines that are no fields', 'X: y\r\n', 'what\r\n'],
  ['lines that could be delimiters', `${MIXED}--x\r\n\r\n`, '--\r\n'],
  ['parts', MIXED, '--x\r\n\r\na\r\n'],
  ['empty lines', 'X: y\r\n\r\n', '\r\n'],
  ['one long line', 'X: y\r\n\r\n', 'a'],
])('%s', (_, start, unit) => {
  const mailOf = (size: number) => Buffer.from(start + unit.repeat(size / unit.length));
  readAll(mailOf(SMALL));
  // A millisecond of grace: the clock of processor time is coarse.
  expect(leastTime(mailOf(GROWTH * SMALL))).toBeLessThan(ALLOWED * leastTime(mailOf(SMALL)) + 1_000);
});
