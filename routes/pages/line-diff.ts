/* What is different between two texts, line by line, in bounded time and memory. */

export interface DiffLine {
  /** `skipped` stands for lines that are the same in both. */
  readonly kind: 'same' | 'added' | 'removed' | 'skipped';
  readonly text: string;
}

/** Lines of each text that are compared. */
export const MOST_LINES = 2_000;
/** Pairs of lines that are compared, once beginning and end that are the same are left out: some milliseconds of work. */
const MOST_PAIRS = 1_000_000;
/** Lines that are the same, shown around those that are not. */
const CONTEXT = 2;

/** What leads from one text to the other, removed lines before added ones. Longer texts are compared in their beginnings. */
export function lineDiff(before: readonly string[], after: readonly string[]): DiffLine[] {
  const [old, now] = [before.slice(0, MOST_LINES), after.slice(0, MOST_LINES)];
  const shorter = Math.min(old.length, now.length);
  let head = 0;
  while (head < shorter && old[head] === now[head]) head++;
  let tail = 0;
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail++;
  return [
    ...old.slice(0, head).map((text) => line('same', text)),
    ...middle(old.slice(head, old.length - tail), now.slice(head, now.length - tail)),
    ...old.slice(old.length - tail).map((text) => line('same', text)),
  ];
}

/** The same with long runs of lines that are the same left out. */
export function folded(diff: readonly DiffLine[]): DiffLine[] {
  const near = diff.map((_, at) => diff.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(isChange));
  const shown: DiffLine[] = [];
  for (let at = 0; at < diff.length; ) {
    const next = near.indexOf(true, at);
    const end = next < 0 ? diff.length : next;
    const same = diff.slice(at, end);
    // One line takes no more room than the word that it is left out.
    if (same.length > 1) shown.push(line('skipped', `${same.length} lines are the same`));
    else shown.push(...same);
    if (end < diff.length) shown.push(diff[end] as DiffLine);
    at = end + 1;
  }
  return shown;
}

function isChange({ kind }: DiffLine): boolean {
  return kind === 'added' || kind === 'removed';
}

function line(kind: DiffLine['kind'], text: string): DiffLine {
  return { kind, text };
}

function middle(old: readonly string[], now: readonly string[]): DiffLine[] {
  if (old.length * now.length > MOST_PAIRS) {
    return [...old.map((text) => line('removed', text)), ...now.map((text) => line('added', text))];
  }
  const width = now.length + 1;
  const common = longestCommon(old, now);
  const diff: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < old.length && j < now.length) {
    const [removed, added] = [old[i] as string, now[j] as string];
    if (removed === added) {
      diff.push(line('same', removed));
      i++;
      j++;
    } else if ((common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0)) {
      diff.push(line('removed', removed));
      i++;
    } else {
      diff.push(line('added', added));
      j++;
    }
  }
  return [
    ...diff,
    ...old.slice(i).map((text) => line('removed', text)),
    ...now.slice(j).map((text) => line('added', text)),
  ];
}

/** At `i * (now.length + 1) + j`: how many lines the rests from `i` and from `j` on have in common, in order. */
function longestCommon(old: readonly string[], now: readonly string[]): Uint16Array {
  const width = now.length + 1;
  const common = new Uint16Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      const at = i * width + j;
      common[at] =
        old[i] === now[j] ? (common[at + width + 1] ?? 0) + 1 : Math.max(common[at + width] ?? 0, common[at + 1] ?? 0);
    }
  }
  return common;
}
