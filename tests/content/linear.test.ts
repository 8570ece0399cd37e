import { expect, it } from 'vitest';
import { brokenBase64 } from '../../src/content/base64.js';
import { checkBody, checkHead } from '../../src/content/checks.js';
import { crashHash } from '../../src/content/crash-hash.js';
import { DefectList } from '../../src/content/defects.js';
import { readFields } from '../../src/content/fields.js';
import { firstText } from '../../src/content/first-text.js';
import { readHead } from '../../src/content/head.js';
import { MAIL_LIMITS } from '../../src/content/limits.js';
import { reflow } from '../../src/content/reflow.js';
import { readReport } from '../../src/content/report.js';
import { roleOf } from '../../src/content/roles.js';
import { scanStructure } from '../../src/content/scan.js';
import { unwrapTnef } from '../../src/content/tnef.js';
import { decodedLeaf } from '../../src/content/transfer.js';
import { costMs } from '../support/spent.js';

/*
 * Our own reader takes time in proportion to its input, whatever that is made of. Limits are off in the short form: with
 * them no header comes to this size. Eight times the input takes 8 times the time when it is linear, 64 times when quadratic.
 * With WAYBILL_LONG=1 from 1 to 8 MB within the limits that hold in earnest, and at most 1.3 times as much as linear.
 */
const LONG = process.env.WAYBILL_LONG === '1';
const SMALL = (LONG ? 1024 : 128) * 1024;
const GROWTH = 8;
const ALLOWED = LONG ? 1.3 * GROWTH : 3 * GROWTH;
const FEW_RUNS = LONG ? 7 : 3;
const MANY_RUNS = 20;
const LIMITS = LONG ? MAIL_LIMITS : { ...MAIL_LIMITS, headerBytes: 1e9, headerLines: 1e9, parts: 1e9 };

function readAll(raw: Buffer): void {
  const defects = new DefectList();
  const head = readHead(raw, LIMITS);
  checkHead(head, defects);
  readFields(head, defects);
  const structure = scanStructure(raw, head, LIMITS);
  const broken = brokenBase64(raw, structure);
  checkBody(raw, head, structure, broken, defects);
  firstText({ raw, head, structure, broken }, LIMITS, defects);
  for (const leaf of structure.leaves) {
    const bytes = decodedLeaf(raw, leaf, broken.has(leaf));
    const role = roleOf(leaf);
    if (role === 'tnef') unwrapTnef(bytes, LIMITS.parts);
    else if (role === 'report') readReport(leaf.type, bytes, LIMITS);
    else if (leaf.flowed) reflow(bytes.toString('latin1'), leaf.delSp);
  }
  crashHash(raw, '');
}

const MIXED = 'Content-Type: multipart/mixed; boundary=x\r\n\r\n';
const QUOTED = 'Content-Transfer-Encoding: quoted-printable\r\n\r\n';
const BASE64 = 'Content-Transfer-Encoding: base64\r\n\r\n';
const FLOWED = 'Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n';
const REPORT = 'Content-Type: message/delivery-status\r\n\r\n';
const TNEF = 'Content-Type: application/ms-tnef\r\n\r\n\x78\x9f\x3e\x22\x01\0';

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
  ['signs that encode nothing', QUOTED, '='],
  ['signs before blanks', QUOTED, '= '],
  ['blanks after one sign', `${QUOTED}=`, ' '],
  ['blanks at the ends of lines', QUOTED, ' \r\n'],
  ['soft line breaks', QUOTED, '=\r\n'],
  ['base64 that is none', BASE64, '*'],
  ['padding', BASE64, '='],
  ['base64 and padding', BASE64, 'aGk='],
  ['paragraphs that never end', FLOWED, 'a \r\n'],
  ['quotes within quotes', FLOWED, '>'],
  ['quotes of changing depth', FLOWED, '> \r\n>> \r\n'],
  ['signatures', FLOWED, '-- \r\n'],
  ['groups of a report', REPORT, 'a:b\r\n\r\n'],
  ['fields of a report', REPORT, 'a:b\r\n'],
  ['empty lines of a report', REPORT, '\r\n'],
  ['attributes of nothing', TNEF, '\x01\x02\x90\x06\0\0\0\0\0\0\0'],
  ['fields that say how the body is made', '', 'Content-A: b\r\n'],
])('%s', (_, start, unit) => {
  const mailOf = (size: number) => Buffer.from(start + unit.repeat(size / unit.length), 'latin1');
  const small = mailOf(SMALL);
  const large = mailOf(GROWTH * SMALL);
  readAll(small);
  const least = { small: Infinity, large: Infinity };
  // A millisecond of grace: the clock of processor time is coarse.
  const isLinear = () => least.large < ALLOWED * least.small + 1;
  // Garbage of others in this process, and compiling, cost a run now and then; they do not cost all of them.
  for (let run = 0; run < FEW_RUNS || (run < MANY_RUNS && !isLinear()); run++) {
    least.small = Math.min(
      least.small,
      costMs(() => readAll(small)),
    );
    least.large = Math.min(
      least.large,
      costMs(() => readAll(large)),
    );
  }
  expect(isLinear(), JSON.stringify(least)).toBe(true);
});
