import { randomBytes } from 'node:crypto';

/**
 * Mails of about 30 kB as people and programs send them, each new in its bytes: what a mail costs to read depends on
 * what it is made of, many times more than on its length.
 */
export const KINDS = { attachment, newsletter, conversation, report };

let made = 0;

/** The next mail, of the kinds in turn. */
export function anyMail() {
  const kinds = Object.values(KINDS);
  return kinds[made % kinds.length]();
}

const LINE = 'A line of text that is seventy characters long, near enough to be so.\r\n';
const PARAGRAPH =
  '<p>A <b>paragraph</b> of a letter with a <a href="https://example.org/offer">link</a> and an entity &amp; more.</p>\r\n';

/** A short letter in text and HTML with a file of 15.5 kB. */
export function attachment() {
  const file = randomBytes(15_500).toString('base64').replace(/.{76}/g, '$&\r\n');
  return mailOf([
    ...head(2),
    'Content-Type: multipart/mixed; boundary="outer"',
    '',
    '--outer',
    'Content-Type: multipart/alternative; boundary="inner"',
    '',
    '--inner',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    LINE.repeat(28),
    '--inner',
    'Content-Type: text/html; charset=utf-8',
    '',
    `<html><body>${PARAGRAPH.repeat(52)}</body></html>`,
    '--inner--',
    '--outer',
    'Content-Type: application/pdf; name="offer.pdf"',
    'Content-Transfer-Encoding: base64',
    'Content-Disposition: attachment; filename="offer.pdf"',
    '',
    file,
    '--outer--',
    '',
  ]);
}

const CELL = (n) =>
  `<tr><td align="left" style="padding:0 18px 9px;font-family:Arial,sans-serif;font-size:14px;color:#333333">` +
  `<a href="https://click.example.org/ls?upn=${(n * 2654435761).toString(36)}-u001" target="_blank">Für Sie – ` +
  `nur heute</a>&nbsp;<img src="https://img.example.org/${n}.png" width="1" height="1" alt=""></td></tr>\r\n`;

/** A newsletter: text and a table of links in HTML, both quoted-printable, with the head that a large sender gives it. */
export function newsletter() {
  const cells = Array.from({ length: 74 }, (_, n) => CELL(made * 100 + n)).join('');
  const text = Array.from(
    { length: 30 },
    (_, n) => `Für Sie – nur heute: https://click.example.org/ls?${made}-${n}\r\n`,
  );
  return mailOf([
    ...head(5),
    ...signatures(),
    'List-Unsubscribe: <https://example.org/out?1>, <mailto:out@example.org>',
    'Content-Type: multipart/alternative; boundary="=_alternative_42"',
    '',
    '--=_alternative_42',
    'Content-Type: text/plain; charset="utf-8"',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    quotedPrintable(text.join('')),
    '--=_alternative_42',
    'Content-Type: text/html; charset="utf-8"',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    quotedPrintable(
      `<!DOCTYPE html><html><head><title>Für Sie</title></head><body><table>${cells}</table></body></html>`,
    ),
    '--=_alternative_42--',
    '',
  ]);
}

/** An answer below answers: flowed text in another charset, and the same in HTML, quoted to five levels. */
export function conversation() {
  const quoted = Array.from(
    { length: 110 },
    (_, n) => `${'>'.repeat(n % 6)} Grüße, und wie besprochen die Zahlen der Woche; alles Weitere \r\n`,
  );
  const html = Array.from(
    { length: 130 },
    (_, n) =>
      `<div>${'<blockquote type="cite">'.repeat(n % 5)}Grüße, und wie besprochen die Zahlen der <i>Woche</i>;<br>${'</blockquote>'.repeat(n % 5)}</div>\r\n`,
  );
  return mailOf([
    ...head(3),
    ...signatures(),
    `In-Reply-To: <${made}.before@bench>`,
    `References: ${Array.from({ length: 8 }, (_, n) => `<${made}.${n}@bench>`).join('\r\n ')}`,
    'Content-Type: multipart/alternative; boundary="=_alternative_7"',
    '',
    '--=_alternative_7',
    'Content-Type: text/plain; charset=iso-8859-1; format=flowed',
    'Content-Transfer-Encoding: 8bit',
    '',
    Buffer.from(quoted.join(''), 'latin1'),
    '--=_alternative_7',
    'Content-Type: text/html; charset=iso-8859-1',
    'Content-Transfer-Encoding: 8bit',
    '',
    Buffer.from(html.join(''), 'latin1'),
    '--=_alternative_7--',
    '',
  ]);
}

/** What a machine writes: plain text alone, 7 bit. */
export function report() {
  return mailOf([
    ...head(1),
    'Content-Type: text/plain; charset=us-ascii',
    '',
    Array.from(
      { length: 400 },
      (_, n) => `2026-11-22 06:00:${n % 60} host${n % 7} job[${n}]: finished without errors\r\n`,
    ).join(''),
  ]);
}

function head(hops) {
  const n = made++;
  return [
    ...Array.from(
      { length: hops },
      (_, hop) =>
        `Received: from mx${hop}.example.org (mx${hop}.example.org [192.0.2.${hop + 1}])\r\n\tby mail.example.com with ESMTPS id ${n}${hop}\r\n\tfor <user@example.com>; Sun, 22 Nov 2026 06:00:00 +0000`,
    ),
    'From: "A Sender" <a@example.org>',
    `To: user${n % 500}@example.com`,
    `Subject: =?utf-8?Q?mail_${n}_=E2=80=93_offer?=`,
    `Message-ID: <${process.pid}.${n}@bench>`,
    'Date: Sun, 22 Nov 2026 06:00:00 +0000',
    'MIME-Version: 1.0',
  ];
}

function signatures() {
  const lines = () => Array.from({ length: 4 }, () => ` ${randomBytes(48).toString('base64')}`).join('\r\n');
  return [1, 2].map(
    () =>
      `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;\r\n h=from:to:subject:mime-version:list-unsubscribe:content-type;\r\n b=\r\n${lines()}`,
  );
}

/** Lines of at most 76 characters, each byte that is not plain as =XX. */
function quotedPrintable(text) {
  const encoded = text.replace(/[^\t\r\n -<>-~]/gu, (char) =>
    [...Buffer.from(char)].map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
  return encoded.split('\r\n').map(softlyBroken).join('\r\n');
}

/** A soft line break goes before 76 characters, and never into an =XX. */
function softlyBroken(line) {
  const pieces = [];
  let rest = line;
  while (rest.length > 76) {
    const at = rest.lastIndexOf('=', 74) >= 73 ? rest.lastIndexOf('=', 74) : 75;
    pieces.push(rest.slice(0, at));
    rest = rest.slice(at);
  }
  return [...pieces, rest].join('=\r\n');
}

/** The lines as bytes; buffers among them as they are. */
function mailOf(lines) {
  return Buffer.concat(
    lines.flatMap((line) => [Buffer.isBuffer(line) ? line : Buffer.from(line), Buffer.from('\r\n')]),
  );
}
