import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type { DeliveryState } from '../../src/message/delivery.js';
import { deliveryId, messageId, type Place } from '../../src/message/id.js';
import type { View } from '../../src/message/view.js';
import { ACTIONS, type Action, consequenceOf } from '../../src/routing/person.js';
import type { DeliveryEntry } from '../../src/storage/deliveries-read.js';
import { type Story, storyOf } from '../../src/storage/story.js';
import { automaticExplained } from '../automatic.js';
import { messageParams, text, timeSchema } from '../fields.js';
import { suggestionsFor } from '../learning.js';
import { keyOf, knowingTargets, type ReadMessage, readMessage, rulesExplained, targetNames } from '../messages.js';
import { portionOf } from '../portion.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { aroundItem } from './claim.js';
import { decideEach, type NotDone } from './decide.js';
import type { PageDeps } from './deps.js';
import { showRules } from './explained.js';
import { address, backField, given, listOf, readForm, reasonField, type Seen, seenField } from './form.js';
import { askedPortion, foundOn, portionChoices, portionFields, portionWords } from './found.js';
import { FRAME_HEADERS, frameDocument } from './frame.js';
import { doneText, isSpam, targetChoices } from './inbox.js';
import { visible } from './isolated.js';
import { asIs, showJson } from './json.js';
import { showAutomatic, showSuggestions } from './learning.js';
import { lineageOf } from './lineage.js';
import { usageStory } from './message-usage.js';
import { nextInList } from './next.js';
import { type Site, seeOther } from './show.js';
import { threadCard } from './thread.js';
import { addresses, deliveryBadge, kindLabel, messageBadge, size, titleOf, when } from './words.js';

const TABS = ['html', 'text', 'data', 'headers', 'raw'] as const;
type Tab = (typeof TABS)[number];

const pageQuery = z.object({
  tab: given(z.enum(TABS)),
  back: backField,
  done: given(z.enum(ACTIONS)),
  /** What was decided before this message came next. */
  of: given(seenField),
  spam: given(z.literal('1')),
});
type PageQuery = z.infer<typeof pageQuery>;

const version = z.coerce.number().int().min(1);
const decisionForm = z.object({
  version,
  targets: listOf(text(63), 100),
  ...portionFields,
  reason: reasonField,
  /** Hours to snooze for. */
  hours: given(z.coerce.number().int().min(1).max(9600)),
  until: given(timeSchema),
});
type DecisionForm = z.infer<typeof decisionForm>;

const HOUR_MS = 3_600_000;

interface Failed extends NotDone {
  readonly action: Action;
  readonly form: DecisionForm;
}

/** One message: what it says, what happened to it and why, and what can be done with it. */
export function messagePages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/messages/:id',
      permission: 'messages.read',
      summary: 'One message',
      params: messageParams,
      query: pageQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params, query }: ApiRequest<{ id: Place }, PageQuery>) =>
        showMessage(deps, site, caller(principal), params.id, query, null),
    },
    {
      method: 'get',
      path: '/messages/:id/html',
      permission: 'messages.read',
      summary: 'The HTML of a mail, made safe, for the frame of its page',
      params: messageParams,
      replies: { 200: { description: 'A document that may run and load nothing', type: 'text/html' } },
      handler: async ({ principal, params }: ApiRequest<{ id: Place }>) => {
        const { message, view } = await readMessage(deps, caller(principal), params.id);
        const body = frameDocument(message.kind === 'mail' && view ? await deps.safeHtml(message, view) : null);
        return { status: 200, type: 'text/html; charset=utf-8', body, headers: FRAME_HEADERS };
      },
    },
    ...ACTIONS.map(
      (action): Route => ({
        method: 'get',
        path: `/messages/:id/${action}`,
        permission: 'messages.read',
        summary: 'Where a page that says why something was not done leads when it is opened again',
        params: messageParams,
        replies: { 303: { description: 'To the message' } },
        handler: async ({ params }: ApiRequest<{ id: Place }>) => seeOther(`/messages/${messageId(params.id)}`),
      }),
    ),
    ...ACTIONS.map(
      (action): Route => ({
        method: 'post',
        path: `/messages/:id/${action}`,
        permission: 'messages.decide',
        summary: `Decide about a message: ${action}`,
        params: messageParams,
        query: pageQuery,
        body: 'form',
        replies: { 303: { description: 'Decided' }, 409: { description: 'Somebody else was faster' } },
        handler: ({ principal, params, query, body, headers }: ApiRequest<{ id: Place }, PageQuery>) =>
          decide(
            deps,
            site,
            caller(principal),
            { place: params.id, query, action, headers },
            readForm(decisionForm, body),
          ),
      }),
    ),
  ];
}

interface Asked {
  readonly place: Place;
  readonly query: PageQuery;
  readonly action: Action;
  readonly headers: ApiRequest['headers'];
}

