import { messageId, quarantineId } from '../../message/id.js';
import type { Verdict } from '../../message/verdict.js';
import { Refused } from './refusals.js';

/** Ids named in one reply; RFC 5321 bounds its line to 512 bytes. */
const MAX_IDS = 16;
/** In place of an id, where nobody has looked which it repeats. */
const UNSEEN = 'one seen before';

/**
 * The text of the 250 for a mail of which at least one arrival was taken: `2.0.0 Ok: queued as 7-10234`.
 * When none was, the refusal.
 */
export function answerTo(verdicts: readonly Verdict[]): string | Refused {
  const queued: string[] = [];
  const already: string[] = [];
  const held: string[] = [];
  let tooLarge = false;
  for (const verdict of verdicts) {
    switch (verdict.verdict) {
      case 'sequenced':
        queued.push(messageId(verdict));
        break;
      case 'duplicate':
        already.push(verdict.basis === 'store' ? messageId(verdict.of) : UNSEEN);
        break;
      case 'conflict':
      case 'expired':
        held.push(quarantineId(verdict.quarantine));
        break;
      case 'rejected':
        tooLarge ||= verdict.code === 'too_large';
        break;
      default: {
        const never: never = verdict;
        return never;
      }
    }
  }
  const taken = [listed('queued as', queued), listed('already queued as', already), listed('held as', held)];
  const text = taken.filter((part) => part !== '').join('; ');
  return text === '' ? new Refused(tooLarge ? 'too_large' : 'rejected') : `2.0.0 Ok: ${text}`;
}

function listed(what: string, ids: readonly string[]): string {
  if (ids.length === 0) return '';
  const more = ids.length > MAX_IDS ? ` and ${ids.length - MAX_IDS} more` : '';
  return `${what} ${ids.slice(0, MAX_IDS).join(', ')}${more}`;
}
