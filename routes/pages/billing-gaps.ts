import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { messageId, parseMessageId } from '../../src/message/id.js';
import { type Gap, listGaps } from '../../src/storage/gaps.js';
import { placeBefore, placeCursor } from '../cursor.js';
import { cursorSchema } from '../fields.js';
import { problemPage as problemsListed, unmeteredPage } from '../ledger-views.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { askAgain } from '../usage.js';
import { acceptForm, acceptHeld, heldListed, type NotAccepted } from './billing-held.js';
import { accountPath, GAP_WORDS, mayCorrect, PROBLEM_WORDS, sections } from './billing-words.js';
import type { PageDeps } from './deps.js';
import { address, given, listOf, readForm } from './form.js';
import { visible } from './isolated.js';
import { type Site, seeOther } from './show.js';
import { count, when } from './words.js';

const PAGE = 50;
const LISTS = ['gaps', 'problems', 'unmetered', 'held'] as const;
const LABELS: Readonly<Record<(typeof LISTS)[number], string>> = {
  gaps: 'Gaps',
  problems: 'Not countable',
  unmetered: 'No meter',
  held: 'Held',
};

const gapsQuery = z.object({
  list: given(z.enum(LISTS)),
  cursor: given(cursorSchema),
  done: given(z.enum(['ask', 'accept'])),
  /** The message that was accepted. */
  of: given(z.string().max(24)),
  healed: given(z.coerce.number().int().min(0)),
  asked: given(z.coerce.number().int().min(0)),
  busy: given(z.literal('1')),
});
type GapsQuery = z.infer<typeof gapsQuery>;

const askForm = z.object({ messages: listOf(z.string().max(24), PAGE) });

/** What is not counted, and why: gaps, events that no meter could count, types that no meter is for, events that came too late. */
export function billingGapPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/billing/gaps',
      permission: 'billing.read',
      summary: 'What is not counted, and why',
      query: gapsQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, GapsQuery>) =>
        showGaps(deps, site, caller(principal), query, null),
    },
    {
      method: 'post',
      path: '/billing/gaps/ask',
      permission: 'billing.correct',
      summary: 'Ask the channels again for messages that are not counted',
      body: 'form',
      replies: { 303: { description: 'Asked' } },
      handler: async ({ principal, body }: ApiRequest) => {
        const { messages } = readForm(askForm, body);
        const { healed, busy } = await askAgain(deps.pool, caller(principal).tenant, messages);
        const outcome = { healed: String(healed), asked: String(messages.length), busy: busy ? '1' : undefined };
        return seeOther(address('/billing/gaps', { done: 'ask', ...outcome }));
      },
    },
    {
      method: 'get',
      path: '/billing/gaps/held',
      permission: 'billing.read',
      summary: 'Where a page that says why a message was not accepted leads when it is opened again',
      replies: { 303: { description: 'To what is held' } },
      handler: async () => seeOther(address('/billing/gaps', { list: 'held' })),
    },
    {
      method: 'post',
      path: '/billing/gaps/held',
      permission: 'billing.correct',
      summary: 'Count a held message: the next statement charges it as an adjustment',
      body: 'form',
      replies: { 303: { description: 'Accepted' }, 404: { description: 'No meter holds it' } },
      handler: async ({ principal, body }: ApiRequest) => {
        const by = caller(principal);
        const form = readForm(acceptForm, body);
        const { message, cursor } = form;
        const failed = await acceptHeld(deps, by, form);
        if (failed) return showGaps(deps, site, by, { list: 'held', cursor }, failed);
        return seeOther(address('/billing/gaps', { list: 'held', cursor, done: 'accept', of: messageId(message) }));
      },
    },
  ];
}

