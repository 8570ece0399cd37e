import { decoderFor, guessText } from './charset.js';

/*
 * Outlook's winmail.dat, [MS-OXTNEF]: a row of attributes, each with level, id, length, data and a checksum. No kept
 * library reads it (node-tnef brings 48 packages and install scripts, for what is one pass over bytes).
 */

/** A file that was wrapped, or the HTML or RTF body (`name` says so). */
export interface WrappedFile {
  readonly name: string | null;
  readonly type: string | null;
  readonly contentId: string | null;
  readonly bytes: Buffer;
}

export interface Unwrapped {
  readonly text: string | null;
  readonly files: readonly WrappedFile[];
  /** It ends early, or says lengths that can't be. What could be read is there. */
  readonly broken: boolean;
}

const SIGNATURE = 0x223e9f78;
const HEADER_BYTES = 6;
const ATTRIBUTE_BYTES = 9;
const CHECKSUM_BYTES = 2;

/** Attribute ids without their type, which is the upper half. */
const BODY = 0x800c;
const ATTACH_DATA = 0x800f;
const ATTACH_TITLE = 0x8010;
const ATTACH_START = 0x9002;
const MESSAGE_PROPERTIES = 0x9003;
const ATTACH_PROPERTIES = 0x9005;
const CODE_PAGE = 0x9007;

const PROP_BODY = 0x1000;
const PROP_RTF = 0x1009;
const PROP_HTML = 0x1013;
const PROP_ATTACH_DATA = 0x3701;
const PROP_ATTACH_LONG_NAME = 0x3707;
const PROP_ATTACH_MIME = 0x370e;
const PROP_ATTACH_CID = 0x3712;

interface File {
  title: string | null;
  longName: string | null;
  type: string | null;
  contentId: string | null;
  bytes: Buffer | null;
}

/** Null where it is no TNEF at all. At most `maxFiles` files; never fails otherwise. */
export function unwrapTnef(raw: Buffer, maxFiles: number): Unwrapped | null {
  if (raw.length < HEADER_BYTES || raw.readUInt32LE(0) !== SIGNATURE) return null;
  let codePage = 'windows-1252';
  let text: string | null = null;
  let broken = false;
  const bodies = new Map<string, WrappedFile>();
  const files: File[] = [];
  let at = HEADER_BYTES;
  while (at < raw.length) {
    if (at + ATTRIBUTE_BYTES > raw.length) {
      broken = true;
      break;
    }
    const id = raw.readUInt32LE(at + 1) & 0xffff;
    const length = raw.readUInt32LE(at + 5);
    const start = at + ATTRIBUTE_BYTES;
    if (start + length > raw.length) {
      broken = true;
      break;
    }
    const data = raw.subarray(start, start + length);
    const file = files.at(-1);
    if (id === CODE_PAGE && length >= 4) codePage = `windows-${data.readUInt32LE(0)}`;
    else if (id === BODY) text = textOf(data, codePage);
    else if (id === MESSAGE_PROPERTIES) {
      const read = readProperties(data);
      broken ||= read.broken;
      text ??= propertyText(read.properties, PROP_BODY, codePage);
      for (const body of bodyFiles(read.properties)) if (!bodies.has(body.name)) bodies.set(body.name, body);
    } else if (id === ATTACH_START) {
      if (files.length >= maxFiles) {
        broken = true;
        break;
      }
      files.push({ title: null, longName: null, type: null, contentId: null, bytes: null });
    } else if (file !== undefined && id === ATTACH_TITLE) file.title = textOf(data, codePage);
    else if (file !== undefined && id === ATTACH_DATA) file.bytes = data;
    else if (file !== undefined && id === ATTACH_PROPERTIES) {
      const read = readProperties(data);
      broken ||= read.broken;
      describe(file, read.properties, codePage);
    }
    at = start + length + CHECKSUM_BYTES;
  }
  const wrapped = files.map(({ title, longName, type, contentId, bytes }) => ({
    name: longName ?? title,
    type,
    contentId,
    bytes: bytes ?? EMPTY,
  }));
  return { text, files: [...bodies.values(), ...wrapped], broken };
}

const EMPTY = Buffer.alloc(0);

function describe(file: File, properties: ReadonlyMap<number, Property>, codePage: string): void {
  file.longName = propertyText(properties, PROP_ATTACH_LONG_NAME, codePage) ?? file.longName;
  file.type = propertyText(properties, PROP_ATTACH_MIME, codePage) ?? file.type;
  file.contentId = propertyText(properties, PROP_ATTACH_CID, codePage) ?? file.contentId;
  file.bytes ??= properties.get(PROP_ATTACH_DATA)?.data ?? null;
}