async function decide(
  deps: PageDeps,
  site: Site,
  by: Principal,
  { place, query, action, headers }: Asked,
  form: DecisionForm,
): Promise<Reply> {
  const again = (notDone: NotDone) => showMessage(deps, site, by, place, query, { action, form, ...notDone });
  const missing = missingOf(action, form);
  const id = messageId(place);
  if (missing !== null) return again({ id, href: `/messages/${id}`, why: missing, status: 422 });
  const { targets, reason, hours } = form;
  const portion = askedPortion(form);
  const next = LEAVES.has(action) ? await nextInList(deps, by, place, query.back) : null;
  const wish = {
    action,
    reason,
    ...(portion !== null && portion !== 'all' && { portion: portionOf(portion) }),
    ...(targets.length > 0 && { targets }),
    ...(hours !== undefined && { until: new Date(deps.now() + hours * HOUR_MS) }),
    ...(form.until && { until: form.until }),
  };
  const { done, notDone } = await decideEach(deps, by, [{ place, version: form.version }], wish, headers);
  const [failed] = notDone;
  if (failed) return again(failed);
  return seeOther(whereTo(query, action, reason, next, { place, version: done[0]?.version ?? form.version }));
}

/** What takes a message out of the inbox. */
const LEAVES: ReadonlySet<Action> = new Set(['assign', 'close', 'snooze']);

const OF_WHAT_WAS_DONE: ReadonlySet<string> = new Set(['done', 'of', 'spam']);

/** What takes a message out of the inbox leads to the next one there, or back to it; all else shows the message again. */
function whereTo(
  { back }: PageQuery,
  action: Action,
  reason: string | undefined,
  next: Place | null,
  { place, version }: Seen,
): string {
  const of = `${messageId(place)}:${version}`;
  const spam = isSpam(action, reason) ? '1' : undefined;
  if (next) return address(`/messages/${messageId(next)}`, { back, done: action, of, spam });
  if (LEAVES.has(action) && back?.startsWith('/inbox')) {
    const [path = '', query = ''] = back.split('?');
    const filters = [...new URLSearchParams(query)].filter(([name]) => !OF_WHAT_WAS_DONE.has(name));
    return address(path, { ...Object.fromEntries(filters), done: action, of, spam });
  }
  return address(`/messages/${messageId(place)}`, { back, done: action });
}

function missingOf(action: Action, form: DecisionForm): string | null {
  const { targets, reason, hours, until } = form;
  if (action === 'assign' && targets.length === 0) return 'Choose at least one target.';
  if (action === 'assign' && askedPortion(form) === null) {
    return 'To send fields alone choose “only these fields” and tick at least one; for anything else tick none.';
  }
  if (action === 'close' && reason === undefined) return 'Say why it needs no target.';
  if (action === 'note' && reason === undefined) return 'The note is empty.';
  if (action === 'snooze' && hours === undefined && until === undefined) return 'Say for how long.';
  return null;
}

async function showMessage(
  deps: PageDeps,
  site: Site,
  by: Principal,
  place: Place,
  query: PageQuery,
  failed: Failed | null,
): Promise<Reply> {
  const read = await readMessage(deps, by, place);
  const story = await storyOf(deps.pool, by.tenant.id, place);
  const names = await targetNames(deps.pool, by.tenant.id);
  const automatic = await automaticExplained(deps, by, read, story, names);
  const rules = by.permissions.has('rules.read') ? await rulesExplained(deps, by, read, story) : null;
  const { found } = read.canonical;
  const now = deps.now();
  const id = messageId(place);
  const title = visible(titleOf(read.standing));
  const next = read.standing.state === 'waiting' ? await nextInList(deps, by, place, query.back) : null;
  return site.show({ template: 'message', title, part: partOf(query.back), status: failed?.status ?? 200 }, by, {
    id,
    heading: title,
    ...factsOf(read, now),
    back: query.back ?? '/inbox',
    version: read.standing.version,
    next: next && address(`/messages/${messageId(next)}`, { back: query.back }),
    ...(await aroundItem(deps, by, place, {
      back: query.back,
      mayClaim: read.standing.state === 'waiting' && by.permissions.has('messages.decide'),
    })),
    backLabel: query.back?.startsWith('/messages')
      ? 'Messages'
      : query.back?.startsWith('/targets')
        ? 'Target'
        : query.back?.startsWith('/billing')
          ? 'Billing'
          : 'Inbox',
    tabs: tabsOf(id, query, read),
    content: contentOf(id, tabOf(query, read), read),
    parts: read.view?.parts.map((part) => ({
      name: visible(part.name ?? `part ${part.n}`),
      type: visible(part.type),
      size: size(part.size),
      inline: part.inline,
      href: `/v1/messages/${id}/parts/${part.n}`,
    })),
    found: foundOn(found, await knowingTargets(deps.pool, by.tenant.id, found)),
    defects: read.view?.defects,
    setAside: read.view?.setAside.slice(0, SET_ASIDE_SHOWN).map((one) => ({
      name: visible(one.name ?? one.where),
      type: one.type,
      size: size(one.size),
      why: one.why,
      href: one.n !== null && `/v1/messages/${id}/parts/${one.n}`,
    })),
    setAsideMore: Math.max(0, (read.view?.setAside.length ?? 0) - SET_ASIDE_SHOWN),
    thread: await threadCard(deps, by, read, story, names, now),
    lineage: lineageOf({
      read,
      story,
      key: await keyOf(deps, by, read),
      explained: rules !== null,
      names,
      usage: await usageStory(deps, by, read),
      now,
    }),
    rules: rules && showRules(rules),
    automatic: automatic && showAutomatic(automatic),
    suggestion: await suggestionOf(deps, by, read, story),
    deliveries: story.deliveries.map((one) => deliveryRow(one, by, now)),
    decide: by.permissions.has('messages.decide') && (await decideForms(deps, by, read, story, query, failed)),
    failed: failed?.why,
    ruleOfIt: by.permissions.has('rules.write') && address('/rules/edit', { like: id }),
    quarantine:
      read.standing.state === 'quarantined' &&
      by.permissions.has('quarantine.read') &&
      address('/quarantine', { cause: 'poison' }),
    done: query.done && doneOf(query.done, query, id),
  });
}

