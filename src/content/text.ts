import { compile } from 'html-to-text';

/** Deeper than any mail a person wrote; html-to-text recurses, and needs seconds for some thousands of levels. */
const MAX_NESTING = 200;

const convert = compile({
  wordwrap: false,
  selectors: [
    { selector: 'img', format: 'skip' },
    { selector: 'a', options: { hideLinkHrefIfSameAsText: true } },
  ],
});

/** Plain text of HTML; null where it is nested too deep to be read so. */
export function textOfHtml(html: string): string | null {
  return isNestedTooDeep(html) ? null : convert(html);
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** HTML that shows a plain text as it is. */
export function htmlOfText(text: string): string {
  const escaped = text.replace(/[&<>"]/g, (char) => ESCAPES[char] as string);
  return `<p>${escaped.replace(/\n{2,}/g, '</p><p>').replaceAll('\n', '<br/>')}</p>`;
}

/** Elements that hold nothing, or that end where the next begins: their start tags nest nothing. */
const NEVER_NESTED =
  /^(?:area|base|br|col|dd|dt|embed|hr|img|input|li|link|meta|option|p|param|source|tbody|td|tfoot|th|thead|tr|track|wbr)$/;
const TAG = /<(\/?)([a-z][a-z0-9:-]{0,30})/gi;

/** Whether HTML is nested so deep that what reads it recursively, or searches its own stack, takes for ever. */
export function isNestedTooDeep(html: string): boolean {
  let depth = 0;
  for (const [, slash, name] of html.matchAll(TAG)) {
    if (NEVER_NESTED.test((name as string).toLowerCase())) continue;
    depth = slash === '' ? depth + 1 : Math.max(0, depth - 1);
    if (depth > MAX_NESTING) return true;
  }
  return false;
}
