import { folded, lineDiff } from './line-diff.js';

/** What a page shows of the difference between two texts. */
export type ShownDiff = { readonly same: true } | { readonly diff: readonly DiffRow[] };

interface DiffRow {
  readonly text: string;
  readonly added?: true;
  readonly removed?: true;
  readonly skipped?: true;
}

const MARKS = { same: ' ', added: '+', removed: '-', skipped: '…' } as const;

export function shownDiff(before: readonly string[], after: readonly string[]): ShownDiff {
  const lines = folded(lineDiff(before, after));
  if (!lines.some(({ kind }) => kind === 'added' || kind === 'removed')) return { same: true };
  return { diff: lines.map(({ kind, text }) => ({ [kind]: true, text: `${MARKS[kind]} ${text}` })) };
}

/** A text's lines; the end of the last one begins no other. */
export function linesOf(text: string): string[] {
  return text.replace(/\n$/, '').split('\n');
}
