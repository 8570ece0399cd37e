const QUOTED = /^\s{0,3}>/;
const HAS_QUOTED = new RegExp(QUOTED, 'm');

/**
 * What somebody wrote anew in a text: without quoted lines and the line that introduces them; runs of blanks are one. What
 * stands below a signature, or a line before the mail that is answered or passed on, may be new, and stays. Linear.
 */
export function newText(text: string): string {
  if (!HAS_QUOTED.test(text)) return inOneLine(text);
  const kept: string[] = [];
  let quoting = false;
  for (const line of text.split(/\r\n|\r|\n/)) {
    const quoted = QUOTED.test(line);
    if (!quoted) kept.push(line);
    else if (!quoting) dropIntroduction(kept);
    quoting = quoted;
  }
  return inOneLine(kept.join('\n'));
}

/** Without a bound the engine keeps a place for each blank, and gives up at some million of them. */
const LONGEST_RUN = 4_096;
/** Where there is more than one blank, or another than that: what is left as it is costs nothing. */
const TO_JOIN = new RegExp(`[^\\S ]\\s{0,${LONGEST_RUN}}| \\s{1,${LONGEST_RUN}}`, 'g');

function inOneLine(text: string): string {
  const joined = text.replace(TO_JOIN, ' ');
  // Of a longer run more than one blank is left.
  return text.length - joined.length < LONGEST_RUN ? joined.trim() : inOneLine(joined);
}

const MOST_BLANK_LINES = 3;
/** Longer lines introduce nothing. */
const LONGEST = 200;
/** A time, a year or an address. */
const NAMES_A_MAIL = /@|\d:\d\d|\d{4}/;
/** Where mail programs break an introduction, its last line is an address or a word. */
const CONTINUES = /^(<\S+>|\S+):$/;

/**
 * `On Monday, 3 May 2027, Anna <anna@example.com> wrote:` ends with a colon and stands right before what is quoted. What may
 * be somebody's own words stays.
 */
function dropIntroduction(kept: string[]): void {
  let end = kept.length;
  while (end > Math.max(0, kept.length - MOST_BLANK_LINES) && kept[end - 1]?.trim() === '') end--;
  const last = kept[end - 1]?.trim() ?? '';
  if (last.length > LONGEST || !last.endsWith(':')) return;
  if (CONTINUES.test(last) && NAMES_A_MAIL.test(kept[end - 2] ?? '')) kept.length = end - 2;
  else if (NAMES_A_MAIL.test(last)) kept.length = end - 1;
}
