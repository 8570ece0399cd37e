import type { ThreadContent } from './content.js';

/** What of a message goes to a target that wants changes only. */
export type Change =
  | { readonly send: 'whole' }
  /** Types of data, sorted. */
  | { readonly send: 'fields'; readonly fields: readonly string[] }
  | { readonly send: 'nothing' };

const WHOLE: Change = { send: 'whole' };
const NOTHING: Change = { send: 'nothing' };

/**
 * What is new in a message for whoever got those `before` it, oldest first. Data that is not named again is not changed. Where
 * none was updated, what is said otherwise than right before it may still be new, such as that an order is cancelled. An attachment
 * that was not there before can't be sent as a field, and what could not be read whole can't be compared: then all of it goes.
 */
export function changeOf(now: ThreadContent | null, before: readonly (ThreadContent | null)[]): Change {
  const read = before.filter((one) => one !== null);
  const last = read.at(-1);
  if (now === null || last === undefined) return WHOLE;
  const known = new Set(read.flatMap(({ parts }) => parts));
  if (now.parts.some((part) => !known.has(part))) return WHOLE;
  const fields = updatedFields(now.fields ?? {}, read);
  if (fields.length > 0) return { send: 'fields', fields };
  return saysTheSame(now, last) ? NOTHING : WHOLE;
}

function saysTheSame(one: ThreadContent, other: ThreadContent): boolean {
  return one.text === other.text && one.html === other.html;
}

/** Types whose values are not those that were named last. */
function updatedFields(now: Readonly<Record<string, string>>, before: readonly ThreadContent[]): string[] {
  const known = new Map<string, string>();
  for (const { fields } of before) for (const [type, hash] of Object.entries(fields ?? {})) known.set(type, hash);
  return Object.keys(now)
    .filter((type) => known.get(type) !== now[type])
    .sort();
}

/** How a message differs from one before it, for people. */
export interface Comparison {
  /** Types of data that it names; null where nobody looks for data. */
  readonly fields: readonly { readonly type: string; readonly change: 'same' | 'updated' | 'new' }[] | null;
  /** Its HTML counts, too. */
  readonly text: 'same' | 'other';
  /** Attachments that were not there before. */
  readonly newParts: number;
}

/** Null where one of them could not be read whole. */
export function compared(now: ThreadContent | null, before: ThreadContent | null): Comparison | null {
  if (now === null || before === null) return null;
  return {
    fields:
      now.fields &&
      Object.keys(now.fields)
        .sort()
        .map((type) => ({ type, change: changeIn(type, now, before) })),
    text: saysTheSame(now, before) ? 'same' : 'other',
    newParts: now.parts.filter((part) => !before.parts.includes(part)).length,
  };
}

function changeIn(type: string, now: ThreadContent, before: ThreadContent): 'same' | 'updated' | 'new' {
  const known = before.fields?.[type];
  if (known === undefined) return 'new';
  return known === now.fields?.[type] ? 'same' : 'updated';
}
