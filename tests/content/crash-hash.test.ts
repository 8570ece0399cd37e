import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crashHash } from '../../src/content/crash-hash.js';

const hashOf = (mail: string) => crashHash(Buffer.from(mail, 'latin1'), 'as ever').toString('hex');

const OWN = 'MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n format=flowed\r\nContent-Transfer-Encoding: 8bit\r\n';
const BODY = '\r\nhello\r\n\r\nSubject: in the body\r\n';
const HASH = hashOf(OWN + BODY);

describe('what kills a parser', () => {
  it('is the same in copies to other people', () => {
    const names = fc.constantFrom(
      'To',
      'Subject',
      'Received',
      'From',
      'Message-ID',
      'X-Content',
      'DKIM-Signature',
      'Date',
    );
    const values = fc
      .stringMatching(/^[a-z0-9 @.:=]{0,30}$/)
      .chain((value) => fc.constantFrom(value, `${value}\r\n\t${value}x`));
    const fields = fc.array(fc.tuple(names, values), { maxLength: 8 });
    fc.assert(
      fc.property(fields, fields, (before, after) => {
        const written = (each: [string, string][]) => each.map(([name, value]) => `${name}: ${value}\r\n`).join('');
        expect(hashOf(written(before) + OWN + written(after) + BODY)).toBe(HASH);
      }),
    );
  });

  it.each<[string, string]>([
    ['Content-Type', OWN.replace('text/plain', 'text/html') + BODY],
    ['continued line of one', OWN.replace('flowed', 'fixed') + BODY],
    ['transfer encoding', OWN.replace('8bit', '7bit') + BODY],
    ['field of its own kind', `${OWN}Content-Id: <a>\r\n${BODY}`],
    ['version of MIME', OWN.replace('1.0', '2.0') + BODY],
    ['body', `${OWN}${BODY}x`],
    ['body, with another name in it,', OWN + BODY.replace('Subject', 'To')],
  ])('is another with another %s', (_, mail) => {
    expect(hashOf(mail)).not.toBe(HASH);
  });

  it('is the same whatever the case of the names, but not of what they say', () => {
    expect(hashOf(`X: y\r\n${BODY}`)).toBe(hashOf(BODY));
    expect(hashOf(OWN + BODY)).not.toBe(hashOf(OWN.replace('text/plain', 'TEXT/PLAIN') + BODY));
  });

  it('is told by the body alone where a mail has no header, and by the header where it has no body', () => {
    expect(hashOf('\r\nhello')).not.toBe(hashOf('\r\nhallo'));
    expect(hashOf('Subject: a')).toBe(hashOf('Subject: b'));
    expect(hashOf('Content-Type: a')).not.toBe(hashOf('Content-Type: b'));
    expect(hashOf('\nhello')).not.toBe(hashOf('\r\nhello'));
  });

  it('is 32 bytes of any bytes, which stay as they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (raw) => {
        const copy = Uint8Array.from(raw);
        expect(crashHash(raw, '')).toHaveLength(32);
        expect(raw).toEqual(copy);
      }),
    );
  });

  it('reads a view of a larger buffer as it reads a buffer of its own', () => {
    const mail = Buffer.from(OWN + BODY);
    const around = new Uint8Array(Buffer.concat([Buffer.from('before'), mail, Buffer.from('after')]));
    expect(crashHash(around.subarray(6, 6 + mail.length), '')).toEqual(crashHash(mail, ''));
  });
});
