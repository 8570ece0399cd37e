import { hash } from 'node:crypto';
import { type AttachmentStream, MailParser, type MailParserOptions, type MessageText } from 'mailparser';
import { firstField, type Head } from './head.js';
import type { Leaf, Structure } from './scan.js';

/** An attachment as the parser found it. */
export interface ParsedAttachment {
  readonly type: string;
  readonly name: string | null;
  readonly size: number;
  /** Hex. */
  readonly sha256: string;
  readonly inline: boolean;
  /** Without angle brackets. */
  readonly contentId: string | null;
  /** Present where `keep` asked for it. */
  readonly bytes: Buffer | null;
}

export interface ParsedMail {
  readonly text: string | null;
  readonly html: string | null;
  readonly attachments: readonly ParsedAttachment[];
}

export interface ParseTools {
  /** Called as the nth attachment begins, from 1. */
  readonly onAttachment: (n: number) => void;
  /** Whether to keep the nth attachment's bytes. */
  readonly keep: (n: number, attachment: { readonly type: string; readonly contentId: string | null }) => boolean;
}

/** Settings that mailparser hands on to its splitter; its types leave them out. */
interface Options extends MailParserOptions {
  /** Nested messages are attachments, whatever their disposition. */
  readonly ignoreEmbedded: true;
  readonly maxHeadSize: number;
  readonly maxChildNodes: number;
}

/**
 * Reads body and attachments with mailparser. The header is not its business: it is given the fields that say how the
 * body is made, and nothing else, so that what is in the others can neither stop it nor cost its time. Nor are the
 * bytes of attachments that are sound: it finds them empty, and they are decoded here (most of a mail's bytes are
 * theirs, and its streams take ten times as long). Rejects with what mailparser fails with; it may also never settle,
 * and its caller must be ready for that.
 */
export async function parseMail(
  raw: Buffer,
  { head, structure, broken, longestText }: Anatomy,
  tools: ParseTools,
): Promise<ParsedMail> {
  const leaves = structure.leaves.filter((leaf) => !isBodyText(leaf));
  const own = new Set(leaves.filter((leaf) => isOwn(leaf, structure, broken)));
  const left = structure.leaves.flatMap((leaf) => leftOut(leaf, own, longestText));
  const fields = contentFields(raw, head, structure);
  const emptied = await runParser(fields, bodyWithout(raw, head, left), structure, tools);
  if (own.size === 0) return emptied;
  // It sees other parts than we do: then its own reading of the whole counts.
  if (emptied.attachments.length !== leaves.length) {
    return runParser(fields, raw.subarray(head.bodyStart), structure, tools);
  }
  const attachments = emptied.attachments.map((attachment, i) => {
    const leaf = leaves[i] as Leaf;
    return own.has(leaf) ? filled(attachment, raw, leaf, tools.keep(i + 1, attachment)) : attachment;
  });
  return { ...emptied, attachments };
}

/** A mail's header and parts as our own reader found them. */
export interface Anatomy {
  readonly head: Head;
  readonly structure: Structure;
  /** Leaves whose base64 is broken. */
  readonly broken: ReadonlySet<Leaf>;
  /** Bytes of a body text, still encoded, that are read. */
  readonly longestText: number;
}

