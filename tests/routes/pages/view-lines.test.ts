import { parse } from 'lossless-json';
import { expect, test } from 'vitest';
import { viewLines } from '../../../routes/pages/view-lines.js';
import { EMPTY_VIEW, type View } from '../../../src/message/view.js';

const part = { n: 2, path: '2', name: 'a.pdf', type: 'application/pdf', size: 4_100, sha256: '', inline: false };

test('a view is written in lines, what it lacks left out', () => {
  const view: View = {
    ...EMPTY_VIEW,
    headers: [['subject', 'Hi']],
    subject: 'Hi',
    from: [{ name: 'Anna', address: 'anna@example.com' }],
    text: 'one\r\ntwo',
    parts: [{ ...part, contentId: null }],
    setAside: [
      { where: '3', n: 3, name: null, type: 'text/calendar', size: 12, sha256: '', why: 'It stopped an earlier try.' },
    ],
    defects: [{ code: 'nul', severity: 'warning', where: 'body', action: 'it was left out' }],
    unread: ['parts'],
    data: parse('{"n":1.10}'),
  };
  expect(viewLines(view)).toEqual([
    'Subject: Hi',
    'From: Anna <anna@example.com>',
    '1 header fields',
    ...['', 'Text:', 'one', 'two'],
    ...['', 'Data:', '{', '  "n": 1.10', '}'],
    ...['', 'Parts:', '2 a.pdf, application/pdf, 4.1 kB'],
    ...['', 'Set aside:', '3 (text/calendar), 12 B: It stopped an earlier try.'],
    ...['', 'Wrong:', 'nul in body: it was left out'],
    ...['', 'Not read:', 'parts'],
  ]);
});

test('lines, texts and lists are bounded', () => {
  const parts = Array.from({ length: 1_000 }, (_, n) => ({ ...part, n, contentId: null }));
  const lines = viewLines({ ...EMPTY_VIEW, text: 'x'.repeat(1_000_000), html: '\n'.repeat(1_000_000), parts });
  expect(lines).toContain('and 800 more');
  expect(lines.length).toBeLessThan(17_000);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(500);
});
