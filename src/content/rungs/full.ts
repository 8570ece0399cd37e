import type { Part, View } from '../../message/view.js';
import { brokenBase64 } from '../base64.js';
import { checkBody, checkHead } from '../checks.js';
import { cleanFileName, cleanLine, cleanText, cutText } from '../clean.js';
import { DefectList } from '../defects.js';
import { readFields } from '../fields.js';
import { type Head, readHead } from '../head.js';
import {
  type Anatomy,
  isBodyText,
  isTooLong,
  type ParsedAttachment,
  type ParsedMail,
  type ParseTools,
  parseMail,
} from '../mail.js';
import { type Leaf, type Structure, scanStructure } from '../scan.js';
import { textOfHtml } from '../text.js';
import { Refused, type RungTools } from './rung.js';

/** Rung `full`: everything. Header and checks by our own reader, body and attachments by mailparser. */
export async function read(raw: Buffer, tools: RungTools): Promise<View> {
  const defects = new DefectList();
  const head = readHeader(raw, tools, defects);
  const fields = readFields(head, defects);
  const structure = readStructure(raw, head, tools);
  const anatomy = anatomyOf(raw, head, structure, tools);
  checkBody(raw, head, structure, anatomy.broken, defects);
  checkLengths(anatomy, defects);
  const parsed = await readParts(raw, anatomy, tools);
  comparePartCounts(structure, parsed, defects);
  const html = bodyText(parsed.html, 'html', tools, defects);
  const text = bodyText(parsed.text, 'text', tools, defects) ?? derivedText(html, tools, defects);
  const parts = parsed.attachments.map(partOf);
  return { rung: tools.rung, ...fields, text, html, parts, defects: defects.list() };
}

/** The nth attachment with its bytes, or null when there are not so many. */
export async function readPart(
  raw: Buffer,
  n: number,
  tools: RungTools,
): Promise<{ part: Part; bytes: Buffer } | null> {
  const { attachments } = await readAll(raw, tools, (m) => m === n);
  const found = attachments[n - 1];
  return found?.bytes ? { part: partOf(found, n - 1), bytes: found.bytes } : null;
}

/** HTML as the sender wrote it, with the pictures that came along, by content id. */
export async function readHtml(
  raw: Buffer,
  tools: RungTools,
): Promise<{ html: string | null; pictures: ReadonlyMap<string, ParsedAttachment> }> {
  const parsed = await readAll(raw, tools, (_, { type, contentId }) => contentId !== null && type.startsWith('image/'));
  const html = bodyText(parsed.html, 'html', tools, new DefectList());
  const pictures = new Map<string, ParsedAttachment>();
  for (const attachment of parsed.attachments) {
    if (attachment.bytes && attachment.contentId !== null) pictures.set(attachment.contentId, attachment);
  }
  return { html, pictures };
}

async function readAll(raw: Buffer, tools: RungTools, keep: ParseTools['keep']): Promise<ParsedMail> {
  const head = readHeader(raw, tools, new DefectList());
  const structure = readStructure(raw, head, tools);
  return readParts(raw, anatomyOf(raw, head, structure, tools), tools, keep);
}

function readHeader(raw: Buffer, tools: RungTools, defects: DefectList): Head {
  tools.stage('headers');
  if (raw.length > tools.limits.rawBytes)
    throw new Refused(`it has ${raw.length} bytes, the limit is ${tools.limits.rawBytes}`);
  const head = readHead(raw, tools.limits);
  checkHead(head, defects);
  return head;
}

function readStructure(raw: Buffer, head: Head, tools: RungTools): Structure {
  tools.stage('structure');
  const { limits } = tools;
  const structure = scanStructure(raw, head, limits);
  switch (structure.beyond) {
    case null:
      return structure;
    case 'parts':
      throw new Refused(`it has more than ${limits.parts} parts`);
    case 'depth':
      throw new Refused(`its parts are nested deeper than ${limits.depth}`);
    case 'header':
      throw new Refused(
        `the header of a part is longer than ${limits.headerBytes} bytes or ${limits.headerLines} lines`,
      );
    default: {
      const never: never = structure.beyond;
      return never;
    }
  }
}

/** No transfer encoding makes four bytes of less than one: what lies beyond would be cut from the text in any case. */
const LONGEST_ENCODING = 4;

function anatomyOf(raw: Buffer, head: Head, structure: Structure, { limits }: RungTools): Anatomy {
  const longestText = LONGEST_ENCODING * limits.textBytes;
  return { head, structure, broken: brokenBase64(raw, structure), longestText };
}

function checkLengths({ structure, longestText }: Anatomy, defects: DefectList): void {
  for (const leaf of structure.leaves) {
    if (isTooLong(leaf, longestText)) defects.add('too_large', leaf.path, 'only its beginning was read');
  }
}

const KEEP_NONE: ParseTools['keep'] = () => false;

function readParts(raw: Buffer, anatomy: Anatomy, { stage }: RungTools, keep = KEEP_NONE): Promise<ParsedMail> {
  stage('body');
  return parseMail(raw, anatomy, { onAttachment: (n) => stage('attachments', n), keep });
}

function comparePartCounts(structure: Structure, parsed: ParsedMail, defects: DefectList): void {
  const expected = structure.leaves.filter((leaf) => !isBodyText(leaf) && !isUnreadMultipart(leaf)).length;
  const found = parsed.attachments.length;
  if (expected !== found) defects.add('parts_disagree', `parts: ${found} of ${expected}`);
}

/** A multipart that can't be taken apart has its own defect. */
function isUnreadMultipart(leaf: Leaf): boolean {
  return leaf.type.startsWith('multipart/');
}

/** A body as a view holds it: null when there is none, clean, and no longer than the limit. */
function bodyText(body: string | null, where: 'text' | 'html', tools: RungTools, defects: DefectList): string | null {
  if (body === null || body.trim() === '') return null;
  const { text, cut } = cutText(body, tools.limits.textBytes);
  if (cut) defects.add('too_large', where);
  if (text.includes('\ufffd')) defects.add('charset_wrong', where);
  return cleanText(text);
}

function derivedText(html: string | null, tools: RungTools, defects: DefectList): string | null {
  if (html === null) return null;
  tools.stage('text');
  const { text: source, cut } = cutText(html, tools.limits.htmlToTextBytes);
  if (cut) defects.add('too_large', 'text', 'plain text was made of the beginning of the HTML');
  const text = textOfHtml(source);
  if (text === null) defects.add('html_too_deep', 'html');
  return text === null || text.trim() === '' ? null : cleanText(text);
}

const MAX_TYPE = 128;
const MAX_CONTENT_ID = 255;

function partOf(attachment: ParsedAttachment, index: number): Part {
  const { type, name, size, sha256, inline, contentId } = attachment;
  return {
    n: index + 1,
    name: name === null ? null : cleanFileName(name),
    type: cleanLine(type, MAX_TYPE).toLowerCase(),
    size,
    sha256,
    inline,
    contentId: contentId === null ? null : cleanLine(contentId, MAX_CONTENT_ID),
  };
}