function isOwn(leaf: Leaf, structure: Structure, broken: ReadonlySet<Leaf>): boolean {
  // Of an empty part mailparser makes a line break.
  const isEmpty = leaf.start === leaf.end;
  const isDecodable = isEmpty || leaf.encoding === 'identity' || (leaf.encoding === 'base64' && !broken.has(leaf));
  return structure.flaws.length === 0 && isDecodable;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** What of a leaf the parser is not given. */
function leftOut(leaf: Leaf, own: ReadonlySet<Leaf>, longestText: number): Range[] {
  if (own.has(leaf)) return [leaf];
  return isTooLong(leaf, longestText) ? [{ start: leaf.start + longestText, end: leaf.end }] : [];
}

/** Whether a body text goes beyond what is read of it. */
export function isTooLong(leaf: Leaf, longestText: number): boolean {
  return isBodyText(leaf) && leaf.end - leaf.start > longestText;
}

/** The body without some ranges of it. */
function bodyWithout(raw: Buffer, head: Head, ranges: readonly Range[]): Buffer {
  if (ranges.length === 0) return raw.subarray(head.bodyStart);
  const pieces: Buffer[] = [];
  let from = head.bodyStart;
  for (const { start, end } of ranges) {
    pieces.push(raw.subarray(from, start));
    from = end;
  }
  return Buffer.concat([...pieces, raw.subarray(from)]);
}

function filled(attachment: ParsedAttachment, raw: Buffer, leaf: Leaf, keep: boolean): ParsedAttachment {
  const written = raw.subarray(leaf.start, leaf.end);
  const bytes = leaf.encoding === 'base64' ? Buffer.from(written.toString('latin1'), 'base64') : written;
  return { ...attachment, size: bytes.length, sha256: hash('sha256', bytes), bytes: keep ? bytes : null };
}

function runParser(fields: Buffer, body: Buffer, structure: Structure, tools: ParseTools): Promise<ParsedMail> {
  return new Promise((resolve, reject) => {
    const parser = new MailParser(optionsFor(structure));
    const attachments: ParsedAttachment[] = [];
    let text: MessageText = { type: 'text' };
    let begun = 0;
    parser.on('error', reject);
    parser.on('data', (data: AttachmentStream | MessageText) => {
      if (data.type === 'text') {
        text = data;
        return;
      }
      begun++;
      tools.onAttachment(begun);
      readAttachment(data, tools.keep(begun, { type: data.contentType, contentId: data.cid ?? null }), (read) => {
        attachments.push(read);
        data.release();
      });
    });
    parser.on('end', () => {
      resolve({ text: text.text ?? null, html: typeof text.html === 'string' ? text.html : null, attachments });
    });
    parser.write(fields);
    parser.end(body);
  });
}

function readAttachment(data: AttachmentStream, keep: boolean, done: (read: ParsedAttachment) => void): void {
  const chunks: Buffer[] = [];
  data.content.on('data', (chunk: Buffer) => {
    if (keep) chunks.push(chunk);
  });
  data.content.once('end', () => {
    done({
      type: data.contentType || 'application/octet-stream',
      name: data.filename || null,
      size: data.size,
      sha256: data.checksum,
      inline: data.contentDisposition === 'inline' || data.related === true,
      contentId: data.cid || null,
      bytes: keep ? Buffer.concat(chunks) : null,
    });
  });
}

const CONTENT_FIELDS = ['content-type', 'content-transfer-encoding', 'content-disposition', 'content-id'] as const;
const NEW_LINE = Buffer.from('\r\n');

/** The header that mailparser sees. A multipart without delimiters is shown to it as the one text it is. */
function contentFields(raw: Buffer, head: Head, structure: Structure): Buffer {
  const isWhole = structure.root.type.startsWith('multipart/') && structure.leaves.length <= 1;
  if (isWhole && structure.flaws.some(({ code, path }) => code === 'boundary_missing' && path === 'body')) {
    return Buffer.from('Content-Type: text/plain\r\n\r\n');
  }
  const lines: Buffer[] = [];
  for (const name of CONTENT_FIELDS) {
    const field = firstField(head.fields, name);
    if (field) lines.push(raw.subarray(field.start, field.end));
  }
  return Buffer.concat([...lines, NEW_LINE]);
}

/**
 * Plain text is made into HTML, and HTML into plain text, only for mails that have both outside of
 * multipart/alternative: there each needs the other's parts. Everywhere else that is work for nothing.
 */
function optionsFor(structure: Structure): Options {
  const mixed = mixesTexts(structure.leaves);
  return {
    checksumAlgo: 'sha256',
    skipImageLinks: true,
    skipTextLinks: true,
    skipTextToHtml: !mixed,
    skipHtmlToText: !mixed,
    ignoreEmbedded: true,
    // The scan has kept to the limits already; these only say that the parser's own are no other.
    maxHeadSize: Number.MAX_SAFE_INTEGER,
    maxChildNodes: Number.MAX_SAFE_INTEGER,
  };
}

/** Whether a leaf is shown as body text, by mailparser's rule. */
export function isBodyText(leaf: Leaf): boolean {
  const isText = leaf.type === 'text/plain' || leaf.type === 'text/html' || leaf.type === 'message/delivery-status';
  return isText && (leaf.disposition === null || leaf.disposition === 'inline');
}

function mixesTexts(leaves: readonly Leaf[]): boolean {
  const texts = leaves.filter(isBodyText);
  return (
    texts.some((leaf) => leaf.type === 'text/html') &&
    texts.some((leaf) => leaf.type !== 'text/html') &&
    texts.some((leaf) => !leaf.alternative)
  );
}
