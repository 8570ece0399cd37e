import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { highlighted, wordsOf } from '../../src/message/folded.js';
import { messageId, type Place, quarantineId } from '../../src/message/id.js';
import { listSources, listTargets } from '../../src/storage/definitions.js';
import type { Need } from '../../src/storage/inbox-counts.js';
import { NEEDS } from '../../src/storage/inbox-counts.js';
import { searchBehind } from '../../src/storage/search.js';
import { cursorSchema, text, timeSchema } from '../fields.js';
import { countsFor, type InboxWish, inboxPage, type Listed, oldestFor } from '../inbox.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { decideEach, discardEach, type NotDone, releaseEach } from './decide.js';
import type { PageDeps } from './deps.js';
import { address, given, listOf, readForm, reasonField, type Seen, seenField } from './form.js';
import { hitsOf } from './hits.js';
import { visible } from './isolated.js';
import { summaryOf } from './quarantine-words.js';
import { countText, type Site, seeOther } from './show.js';
import { count, kindLabel, subtitleOf, titleOf, when } from './words.js';

const PAGE = 50;

/** What is done with several at once. `discard` and `release` are for what the quarantine holds. */
const ACTIONS = ['assign', 'close', 'snooze', 'unassign', 'reopen', 'discard', 'release'] as const;
type Action = (typeof ACTIONS)[number];

/** What comes first; the newest where nothing is said. */
const SORTS = ['oldest'] as const;

export const inboxFilterShape = {
  state: given(z.enum(['waiting', 'snoozed'])),
  need: given(z.enum(NEEDS)),
  sort: given(z.enum(SORTS)),
  source: given(text(63)),
  account: given(text(512)),
  claim: given(z.enum(['mine', 'none'])),
  q: given(text(200)),
};

const inboxQuery = z.object({
  ...inboxFilterShape,
  cursor: given(cursorSchema),
  done: given(z.enum(ACTIONS)),
  of: listOf(seenField, PAGE),
  spam: given(z.literal('1')),
});
type InboxQuery = z.infer<typeof inboxQuery>;
export type InboxFilters = Pick<InboxQuery, keyof typeof inboxFilterShape>;

const entryField = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

const decideForm = z.object({
  action: z.enum(ACTIONS),
  messages: listOf(seenField, PAGE),
  /** Numbers of quarantine entries. */
  entries: listOf(entryField, PAGE),
  targets: listOf(text(63), 100),
  reason: reasonField,
  /** Hours to snooze for, or until when. */
  hours: given(z.coerce.number().int().min(1).max(9600)),
  until: given(timeSchema),
});
type DecideForm = z.infer<typeof decideForm>;

/** What a form asked for and did not get. */
interface Failed {
  readonly form: DecideForm;
  readonly summary: string;
  readonly notDone: readonly NotDone[];
}

/** The inbox: what needs a person, and deciding about several at once. */
export function inboxPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/',
      permission: 'messages.read',
      summary: 'To the inbox',
      replies: { 303: { description: 'The inbox' } },
      handler: () => seeOther('/inbox'),
    },
    {
      method: 'get',
      path: '/inbox',
      permission: 'messages.read',
      summary: 'What needs a person',
      query: inboxQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, InboxQuery>) =>
        showInbox(deps, site, caller(principal), query, null),
    },
    {
      method: 'post',
      path: '/inbox',
      permission: 'messages.decide',
      summary: 'Assign, close or snooze some of it, or take that back',
      query: inboxQuery,
      body: 'form',
      replies: { 303: { description: 'Done' }, 409: { description: 'Not all of it could be done' } },
      handler: ({ principal, query, body, headers }: ApiRequest<unknown, InboxQuery>) =>
        decide(deps, site, caller(principal), query, readForm(decideForm, body), headers),
    },
  ];
}

