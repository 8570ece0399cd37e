import { isAscii } from 'node:buffer';
import { type Anatomy, bytesOf } from './anatomy.js';
import { parseBody } from './bodies.js';
import { guessText, isAsciiLabel, isKnownCharset, plainText } from './charset.js';
import { cleanText, cutText } from './clean.js';
import type { DefectList } from './defects.js';
import type { MailLimits } from './limits.js';
import { reflow } from './reflow.js';
import type { Leaf } from './scan.js';
import type { ReadTools } from './stages.js';
import { htmlOfText, textOfHtml } from './text.js';

/** No transfer encoding makes four bytes of less than one: what lies beyond would be cut from the text in any case. */
const LONGEST_ENCODING = 4;

interface Body {
  readonly leaf: Leaf;
  readonly text: string;
}

/**
 * The body texts of a mail, put together in their order: the plain ones, and the HTML. Outside of multipart/alternative a
 * text and an HTML are not two forms of one thing, and so each is shown in the other form, too.
 */
export class BodyTexts {
  private readonly bodies: Body[] = [];
  /** Bytes, still encoded, that may yet be read: of all plain texts together, and of all HTML. */
  private readonly room: { plain: number; html: number };
  private htmlToTextRoom: number;

  constructor(
    private readonly anatomy: Anatomy,
    private readonly limits: MailLimits,
    private readonly defects: DefectList,
    private readonly stage: ReadTools<MailLimits>['stage'],
  ) {
    const longest = LONGEST_ENCODING * limits.textBytes;
    this.room = { plain: longest, html: longest };
    this.htmlToTextRoom = limits.htmlToTextBytes;
  }

  async add(leaf: Leaf, reflows: boolean): Promise<void> {
    const form = leaf.type === 'text/html' ? 'html' : 'plain';
    const room = this.room[form];
    const length = leaf.end - leaf.start;
    if (length === 0) return;
    if (length > room) this.defects.add('too_large', leaf.path, 'only its beginning was read');
    this.room[form] = Math.max(0, room - length);
    this.stage('body', leaf.n);
    const text = await this.decoded(
      { ...leaf, end: leaf.start + Math.min(length, room) },
      this.anatomy.broken.has(leaf),
    );
    if (text.includes('\0')) this.defects.add('nul', leaf.path);
    if (leaf.flowed && reflows) this.stage('reflow', leaf.n);
    this.bodies.push({ leaf, text: leaf.flowed && reflows ? reflow(text, leaf.delSp) : text });
  }

  private async decoded(leaf: Leaf, isBroken: boolean): Promise<string> {
    const { charset, type } = leaf;
    const bytes = bytesOf({ ...this.anatomy, broken: isBroken ? new Set([leaf]) : NONE }, leaf);
    const plain = charset === null ? null : plainText(bytes, charset);
    if (plain !== null) return plain.replaceAll('\r\n', '\n');
    if (charset !== null && isKnownCharset(charset) && !isAsciiLabel(charset)) return parseBody(bytes, type, charset);
    if (charset !== null && isAsciiLabel(charset) && !isAscii(bytes)) {
      this.defects.add('charset_wrong', leaf.path, 'read as UTF-8, else as Windows-1252');
    }
    return guessText(bytes).replaceAll('\r\n', '\n');
  }

  /**
   * As a view holds them. `derives`: whether one form is made of the other where it is wanted; `notMade` says which then
   * lacks something.
   */
  joined(derives: boolean): { text: string | null; html: string | null; notMade: readonly ('text' | 'html')[] } {
    const has = (type: string) => this.bodies.some(({ leaf }) => leaf.type === type);
    const [hasText, hasHtml] = [has('text/plain'), has('text/html')];
    const plain: string[] = [];
    const html: string[] = [];
    const notMade = new Set<'text' | 'html'>();
    for (const { leaf, text } of this.bodies) {
      const isHtml = leaf.type === 'text/html';
      (isHtml ? html : plain).push(text);
      const inOther = isHtml ? !hasText || !leaf.alternative : hasHtml && !leaf.alternative;
      if (inOther && !derives) notMade.add(isHtml ? 'text' : 'html');
      if (!inOther || !derives) continue;
      (isHtml ? plain : html).push(isHtml ? this.textOf(text) : htmlOfText(text));
    }
    for (const form of notMade) this.defects.add('feature_set_aside', form, 'it was not made of the other form');
    const text = this.finished(plain.join('\n'), 'text');
    return { text, html: this.finished(html.join('<br/>\n'), 'html'), notMade: [...notMade] };
  }

  private finished(body: string, where: 'text' | 'html'): string | null {
    if (body.trim() === '') return null;
    const { text, cut } = cutText(body, this.limits.textBytes);
    if (cut) this.defects.add('too_large', where);
    if (text.includes('\ufffd')) this.defects.add('charset_wrong', where);
    return cleanText(text);
  }

  private textOf(html: string): string {
    this.stage('html_text');
    const { text: source, cut } = cutText(html, this.htmlToTextRoom);
    this.htmlToTextRoom -= Buffer.byteLength(source);
    if (cut) this.defects.add('too_large', 'text', 'plain text was made of the beginning of the HTML');
    const text = textOfHtml(source);
    if (text === null) this.defects.add('html_too_deep', 'html');
    return text ?? '';
  }
}

const NONE: ReadonlySet<Leaf> = new Set();
