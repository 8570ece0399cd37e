import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFECTS, MAX_DEFECTS } from '../../src/content/defects.js';
import { readHtml, readPart } from '../../src/content/rungs/full.js';
import { read as readHeaders } from '../../src/content/rungs/headers.js';
import { Refused } from '../../src/content/rungs/rung.js';
import { defectsOf, fixture, readMail, toolsWith } from './reading.js';

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
      ['truncated@1', 'parts_disagree@parts: 0 of 1'],
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
    expect(defectsOf(view)).toEqual(['too_large@html', 'too_large@text']);
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
    ['a part with a huge header', `${MIXED}--x\r\n${'X: y\r\n'.repeat(1_001)}\r\nhi`, 'the header of a part is longer'],
  ])('refuse %s', async (_, raw, reason) => {
    await expect(readMail(raw)).rejects.toThrow(Refused);
    await expect(readMail(raw)).rejects.toThrow(reason);
  });

  it('refuse what is larger than may be read', async () => {
    await expect(readMail(`${HEAD}\r\nhello`, { rawBytes: 20 })).rejects.toThrow(Refused);
  });

  it('let 1,000 parts and 64 levels pass', async () => {
    expect((await readMail(`${MIXED}${ATTACHMENT.repeat(1_000)}--x--\r\n`)).parts).toHaveLength(1_000);
    expect(defectsOf(await readMail(`${HEAD}${deep(64)}\r\nhi`))).toContain('truncated@body');
  });
});

describe('the rung of headers', () => {
  it('has the same header as the full one, no body, and says so', async () => {
    const raw = fixture('enmime/mail__html-mime-inline.raw');
    const full = await readMail(raw);
    const view = readHeaders(raw, { ...toolsWith(), rung: 1 });
    const { text, html, parts, defects, rung } = view;
    expect({ text, html, parts, rung }).toEqual({ text: null, html: null, parts: [], rung: 1 });
    expect(defects.at(-1)).toMatchObject({ code: 'body_set_aside', severity: 'error' });
    expect({ ...view, text, html, parts, defects, rung }).toEqual({ ...full, text, html, parts, defects, rung });
  });

  it('reads any bytes', () => {
    for (const raw of ['', '\0', ':', '\r\n', ' a\r\n b', 'Subject', '\xff\xfe', 'a:b'.repeat(1_000)]) {
      expect(readHeaders(Buffer.from(raw, 'latin1'), toolsWith()).text).toBeNull();
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
    ['mikel/rfc2822__example10.eml', 'Testing.', ['address_malformed@to', 'address_malformed@cc'], []],
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