/** What was just done: to this message, or to the one before it in the list. */
function doneOf(action: Action, { of, back = '/inbox', spam }: PageQuery, id: string) {
  if (of && messageId(of.place) !== id && (action === 'assign' || action === 'close' || action === 'snooze')) {
    return doneText(action, [of], back, spam !== undefined);
  }
  return { did: DID[action], held: action === 'assign' || action === 'replay' };
}

/** Of a mail with a thousand parts that were left out. */
const SET_ASIDE_SHOWN = 100;

const DID: Readonly<Record<Action, string>> = {
  assign: 'Assigned.',
  unassign: 'Taken back.',
  close: 'Closed.',
  snooze: 'Snoozed.',
  reopen: 'Reopened: it waits in the inbox again.',
  note: 'Noted.',
  replay: 'It will be sent again.',
};

function partOf(back: string | undefined) {
  if (back?.startsWith('/messages')) return 'messages';
  if (back?.startsWith('/billing')) return 'billing';
  return back?.startsWith('/targets') ? 'targets' : 'inbox';
}

function factsOf({ message, standing, view }: ReadMessage, now: number) {
  return {
    kind: kindLabel(message.kind),
    badge: messageBadge(standing.state),
    state: standing.state,
    stateReason: standing.reason,
    sender: message.kind === 'mail' ? visible(addresses(view?.from ?? [])) : null,
    to: message.kind === 'mail' ? visible(addresses([...(view?.to ?? []), ...(view?.cc ?? [])])) : null,
    account: message.account,
    source: standing.source,
    type: message.kind === 'mail' ? null : message.type,
    value: message.value,
    externalId: message.externalId,
    happened: message.eventTime,
    received: when(standing.received, now),
    size: size(standing.size),
    rung: standing.rung !== null && standing.rung > 0 && standing.rung,
    snoozedUntil: standing.state === 'snoozed' && standing.snoozedUntil && when(standing.snoozedUntil, now),
  };
}

/** What there is to see of a message, the best first. */
function tabsThereAre({ message, view }: ReadMessage): Tab[] {
  const tabs: (Tab | false)[] = [
    view?.html != null && 'html',
    view?.data !== undefined && 'data',
    view?.text != null && 'text',
    message.kind === 'mail' && 'headers',
    'raw',
  ];
  return tabs.filter((tab) => tab !== false);
}

function tabOf({ tab }: PageQuery, read: ReadMessage): Tab {
  const tabs = tabsThereAre(read);
  return tab && (tabs.includes(tab) || tab === 'headers') ? tab : (tabs[0] ?? 'raw');
}

const TAB_LABELS: Readonly<Record<Tab, string>> = {
  html: 'HTML',
  text: 'Text',
  data: 'Data',
  headers: 'Headers',
  raw: 'Raw',
};

function tabsOf(id: string, query: PageQuery, read: ReadMessage) {
  const current = tabOf(query, read);
  const tabs: Tab[] = [...new Set<Tab>([...tabsThereAre(read).filter((tab) => tab !== 'raw'), 'headers', 'raw'])];
  return tabs.map((tab) => ({
    label: tab === 'headers' && read.message.kind !== 'mail' ? 'Envelope' : TAB_LABELS[tab],
    href: address(`/messages/${id}`, { tab, back: query.back }),
    current: tab === current,
  }));
}