async function decide(
  deps: PageDeps,
  site: Site,
  by: Principal,
  query: InboxQuery,
  form: DecideForm,
  headers: ApiRequest['headers'],
): Promise<Reply> {
  const missing = missingOf(form);
  if (missing !== null) return showInbox(deps, site, by, query, { form, summary: missing, notDone: [] }, 422);
  const { done, ended, notDone } = await carryOut(deps, by, form, headers);
  if (notDone.length === 0) {
    const { cursor } = query;
    const spam = isSpam(form.action, form.reason) ? '1' : undefined;
    return seeOther(address('/inbox', { ...filters(query), cursor, done: form.action, of: done.map(seen), spam }));
  }
  const asked = form.messages.length + form.entries.length;
  const succeeded = done.length + ended;
  const summary = succeeded === 0 ? 'Nothing was done.' : `${succeeded} of ${asked} done; not done:`;
  return showInbox(deps, site, by, query, { form, summary, notDone }, notDone[0]?.status ?? 409);
}

/** Messages and entries of the quarantine, each as it fits it. */
async function carryOut(deps: PageDeps, by: Principal, form: DecideForm, headers: ApiRequest['headers']) {
  const { action, messages, entries, targets, reason } = form;
  switch (action) {
    case 'discard':
    case 'release': {
      const { ended, notDone } =
        action === 'discard' ? await discardEach(deps, by, entries, reason) : await releaseEach(deps, by, entries);
      return {
        done: [],
        ended,
        notDone: [...notDone, ...messages.map(({ place }) => notForMessages(messageId(place)))],
      };
    }
    case 'assign':
    case 'close':
    case 'snooze':
    case 'unassign':
    case 'reopen': {
      const wish = {
        action,
        reason,
        ...(action === 'assign' && { targets }),
        ...(action === 'snooze' && { until: untilOf(form, deps.now()) }),
      };
      const { done, notDone } = await decideEach(deps, by, messages, wish, headers);
      return { done, ended: 0, notDone: [...notDone, ...entries.map((number) => notForEntries(quarantineId(number)))] };
    }
    default: {
      const never: never = action;
      throw new Error(`no such action: ${String(never)}`);
    }
  }
}

function notForMessages(id: string): NotDone {
  return { id, href: `/messages/${id}`, why: 'It is not in quarantine: assign, close or snooze it.', status: 409 };
}

function notForEntries(id: string): NotDone {
  return { id, href: `/quarantine/${id}`, why: 'It is in quarantine: release or discard it.', status: 409 };
}

const HOUR_MS = 3_600_000;

function untilOf({ hours = 24, until }: DecideForm, now: number): Date {
  return until ?? new Date(now + hours * HOUR_MS);
}

/** What the form still lacks; null when it can be tried. */
function missingOf({ action, messages, entries, targets, reason }: DecideForm): string | null {
  if (messages.length + entries.length === 0) return 'Choose at least one message first.';
  if (action === 'assign' && targets.length === 0) return 'Choose at least one target to assign to.';
  if (action === 'close' && reason === undefined) return 'Say why it needs no target, then close it.';
  return null;
}

