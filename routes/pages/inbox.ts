import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { messageId, type Place } from '../../src/message/id.js';
import { listSources, listTargets } from '../../src/storage/definitions.js';
import { countInbox, oldestWaiting } from '../../src/storage/inbox.js';
import type { MessageSummary } from '../../src/storage/messages.js';
import { countHeld, HELD_COUNTED } from '../../src/storage/quarantine.js';
import { cursorSchema, text } from '../fields.js';
import { messagePage } from '../messages.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { decideEach, type NotDone } from './decide.js';
import type { PageDeps } from './deps.js';
import { address, given, listOf, readForm, reasonField, type Seen, seenField } from './form.js';
import { countText, type Site, seeOther } from './show.js';
import { count, kindLabel, subtitleOf, titleOf, when } from './words.js';

const PAGE = 50;

const ACTIONS = ['assign', 'close', 'unassign', 'reopen'] as const;

const inboxQuery = z.object({
  state: given(z.enum(['waiting', 'snoozed'])),
  source: given(text(63)),
  account: given(text(512)),
  q: given(text(200)),
  cursor: given(cursorSchema),
  done: given(z.enum(ACTIONS)),
  of: listOf(seenField, PAGE),
});
type InboxQuery = z.infer<typeof inboxQuery>;

const decideForm = z.object({
  action: z.enum(ACTIONS),
  messages: listOf(seenField, PAGE),
  targets: listOf(text(63), 100),
  reason: reasonField,
});
type DecideForm = z.infer<typeof decideForm>;

/** What a form asked for and did not get. */
interface Failed {
  readonly form: DecideForm;
  readonly summary: string;
  readonly notDone: readonly NotDone[];
}

/** The inbox: what waits for a person, and deciding about several at once. */
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
      summary: 'What waits for a person',
      query: inboxQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, InboxQuery>) =>
        showInbox(deps, site, caller(principal), query, null),
    },
    {
      method: 'post',
      path: '/inbox',
      permission: 'messages.decide',
      summary: 'Assign or close some of it, or take that back',
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
  const { action, targets, reason } = form;
  const wish = { action, reason, ...(action === 'assign' && { targets }) };
  const { done, notDone } = await decideEach(deps, by, form.messages, wish, headers);
  if (notDone.length === 0) return seeOther(address('/inbox', { ...filters(query), done: action, of: done.map(seen) }));
  const summary = done.length === 0 ? 'Nothing was done.' : `${done.length} of ${form.messages.length} done; not done:`;
  return showInbox(deps, site, by, query, { form, summary, notDone }, notDone[0]?.status ?? 409);
}

/** What the form still lacks; null when it can be tried. */
function missingOf({ action, messages, targets, reason }: DecideForm): string | null {
  if (messages.length === 0) return 'Choose at least one message first.';
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
  const tenant = by.tenant.id;
  const now = deps.now();
  const { state = 'waiting', source, account, q, cursor } = query;
  const wanted = { state, source, account, q, cursor, limit: PAGE };
  const { messages, next } = await messagePage(deps, by, wanted);
  const waiting = await countInbox(pool, tenant);
  const oldest = await oldestWaiting(pool, tenant);
  const here = address('/inbox', filters(query));
  const narrowed = [source, account, q].some((one) => one !== undefined);
  return site.show({ template: 'inbox', title: 'Inbox', part: 'inbox', status }, by, {
    rows: messages.map((message) => row(message, address('/inbox', filters(query)), failed, now)),
    waiting: countText(waiting),
    oldest: oldest && when(oldest, now),
    held: by.permissions.has('quarantine.read') ? await heldLinks(deps, by) : [],
    here,
    narrowed,
    snoozed: state === 'snoozed',
    waitingHref: address('/inbox', { ...filters(query), state: undefined }),
    snoozedHref: address('/inbox', { ...filters(query), state: 'snoozed' }),
    clearHref: address('/inbox', { state: query.state }),
    newest: cursor !== undefined && here,
    older: next !== null && address('/inbox', { ...filters(query), cursor: next }),
    nothingYet: messages.length === 0 && next !== null,
    empty: messages.length === 0 && next === null,
    state: query.state,
    sources: await sourceOptions(deps, by, source),
    account,
    q,
    mayDecide: by.permissions.has('messages.decide'),
    targets: await targetChoices(deps, by, failed?.form.targets ?? []),
    reason: failed?.form.reason,
    done: query.done && doneText(query.done, query.of),
    failed,
  });
}

function filters({ state, source, account, q }: InboxQuery) {
  return { state, source, account, q };
}

function seen({ place, version }: Seen): string {
  return `${messageId(place)}:${version}`;
}

function row(message: MessageSummary, back: string, failed: Failed | null, now: number) {
  const id = messageId(message);
  return {
    id,
    seen: seen({ place: message, version: message.version }),
    href: address(`/messages/${id}`, { back }),
    kind: kindLabel(message.kind),
    title: titleOf(message),
    subtitle: subtitleOf(message),
    account: message.account,
    source: message.source,
    value: message.value,
    defects: message.defects > 0 && count(message.defects, 'defect', 'defects'),
    since: when(message.since ?? message.received, now),
    until: message.state === 'snoozed' && message.snoozedUntil && when(message.snoozedUntil, now),
    checked: failed?.form.messages.some(({ place }) => samePlace(place, message)) ?? false,
    error: failed?.notDone.find((one) => one.id === id)?.why,
  };
}

function samePlace(a: Place, b: Place): boolean {
  return a.channel === b.channel && a.sequence === b.sequence;
}

async function heldLinks({ pool }: PageDeps, { tenant }: Principal) {
  const held = await countHeld(pool, tenant.id);
  return [...held].map(([cause, number]) => ({
    href: address('/quarantine', { cause }),
    label: `${countText(number, HELD_COUNTED)} ${cause === 'conflict' && number > 1 ? 'conflicts' : cause}`,
  }));
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

const DONE: Readonly<
  Record<(typeof ACTIONS)[number], { did: string; undo: 'unassign' | 'reopen' | null; label: string }>
> = {
  assign: { did: 'Assigned', undo: 'unassign', label: 'Take back' },
  close: { did: 'Closed', undo: 'reopen', label: 'Reopen' },
  unassign: { did: 'Taken back', undo: null, label: '' },
  reopen: { did: 'Reopened', undo: null, label: '' },
};

function doneText(action: (typeof ACTIONS)[number], of: readonly Seen[]) {
  const { did, undo, label } = DONE[action];
  return {
    did,
    messages: of.map(({ place }) => ({ id: messageId(place), href: `/messages/${messageId(place)}` })).slice(0, 3),
    others: of.length > 3 && count(of.length - 3, 'other', 'others'),
    held: action === 'assign',
    undo: of.length > 0 && undo && { action: undo, label, messages: of.map(seen) },
  };
}