function bodyFiles(properties: ReadonlyMap<number, Property>): (WrappedFile & { readonly name: string })[] {
  const html = properties.get(PROP_HTML);
  const rtf = properties.get(PROP_RTF);
  return [
    ...(html ? [{ name: 'body.html', type: 'text/html', contentId: null, bytes: html.data }] : []),
    // Compressed as [MS-OXRTFCP] says; programs that want it know how to open it.
    ...(rtf
      ? [{ name: 'body.rtf.compressed', type: 'application/octet-stream', contentId: null, bytes: rtf.data }]
      : []),
  ];
}

interface Property {
  readonly type: number;
  readonly data: Buffer;
}

const MULTIPLE = 0x1000;
const TYPE_STRING = 0x001e;
const TYPE_UNICODE = 0x001f;
const TYPE_BINARY = 0x0102;
const TYPE_OBJECT = 0x000d;
/** Bytes a value of a fixed type takes, padded to four. */
const FIXED: ReadonlyMap<number, number> = new Map([
  [0x0000, 0],
  [0x0001, 0],
  [0x0002, 4],
  [0x0003, 4],
  [0x0004, 4],
  [0x0005, 8],
  [0x0006, 8],
  [0x0007, 8],
  [0x000a, 4],
  [0x000b, 4],
  [0x0014, 8],
  [0x0040, 8],
  [0x0048, 16],
]);
/** No message has nearly so many. */
const MAX_PROPERTIES = 2_000;

/** MAPI properties ([MS-OXCDATA] 2.11); the first value of each. */
function readProperties(data: Buffer): { readonly properties: Map<number, Property>; readonly broken: boolean } {
  const properties = new Map<number, Property>();
  const reader = new Reader(data);
  const count = Math.min(reader.uint32(), MAX_PROPERTIES);
  for (let n = 0; n < count && !reader.failed; n++) {
    const type = reader.uint16();
    const id = reader.uint16();
    if (id >= 0x8000) skipName(reader);
    const value = readValue(reader, type);
    if (value !== null && !properties.has(id)) properties.set(id, { type: type & ~MULTIPLE, data: value });
  }
  return { properties, broken: reader.failed };
}

/** A property of its own names itself: a GUID, and a number or a text. */
function skipName(reader: Reader): void {
  reader.skip(16);
  if (reader.uint32() === 0) reader.skip(4);
  else reader.skip(padded(reader.uint32()));
}

function readValue(reader: Reader, type: number): Buffer | null {
  const base = type & ~MULTIPLE;
  const fixed = FIXED.get(base);
  const isVariable = base === TYPE_STRING || base === TYPE_UNICODE || base === TYPE_BINARY || base === TYPE_OBJECT;
  // A list of values that take no bytes could be as long as it likes.
  if ((fixed === undefined && !isVariable) || (fixed === 0 && type !== base)) return reader.fail();
  const values = isVariable || (type & MULTIPLE) !== 0 ? reader.uint32() : 1;
  let first: Buffer | null = null;
  for (let n = 0; n < values && !reader.failed; n++) {
    const length = fixed ?? reader.uint32();
    const value = reader.take(length);
    reader.skip(padded(length) - length);
    // An embedded message or object begins with the 16 bytes of its interface's id.
    if (n === 0) first = base === TYPE_OBJECT ? value.subarray(16) : value;
  }
  return first;
}

function padded(length: number): number {
  return (length + 3) & ~3;
}

/** Little-endian; beyond the end everything is 0 and `failed` is set. */
class Reader {
  private at = 0;
  failed = false;

  constructor(private readonly data: Buffer) {}

  fail(): null {
    this.failed = true;
    return null;
  }

  take(length: number): Buffer {
    if (length < 0 || this.at + length > this.data.length) {
      this.failed = true;
      return EMPTY;
    }
    this.at += length;
    return this.data.subarray(this.at - length, this.at);
  }

  skip(length: number): void {
    this.take(length);
  }

  uint16(): number {
    const bytes = this.take(2);
    return bytes.length === 2 ? bytes.readUInt16LE(0) : 0;
  }

  uint32(): number {
    const bytes = this.take(4);
    return bytes.length === 4 ? bytes.readUInt32LE(0) : 0;
  }
}

function propertyText(properties: ReadonlyMap<number, Property>, id: number, codePage: string): string | null {
  const property = properties.get(id);
  if (property === undefined) return null;
  if (property.type === TYPE_UNICODE) return withoutEnd(property.data.toString('utf16le'));
  return property.type === TYPE_STRING ? textOf(property.data, codePage) : null;
}

function textOf(data: Buffer, codePage: string): string {
  return withoutEnd(decoderFor(codePage)?.decode(data) ?? guessText(data));
}

/** Texts end in a NUL. */
function withoutEnd(text: string): string {
  const end = text.indexOf('\0');
  return end === -1 ? text : text.slice(0, end);
}
