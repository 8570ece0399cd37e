import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unwrapTnef } from '../../src/content/tnef.js';
import { costMs } from '../support/spent.js';

/* A small encoder of [MS-OXTNEF]: attributes, and the MAPI properties in them. */

const uint16 = (value: number) => Buffer.from([value & 0xff, value >> 8]);
function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);

function attribute(id: number, data: Buffer): Buffer {
  const sum = data.reduce((total, byte) => (total + byte) & 0xffff, 0);
  return Buffer.concat([Buffer.from([1]), uint32(id), uint32(data.length), data, uint16(sum)]);
}

const tnef = (...attributes: Buffer[]) => Buffer.concat([uint32(0x223e9f78), uint16(1), ...attributes]);

const STRING = 0x001e;
const UNICODE = 0x001f;
const BINARY = 0x0102;
const OBJECT = 0x000d;

function property(type: number, id: number, ...values: Buffer[]): Buffer {
  return Buffer.concat([
    uint16(type),
    uint16(id),
    uint32(values.length),
    ...values.flatMap((value) => [uint32(value.length), padded(value)]),
  ]);
}
const fixed = (type: number, id: number, bytes: number) =>
  Buffer.concat([uint16(type), uint16(id), Buffer.alloc(bytes)]);
const properties = (...each: Buffer[]) => Buffer.concat([uint32(each.length), ...each]);

const zero = (text: string, encoding: BufferEncoding = 'latin1') => Buffer.from(`${text}\0`, encoding);

const codePage = (page: number) => attribute(0x00069007, Buffer.concat([uint32(page), uint32(0)]));
const body = (text: Buffer) => attribute(0x0002800c, text);
const messageProperties = (...each: Buffer[]) => attribute(0x00069003, properties(...each));
const attachment = () => attribute(0x00069002, Buffer.alloc(14));
const title = (text: Buffer) => attribute(0x00018010, text);
const data = (bytes: Buffer) => attribute(0x0006800f, bytes);
const attachmentProperties = (...each: Buffer[]) => attribute(0x00069005, properties(...each));

describe('winmail.dat', () => {
  it('has its attachments with their names, in order', () => {
    const raw = tnef(
      attachment(),
      title(zero('a.txt')),
      data(Buffer.from('one')),
      attachment(),
      data(Buffer.from('two')),
      title(zero('b.txt')),
      attachment(),
    );
    expect(unwrapTnef(raw, 10)).toEqual({
      text: null,
      files: [
        { name: 'a.txt', type: null, contentId: null, bytes: Buffer.from('one') },
        { name: 'b.txt', type: null, contentId: null, bytes: Buffer.from('two') },
        { name: null, type: null, contentId: null, bytes: Buffer.alloc(0) },
      ],
      broken: false,
    });
  });

  it('knows a file by what its properties say rather than by its short title', () => {
    const raw = tnef(
      attachment(),
      title(zero('LONGNA~1.DOC')),
      attachmentProperties(
        fixed(0x0003, 0x0e20, 4),
        property(UNICODE, 0x3707, zero('long näme.docx', 'utf16le')),
        property(STRING, 0x370e, zero('application/msword')),
        property(STRING, 0x3712, zero('1@example.com')),
      ),
      data(Buffer.from('doc')),
    );
    expect(unwrapTnef(raw, 10)?.files).toEqual([
      { name: 'long näme.docx', type: 'application/msword', contentId: '1@example.com', bytes: Buffer.from('doc') },
    ]);
  });

  it('has an embedded object without the id of its interface', () => {
    const inner = Buffer.concat([Buffer.alloc(16, 7), Buffer.from('inner')]);
    const raw = tnef(attachment(), attachmentProperties(property(OBJECT, 0x3701, inner)));
    expect(unwrapTnef(raw, 10)?.files[0]?.bytes.toString()).toBe('inner');
  });

  it('has its texts in the code page it names', () => {
    const raw = tnef(
      codePage(1251),
      body(Buffer.from([0xcf, 0xf0, 0xe8, 0])),
      attachment(),
      title(Buffer.from([0xc0, 0])),
    );
    expect(unwrapTnef(raw, 10)).toMatchObject({ text: 'При', files: [{ name: 'А' }] });
    expect(unwrapTnef(tnef(body(zero('caf\xe9'))), 10)?.text).toBe('café');
    expect(unwrapTnef(tnef(codePage(99), body(Buffer.from('café'))), 10)?.text).toBe('café');
  });

  it('has the bodies in its properties: the text, HTML, and compressed RTF', () => {
    const raw = tnef(
      messageProperties(
        property(UNICODE, 0x1000, zero('hello', 'utf16le')),
        property(BINARY, 0x1013, Buffer.from('<p>hi')),
        property(BINARY, 0x1009, Buffer.from('LZFu')),
      ),
    );
    expect(unwrapTnef(raw, 10)).toEqual({
      text: 'hello',
      files: [
        { name: 'body.html', type: 'text/html', contentId: null, bytes: Buffer.from('<p>hi') },
        { name: 'body.rtf.compressed', type: 'application/octet-stream', contentId: null, bytes: Buffer.from('LZFu') },
      ],
      broken: false,
    });
  });

  it('may hold properties of any type, of many values, and with names of their own', () => {
    const guid = Buffer.alloc(16, 1);
    const byNumber = Buffer.concat([uint16(0x0003), uint16(0x8001), guid, uint32(0), uint32(5), uint32(42)]);
    const name = Buffer.from('Keywords\0', 'utf16le');
    const byName = Buffer.concat([
      ...[uint16(0x101f), uint16(0x8002), guid, uint32(1), uint32(name.length), padded(name)],
      ...[uint32(2), uint32(4), Buffer.from('a\0', 'utf16le'), uint32(4), Buffer.from('b\0', 'utf16le')],
    ]);
    const raw = tnef(
      messageProperties(
        fixed(0x000b, 0x0001, 4),
        fixed(0x0040, 0x0002, 8),
        fixed(0x0048, 0x0003, 16),
        byNumber,
        byName,
        property(STRING, 0x1000, zero('first'), zero('second')),
      ),
    );
    expect(unwrapTnef(raw, 10)).toMatchObject({ text: 'first', broken: false });
  });

  it('passes over attributes it does not know', () => {
    const raw = tnef(attribute(0x00078008, zero('IPM.Note')), attribute(0x12345678, Buffer.alloc(5)), body(zero('hi')));
    expect(unwrapTnef(raw, 10)).toEqual({ text: 'hi', files: [], broken: false });
  });
});