/** Of raw bytes as much as anybody reads on a page. */
const RAW_SHOWN = 64 * 1024;
const TEXT_SHOWN = 200_000;

/** Bytes up to which a picture is taken for a small mark rather than for something to look at. */
const MARK = 4_000;

/** How tall a frame a mail needs, guessed by its text and pictures: nothing may look into the frame. */
function heightOf({ text, parts }: View): 'short' | 'medium' | 'tall' {
  if (parts.some((part) => part.inline && part.type.startsWith('image/') && part.size > MARK)) return 'tall';
  const lines = (text ?? '').split('\n', 200).length + (text ?? '').length / 90;
  if (lines < 12) return 'short';
  return lines < 30 ? 'medium' : 'tall';
}

function contentOf(id: string, tab: Tab, { message, view, envelope }: ReadMessage) {
  const raw = { href: `/v1/messages/${id}/raw`, size: size(message.raw.length) };
  switch (tab) {
    case 'html':
      return { html: { src: `/messages/${id}/html`, height: view ? heightOf(view) : 'tall' } };
    case 'text': {
      const shown = (view?.text ?? '').slice(0, TEXT_SHOWN);
      return { text: shown, cut: shown.length < (view?.text ?? '').length && raw };
    }
    case 'data': {
      const json = showJson(view?.data);
      return { json, cut: json.cut && raw };
    }
    case 'headers':
      return {
        headers: view?.headers.map(([name, value]) => ({ name: visible(name), value: visible(value) })),
        envelope: Object.entries(envelope).map(([name, value]) => ({
          name,
          json: typeof value === 'string' ? asIs(value) : showJson(value),
        })),
      };
    case 'raw': {
      const bytes = Buffer.from(message.raw.subarray(0, RAW_SHOWN));
      return { raw: { ...raw, text: bytes.toString('utf8'), cut: message.raw.length > RAW_SHOWN && size(RAW_SHOWN) } };
    }
    default: {
      const never: never = tab;
      throw new Error(`no such tab: ${String(never)}`);
    }
  }
}

function deliveryRow(one: DeliveryEntry, { permissions }: Principal, now: number) {
  const id = deliveryId(one);
  return {
    href: `/deliveries/${id}`,
    target: one.target,
    targetHref: `/targets/${one.target}`,
    number: one.number,
    badge: deliveryBadge(one.state),
    portion: portionWords(one.portion),
    reason: one.reason,
    at: when(one.settled ?? one.created, now),
    retry: mayRetry(one.state) && permissions.has('deliveries.retry') && `/deliveries/${id}/retry`,
  };
}

/** What was delivered is sent again on its own page: beside each of many it would only be pressed by mistake. */
export function mayRetry(state: DeliveryState): boolean {
  return state === 'failed' || state === 'cancelled';
}

/** The forms of what can be done with the message as it stands, with the version that was seen. */
async function decideForms(
  deps: PageDeps,
  by: Principal,
  read: ReadMessage,
  story: Story,
  query: PageQuery,
  failed: Failed | null,
) {
  const { standing } = read;
  const { state } = standing;
  if (state === 'accepted') return { notYet: true };
  const id = messageId(standing);
  const forms = ACTIONS.map((action) => ({
    action,
    allowed: consequenceOf(action, state).allowed,
    href: address(`/messages/${id}/${action}`, { back: query.back, tab: query.tab }),
    reason: failed?.action === action ? failed.form.reason : undefined,
  }));
  const allowed = Object.fromEntries(forms.filter((one) => one.allowed).map((one) => [one.action, one]));
  const undo = mayBeTakenBack(story) ? allowed.unassign : undefined;
  const has = new Map(story.deliveries.map((one) => [one.target, one.state]));
  const choices = await targetChoices(deps, by, failed?.action === 'assign' ? failed.form.targets : []);
  return {
    version: standing.version,
    ...allowed,
    unassign: undo,
    targets: choices.map((one) => ({ ...one, has: has.get(one.name) })),
    portions: portionChoices(read, failed?.action === 'assign' ? failed.form : undefined),
  };
}

/** What is suggested for a message that waits for a person, to who may decide. */
async function suggestionOf(deps: PageDeps, by: Principal, read: ReadMessage, { deliveries }: Story) {
  const { state } = read.standing;
  if ((state !== 'waiting' && state !== 'snoozed') || !by.permissions.has('messages.decide')) return null;
  return showSuggestions(await suggestionsFor(deps, by, read), new Set(deliveries.map(({ target }) => target)));
}

/** Whether anything is left that has not been sent. */
function mayBeTakenBack({ decisions, deliveries }: Story): boolean {
  const chosen = decisions.some(({ action, plan }) => plan === null && (action === 'assign' || action === 'replay'));
  return chosen || deliveries.some(({ state }) => state === 'pending');
}
