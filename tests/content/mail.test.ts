import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFECTS, MAX_DEFECTS } from '../../src/content/defects.js';
import type { RungName } from '../../src/content/index.js';
import { readMail as read, readHtml, readPart } from '../../src/content/reader.js';
import { Refused } from '../../src/content/stages.js';
import type { View } from '../../src/message/view.js';
import { defectsOf, fixture, readMail, readOn, toolsOf, toolsWith } from './reading.js';

const HEAD = 'From: anna@example.com\r\nDate: Tue, 1 Jul 2025 10:00:00 +0000\r\nMIME-Version: 1.0\r\n';
const MIXED = `${HEAD}Content-Type: multipart/mixed; boundary=x\r\n\r\n`;
const TEXT = '--x\r\n\r\nhello\r\n';
const ATTACHMENT =
  '--x\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n';

describe('a clean mail', () => {
  it('has everything and no defects', async () => {
    const view = await readMail(
      `${HEAD}To: "Smith, Bob" <bob@example.com>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\nMessage-ID: <1@example.com>\r\n` +
        `In-Reply-To: <0@example.com>\r\nReferences: <a@example.com>\r\n <0@example.com>\r\n` +
        `Content-Type: multipart/mixed; boundary=x\r\n\r\n${TEXT}${ATTACHMENT}--x--\r\n`,
    );
    expect(view).toMatchObject({
      rung: 0,
      subject: 'Café',
      from: [{ name: '', address: 'anna@example.com' }],
      to: [{ name: 'Smith, Bob', address: 'bob@example.com' }],
      date: '2025-07-01T10:00:00Z',
      messageId: '<1@example.com>',
      inReplyTo: ['<0@example.com>'],
      references: ['<a@example.com>', '<0@example.com>'],
      text: 'hello',
      html: null,
      defects: [],
    });
    expect(view.headers[0]).toEqual(['from', 'anna@example.com']);
    expect(view.headers.map(([name]) => name)).toContain('references');
    expect(view.parts).toEqual([
      {
        n: 1,
        path: '2',
        name: 'a.pdf',
        type: 'application/pdf',
        size: 5,
        sha256: createHash('sha256').update('hello').digest('hex'),
        inline: false,
        contentId: null,
      },
    ]);
  });

  it('has its parts with their bytes', async () => {
    const raw = Buffer.from(`${MIXED}${TEXT}${ATTACHMENT}${ATTACHMENT.replace('a.pdf', '../b.pdf')}--x--\r\n`);
    const second = await readPart(raw, 2, toolsWith());
    expect(second).toMatchObject({ part: { n: 2, name: 'b.pdf', size: 5 } });
    expect(second?.bytes.toString()).toBe('hello');
    expect(await readPart(raw, 3, toolsWith())).toBeNull();
  });

  it('gives back the bytes of every attachment, however they were written', async () => {
    const written = {
      base64: (bytes: Buffer) => bytes.toString('base64').replace(/.{76}/g, '$&\r\n'),
      binary: (bytes: Buffer) => bytes.toString('latin1'),
      'quoted-printable': (bytes: Buffer) =>
        [...bytes].map((byte) => `=${byte.toString(16).padStart(2, '0').toUpperCase()}=\r\n`).join(''),
    };
    const encodings = fc.constantFrom(...(Object.keys(written) as (keyof typeof written)[]));
    const attachments = fc.array(fc.tuple(encodings, fc.uint8Array({ maxLength: 3_000, size: 'max' })), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(attachments, async (parts) => {
        const bodies = parts.map(
          ([encoding, bytes]) =>
            `--x-no-such-text\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n` +
            `${written[encoding](Buffer.from(bytes))}\r\n`,
        );
        const head = MIXED.replace('boundary=x', 'boundary=x-no-such-text');
        const raw = Buffer.from(`${head}${bodies.join('')}--x-no-such-text--\r\n`, 'latin1');
        const view = await readMail(raw);
        expect(view.parts.map(({ size }) => size)).toEqual(parts.map(([, bytes]) => bytes.length));
        for (const [i, [, bytes]] of parts.entries()) {
          const part = await readPart(raw, i + 1, toolsWith());
          expect(part?.bytes.equals(Buffer.from(bytes))).toBe(true);
          expect(view.parts[i]?.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
        }
      }),
      // What mailparser reads a line break into.
      {
        numRuns: 50,
        examples: [
          [
            [
              ['quoted-printable', new Uint8Array()],
              ['base64', new Uint8Array()],
            ],
          ],
        ],
      },
    );
  });

  it('of HTML alone gets a plain text too', async () => {
    const html = '<p>one</p><img src="https://x.example/a.png"><p>two</p>';
    const view = await readMail(`${HEAD}Content-Type: text/html\r\n\r\n${html}`);
    expect(view).toMatchObject({ text: 'one\n\ntwo', html, defects: [] });
  });

  it('of both outside of multipart/alternative has each in the other', async () => {
    const raw = `${MIXED}${TEXT}--x\r\nContent-Type: text/html\r\n\r\n<p>footer</p>\r\n--x--\r\n`;
    const view = await readMail(raw);
    expect(view.text).toContain('hello');
    expect(view.text).toContain('footer');
    expect(view.html).toContain('hello');
    expect(view.html).toContain('footer');
  });

  it('keeps nested messages as parts, inline or not', async () => {
    const nested = `--x\r\nContent-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\nSubject: inner\r\n\r\nhi\r\n`;
    const view = await readMail(`${MIXED}${TEXT}${nested}--x--\r\n`);
    expect(view).toMatchObject({ text: 'hello', parts: [{ type: 'message/rfc822', inline: true }], defects: [] });
  });

  it('has the pictures that its HTML shows', async () => {
    const { html, pictures } = await readHtml(fixture('enmime/mail__html-mime-inline.raw'), toolsWith());
    const [id] = [...pictures.keys()];
    expect(html).toContain(`cid:${id}`);
    expect(
      pictures
        .get(id as string)
        ?.bytes?.subarray(1, 4)
        .toString(),
    ).toBe('PNG');
  });

  it('shows its own pictures, and none of a mail within it that has the same name', async () => {
    const picture = (bytes: string) => `--x\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\n\r\n${bytes}\r\n`;
    const within = `${MIXED}${picture('other')}--x--\r\n`
      .replaceAll('boundary=x', 'boundary=y')
      .replaceAll('--x', '--y');
    const raw = `${MIXED}${picture('own')}--x\r\nContent-Type: message/rfc822\r\n\r\n${within}--x--\r\n`;
    const { pictures } = await readHtml(Buffer.from(raw), toolsWith());
    expect(pictures.get('logo')?.bytes.toString()).toBe('own');
  });

  it('written by Unix, or left over from a mailbox, is clean as well', async () => {
    expect(defectsOf(await readMail(`From anna Tue Jul  1\n${HEAD.replaceAll('\r', '')}\nhello\n`))).toEqual([]);
  });
});

describe('damage', () => {
  it.each<[string, string, string[]]>([
    ['no date', 'From: a@example.com\r\n\r\nhi', ['date_missing@date']],
    ['a date that is none', 'Date: soon\r\n\r\nhi', ['date_malformed@date']],
    ['a line that is no field', `${HEAD}what is this\r\n\r\nhi`, ['header_malformed@line 4']],
    ['a field twice', `${HEAD}From: b@example.com\r\n\r\nhi`, ['header_repeated@from']],
    ['8-bit in a field', `${HEAD}Subject: caf\xe9\r\n\r\nhi`, ['eight_bit_headers@subject']],
    ['an address that is none', `${HEAD}To: nobody\r\n\r\nhi`, ['address_malformed@to']],
    ['an unknown charset', `${HEAD}Content-Type: text/plain; charset=klingon\r\n\r\nhi`, ['charset_unknown@1']],
    [
      'another charset than it says',
      `${HEAD}Content-Type: text/plain; charset=utf-8\r\n\r\ncaf\xe9`,
      ['charset_wrong@text'],
    ],
    ['an unknown encoding', `${HEAD}Content-Transfer-Encoding: x-magic\r\n\r\nhi`, ['encoding_unknown@1']],
    [
      'base64 with other characters',
      `${MIXED}${TEXT}${ATTACHMENT.replace('aGVs', 'a*Vs')}--x--\r\n`,
      ['base64_broken@2'],
    ],
    ['base64 cut short', `${MIXED}${TEXT}${ATTACHMENT.replace('bG8=', 'bG')}--x--\r\n`, ['base64_broken@2']],
    ['no boundary named', `${HEAD}Content-Type: multipart/mixed\r\n\r\nhi`, ['boundary_missing@body']],
    ['a boundary that does not occur', `${MIXED}hi`, ['boundary_missing@body']],
    ['no end', `${MIXED}${TEXT}`, ['truncated@body']],
    ['a NUL', `${HEAD}\r\nh\0i`, ['nul@body']],
    ['a bare LF', `${HEAD}\r\nh\ni\r\n`, ['bare_newline@message']],
    ['a bare CR', `${HEAD}\r\nh\ri\r\n`, ['bare_newline@message']],
    ['a bare CR at the end', `${HEAD}\r\nhi\r`, ['bare_newline@message']],
    [
      'one boundary for two',
      `${MIXED}--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n${TEXT}--x--\r\n`,
      ['boundary_repeated@1'],
    ],
    [
      'an inner multipart that is not closed',
      `${MIXED}--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nhi\r\n${ATTACHMENT}--x--\r\n`,
      ['truncated@1'],
    ],
    [
      'winmail.dat',
      `${MIXED}${TEXT}--x\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n\r\nx\r\n--x--\r\n`,
      ['tnef@2'],
    ],
  ])('%s is a defect', async (_, raw, defects) => {
    expect(defectsOf(await readMail(raw))).toEqual(expect.arrayContaining(defects));
  });

  it('does not hide the text of a multipart without delimiters', async () => {
    expect((await readMail(`${MIXED}hello`)).text).toBe('hello');
    expect((await readMail(`${HEAD}Content-Type: multipart/mixed\r\n\r\nhello`)).text).toBe('hello');
    expect((await readOn('text', `${MIXED}hello`)).text).toBe('hello');
  });

  it('hides nothing of a multipart that is not closed', async () => {
    const inner = `--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nhi\r\n--y${ATTACHMENT.slice(3)}`;
    const view = await readMail(`${MIXED}${inner}${ATTACHMENT.replace('a.pdf', 'b.pdf')}--x--\r\n`);
    expect(view).toMatchObject({
      text: 'hi',
      parts: [
        { n: 1, path: '1.2', name: 'a.pdf', size: 5 },
        { n: 2, path: '2', name: 'b.pdf', size: 5 },
      ],
    });
    expect(defectsOf(view)).toEqual(['truncated@1']);
  });

  it('of a text in base64 is decoded as far as it goes', async () => {
    const view = await readMail(
      `${HEAD}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs*bG8`,
    );
    expect(view.text).toBe('hello');
    expect(defectsOf(view)).toEqual(['base64_broken@1']);
  });

  it('of a header of a part that is too long is a defect of that part alone', async () => {
    const view = await readMail(
      `${MIXED}${TEXT}--x\r\nContent-Type: image/png\r\n${'X: y\r\n'.repeat(1_001)}\r\npng\r\n${ATTACHMENT}--x--\r\n`,
    );
    expect(defectsOf(view)).toEqual(['header_too_long@2']);
    expect(view).toMatchObject({
      text: 'hello',
      parts: [
        { path: '2', type: 'image/png', size: 3 },
        { path: '3', name: 'a.pdf' },
      ],
    });
  });

  it('is a mail in circles, which went through more servers than any should', async () => {
    const hops = (count: number) => `${'Received: from a by b\r\n'.repeat(count)}${HEAD}\r\nhi`;
    expect(defectsOf(await readMail(hops(100)))).toEqual([]);
    expect(defectsOf(await readMail(hops(101)))).toEqual(['too_many_hops@received']);
  });

  it('in binary parts is none', async () => {
    const part = '--x\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\rc\0d\r\n';
    expect(defectsOf(await readMail(`${MIXED}${TEXT}${part}--x--\r\n`))).toEqual([]);
  });

  it('is listed up to a limit, and each place once', async () => {
    const fields = Array.from({ length: 300 }, (_, i) => `X-${i % 200}: \xe9\r\n`).join('');
    const { defects } = await readMail(`${HEAD}${fields}\r\nhi`);
    expect(defects).toHaveLength(MAX_DEFECTS);
    expect(defects.at(-1)?.code).toBe('too_many_defects');
    expect(new Set(defects.map(({ where }) => where)).size).toBe(MAX_DEFECTS);
  });

  it('has codes from the closed list alone', async () => {
    const view = await readMail(Buffer.concat([fixture('mikel/rfc2822__example10.eml'), Buffer.from([0, 13])]));
    expect(view.defects.length).toBeGreaterThan(1);
    for (const { code, severity } of view.defects) {
      expect(DEFECTS[code as keyof typeof DEFECTS].severity).toBe(severity);
    }
  });
});

describe('limits', () => {
  it('cut a long text and HTML', async () => {
    const html = `<p>${'x'.repeat(3_000)}</p>`;
    const view = await readMail(`${HEAD}Content-Type: text/html\r\n\r\n${html}`, {
      textBytes: 2_000,
      htmlToTextBytes: 1_000,
    });
    expect(view.html).toHaveLength(2_000);
    expect(defectsOf(view)).toEqual(['too_large@text', 'too_large@html']);
  });

  it('give the parser no more of a text than could be shown', async () => {
    const view = await readMail(
      `${HEAD}Content-Transfer-Encoding: quoted-printable\r\n\r\n${'=\r\n'.repeat(3_000)}end`,
      {
        textBytes: 1_000,
      },
    );
    expect(view.text).toBeNull();
    expect(defectsOf(view)).toEqual(['too_large@1']);
  });

  it('cut a long header', async () => {
    const view = await readMail(`${HEAD}${'X-Long: y\r\n'.repeat(100)}\r\nhello`, { headerLines: 50 });
    expect(view.headers).toHaveLength(50);
    expect(defectsOf(view)).toEqual(['header_too_long@header']);
    expect(view.text).toBe('hello');
  });

  it('make no plain text of HTML nested too deep', async () => {
    const view = await readMail(`${HEAD}Content-Type: text/html\r\n\r\n${'<div>'.repeat(40_000)}hi`);
    expect(view.text).toBeNull();
    expect(defectsOf(view)).toEqual(['html_too_deep@html']);
  });

  const deep = (levels: number) =>
    Array.from({ length: levels }, (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`).join(
      '',
    );

  it.each([
    ['too many parts', `${MIXED}${TEXT.repeat(1_001)}--x--\r\n`, 'it has more than 1000 parts'],
    ['too deep', `${HEAD}${deep(65)}\r\nhi`, 'its parts are nested deeper than 64'],
  ])('refuse %s', async (_, raw, reason) => {
    await expect(readMail(raw)).rejects.toThrow(Refused);
    await expect(readMail(raw)).rejects.toThrow(reason);
  });

  it('let 1,000 parts and 64 levels pass', async () => {
    expect((await readMail(`${MIXED}${ATTACHMENT.repeat(1_000)}--x--\r\n`)).parts).toHaveLength(1_000);
    expect(defectsOf(await readMail(`${HEAD}${deep(64)}\r\nhi`))).toContain('truncated@body');
  });
});

describe('the charset of a text', () => {
  const text = async (type: string, body: string) => readMail(`${HEAD}Content-Type: ${type}\r\n\r\n${body}`);

  it.each<[string, string, string]>([
    ['text/plain', 'caf\xc3\xa9', 'café'],
    ['text/plain', 'caf\xe9', 'café'],
    ['text/plain; charset=klingon', 'caf\xc3\xa9', 'café'],
    ['text/plain; charset=us-ascii', 'caf\xc3\xa9', 'café'],
    ['text/plain; charset=iso-8859-1', 'caf\xe9', 'café'],
    ['text/plain; charset=utf-8', 'caf\xc3\xa9', 'café'],
    ['text/plain; charset=iso-2022-jp', '\x1b$B%F%9\x1b(B', 'テス'],
    ['text/plain; charset=utf-7', 'caf+AOk-', 'café'],
    ['text/plain; charset=cp437', 'caf\x82', 'café'],
  ])('%s of %j', async (type, body, expected) => {
    expect((await text(type, body)).text).toBe(expected);
  });

  it('is the same on every rung that shows it', async () => {
    for (const charset of ['', '; charset=us-ascii', '; charset=utf-8', '; charset=klingon']) {
      const raw = `${HEAD}Content-Type: text/plain${charset}\r\n\r\ncaf\xc3\xa9`;
      for (const rung of ['full', 'plain', 'html', 'text'] as const)
        expect((await readOn(rung, raw)).text, `${charset} on ${rung}`).toBe('café');
    }
  });

  it('makes no difference to how its lines end, nor does its encoding', async () => {
    const encodings = { '8bit': 'a\r\nb\r\n', 'quoted-printable': 'a\r\n=62\r\n', base64: 'YQ0KYg0K' };
    for (const [encoding, body] of Object.entries(encodings))
      for (const type of ['text/plain', 'text/plain; charset=utf-8'])
        expect((await text(`${type}\r\nContent-Transfer-Encoding: ${encoding}`, body)).text?.trimEnd()).toBe('a\nb');
  });
});

describe('flowed text', () => {
  const raw = `${HEAD}Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\r\n\r\none \r\ntwo\r\nthree\r\n`;

  it('is put together, on the first rung alone', async () => {
    expect((await readMail(raw)).text?.trimEnd()).toBe('onetwo\nthree');
    expect((await readOn('plain', raw)).text?.trimEnd()).toBe('one \ntwo\nthree');
  });
});

const NESTED =
  '--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?inn=C3=A9r?=\r\nFrom: b@example.com\r\n' +
  'Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nhi\r\n--y\r\nContent-Type: image/png; name=a.png\r\n\r\npng\r\n' +
  '--y\r\nContent-Type: message/rfc822\r\n\r\nSubject: innermost\r\nContent-Type: image/gif\r\n\r\ngif\r\n--y--\r\n';
const REPORT =
  '--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.com\r\n\r\n' +
  'Final-Recipient: rfc822; a@example.com\r\nAction: failed\r\n';
const INVITATION =
  '--x\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n' +
  'UID:1\r\nSUMMARY:caf\xc3\xa9\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n';
const HTML = '--x\r\nContent-Type: text/html\r\n\r\n<p>hello</p>\r\n';
/** One file of three bytes, `one`, without a name. */
const TNEF =
  '--x\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n' +
  'eJ8+IgEAAQKQBgAGAAAAAAAAAAAAAAABD4AGAAMAAABvbmVCAQ==\r\n';

const pathsOf = (view: View) => view.parts.map(({ n, path, type }) => `${n} ${path} ${type}`);

describe('what parts wrap', () => {
  it('is of a mail its header, its text, and its parts after those of the mail itself', async () => {
    const view = await readMail(`${MIXED}${TEXT}${NESTED}${ATTACHMENT}--x--\r\n`);
    expect(pathsOf(view)).toEqual([
      '1 2 message/rfc822',
      '2 3 application/pdf',
      '3 2/2 image/png',
      '4 2/3 message/rfc822',
      '5 2/3/1 image/gif',
    ]);
    expect(view.parts.find(({ n }) => n === 1)?.message).toEqual({
      subject: 'innér',
      from: [{ name: '', address: 'b@example.com' }],
      to: [],
      cc: [],
      date: null,
      messageId: null,
      text: 'hi',
    });
    expect(view).toMatchObject({ text: 'hello', html: null, defects: [], setAside: [], unread: [] });
  });

  it('can be had by its number', async () => {
    const raw = Buffer.from(`${MIXED}${TEXT}${NESTED}${ATTACHMENT}--x--\r\n`);
    const { parts } = await readMail(raw);
    const read = await Promise.all(parts.map(({ n }) => readPart(raw, n, toolsWith())));
    expect(read.map((each) => each?.part.sha256)).toEqual(parts.map(({ sha256 }) => sha256));
    expect((await readPart(raw, 3, toolsWith()))?.bytes.toString()).toBe('png');
    expect((await readPart(raw, 5, toolsWith()))?.bytes.toString()).toBe('gif');
    expect(await readPart(raw, 6, toolsWith())).toBeNull();
  });

  it('can be had by the number that a view gives it, on the rung of that view', async () => {
    const raw = Buffer.from(`${MIXED}${TEXT}${TNEF}${NESTED}${ATTACHMENT}--x--\r\n`);
    for (const [rung, blamed] of [
      ['full', []],
      ['plain', []],
      ['blamed', [2]],
      ['blamed', [4]],
      ['tnef', []],
    ] as const) {
      const { parts } = await readOn(rung, raw, blamed);
      expect(parts.length).toBeGreaterThan(1);
      const read = await Promise.all(parts.map(({ n }) => readPart(raw, n, toolsOf(rung, blamed))));
      expect(read.map((each) => each?.part.path)).toEqual(parts.map(({ path }) => path));
    }
  });

  it('is of a delivery report what it says, as data and not as text', async () => {
    const view = await readMail(`${MIXED}${TEXT}${REPORT}--x--\r\n`);
    expect(view).toMatchObject({ text: 'hello', parts: [{ n: 1, path: '2', type: 'message/delivery-status' }] });
    expect(view.data).toEqual({
      calendars: [],
      reports: [
        {
          type: 'message/delivery-status',
          message: { 'reporting-mta': 'dns; mx.example.com' },
          recipients: [{ 'final-recipient': 'rfc822; a@example.com', action: 'failed' }],
        },
      ],
    });
  });

  it('is of an invitation a calendar, as data', async () => {
    const view = await readMail(`${MIXED}${TEXT}${INVITATION}--x--\r\n`);
    expect(view).toMatchObject({ text: 'hello', parts: [{ type: 'text/calendar' }], defects: [] });
    expect(view.data).toMatchObject({
      calendars: [{ method: 'REQUEST', items: [{ uid: '1', summary: 'café' }] }],
      reports: [],
    });
  });

  it.each(['utf-8', 'us-ascii', 'klingon'])('is read in whatever charset a calendar names: %s', async (charset) => {
    const named = INVITATION.replace('method=REQUEST', `charset=${charset}`);
    const { data } = await readMail(`${MIXED}${TEXT}${named}--x--\r\n`);
    expect(data).toMatchObject({ calendars: [{ items: [{ summary: 'café' }] }] });
  });

  it('is of winmail.dat the files in it', async () => {
    const view = await readMail(`${MIXED}${TEXT}${TNEF}--x--\r\n`);
    expect(pathsOf(view)).toEqual(['1 2 application/ms-tnef', '2 2/1 application/octet-stream']);
    expect(view.parts[1]).toMatchObject({ name: null, size: 3 });
    expect(defectsOf(view)).toEqual(['tnef@2']);
  });

  it('is kept as the file it is where it can not be read', async () => {
    const broken = INVITATION.replace('BEGIN:VCALENDAR', 'hello') + TNEF.replace('eJ8+', 'AAAA');
    const view = await readMail(`${MIXED}${TEXT}${broken}--x--\r\n`);
    expect(view.parts.map(({ path }) => path)).toEqual(['2', '3']);
    expect(view.data).toBeUndefined();
    expect(defectsOf(view)).toEqual(['tnef@3', 'calendar_broken@2', 'tnef_broken@3']);
  });

  it('is never more parts than are read', async () => {
    const view = await readMail(`${MIXED}${TEXT}${NESTED}${ATTACHMENT}--x--\r\n`, { parts: 3 });
    expect(view.parts).toHaveLength(3);
    expect(defectsOf(view)).toEqual(['too_many_parts@2']);
  });

  it('is looked into only so deep', async () => {
    const deep = 'Content-Type: message/rfc822\r\n\r\n'.repeat(40);
    const view = await readMail(`${HEAD}${deep}hi`);
    expect(view.parts).toHaveLength(9);
    expect(defectsOf(view)).toEqual(['nesting_too_deep@1']);
  });
});

describe('a lower rung', () => {
  const body = `${TEXT}${HTML}--x--\r\n`.replaceAll('--x', '--z');
  const raw =
    `${MIXED}--x\r\nContent-Type: multipart/alternative; boundary=z\r\n\r\n${body}` +
    `${TNEF}${INVITATION}${NESTED}${REPORT}${ATTACHMENT}--x--\r\n`;
  const LEAVES = 7;

  it.each<[RungName, number, number, boolean]>([
    ['full', 9, 0, true],
    ['blamed', 9, 0, true],
    ['plain', 9, 0, true],
    ['tnef', 8, 0, true],
    ['calendar', 8, 0, true],
    ['nested', 5, 0, false],
    ['files', 0, 5, false],
    ['html', 0, 6, false],
  ])('%s has %i parts, and %i set aside', async (rung, parts, setAside, hasData) => {
    const view = await readOn(rung, raw);
    expect(view.parts).toHaveLength(parts);
    expect(view.setAside).toHaveLength(setAside);
    expect(view.text).toContain('hello');
    expect(view.data !== undefined).toBe(hasData);
    expect(view.html === null).toBe(rung === 'html');
  });

  it.each<[RungName, View['unread']]>([
    ['full', []],
    ['plain', []],
    ['tnef', ['parts']],
    ['calendar', ['data', 'parts']],
    ['nested', ['data', 'parts']],
    ['files', ['data', 'parts']],
    ['html', ['data', 'html', 'parts']],
    ['text', ['data', 'html', 'parts', 'text']],
    ['headers', ['data', 'html', 'parts', 'text']],
    ['envelope', ['data', 'headers', 'html', 'parts', 'text']],
  ])('%s says of which fields something was not read', async (rung, unread) => {
    expect((await readOn(rung, raw)).unread.toSorted()).toEqual(unread);
  });

  it('says that the text was not read where it was not made of the HTML', async () => {
    const view = await readOn('plain', `${HEAD}Content-Type: text/html\r\n\r\n<p>hi`);
    expect(view).toMatchObject({ text: null, html: '<p>hi', defects: [{ code: 'feature_set_aside', where: 'text' }] });
    expect(view.unread).toContain('text');
  });

  it('says that data were not read where a calendar is only named', async () => {
    const named = await readOn('files', `${MIXED}${TEXT}${INVITATION}--x--\r\n`);
    const blamed = await readOn('blamed', `${MIXED}${TEXT}${INVITATION}--x--\r\n`, [2]);
    for (const { unread } of [named, blamed]) expect(unread.toSorted()).toEqual(['data', 'parts']);
  });

  it('names what it sets aside by its number, size and hash, as it stands in the mail', async () => {
    const view = await readOn('files', `${MIXED}${TEXT}${ATTACHMENT}--x--\r\n`);
    expect(view.setAside).toEqual([
      {
        where: '2',
        n: 1,
        name: 'a.pdf',
        type: 'application/pdf',
        size: 8,
        sha256: createHash('sha256').update('aGVsbG8=').digest('hex'),
        why: 'attachments are only named on this rung',
      },
    ]);
    expect(defectsOf(view)).toEqual(['part_set_aside@parts']);
  });

  it('leaves out what is blamed, and nothing else: files and texts keep their numbers', async () => {
    const mail = `${MIXED}${TEXT}${ATTACHMENT}${ATTACHMENT.replace('a.pdf', 'b.pdf')}--x--\r\n`;
    const view = await readOn('blamed', mail, [2]);
    expect(view).toMatchObject({
      text: 'hello',
      parts: [{ n: 2, path: '3', name: 'b.pdf' }],
      setAside: [{ where: '2', n: 1, name: 'a.pdf' }],
      unread: ['parts'],
    });
    const without = await readOn('blamed', mail, [1]);
    expect(without).toMatchObject({ text: null, setAside: [{ where: '1', n: null }], unread: ['text', 'html'] });
    expect(without.parts.map(({ n }) => n)).toEqual([1, 2]);
  });

  it('may name a part that other rungs read: its bytes can be had', async () => {
    const bytes = Buffer.from(`${MIXED}${TEXT}${ATTACHMENT}--x--\r\n`);
    const [aside] = (await readOn('files', bytes)).setAside;
    expect((await readPart(bytes, aside?.n as number, toolsWith()))?.bytes.toString()).toBe('hello');
    expect((await readPart(bytes, 1, toolsOf('files')))?.bytes.toString()).toBe('hello');
  });

  it('that reads one text shows the first plain one, or else the first HTML', async () => {
    expect(await readOn('text', raw)).toMatchObject({ text: 'hello', html: null, parts: [] });
    expect((await readOn('text', raw)).setAside).toHaveLength(LEAVES - 1);
    expect((await readOn('text', `${MIXED}${HTML}${TEXT}--x--\r\n`)).text).toBe('hello');
    expect((await readOn('text', `${MIXED}${HTML}--x--\r\n`)).text).toBe('<p>hello</p>');
    expect((await readOn('text', `${MIXED}${ATTACHMENT}--x--\r\n`)).text).toBeNull();
  });

  it('has no more than that there is a mail where only the envelope counts', async () => {
    const view = await readOn('envelope', raw);
    expect(view).toMatchObject({ headers: [], subject: null, text: null, parts: [] });
    expect(view.setAside).toMatchObject([{ where: 'message', size: Buffer.from(raw, 'latin1').length }]);
    expect(defectsOf(view)).toEqual(['envelope_only@message']);
  });

  it('can hold too many parts: the others are set aside together', async () => {
    const mail = `${MIXED}${TEXT}${ATTACHMENT}${TEXT}${ATTACHMENT}--x--\r\n`;
    const view = await readOn('files', mail, [], { parts: 2 });
    expect(view.text).toBe('hello');
    expect(view.setAside).toMatchObject([
      { where: '2', n: 1, name: 'a.pdf' },
      { where: 'rest', n: null, size: `${TEXT}${ATTACHMENT}--x--\r\n`.length },
    ]);
    expect(defectsOf(view)).toEqual(['part_set_aside@parts', 'too_many_parts@body']);
    expect(view.unread.toSorted()).toEqual(['data', 'html', 'parts', 'text']);
  });

  it('can hold parts that are nested too deep: each such multipart is set aside', async () => {
    const inner = `--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nhi\r\n--y--\r\n`;
    const view = await readOn('files', `${MIXED}${TEXT}${inner}--x--\r\n`, [], { depth: 1 });
    expect(view.text).toBe('hello');
    expect(view.setAside).toMatchObject([{ where: '2', n: 1, type: 'multipart/mixed' }]);
    expect(defectsOf(view)).toEqual(['part_set_aside@parts', 'nesting_too_deep@2']);
    // Whatever it holds.
    expect(view.unread.toSorted()).toEqual(['data', 'html', 'parts', 'text']);
  });

  it('loses nothing: each part is shown, listed or set aside, once', async () => {
    const kinds = fc.constantFrom(TEXT, HTML, TNEF, INVITATION, NESTED, REPORT, ATTACHMENT);
    const rungs = fc.constantFrom<RungName>('full', 'blamed', 'plain', 'tnef', 'calendar', 'nested', 'files', 'html');
    const blamed = fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { maxLength: 2 });
    await fc.assert(
      fc.asyncProperty(fc.array(kinds, { minLength: 1, maxLength: 8 }), rungs, blamed, async (bodies, rung, leaves) => {
        const view = await readOn(rung, `${MIXED}${bodies.join('')}--x--\r\n`, leaves);
        const texts = bodies.flatMap((body, i) => (body === TEXT || body === HTML ? [`${i + 1}`] : []));
        const listed = view.parts.map(({ path }) => path).filter((path) => !path.includes('/'));
        const aside = view.setAside.map(({ where }) => where);
        const all = [...new Set([...texts.filter((path) => !aside.includes(path)), ...listed, ...aside])];
        expect(all.toSorted()).toEqual(bodies.map((_, i) => `${i + 1}`).toSorted());
        expect(listed.some((path) => aside.includes(path) || texts.includes(path))).toBe(false);
        for (const leaf of leaves.filter((n) => n <= bodies.length)) expect(aside).toContain(`${leaf}`);
        if (aside.length > 0) expect(view.unread).not.toEqual([]);
        expect(view.defects.map(({ code }) => code)).not.toContain('parts_disagree');
      }),
      { numRuns: 200 },
    );
  });

  it('tells which leaf a stage is about', async () => {
    const stages: string[] = [];
    const tools = {
      ...toolsWith(),
      stage: (stage: string, leaf?: number) => void stages.push(`${stage} ${leaf ?? ''}`),
    };
    const mail = `${MIXED}${TEXT}${HTML}${TNEF}${INVITATION}${NESTED}${REPORT}${ATTACHMENT}--x--\r\n`;
    await read(Buffer.from(mail, 'latin1'), tools);
    expect(stages.map((each) => each.trim())).toEqual([
      ...[
        'headers',
        'structure',
        'checks',
        'body 1',
        'body 2',
        'html_text',
        'file 3',
        'tnef 3',
        'file 4',
        'calendar 4',
      ],
      ...['file 5', 'nested 5', 'file 6', 'report 6', 'file 7'],
    ]);
  });
});

describe('the rung of headers', () => {
  it('has the same header as the full one, no body, and says so', async () => {
    const raw = fixture('enmime/mail__html-mime-inline.raw');
    const full = await readMail(raw);
    const view = await readOn('headers', raw);
    const { text, html, parts, defects, setAside, unread } = view;
    expect({ text, html, parts }).toEqual({ text: null, html: null, parts: [] });
    expect(defects.at(-1)).toMatchObject({ code: 'body_set_aside', severity: 'error' });
    expect(setAside).toMatchObject([{ where: 'body', n: null, size: raw.length - raw.indexOf('\r\n\r\n') - 4 }]);
    expect(unread).toEqual(['text', 'html', 'parts', 'data']);
    expect(view).toEqual({ ...full, text, html, parts, defects, setAside, unread });
  });

  it('reads any bytes', async () => {
    for (const raw of ['', '\0', ':', '\r\n', ' a\r\n b', 'Subject', '\xff\xfe', 'a:b'.repeat(1_000)]) {
      expect((await readOn('headers', raw)).text).toBeNull();
    }
  });
});

describe('mails of other projects', () => {
  it.each<[string, string, string[], string[]]>([
    ['enmime/low-quality__bad-header-wrap.raw', 'A text section', ['header_malformed@2'], ['7DDA4_foo_9E5D72.zip']],
    ['enmime/low-quality__malformed-base64-attach.raw', 'A text section', ['base64_broken@2'], ['some.doc']],
    ['enmime/low-quality__unk-charset-part.raw', 'A text section', ['charset_unknown@1'], ['foo_9E5D72.zip']],
    ['enmime/mail__html-mime-inline.raw', 'Test of text section', [], ['favicon.png']],
    ['enmime/mail__mime-alternative.raw', 'Section one\n\nSection two', [], []],
    ['enmime/mail__mime-mixed.raw', 'Section one\n\nSection two', [], []],
    [
      'enmime/mail__multipart-wo-boundary.raw',
      "I'm  multipart message without boundary",
      ['date_missing@date', 'boundary_missing@body'],
      [],
    ],
    ['enmime/mail__qp-utf8-header.raw', 'Lorem ipsum dolor sit amet', [], []],
    ['enmime/parts__multimixed-no-closing-boundary.raw', 'Hello,', ['date_missing@date', 'truncated@body'], []],
    ['mikel/error_emails__bad_date_header.eml', '', ['date_malformed@date'], []],
    ['mikel/error_emails__content_transfer_encoding_spam.eml', 'oldusercompare', ['encoding_unknown@1'], []],
    [
      'mikel/error_emails__must_supply_encoding.eml',
      '',
      ['eight_bit_headers@from', 'eight_bit_headers@subject', 'eight_bit_headers@reply-to', 'boundary_missing@body'],
      [],
    ],
    ['mikel/plain_emails__raw_email.eml', '', [], []],
    ['mikel/rfc2822__example10.eml', 'Testing.', [], []],
    ['mikel/rfc2822__example14.eml', 'Hello', [], []],
  ])('%s', async (name, text, defects, parts) => {
    const view = await readMail(fixture(name));
    expect(view.text ?? '').toContain(text);
    expect(defectsOf(view)).toEqual(defects);
    expect(view.parts.map((part) => part.name)).toEqual(parts);
  });

  it('say who they are from in whatever they are written', async () => {
    expect((await readMail(fixture('enmime/mail__qp-utf8-header.raw'))).subject).toBe(
      'MIME UTF8 Test \u00a2 More Text',
    );
    expect((await readMail(fixture('mikel/rfc2822__example14.eml'))).subject).toBe(
      'Re: TEST  \u30c6\u30b9\u30c8\u30c6\u30b9\u30c8',
    );
  });
});
