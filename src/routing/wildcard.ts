/**
 * Compiles a wildcard: `*` is any run of characters, also none; `\*` is a star and `\\` a backslash.
 * Linear in the text: the pieces between the stars are each searched once, from where the one before was found.
 */
export function compileWildcard(pattern: string): (text: string) => boolean {
  const pieces = literalsOf(pattern);
  const first = pieces[0] as string;
  const last = pieces.at(-1) as string;
  if (pieces.length === 1) return (text) => text === first;
  const between = pieces.slice(1, -1).filter((piece) => piece !== '');
  return (text) => {
    const end = text.length - last.length;
    if (end < first.length || !text.startsWith(first) || !text.endsWith(last)) return false;
    let from = first.length;
    for (const piece of between) {
      const found = text.indexOf(piece, from);
      if (found < 0) return false;
      from = found + piece.length;
    }
    return from <= end;
  };
}

/** What stands between the stars: a text that fits contains each of these. */
export function literalsOf(pattern: string): string[] {
  const pieces: string[] = [];
  let piece = '';
  for (const [token] of pattern.matchAll(/\\[\\*]|[\s\S]/g)) {
    if (token === '*') {
      pieces.push(piece);
      piece = '';
    } else {
      piece += token.length === 2 ? token.slice(1) : token;
    }
  }
  return [...pieces, piece];
}
