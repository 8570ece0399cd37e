/** What stands before the mail that is answered, where nothing is quoted line by line. */
const WHOLE_MAIL = /^(-{2,} ?(original message|ursprüngliche nachricht|forwarded message) ?-{2,}|_{20,})$/i;
/** RFC 3676: dash, dash, blank. The blank is often lost. */
const SIGNATURE = /^-- ?$/;
const QUOTED = /^\s{0,3}>/;

/**
 * What somebody wrote anew in a text: without quoted lines and the line that introduces them, without the signature and the
 * whole mail that is answered; runs of blanks are one. Linear.
 */
export function newText(text: string): string {
  const kept: string[] = [];
  let quoting = false;
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (SIGNATURE.test(line) || WHOLE_MAIL.test(line.trim())) break;
    const quoted = QUOTED.test(line);
    if (!quoted) kept.push(line);
    else if (!quoting) dropIntroduction(kept);
    quoting = quoted;
  }
  return kept.join('\n').replace(/\s+/g, ' ').trim();
}

/** Lines of an introduction: mail programs break `On Monday, 3 May, Anna <anna@example.com> wrote:` in two or three. */
const MOST_LINES = 3;
const MOST_BLANK_LINES = 3;

/** `On … wrote:` ends with a colon, stands right before what is quoted, and names a day, a time or an address. */
function dropIntroduction(kept: string[]): void {
  let end = kept.length;
  while (end > Math.max(0, kept.length - MOST_BLANK_LINES) && kept[end - 1]?.trim() === '') end--;
  if (!kept[end - 1]?.trimEnd().endsWith(':')) return;
  for (let start = end - 1; start >= Math.max(0, end - MOST_LINES); start--) {
    const line = kept[start] ?? '';
    if (line.trim() === '') return;
    if (!/[\d@]/.test(line)) continue;
    kept.length = start;
    return;
  }
}
