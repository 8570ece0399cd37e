import { describe, expect, it } from 'vitest';
import type { Content, Failure, ParseResult } from '../../src/content/content.js';
import { EVERYTHING } from '../../src/content/features.js';
import { DEFAULT_LADDER, type RungName } from '../../src/content/index.js';
import { afterFailure, levelOf } from '../../src/content/ladder.js';
import { TOP } from '../../src/message/view.js';
import { parseOn, poolOf, rungOf } from './pool.js';

const HEAD = 'From: anna@example.com\r\nDate: Tue, 1 Jul 2025 10:00:00 +0000\r\nMIME-Version: 1.0\r\n';
const MEGABYTE = 1024 * 1024;

function filled(start: string, unit: string, bytes: number): Buffer {
  return Buffer.from(start + unit.repeat(Math.ceil(bytes / unit.length)));
}

const deep = Array.from({ length: 900 }, (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`);

const BOMBS: [string, Buffer][] = [
  ['format=flowed', filled(`${HEAD}Content-Type: text/plain; format=flowed\r\n\r\n`, 'abc def \r\n', MEGABYTE)],
  ['a parameter in many pieces', filled(`${HEAD}Content-Type: text/plain`, ';\r\n n*1*=%41', 669_000)],
  ['an address list', filled(`${HEAD}To: `, 'a@example.com, ', MEGABYTE)],
  [
    '1,001 attachments',
    filled(
      `${HEAD}Content-Type: multipart/mixed; boundary=x\r\n\r\n`,
      '--x\r\nContent-Type: image/png\r\n\r\nhi\r\n',
      1_001 * 39,
    ),
  ],
  ['900 levels', Buffer.from(`${HEAD}${deep.join('')}\r\nhi`)],
  ['HTML nested deep', filled(`${HEAD}Content-Type: text/html\r\n\r\n`, '<div>', MEGABYTE)],
  ['HTML of many tables', filled(`${HEAD}Content-Type: text/html\r\n\r\n`, '<table><tr><td>', MEGABYTE)],
  [
    'HTML with many links',
    filled(`${HEAD}Content-Type: text/html\r\n\r\n`, '<a href="https://a.example/">a</a> ', MEGABYTE),
  ],
  ['one line of 30 MB', filled(`${HEAD}\r\n`, 'a', 30 * MEGABYTE)],
  ['a header of 8 MB', filled(HEAD, 'X-A: b\r\n', 8 * MEGABYTE)],
  ['a header of one field', filled(`${HEAD}X-A: `, 'b', 8 * MEGABYTE)],
  ['25 MB of text', filled(`${HEAD}\r\n`, 'hello world\r\n', 25 * MEGABYTE)],
  [
    '25 MB of quoted-printable',
    filled(`${HEAD}Content-Transfer-Encoding: quoted-printable\r\n\r\n`, 'h=65llo\r\n', 25 * MEGABYTE),
  ],
  ['NULs', Buffer.concat([Buffer.from(`${HEAD}\r\n`), Buffer.alloc(MEGABYTE)])],
  ['empty lines', filled(`${HEAD}\r\n`, '\r\n', 4 * MEGABYTE)],
  ['links in text', filled(`${HEAD}\r\n`, 'xn--a.xn--b.', MEGABYTE)],
];

/** Large, but no trap: to be read on rung 0. */
const READ = new Set([
  'format=flowed',
  'an address list',
  '25 MB of text',
  '25 MB of quoted-printable',
  'one line of 30 MB',
]);

/** Where the ladder sends a mail that failed on the first rung. */
function readNext(content: Content, raw: Buffer, failed: Failure): Promise<ParseResult> {
  const { failure, stage, leaf } = failed;
  if (failure === 'unavailable') throw new Error(failed.reason);
  const { rung, blamed } = afterFailure(TOP, failure, { stage, leaf }, DEFAULT_LADDER);
  return parseOn(content, DEFAULT_LADDER[rung] as RungName, raw, { blamed });
}

describe('mails made to stop parsers', () => {
  it('each end within the limits, in a view or a clean failure, and all have a view on the next rung', async () => {
    const content = await poolOf({ children: 2 });
    for (const [name, raw] of BOMBS) {
      const copy = Buffer.from(raw);
      const result = await parseOn(content, 'full', raw);
      if (!result.ok) {
        expect(READ.has(name), name).toBe(false);
        expect(['refused', 'killed_time', 'killed_memory', 'output_too_large'], name).toContain(result.failure);
        expect(await readNext(content, raw, result), name).toMatchObject({ ok: true });
      }
      expect(await parseOn(content, 'headers', raw), name).toMatchObject({
        ok: true,
        view: { rung: rungOf('headers'), text: null },
      });
      expect(raw.equals(copy), name).toBe(true);
    }
    expect(await parseOn(content, 'full', Buffer.from(`${HEAD}\r\nhi`))).toMatchObject({ ok: true });
  });

  it('are refused for what they are', async () => {
    const content = await poolOf();
    const named = new Map(BOMBS);
    const parts = await parseOn(content, 'full', named.get('1,001 attachments') as Buffer);
    expect(parts).toMatchObject({ failure: 'refused', stage: 'structure', reason: 'it has more than 1000 parts' });
    const levels = await parseOn(content, 'full', named.get('900 levels') as Buffer);
    expect(levels).toMatchObject({ failure: 'refused', reason: 'its parts are nested deeper than 64' });
  });

  it('that were refused are read where attachments are only named, and the rest is set aside', async () => {
    const content = await poolOf();
    const named = new Map(BOMBS);
    const parts = await parseOn(content, 'files', named.get('1,001 attachments') as Buffer);
    const view = parts.ok ? parts.view : null;
    expect(view?.unread.toSorted()).toEqual(['data', 'html', 'parts', 'text']);
    expect(view?.setAside).toHaveLength(1_001);
    expect(view?.setAside.at(-1)).toMatchObject({ where: 'rest', n: null });
    const levels = await parseOn(content, 'files', named.get('900 levels') as Buffer);
    expect(levels).toMatchObject({
      ok: true,
      view: { rung: rungOf('files'), setAside: [{ type: 'multipart/mixed' }] },
    });
  });

  it('come to a view on the last rung whatever they are', async () => {
    const content = await poolOf();
    expect(await parseOn(content, 'poison', Buffer.from([0, 1, 2]))).toMatchObject({
      ok: true,
      view: { rung: rungOf('poison'), headers: [], defects: [{ code: 'all_set_aside' }] },
    });
  });
});

describe('people’s requests', () => {
  it('get HTML with its pictures, though they are larger than a view may be', async () => {
    const content = await poolOf();
    const picture = Buffer.alloc(4 * MEGABYTE - 1_000, 'p')
      .toString('base64')
      .replace(/.{76}/g, '$&\r\n');
    const raw = Buffer.from(
      `${HEAD}Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n` +
        '<img src="cid:a@example.com">\r\n' +
        '--x\r\nContent-Type: image/png\r\nContent-ID: <a@example.com>\r\nContent-Transfer-Encoding: base64\r\n\r\n' +
        `${picture}\r\n--x--\r\n`,
    );
    const safe = await content.safeHtml({ raw, level: EVERYTHING });
    expect(safe).toMatchObject({ ok: true, blocked: 0 });
    expect(safe.ok && safe.html?.slice(0, 32)).toBe('<img src="data:image/png;base64,');
  });

  it('get the part that a view calls by its number, whatever rung that is of', async () => {
    const content = await poolOf();
    const nested = '--x\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: image/gif\r\n\r\n';
    const raw = Buffer.from(
      `${HEAD}Content-Type: multipart/mixed; boundary=x\r\n\r\n${nested}one\r\n${nested}two\r\n--x--\r\n`,
    );
    const read = await parseOn(content, 'blamed', raw, { blamed: [1] });
    const second = read.ok ? read.view.parts.find(({ path }) => path === '2/1') : undefined;
    const part = await content.part({
      raw,
      n: second?.n as number,
      level: levelOf(DEFAULT_LADDER, { rung: rungOf('blamed'), blamed: [1] }),
    });
    expect(part.ok && part.bytes.toString()).toBe('two');
  });

  it('get parts of a mail that has more of them than are read', async () => {
    const content = await poolOf();
    const raw = new Map(BOMBS).get('1,001 attachments') as Buffer;
    const level = levelOf(DEFAULT_LADDER, { rung: rungOf('files'), blamed: [] });
    const part = await content.part({ raw, n: 1, level });
    expect(part.ok && part.bytes.toString()).toBe('hi');
  });

  it('get parts and safe HTML from the children', async () => {
    const content = await poolOf();
    const raw = Buffer.from(
      `${HEAD}Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n` +
        '<p onclick="x()">hi<img src="https://x.example/a.png"></p>\r\n' +
        '--x\r\nContent-Type: image/png; name=a.png\r\n\r\nbytes\r\n--x--\r\n',
    );
    expect(await content.safeHtml({ raw, level: EVERYTHING })).toEqual({
      ok: true,
      html: '<p>hi<img /></p>',
      blocked: 1,
    });
    const part = await content.part({ raw, n: 1, level: EVERYTHING });
    expect(part).toMatchObject({ ok: true, part: { n: 1, name: 'a.png', type: 'image/png', size: 5 } });
    expect(part.ok && part.bytes.toString()).toBe('bytes');
    expect(await content.part({ raw, n: 2, level: EVERYTHING })).toMatchObject({ ok: false, failure: 'refused' });
    expect(await content.safeHtml({ raw: Buffer.from(`${HEAD}\r\ntext`), level: EVERYTHING })).toEqual({
      ok: true,
      html: null,
      blocked: 0,
    });
  });
});
