import { quarantineId } from '../../src/message/id.js';
import type { Cause, QuarantineEntry } from '../../src/storage/quarantine.js';
import { visible } from './isolated.js';
import { type Badge, kindLabel, size, when } from './words.js';

const WHY: Readonly<Record<Cause, string>> = {
  conflict: 'It has the identity of another message and other content.',
  expired: 'The time it says it happened at is outside of what can be de-duplicated.',
  undecodable: 'No message could be made of it.',
  poison: 'It could not be read on any rung.',
};

const BADGES: Readonly<Record<QuarantineEntry['state'], Badge>> = {
  held: { label: 'held', tone: 'wait' },
  released: { label: 'released', tone: 'ok' },
  discarded: { label: 'discarded', tone: 'plain' },
};

/** An entry as both its list and its page show it. */
export function summaryOf(entry: QuarantineEntry, now: number) {
  return {
    id: quarantineId(entry.number),
    href: `/quarantine/${quarantineId(entry.number)}`,
    kind: kindLabel(entry.kind),
    cause: entry.cause,
    why: entry.reason ?? WHY[entry.cause],
    badge: BADGES[entry.state],
    of: entry.of,
    heading: visible(entry.type ?? entry.externalId ?? `${entry.kind} for ${entry.account}`),
    account: entry.account,
    source: entry.source,
    type: entry.type,
    value: entry.value,
    externalId: entry.externalId,
    happened: entry.time,
    peer: entry.peer,
    count: entry.count,
    several: entry.count > 1,
    size: size(entry.size),
    received: when(entry.received, now),
    last: when(entry.lastAt, now),
  };
}