describe('a winmail.dat that is none, or broken,', () => {
  it.each([Buffer.alloc(0), Buffer.from('x'), Buffer.from('hello world'), uint32(0x223e9f78)])('%j is none', (raw) => {
    expect(unwrapTnef(raw, 10)).toBeNull();
  });

  it('says so where it ends early, and has what came before', () => {
    const whole = tnef(body(zero('hi')), attachment(), title(zero('a')), data(Buffer.from('bytes')));
    for (let length = 6; length < whole.length - 2; length++) {
      const read = unwrapTnef(whole.subarray(0, length), 10);
      expect(read).not.toBeNull();
      if (length >= tnef(body(zero('hi'))).length) expect(read?.text).toBe('hi');
    }
    expect(unwrapTnef(whole.subarray(0, whole.length - 4), 10)).toMatchObject({
      text: 'hi',
      files: [{ name: 'a', bytes: Buffer.alloc(0) }],
      broken: true,
    });
  });

  it('says so where a length or a type can not be', () => {
    const tooLong = tnef(Buffer.concat([Buffer.from([1]), uint32(0x0002800c), uint32(0xffffffff), zero('hi')]));
    expect(unwrapTnef(tooLong, 10)).toMatchObject({ text: null, broken: true });
    for (const each of [
      Buffer.concat([uint16(STRING), uint16(0x1000), uint32(1), uint32(0xfffffffd)]),
      Buffer.concat([uint16(STRING), uint16(0x1000), uint32(0xffffffff)]),
      Buffer.concat([uint16(0x0777), uint16(0x1000)]),
      Buffer.concat([uint16(3), uint16(0x8001), Buffer.alloc(16), uint32(1), uint32(0xffffffff)]),
      Buffer.concat([uint16(0x1000), uint16(1), uint32(0xffffffff)]),
    ]) {
      expect(unwrapTnef(tnef(messageProperties(each)), 10)).toMatchObject({ files: [], broken: true });
    }
  });

  it('has no more files than it may', () => {
    const raw = tnef(...Array.from({ length: 20 }, () => attachment()));
    expect(unwrapTnef(raw, 20)).toMatchObject({ broken: false });
    expect(unwrapTnef(raw, 20)?.files).toHaveLength(20);
    expect(unwrapTnef(raw, 19)).toMatchObject({ broken: true });
    expect(unwrapTnef(raw, 19)?.files).toHaveLength(19);
  });

  it('has one HTML and one RTF body, however many it brings', () => {
    const one = messageProperties(
      property(BINARY, 0x1013, Buffer.from('<p>')),
      property(BINARY, 0x1009, Buffer.from('x')),
    );
    expect(unwrapTnef(tnef(...Array.from({ length: 100 }, () => one)), 10)?.files.length).toBeLessThanOrEqual(2);
  });

  it('takes time in proportion to its length, whatever it says of itself', () => {
    const empty = Buffer.concat([uint16(0x1000), uint16(1), uint32(2_000)]);
    const many = properties(...Array.from({ length: 1_000 }, () => empty));
    const hostile = tnef(attribute(0x00069003, many));
    // Eight kilobytes: a millisecond, and not one for each ten bytes of them.
    expect(costMs(() => unwrapTnef(hostile, 10))).toBeLessThan(50);
  });

  it('never fails, and gives back no byte that was not there', () => {
    const whole = tnef(
      codePage(1252),
      body(zero('hi')),
      messageProperties(property(STRING, 0x1000, zero('a')), property(BINARY, 0x1013, Buffer.from('<p>'))),
      attachment(),
      attachmentProperties(property(UNICODE, 0x3707, zero('b', 'utf16le'))),
      data(Buffer.from('bytes')),
    );
    const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 5 });
    fc.assert(
      fc.property(changes, (each) => {
        const raw = Buffer.from(whole);
        for (const [at, byte] of each) raw[at] = byte;
        const read = unwrapTnef(raw, 10);
        for (const file of read?.files ?? []) expect(raw.includes(file.bytes)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const read = unwrapTnef(Buffer.concat([tnef(), bytes]), 10);
        expect(read?.files.length).toBeLessThanOrEqual(12);
      }),
    );
  });
});