async function showInbox(
  deps: PageDeps,
  site: Site,
  by: Principal,
  query: InboxQuery,
  failed: Failed | null,
  status = 200,
): Promise<Reply> {
  const { pool } = deps;
  const now = deps.now();
  const { cursor } = query;
  const [{ items, next }, { needs, waiting, snoozed }, oldest, behind, sources, targets] = await Promise.all([
    inboxPage(pool, by, { ...wishOf(query), cursor, limit: PAGE }),
    countsFor(pool, by),
    oldestFor(pool, by),
    searchBehind(pool, by.tenant.id),
    sourceOptions(deps, by, query.source),
    targetChoices(deps, by, failed?.form.targets ?? []),
  ]);
  const hits = await hitsOf(pool, by.tenant.id, query.q, items);
  const here = address('/inbox', { ...filters(query), cursor });
  const first = address('/inbox', filters(query));
  const narrowed = [query.need, query.source, query.account, query.claim, query.q].some((one) => one !== undefined);
  const rows = items.map((item) => row(item, { by, here, failed, now, q: query.q, excerpt: hits.get(item.id) }));
  return site.show({ template: 'inbox', title: 'Inbox', part: 'inbox', status }, by, {
    rows,
    waiting: countText(waiting),
    snoozedCount: snoozed > 0 && countText(snoozed),
    oldest: oldest && when(oldest, now),
    needs: needLinks(query, needs),
    here,
    narrowed,
    snoozed: query.state === 'snoozed',
    waitingHref: address('/inbox', { ...filters(query), state: undefined }),
    snoozedHref: address('/inbox', { ...filters(query), state: 'snoozed' }),
    clearHref: address('/inbox', { state: query.state, sort: query.sort }),
    sortHref: address('/inbox', { ...filters(query), sort: query.sort ? undefined : 'oldest' }),
    oldestFirst: query.sort !== undefined,
    newest: cursor !== undefined && first,
    older: next !== null && address('/inbox', { ...filters(query), cursor: next }),
    allHref:
      rows.some(({ entry }) => !entry) &&
      (next !== null || cursor !== undefined) &&
      address('/inbox/all', filters(query)),
    nothingYet: items.length === 0 && next !== null,
    empty: items.length === 0 && next === null,
    hidden: [
      { name: 'state', value: query.state },
      { name: 'need', value: query.need },
      { name: 'sort', value: query.sort },
    ].filter(({ value }) => value !== undefined),
    claims: CLAIMS.map((one) => ({ ...one, selected: one.value === query.claim })),
    behind: behind > 0 && query.q !== undefined && count(behind, 'message is', 'messages are'),
    sources,
    account: query.account,
    q: query.q,
    mayDecide: by.permissions.has('messages.decide'),
    hasEntries: by.permissions.has('quarantine.decide') && rows.some(({ entry }) => entry),
    targets,
    reason: failed?.form.reason,
    done: query.done && doneText(query.done, query.of, here, query.spam !== undefined),
    failed,
  });
}

const CLAIMS = [
  { value: 'mine', label: 'mine' },
  { value: 'none', label: 'unclaimed' },
] as const;

/** What the list of an address asks for. */
export function wishOf({ state = 'waiting', ...same }: InboxFilters): InboxWish {
  const { need, sort, source, account, claim, q } = same;
  return { state, need, sort, source, account, claim, q };
}

export function filters({ state, need, sort, source, account, claim, q }: InboxFilters) {
  return { state, need, sort, source, account, claim, q };
}

function seen({ place, version }: Seen): string {
  return `${messageId(place)}:${version}`;
}

/** By how it is said of one and of several. */
const NEED_WORDS: Readonly<Record<Need, readonly [string, string]>> = {
  unrouted: ['unrouted', 'unrouted'],
  conflict: ['conflict', 'conflicts'],
  expired: ['expired', 'expired'],
  undecodable: ['undecodable', 'undecodable'],
  poison: ['poison', 'poison'],
};

function needLinks(query: InboxQuery, needs: ReadonlyMap<Need, number>) {
  const there = NEEDS.filter((need) => needs.has(need) || query.need === need);
  if (there.length === 0 || (there.length === 1 && query.need === undefined)) return [];
  const links = there.map((need) => {
    const number = needs.get(need) ?? 0;
    const [one, many] = NEED_WORDS[need];
    const href = address('/inbox', { ...filters(query), state: undefined, need });
    return { label: number === 1 ? one : many, number: countText(number), href, current: query.need === need };
  });
  const all = address('/inbox', { ...filters(query), state: undefined, need: undefined });
  return [{ label: 'all', number: null, href: all, current: query.need === undefined }, ...links];
}

interface Around {
  readonly by: Principal;
  readonly here: string;
  readonly failed: Failed | null;
  readonly now: number;
  readonly q: string | undefined;
  readonly excerpt: string | undefined;
}

function row(item: Listed, around: Around) {
  const { by, failed, now, q, excerpt } = around;
  const words = q === undefined ? [] : wordsOf(q, 8);
  const shown = (value: string) => highlighted(visible(value), words);
  const others = item.open.filter((who) => who !== by.who);
  return {
    ...(item.message ? messageRow(item, around) : entryRow(item, around)),
    id: item.id,
    need: item.need,
    entry: item.entry !== null,
    excerpt: excerpt !== undefined && shown(excerpt),
    account: shown((item.message ?? item.entry).account),
    source: (item.message ?? item.entry).source,
    value: (item.message ?? item.entry).value,
    since: when(item.since, now),
    claim: item.claim && { who: item.claim.who, mine: item.claim.who === by.who },
    note: item.note && { who: item.note.who, text: visible(item.note.note) },
    open: others.join(', '),
    error: failed?.notDone.find((one) => one.id === item.id)?.why,
  };
}

