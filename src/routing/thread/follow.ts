import type { ThreadContent } from './content.js';
import type { ThreadKeys } from './keys.js';

/** A message of a thread, as those that come after it see it. */
export interface Earlier {
  readonly channel: number;
  readonly sequence: number;
  readonly number: number;
  readonly party: string;
  readonly content: ThreadContent | null;
  /** Ids of the targets the conversation went to with it; null until it is planned. */
  readonly targets: readonly number[] | null;
  /** Ids of those of them that did not take it: they know nothing of it. */
  readonly missed: readonly number[];
}

/**
 * The message that another one follows where no rule decides: the newest before it, of its own party, that went anywhere. A mail
 * to two of our addresses is two messages, and neither goes where nobody but the other was sent. `before`: newest first.
 */
export function followed({ party }: Pick<ThreadKeys, 'party'>, before: readonly Earlier[]): Earlier | undefined {
  return before.find((one) => one.party === party && one.targets !== null && one.targets.length > 0);
}

/** What a target knows of a conversation, oldest first. `before`: newest first. */
export function knownTo(target: number, before: readonly Earlier[]): (ThreadContent | null)[] {
  const has = ({ targets, missed }: Earlier) => targets?.includes(target) && !missed.includes(target);
  return before.flatMap((one) => (has(one) ? [one.content] : [])).reverse();
}
