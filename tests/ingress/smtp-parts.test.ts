import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { folded, mailAddress, written } from '../../src/ingress/smtp/address.js';
import { answerTo } from '../../src/ingress/smtp/answer.js';
import { decodedWords, firstFields } from '../../src/ingress/smtp/header.js';
import { loopback, peerOf, within } from '../../src/ingress/smtp/network.js';
import { Peers } from '../../src/ingress/smtp/peers.js';
import { REFUSALS, Refused } from '../../src/ingress/smtp/refusals.js';
import { clean } from '../../src/ingress/smtp/text.js';
import { settableClock } from '../support/clock.js';
import { spentMs } from '../support/spent.js';

describe('header fields', () => {
  const first = (raw: string | Buffer, ...names: string[]): Record<string, string> =>
    Object.fromEntries(firstFields(Buffer.from(raw), new Set(names)));

  test('the first of a name counts, unfolded, whatever its case and line ends', () => {
    expect(first('A: 1\nsubject : one\n\ttwo\r\n three\nSubject: no\n\nX: no\n', 'subject', 'x', 'a')).toEqual({
      a: '1',
      subject: 'one\ttwo three',
    });
  });

  test('what stands behind the header, or beyond 256 kB, is not found', () => {
    expect(first('\r\nSubject: body\r\n', 'subject')).toEqual({});
    expect(first(`X: ${'x'.repeat(300_000)}\r\nSubject: late\r\n\r\n`, 'subject')).toEqual({});
  });

  test('a value is cut at 8 kB', () => {
    expect(first(`Subject: ${'x'.repeat(10_000)}\r\n\r\n`, 'subject').subject?.length).toBeLessThanOrEqual(8_192);
  });

  test('no bytes make it fail or slow', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        firstFields(Buffer.from(bytes), new Set(['subject']));
      }),
    );
    const started = spentMs();
    for (const evil of ['\n', ':\n', 'x', ' ', ':', 'Subject\n', '\r', '=?']) {
      firstFields(Buffer.from(`a${evil.repeat(5_000_000)}`), new Set(['subject', 'message-id']));
    }
    expect(spentMs() - started).toBeLessThan(5_000);
  });

  test.each([
    ['=?utf-8?Q?Gr=C3=B6=C3=9Fe_1?= and =?ISO-8859-1?b?/A==?=', 'Größe 1 and ü'],
    ['=?utf-8?q?one?= =?utf-8?q?two?=', 'onetwo'],
    ['=?utf-8*en?q?one?=', 'one'],
    ['=?klingon?q?one?=', '=?klingon?q?one?='],
    ['=?utf-8?x?one?=', '=?utf-8?x?one?='],
    ['=?utf-8?q?unfinished', '=?utf-8?q?unfinished'],
    ['plain = text?', 'plain = text?'],
  ])('encoded words: %s', (text, decoded) => {
    expect(decodedWords(text)).toBe(decoded);
  });

  test('encoded words are read in linear time', () => {
    const started = spentMs();
    for (const evil of ['=?', '=?a?b?', '?= ', '=?utf-8?q?', '?=\t\t\t']) decodedWords(evil.repeat(200_000));
    expect(spentMs() - started).toBeLessThan(5_000);
  });
});

describe('text for envelopes', () => {
  test('is clean, well-formed and bounded, whatever comes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }), fc.integer({ min: 0, max: 40 }), (text, limit) => {
        const result = clean(text, limit);
        expect(Buffer.byteLength(result)).toBeLessThanOrEqual(limit);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not be there
        expect(result).not.toMatch(/[\u0000-\u001f\u007f]/);
        expect(Buffer.from(result).toString()).toBe(result);
      }),
    );
    expect(clean('a\0b\ud800c', 10)).toBe('a b\ufffdc');
    expect(clean('äöü', 5)).toBe('äö');
    expect(clean(' äöü ', 6)).toBe('äöü');
  });
});

describe('addresses', () => {
  test.each([
    ['Anna+Shop@EXAMPLE.com', 'Anna+Shop@example.com', 'anna+shop@example.com'],
    ['postmaster', 'postmaster', 'postmaster'],
    ['', '', ''],
    ['a@BÜCHER.example', 'a@xn--bcher-kva.example', 'a@xn--bcher-kva.example'],
    ['A@[IPv6:2001:DB8::1]', 'A@[ipv6:2001:db8::1]', 'a@[ipv6:2001:db8::1]'],
    ['u\u0308@example.com', 'ü@example.com', 'ü@example.com'],
  ])('%s', (text, asWritten, asFolded) => {
    const address = mailAddress(text);
    expect(address && [written(address), folded(address)]).toEqual([asWritten, asFolded]);
  });

  test('none: too long, or of a domain that can’t be', () => {
    expect(mailAddress(`${'a'.repeat(250)}@example.com`)).toBeUndefined();
    expect(mailAddress('a@b\u00adü..\u2025x y')).toBeUndefined();
  });
});