function messageRow({ id, message }: Extract<Listed, { need: 'unrouted' }>, { here, failed, now, q }: Around) {
  const words = q === undefined ? [] : wordsOf(q, 8);
  return {
    field: 'messages',
    seen: seen({ place: message, version: message.version }),
    href: address(`/messages/${id}`, { back: here }),
    kind: kindLabel(message.kind),
    title: highlighted(visible(titleOf(message)), words),
    subtitle: highlighted(visible(subtitleOf(message)), words),
    defects: message.defects > 0 && count(message.defects, 'defect', 'defects'),
    until: message.state === 'snoozed' && message.snoozedUntil && when(message.snoozedUntil, now),
    checked: failed?.form.messages.some(({ place }) => samePlace(place, message)) ?? false,
  };
}

function entryRow({ id, entry }: Exclude<Listed, { need: 'unrouted' }>, { here, failed, now, q }: Around) {
  const words = q === undefined ? [] : wordsOf(q, 8);
  const { heading, why } = summaryOf(entry, now);
  return {
    field: 'entries',
    seen: String(entry.number),
    href: address(`/quarantine/${id}`, { back: here }),
    kind: kindLabel(entry.kind),
    title: highlighted(visible(heading), words),
    subtitle: highlighted(visible(why), []),
    badge: entry.cause,
    checked: failed?.form.entries.includes(entry.number) ?? false,
  };
}

function samePlace(a: Place, b: Place): boolean {
  return a.channel === b.channel && a.sequence === b.sequence;
}

export async function sourceOptions({ pool }: PageDeps, { tenant, permissions }: Principal, chosen?: string) {
  if (!permissions.has('sources.read')) return [];
  const sources = await listSources(pool, tenant.id);
  return sources.map(({ name }) => ({ name, selected: name === chosen }));
}

/** How many targets have a key of their own: 1 to 9. */
const DIGITS = 9;

/** The targets there are to choose from. */
export async function targetChoices({ pool }: PageDeps, { tenant, permissions }: Principal, chosen: readonly string[]) {
  if (!permissions.has('messages.decide')) return [];
  const targets = await listTargets(pool, tenant.id);
  return targets.map(({ name, paused }, i) => ({
    name,
    digit: i < DIGITS ? i + 1 : null,
    paused: paused !== null,
    chosen: chosen.includes(name),
  }));
}

const DONE: Readonly<Record<Action, { did: string; undo: 'unassign' | 'reopen' | null; label: string }>> = {
  assign: { did: 'Assigned', undo: 'unassign', label: 'Take back' },
  close: { did: 'Closed', undo: 'reopen', label: 'Reopen' },
  snooze: { did: 'Snoozed', undo: 'reopen', label: 'Bring back' },
  unassign: { did: 'Taken back', undo: null, label: '' },
  reopen: { did: 'Reopened', undo: null, label: '' },
  discard: { did: 'Discarded', undo: null, label: '' },
  release: { did: 'Released', undo: null, label: '' },
};

/** Whether somebody closes something for what it is, and may want all its like closed. */
export function isSpam(action: string, reason: string | undefined): boolean {
  return action === 'close' && reason === 'spam';
}

/** What was just done, and how it is undone: by a form that leads back to `back`. */
export function doneText(action: Action, of: readonly Seen[], back: string, spam: boolean) {
  const { did, undo, label } = DONE[action];
  const [first] = of;
  return {
    did,
    messages: of
      .map(({ place }) => ({ id: messageId(place), href: address(`/messages/${messageId(place)}`, { back }) }))
      .slice(0, 3),
    others: of.length > 3 && count(of.length - 3, 'other', 'others'),
    held: action === 'assign',
    rule: spam && first && address('/rules/edit', { like: messageId(first.place), close: 'spam' }),
    undo: of.length > 0 && undo && { href: back, action: undo, label, messages: of.map(seen) },
  };
}
