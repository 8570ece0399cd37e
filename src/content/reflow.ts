/*
 * Text whose paragraphs were cut into lines for terminals (RFC 3676), put together again. mailparser does this, too,
 * in quadratic time: 30 s for a megabyte. This is one pass.
 */

interface Line {
  readonly quotes: number;
  readonly text: string;
}

/** `delSp`: the blank before a soft break was added by the sender. Lines end in LF or CR LF; the result's in LF. */
export function reflow(text: string, delSp: boolean): string {
  const paragraphs: string[] = [];
  let open: { readonly quotes: number; readonly pieces: string[] } | null = null;
  for (const written of text.split('\n')) {
    const { quotes, text: line } = readLine(written.endsWith('\r') ? written.slice(0, -1) : written);
    // A signature's separator ends in a blank and is no soft break.
    const isFlowed = line.endsWith(' ') && line !== '-- ';
    const piece = isFlowed && delSp ? line.slice(0, -1) : line;
    if (open !== null && (open.quotes !== quotes || line === '-- ')) {
      paragraphs.push(joined(open));
      open = null;
    }
    if (open === null) open = { quotes, pieces: [] };
    open.pieces.push(piece);
    if (!isFlowed) {
      paragraphs.push(joined(open));
      open = null;
    }
  }
  if (open !== null) paragraphs.push(joined(open));
  return paragraphs.join('\n');
}

function joined({ quotes, pieces }: { readonly quotes: number; readonly pieces: readonly string[] }): string {
  const text = pieces.join('');
  return quotes === 0 ? text : `${'>'.repeat(quotes)} ${text}`;
}

/** How deep it is quoted, and its text without the blank that a sender put before it. */
function readLine(line: string): Line {
  let quotes = 0;
  while (line.charCodeAt(quotes) === 0x3e) quotes++;
  const start = line.charCodeAt(quotes) === 0x20 ? quotes + 1 : quotes;
  return { quotes, text: start === 0 ? line : line.slice(start) };
}
