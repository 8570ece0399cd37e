import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type { DeliveryState } from '../../src/message/delivery.js';
import { deliveryId, messageId, type Place } from '../../src/message/id.js';
import type { View } from '../../src/message/view.js';
import { ACTIONS, type Action, consequenceOf } from '../../src/routing/person.js';
import type { DeliveryEntry } from '../../src/storage/deliveries-read.js';
import { type Story, storyOf } from '../../src/storage/story.js';
import { messageParams, text } from '../fields.js';
import { type ReadMessage, readMessage, rulesExplained, targetNames } from '../messages.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { decideEach, type NotDone } from './decide.js';
import type { PageDeps } from './deps.js';
import { showRules } from './explained.js';
import { address, backField, given, listOf, readForm, reasonField } from './form.js';
import { FRAME_HEADERS, frameDocument } from './frame.js';
import { targetChoices } from './inbox.js';
import { asIs, showJson } from './json.js';
import { type Site, seeOther } from './show.js';
import { timelineOf } from './timeline.js';
import { addresses, deliveryBadge, kindLabel, messageBadge, size, titleOf, when } from './words.js';

const TABS = ['html', 'text', 'data', 'headers', 'raw'] as const;
type Tab = (typeof TABS)[number];

const pageQuery = z.object({ tab: given(z.enum(TABS)), back: backField, done: given(z.enum(ACTIONS)) });
type PageQuery = z.infer<typeof pageQuery>;

const version = z.coerce.number().int().min(1);
const decisionForm = z.object({
  version,
  targets: listOf(text(63), 100),
  reason: reasonField,
  /** Hours to snooze for. */
  hours: given(z.coerce.number().int().min(1).max(9600)),
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
  if (missing !== null) return again({ id, why: missing, status: 422 });
  const { targets, reason, hours } = form;
  const wish = {
    action,
    reason,
    ...(targets.length > 0 && { targets }),
    ...(hours !== undefined && { until: new Date(deps.now() + hours * HOUR_MS) }),
  };
  const { done, notDone } = await decideEach(deps, by, [{ place, version: form.version }], wish, headers);
  const [failed] = notDone;
  if (failed) return again(failed);
  return seeOther(whereTo(query, action, id, done[0]?.version ?? form.version));
}

/** What takes a message out of the inbox leads back to it; all else shows the message again. */
function whereTo({ back }: PageQuery, action: Action, id: string, seen: number): string {
  const leaves = action === 'assign' || action === 'close';
  if (leaves && back?.startsWith('/inbox')) {
    const [path = '', query = ''] = back.split('?');
    const filters = [...new URLSearchParams(query)].filter(([name]) => name !== 'done' && name !== 'of');
    return address(path, { ...Object.fromEntries(filters), done: action, of: `${id}:${seen}` });
  }
  return address(`/messages/${id}`, { back, done: action });
}

function missingOf(action: Action, { targets, reason, hours }: DecisionForm): string | null {
  if (action === 'assign' && targets.length === 0) return 'Choose at least one target.';
  if (action === 'close' && reason === undefined) return 'Say why it needs no target.';
  if (action === 'note' && reason === undefined) return 'The note is empty.';
  if (action === 'snooze' && hours === undefined) return 'Say for how long.';
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
  const rules = by.permissions.has('rules.read') ? await rulesExplained(deps, by, read, story) : null;
  const now = deps.now();
  const id = messageId(place);
  const title = titleOf(read.standing);
  return site.show({ template: 'message', title, part: partOf(query.back), status: failed?.status ?? 200 }, by, {
    id,
    heading: title,
    ...factsOf(read, now),
    back: query.back ?? '/inbox',
    backLabel: query.back?.startsWith('/messages')
      ? 'Messages'
      : query.back?.startsWith('/targets')
        ? 'Target'
        : 'Inbox',
    tabs: tabsOf(id, query, read),
    content: contentOf(id, tabOf(query, read), read),
    parts: read.view?.parts.map((part) => ({
      name: part.name ?? `part ${part.n}`,
      type: part.type,
      size: size(part.size),
      inline: part.inline,
      href: `/v1/messages/${id}/parts/${part.n}`,
    })),
    defects: read.view?.defects,
    setAside: read.view?.setAside.slice(0, SET_ASIDE_SHOWN).map((one) => ({
      name: one.name ?? one.where,
      type: one.type,
      size: size(one.size),
      why: one.why,
      href: one.n !== null && `/v1/messages/${id}/parts/${one.n}`,
    })),
    setAsideMore: Math.max(0, (read.view?.setAside.length ?? 0) - SET_ASIDE_SHOWN),
    timeline: timelineOf(read, story, names, now),
    rules: rules && showRules(rules),
    deliveries: story.deliveries.map((one) => deliveryRow(one, by, now)),
    decide: by.permissions.has('messages.decide') && (await decideForms(deps, by, read, story, query, failed)),
    failed: failed?.why,
    ruleOfIt: by.permissions.has('rules.write') && address('/rules/edit', { like: id }),
    quarantine:
      read.standing.state === 'quarantined' &&
      by.permissions.has('quarantine.read') &&
      address('/quarantine', { cause: 'poison' }),
    done: query.done && { did: DID[query.done], held: query.done === 'assign' || query.done === 'replay' },
  });
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
  return back?.startsWith('/targets') ? 'targets' : 'inbox';
}

function factsOf({ message, standing, view }: ReadMessage, now: number) {
  return {
    kind: kindLabel(message.kind),
    badge: messageBadge(standing.state),
    state: standing.state,
    stateReason: standing.reason,
    sender: message.kind === 'mail' ? addresses(view?.from ?? []) : null,
    to: message.kind === 'mail' ? addresses([...(view?.to ?? []), ...(view?.cc ?? [])]) : null,
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
        headers: view?.headers.map(([name, value]) => ({ name, value })),
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
  { standing }: ReadMessage,
  story: Story,
  query: PageQuery,
  failed: Failed | null,
) {
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
  };
}

/** Whether anything is left that has not been sent. */
function mayBeTakenBack({ decisions, deliveries }: Story): boolean {
  const chosen = decisions.some(({ action, plan }) => plan === null && (action === 'assign' || action === 'replay'));
  return chosen || deliveries.some(({ state }) => state === 'pending');
}
