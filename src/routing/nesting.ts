import { type CST, Parser } from 'yaml';

/**
 * Where a YAML text is nested deeper than `most`, as an offset; undefined where it is not. To be asked before composing
 * a document: `yaml` recurses there, and V8 ends the process when it has to compile an expression with little stack left.
 */
export function tooDeep(text: string, most: number): number | undefined {
  const waiting: { readonly token: CST.Token; readonly depth: number }[] = [];
  for (const token of new Parser().parse(text)) waiting.push({ token, depth: 0 });
  for (;;) {
    const next = waiting.pop();
    if (!next) return undefined;
    if (next.depth > most) return next.token.offset;
    for (const token of inside(next.token)) waiting.push({ token, depth: next.depth + 1 });
  }
}

function inside(token: CST.Token): CST.Token[] {
  if (token.type === 'document') return token.value ? [token.value] : [];
  if (!('items' in token)) return [];
  return token.items.flatMap(({ key, value }) => [key, value].filter((item) => item !== null && item !== undefined));
}
