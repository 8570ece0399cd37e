import { describe, expect, it } from 'vitest';
import { poolOf } from './pool.js';

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

describe('mails made to stop parsers', () => {
  it('each end within the limits, in a view or a clean failure, and all have a view on the next rung', async () => {
    const content = await poolOf({ children: 2 });
    for (const [name, raw] of BOMBS) {
      const copy = Buffer.from(raw);
      const result = await content.parse({ raw, rung: 0 });
      if (!result.ok) {
        expect(READ.has(name), name).toBe(false);
        expect(['refused', 'killed_time', 'killed_memory', 'output_too_large'], name).toContain(result.failure);
        expect(await content.parse({ raw, rung: 1 }), name).toMatchObject({ ok: true, view: { rung: 1, text: null } });
      }
      expect(raw.equals(copy), name).toBe(true);
    }
    expect(await content.parse({ raw: Buffer.from(`${HEAD}\r\nhi`), rung: 0 })).toMatchObject({ ok: true });
  });

  it('are refused for what they are', async () => {
    const content = await poolOf();
    const named = new Map(BOMBS);
    const parts = await content.parse({ raw: named.get('1,001 attachments') as Buffer, rung: 0 });
    expect(parts).toMatchObject({ failure: 'refused', stage: 'structure', reason: 'it has more than 1000 parts' });
    const levels = await content.parse({ raw: named.get('900 levels') as Buffer, rung: 0 });
    expect(levels).toMatchObject({ failure: 'refused', reason: 'its parts are nested deeper than 64' });
  });

  it('come to a view on the last rung whatever they are', async () => {
    const content = await poolOf();
    expect(await content.parse({ raw: Buffer.from([0, 1, 2]), rung: 2 })).toMatchObject({
      ok: true,
      view: { rung: 2, headers: [], defects: [{ code: 'all_set_aside' }] },
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
    const safe = await content.safeHtml({ raw });
    expect(safe).toMatchObject({ ok: true, blocked: 0 });
    expect(safe.ok && safe.html?.slice(0, 32)).toBe('<img src="data:image/png;base64,');
  });

  it('get parts and safe HTML from the children', async () => {
    const content = await poolOf();
    const raw = Buffer.from(
      `${HEAD}Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n` +
        '<p onclick="x()">hi<img src="https://x.example/a.png"></p>\r\n' +
        '--x\r\nContent-Type: image/png; name=a.png\r\n\r\nbytes\r\n--x--\r\n',
    );
    expect(await content.safeHtml({ raw })).toEqual({ ok: true, html: '<p>hi<img /></p>', blocked: 1 });
    const part = await content.part({ raw, n: 1 });
    expect(part).toMatchObject({ ok: true, part: { n: 1, name: 'a.png', type: 'image/png', size: 5 } });
    expect(part.ok && part.bytes.toString()).toBe('bytes');
    expect(await content.part({ raw, n: 2 })).toMatchObject({ ok: false, failure: 'refused' });
    expect(await content.safeHtml({ raw: Buffer.from(`${HEAD}\r\ntext`) })).toEqual({
      ok: true,
      html: null,
      blocked: 0,
    });
  });
});