async function showGaps(
  deps: PageDeps,
  site: Site,
  by: Principal,
  query: GapsQuery,
  failed: NotAccepted | null,
): Promise<Reply> {
  const { list = 'gaps', cursor, done } = query;
  const here = (more: { readonly cursor?: string }) =>
    address('/billing/gaps', { list: list === 'gaps' ? undefined : list, ...more });
  const back = here(cursor === undefined ? {} : { cursor });
  const { next, ...lists } = await listed(deps, by, query, failed, back);
  const status = failed?.status ?? 200;
  return site.show({ template: 'billing-gaps', title: 'Not counted', part: 'billing', status }, by, {
    sections: sections('gaps'),
    tabs: LISTS.map((one) => ({
      label: LABELS[one],
      href: address('/billing/gaps', { list: one === 'gaps' ? undefined : one }),
      current: one === list,
    })),
    ...lists,
    mayAsk: mayCorrect(by),
    first: cursor !== undefined && here({}),
    next: next !== null && here({ cursor: next }),
    done: done && (done === 'ask' ? { did: askedText(query) } : acceptedText(query)),
  });
}

function askedText({ healed = 0, asked = 0, busy }: GapsQuery): string {
  const rest = busy === undefined ? '' : ' The ledger was at work on a channel: ask again for what is left.';
  if (healed === 0) return `Asked for ${count(asked, 'message', 'messages')}: none of them is whole yet.${rest}`;
  return `${count(healed, 'message was', 'messages were')} counted now, of ${asked.toLocaleString('en')} asked for.${rest}`;
}

function acceptedText({ of }: GapsQuery) {
  const place = parseMessageId(of ?? '');
  return {
    did: 'Accepted',
    messages: place && [{ id: messageId(place), href: `/messages/${messageId(place)}` }],
    text: 'The next statement charges it as an adjustment, once the ledger has come to it.',
  };
}

/** Of the lists only the one that is looked at. */
interface Listed {
  readonly gaps?: { readonly rows: readonly object[] };
  readonly problems?: { readonly rows: readonly object[] };
  readonly unmetered?: { readonly rows: readonly object[] };
  readonly held?: { readonly rows: readonly object[] };
  readonly next: string | null;
}

async function listed(
  deps: PageDeps,
  by: Principal,
  { list = 'gaps', cursor, done, of }: GapsQuery,
  failed: NotAccepted | null,
  back: string,
): Promise<Listed> {
  const { pool } = deps;
  const { tenant } = by;
  const now = deps.now();
  switch (list) {
    case 'gaps': {
      const gaps = await listGaps(pool, tenant.id, placeBefore('gaps', cursor), PAGE);
      return { gaps: { rows: gaps.map((gap) => gapRow(gap, back, now)) }, next: placeCursor('gaps', gaps, PAGE) };
    }
    case 'problems': {
      const { problems, next } = await problemsListed(pool, tenant, cursor, PAGE);
      const rows = problems.map(({ channel, sequence, meter, code, account, at }) => {
        const id = messageId({ channel, sequence });
        return {
          id,
          href: address(`/messages/${id}`, { back }),
          meter,
          code,
          why: PROBLEM_WORDS[code] ?? code,
          account: visible(account),
          accountHref: accountPath(account),
          at: when(at, now),
        };
      });
      return { problems: { rows }, next };
    }
    case 'unmetered': {
      const { types, next } = await unmeteredPage(pool, tenant, cursor, PAGE);
      const rows = types.map(({ type, events, firstDay, lastDay, channel, sequence }) => {
        const id = messageId({ channel, sequence });
        return {
          type: type === '' ? '(no type)' : visible(type),
          events: events.toLocaleString('en'),
          firstDay,
          lastDay,
          id,
          href: address(`/messages/${id}`, { back }),
          meterHref: by.permissions.has('billing.write') && type !== '' && address('/billing/meters', { type }),
        };
      });
      return { unmetered: { rows }, next };
    }
    case 'held':
      return heldListed(deps, by, { cursor, back, accepted: done === 'accept' ? of : undefined, failed }, PAGE);
    default: {
      const never: never = list;
      throw new Error(`no such list: ${String(never)}`);
    }
  }
}

function gapRow({ channel, sequence, reason, account, at, since, asked, askedAt }: Gap, back: string, now: number) {
  const id = messageId({ channel, sequence });
  return {
    id,
    href: address(`/messages/${id}`, { back }),
    why: GAP_WORDS[reason] ?? reason,
    account: account === null ? null : visible(account),
    accountHref: account !== null && accountPath(account),
    channel,
    at: at?.toISOString().slice(0, 16).replace('T', ' '),
    since: when(since, now),
    asked: asked > 0 && count(asked, 'time', 'times'),
    askedAt: askedAt && when(askedAt, now),
  };
}