describe('networks', () => {
  test('addresses and networks of both kinds', () => {
    const trusts = within(['192.0.2.1', '10.0.0.0/8', '2001:db8::/32']);
    expect(['192.0.2.1', '::ffff:192.0.2.1', '10.255.0.1', '2001:db8:1::5'].every(trusts)).toBe(true);
    expect(['192.0.2.2', '11.0.0.1', '2001:db9::', 'nonsense', '', undefined].some(trusts)).toBe(false);
    expect(within([])('10.0.0.1')).toBe(false);
    expect([loopback('127.9.9.9'), loopback('::1'), loopback('::ffff:127.0.0.1'), loopback('192.0.2.1')]).toEqual([
      true,
      true,
      true,
      false,
    ]);
  });

  test('an IPv6 host is counted by its network', () => {
    expect(peerOf('2001:db8:1:2:3:4:5:6')).toBe(peerOf('2001:db8:1:2::1'));
    expect(peerOf('2001:db8:1:3::1')).not.toBe(peerOf('2001:db8:1:2::1'));
    expect(peerOf('::ffff:192.0.2.1')).toBe('192.0.2.1');
  });
});

describe('peers', () => {
  test('are forgotten when there are too many, but never while connected', () => {
    const clock = settableClock();
    const peers = new Peers({ maxConnectionsPerPeer: 1, messagesPerMinute: 1, recipientsPerMinute: null }, clock);
    expect(peers.enter('connected')).toBe(true);
    expect(peers.mayBeginMail('connected')).toBe(true);
    expect(peers.mayBeginMail('gone')).toBe(true);
    for (let i = 0; i < 60_000; i++) peers.mayBeginMail(`peer ${i}`);
    expect(peers.enter('connected')).toBe(false);
    expect(peers.mayBeginMail('connected')).toBe(false);
    expect(peers.mayBeginMail('gone')).toBe(true);
  });

  test('a minute’s worth comes back evenly, and never more than a minute’s worth', () => {
    const clock = settableClock();
    const peers = new Peers({ maxConnectionsPerPeer: 1, messagesPerMinute: 6, recipientsPerMinute: null }, clock);
    const begun = (): number => {
      let count = 0;
      while (peers.mayBeginMail('a')) count++;
      return count;
    };
    expect(begun()).toBe(6);
    clock.advance(9_000);
    expect(begun()).toBe(0);
    clock.advance(1_000);
    expect(begun()).toBe(1);
    clock.advance(3_600_000);
    expect(begun()).toBe(6);
  });
});

describe('answers', () => {
  test('name everything that was taken, within one line', () => {
    expect(
      answerTo([
        { verdict: 'rejected', code: 'unstorable', reason: '' },
        { verdict: 'duplicate', of: { channel: 1, sequence: 2 }, basis: 'store', differs: false },
        { verdict: 'sequenced', channel: 3, sequence: 4 },
        { verdict: 'conflict', of: { channel: 1, sequence: 1 }, quarantine: 5 },
      ]),
    ).toBe('2.0.0 Ok: queued as 3-4; already queued as 1-2; held as q-5');
    const many = Array.from({ length: 1_000 }, (_, i) => ({
      verdict: 'sequenced' as const,
      channel: 1023,
      sequence: Number.MAX_SAFE_INTEGER - i,
    }));
    const text = answerTo(many);
    expect(text).toMatch(/ and 984 more$/);
    expect(`250 ${text}\r\n`.length).toBeLessThanOrEqual(512);
  });

  test('nothing taken, or nothing at all, is never a success', () => {
    expect(answerTo([])).toBeInstanceOf(Refused);
    expect(answerTo([{ verdict: 'rejected', code: 'unstorable', reason: '' }])).toBeInstanceOf(Refused);
  });

  test('every refusal has a reply whose codes agree', () => {
    for (const [code, status, why] of Object.values(REFUSALS)) {
      expect(status).toMatch(/^[45]\.\d\.\d{1,2}$/);
      expect(String(code)[0]).toBe(status[0]);
      expect(why).toMatch(/^[A-Z].*[^.]$/);
    }
  });
});
