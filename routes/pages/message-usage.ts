import type { Principal } from '../../src/access/principal.js';
import { messageId, type Place } from '../../src/message/id.js';
import type { MessageUsage, UsageEntry } from '../../src/storage/usage-views.js';
import { usageAt, verdictOf } from '../ledger-views.js';
import type { ReadMessage } from '../messages.js';
import { accountPath, dimensionText, exactTime, GAP_WORDS, PROBLEM_WORDS, quantityText } from './billing-words.js';
import type { PageDeps } from './deps.js';
import { visible } from './isolated.js';
import type { UsageStory } from './lineage.js';
import type { Badge } from './words.js';

const ID = 'way-usage';

/** Which meters counted a message, or why none did: the end of its way. */
export async function usageStory(deps: PageDeps, by: Principal, { message }: ReadMessage): Promise<UsageStory | null> {
  if (!by.permissions.has('billing.read')) return null;
  const usage = await usageAt(deps.pool, by.tenant, message);
  if (!usage.metered && usage.corrects === null) return null;
  const { title, text, tone } = inShort(usage, message);
  const correctable =
    usage.entries.length > 0 && usage.corrections.length === 0 && by.permissions.has('billing.correct');
  const path = accountPath(message.account);
  return {
    station: { href: ID, title: 'Usage', text, tone },
    happening: {
      id: ID,
      at: null,
      title,
      tone,
      lines: [
        ...usage.entries.map(entryLine),
        ...usage.problems.map(({ meter, code }) => `${meter} could not count it: ${PROBLEM_WORDS[code] ?? code}.`),
        ...usage.corrections.map(
          ({ sequence, action, who, why }) =>
            `${action === 'void' ? 'Voided' : 'Amended'} by ${who} with ${inChannel(message, sequence)}: “${visible(why)}”`,
        ),
      ],
      ...(correctable
        ? { more: { href: `${path}/correct/${messageId(message)}`, label: 'void or amend it' } }
        : usage.entries.length > 0 && { more: { href: path, label: 'usage of its account' } }),
    },
  };
}

function inShort(usage: MessageUsage, place: Place): { title: string; text: string; tone: Badge['tone'] } {
  const { entries, gap, corrects, corrections } = usage;
  const verdict = verdictOf(usage);
  switch (verdict) {
    case 'counted': {
      const counted = entries.filter(({ state }) => state === 'c');
      return { title: 'Usage counted', text: `counted by ${counted.map(({ meter }) => meter).join(', ')}`, tone: 'ok' };
    }
    case 'not_counted': {
      const [first] = corrections;
      const text = first
        ? `corrected by ${inChannel(place, first.sequence)}`
        : entries.some(({ state }) => state === 'h')
          ? 'held: its period was final'
          : 'another amendment came first';
      return { title: `Usage not counted: ${text}`, text, tone: 'plain' };
    }
    case 'problem':
      return { title: 'Usage not countable', text: 'a meter could not count it', tone: 'bad' };
    case 'gap': {
      const why = GAP_WORDS[gap ?? ''] ?? '';
      return { title: `Usage not counted yet: ${why}`, text: why, tone: 'wait' };
    }
    case 'correction': {
      const what = corrects?.action === 'void' ? 'voids' : 'amends';
      const text = corrects === null ? '' : `${what} ${inChannel(place, corrects.target)}`;
      return { title: `A correction: ${text}`, text, tone: 'plain' };
    }
    case 'unmetered':
    case 'nothing_metered':
      return {
        title: 'No usage: no meter is for it, or a filter leaves it out',
        text: 'no meter counts it',
        tone: 'plain',
      };
    case 'not_seen':
      return { title: 'The ledger has not come to it yet', text: 'not counted yet', tone: 'wait' };
    default: {
      const never: never = verdict;
      throw new Error(`no such verdict: ${String(never)}`);
    }
  }
}

function entryLine({ meter, value, unit, dimensions, at, state }: UsageEntry): string {
  const what = value === null ? '1 event' : quantityText(value, unit);
  const by = dimensionText(dimensions);
  const not = { c: '', v: ', corrected since', n: ', superseded', h: ', held' }[state];
  return visible(`${meter}: ${what}${by === '' ? '' : ` (${by})`} at ${exactTime(at)}${not}.`);
}

function inChannel({ channel }: Place, sequence: number): string {
  return messageId({ channel, sequence });
}
