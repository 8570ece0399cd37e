import { type CST, LineCounter, Parser } from 'yaml';

/**
 * Where a YAML text is nested deeper than `most`, counted from 1; undefined where it is not. To be asked before a
 * document is composed: `yaml` recurses there, and V8 ends the process when it has to compile an expression with little
 * stack left, so that a few kilobytes of brackets would be the end of everything.
 */
export function tooDeep(text: string, most: number): { readonly line: number; readonly column: number } | undefined {
  const lines = new LineCounter();
  const waiting: { readonly token: CST.Token; readonly depth: number }[] = [];
  for (const token of new Parser(lines.addNewLine).parse(text)) waiting.push({ token, depth: 0 });
  for (;;) {
    const next = waiting.pop();
    if (!next) return undefined;
    if (next.depth > most) {
      const { line, col } = lines.linePos(next.token.offset);
      return { line, column: col };
    }
    for (const token of inside(next.token)) waiting.push({ token, depth: next.depth + 1 });
  }
}

/** Collections alone: what is no collection goes no deeper. */
function inside(token: CST.Token): CST.Token[] {
  if (token.type === 'document') return token.value ? [token.value] : [];
  if (!('items' in token)) return [];
  return token.items.flatMap(({ key, value }) => [key, value].filter((item) => item && 'items' in item) as CST.Token[]);
}
