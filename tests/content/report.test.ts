import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAIL_LIMITS } from '../../src/content/limits.js';
import { readReport } from '../../src/content/report.js';

const TYPE = 'message/delivery-status';
const read = (text: string, limits = MAIL_LIMITS) => readReport(TYPE, Buffer.from(text, 'latin1'), limits);

describe('a delivery report', () => {
  it('has what it says of the message and of each recipient', () => {
    // The example of RFC 3464, appendix E.
    const text =
      'Reporting-MTA: dns; cs.utk.edu\r\n\r\n' +
      'Original-Recipient: rfc822;arathib@vnet.ibm.com\r\nFinal-Recipient: rfc822;arathib@vnet.ibm.com\r\n' +
      "Action: failed\r\nStatus: 5.0.0 (permanent failure)\r\nDiagnostic-Code: smtp;\r\n 550 'arathib@vnet.IBM.COM' is not a\r\n" +
      '  registered gateway user\r\nRemote-MTA: dns; vnet.ibm.com\r\n\r\n' +
      'Final-Recipient: rfc822;johnh@hpnjld.njd.hp.com\r\nAction: delayed\r\nStatus: 4.0.0 (hpnjld.njd.jp.com: host name lookup failure)\r\n';
    expect(read(text)).toEqual({
      type: TYPE,
      message: { 'reporting-mta': 'dns; cs.utk.edu' },
      recipients: [
        {
          'original-recipient': 'rfc822;arathib@vnet.ibm.com',
          'final-recipient': 'rfc822;arathib@vnet.ibm.com',
          action: 'failed',
          status: '5.0.0 (permanent failure)',
          'diagnostic-code': "smtp; 550 'arathib@vnet.IBM.COM' is not a  registered gateway user",
          'remote-mta': 'dns; vnet.ibm.com',
        },
        {
          'final-recipient': 'rfc822;johnh@hpnjld.njd.hp.com',
          action: 'delayed',
          status: '4.0.0 (hpnjld.njd.jp.com: host name lookup failure)',
        },
      ],
    });
  });

  it('of one group alone is about the message', () => {
    const text = 'Feedback-Type: abuse\nUser-Agent: SomeGenerator/1.0\nVersion: 1\n';
    expect(read(text)).toMatchObject({
      message: { 'feedback-type': 'abuse', 'user-agent': 'SomeGenerator/1.0', version: '1' },
      recipients: [],
    });
  });

  it('may have any number of empty lines around its groups', () => {
    expect(read('\r\n\r\na: 1\r\n\r\n\r\n\r\nb: 2\r\n\r\n\r\n')).toMatchObject({
      message: { a: '1' },
      recipients: [{ b: '2' }],
    });
  });

  it('counts the first of equal names, decodes words, and passes over what is no field', () => {
    expect(read('A: =?utf-8?q?caf=C3=A9?=\r\nwhat is this\r\na: 2\r\nB: \xe9\r\n').message).toEqual({
      a: 'café',
      b: 'é',
    });
  });

  it('is empty where it says nothing', () => {
    for (const text of ['', '\r\n', '\r\n\r\n\r\n'])
      expect(read(text)).toEqual({ type: TYPE, message: {}, recipients: [] });
  });

  it('has no name that stands for something else', () => {
    const { message } = read('__proto__: x\r\nconstructor: y\r\n');
    expect(Object.hasOwn(message, '__proto__')).toBe(true);
    expect(Object.keys(message)).toEqual(['__proto__', 'constructor']);
  });

  it('is read up to a limit of recipients, and of what each says', () => {
    expect(read('a: 1\r\n\r\n'.repeat(5_000)).recipients).toHaveLength(1_000);
    expect(read(`a: ${'x'.repeat(5_000)}`).message.a).toHaveLength(1_000);
    const many = read('a: 1\r\nb: 2\r\nc: 3\r\n\r\nd: 4\r\n', { ...MAIL_LIMITS, headerLines: 2 });
    expect(many).toMatchObject({ message: { a: '1', b: '2' }, recipients: [{ d: '4' }] });
  });

  it('can be of any bytes, and of any that can be stored', () => {
    const bits = fc.constantFrom(
      'a: ',
      'b',
      ':',
      '\r\n',
      '\n',
      '\r',
      ' ',
      '\0',
      '\xff',
      '=?utf-8?b?7aCA?=',
      '__proto__:',
    );
    fc.assert(
      fc.property(fc.array(bits, { maxLength: 60 }), (each) => {
        const json = JSON.stringify(read(each.join('')));
        expect(json).not.toMatch(/\\u0000|\\ud[89a-f][0-9a-f]{2}/i);
      }),
    );
  });
});
