import type { ThreadContent } from './content.js';
import type { ThreadKeys } from './keys.js';

/** A message of a thread, as those that come after it see it. */
export interface Earlier {
  readonly channel: number;
  readonly sequence: number;
  readonly number: number;
  readonly own: string | null;
  readonly party: string;
  readonly content: ThreadContent | null;
  /** Ids of the targets the conversation went to with it; null until it is planned. */
  readonly targets: readonly number[] | null;
}

/**
 * The message that another one follows where no rule decides: the newest before it that went anywhere. Of those of its own
 * source and account, where there are any: a mail to two of our addresses is two messages, and each goes on where its own
 * went. A copy of the message itself stands where that stands: neither it nor what answers it says anything. `before`: newest
 * first.
 */
export function followed(
  { own, party }: Pick<ThreadKeys, 'own' | 'party'>,
  before: readonly Earlier[],
): Earlier | undefined {
  const copy = before.findLastIndex((one) => one.own !== null && one.own === own && one.party !== party);
  const others = before.slice(copy + 1);
  const ofItsOwn = others.filter((one) => one.party === party);
  return (ofItsOwn.length > 0 ? ofItsOwn : others).find(({ targets }) => targets !== null && targets.length > 0);
}

/** What a target knows of a conversation, oldest first. `before`: newest first. */
export function knownTo(target: number, before: readonly Earlier[]): (ThreadContent | null)[] {
  return before.flatMap(({ targets, content }) => (targets?.includes(target) ? [content] : [])).reverse();
}
