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
 * body is made, and nothing else, so that what is in the others can neither stop it nor cost its time. Rejects with
 * what mailparser fails with; it may also never settle, and its caller must be ready for that.
 */
export function parseMail(raw: Buffer, head: Head, structure: Structure, tools: ParseTools): Promise<ParsedMail> {
  return new Promise((resolve, reject) => {
    const parser = new MailParser(optionsFor(structure));
    const attachments: ParsedAttachment[] = [];
    let body: MessageText = { type: 'text' };
    let begun = 0;
    parser.on('error', reject);
    parser.on('data', (data: AttachmentStream | MessageText) => {
      if (data.type === 'text') {
        body = data;
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
      resolve({ text: body.text ?? null, html: typeof body.html === 'string' ? body.html : null, attachments });
    });
    parser.write(contentFields(raw, head, structure));
    parser.end(raw.subarray(head.bodyStart));
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
