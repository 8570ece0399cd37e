import type { Principal } from '../../src/access/principal.js';
import type { Found } from '../../src/message/found.js';
import { messageId } from '../../src/message/id.js';
import type { Comparison } from '../../src/routing/thread/changes.js';
import { summaries } from '../../src/storage/messages.js';
import type { Story } from '../../src/storage/story.js';
import { findThread, messagesInThread, type NumberedPlace } from '../../src/storage/threads-read.js';
import { type ReadMessage, readMessage } from '../messages.js';
import { Problem } from '../route.js';
import { type ThreadStory, threadStory } from '../threads.js';
import type { PageDeps } from './deps.js';
import { count, subtitleOf, titleOf, when } from './words.js';

/** Messages of its conversation that a message's page names before and after it. */
const SHOWN_BEFORE = 5;
const SHOWN = 12;

/** A message's conversation, as its page shows it; null where it stands alone in it. `now` in milliseconds since 1970. */
export async function threadCard(
  deps: PageDeps,
  by: Principal,
  read: ReadMessage,
  story: Story,
  names: ReadonlyMap<number, string>,
  now: number,
) {
  const { pool } = deps;
  const tenant = by.tenant.id;
  const thread = await threadStory(pool, tenant, read.message, story.plans, names);
  const found = thread && (await findThread(pool, tenant, thread.id));
  if (!thread || !found || (found.of === 1 && found.links.length === 0)) return null;
  const first = Math.max(0, thread.number - SHOWN_BEFORE - 1);
  const places = await messagesInThread(pool, tenant, thread.id, first, SHOWN);
  return {
    ordinal: ordinal(thread.number),
    of: found.of,
    messages: await messageLines(deps, by, places, thread.number, now),
    links: await Promise.all(found.links.map((link) => linkLine(deps, by, link.id))).then((all) =>
      all.filter((line) => line !== null),
    ),
    course: courseLines(thread),
    changes: await changeLines(deps, by, read, thread, places),
  };
}

/** `1st`, `2nd`, `3rd`, `4th`, `11th`, `21st`. */
function ordinal(number: number): string {
  const tens = number % 100;
  const ending = tens > 10 && tens < 14 ? 'th' : (['th', 'st', 'nd', 'rd'][number % 10] ?? 'th');
  return `${number}${ending}`;
}

async function messageLines(
  { pool }: PageDeps,
  { tenant }: Principal,
  places: readonly NumberedPlace[],
  current: number,
  now: number,
) {
  const numbers = new Map(places.map((place) => [messageId(place), place.number]));
  return (await summaries(pool, tenant.id, places)).map((one) => ({
    number: numbers.get(messageId(one)),
    href: `/messages/${messageId(one)}`,
    title: titleOf(one),
    sender: subtitleOf(one) || one.account,
    received: when(one.received, now),
    current: numbers.get(messageId(one)) === current,
  }));
}

/** A conversation that is linked, by its first message that is kept. */
async function linkLine({ pool }: PageDeps, { tenant }: Principal, id: number) {
  const places = await messagesInThread(pool, tenant.id, id, 0, 1);
  const [first] = await summaries(pool, tenant.id, places);
  return first ? { href: `/messages/${messageId(first)}`, title: titleOf(first) } : null;
}

/** What its conversation had to do with what became of it, a sentence each. */
function courseLines({ followed, compared }: ThreadStory): string[] {
  return [
    ...(followed === null ? [] : [`No rule matched: it went where the ${ordinal(followed)} went.`]),
    ...compared.map(({ target, sent, fields }) =>
      sent === 'nothing'
        ? `${target} got nothing: nothing in it was new.`
        : `${target} got what is new: ${fields.join(', ')}.`,
    ),
  ];
}

/** What is different from the message before it. */
async function changeLines(
  deps: PageDeps,
  by: Principal,
  read: ReadMessage,
  { changed }: ThreadStory,
  places: readonly NumberedPlace[],
) {
  if (!changed) return null;
  const place = places.find(({ number }) => number === changed.since);
  const before = place && (await readBefore(deps, by, place));
  return {
    since: ordinal(changed.since),
    lines: linesOf(changed, read.canonical.found, before?.canonical.found ?? []),
  };
}

async function readBefore(deps: PageDeps, by: Principal, place: NumberedPlace): Promise<ReadMessage | null> {
  try {
    return await readMessage(deps, by, place);
  } catch (error) {
    // Its content is gone: what was kept of it says what changed, and no longer from what.
    if (error instanceof Problem) return null;
    throw error;
  }
}

function linesOf({ fields, text, newParts }: Comparison, now: readonly Found[], before: readonly Found[]): string[] {
  const changes = (fields ?? []).filter(({ change }) => change !== 'same');
  const lines = changes.map(({ type, change }) => {
    const [was, is] = [change === 'updated' ? written(before, type) : '', written(now, type)];
    // Its source may look for other data by now.
    if (is === '') return `${type}: ${change}`;
    return `${type}: ${was === '' ? '' : `${was} → `}${is}${change === 'new' ? ' (new)' : ''}`;
  });
  if (newParts > 0) lines.push(count(newParts, 'new attachment', 'new attachments'));
  if (lines.length > 0) return lines;
  return [text === 'same' ? 'Nothing: its text is the same.' : 'Its text, and nothing that is looked for.'];
}

/** Values of a type, as many as are read at a glance. */
const VALUES_SHOWN = 5;

function written(found: readonly Found[], type: string): string {
  const values = found.filter((one) => one.type === type).map((one) => one.written);
  const more = values.length - VALUES_SHOWN;
  return `${values.slice(0, VALUES_SHOWN).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
