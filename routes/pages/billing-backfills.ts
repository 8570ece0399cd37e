import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type { BackfillState, NotEnded } from '../../src/billing/backfill.js';
import { messageId } from '../../src/message/id.js';
import {
  type Backfill,
  type BackfillFigures,
  backfillFigures,
  getBackfill,
  waitingUsage,
} from '../../src/storage/backfills.js';
import { backfillPage, endProblem, knownPage } from '../backfills.js';
import { cursorSchema, digits } from '../fields.js';
import { caller, notFound } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { accountPath, exactTime, mayCorrect, sections } from './billing-words.js';
import type { PageDeps } from './deps.js';
import { address, given, readForm, reasonField } from './form.js';
import { visible } from './isolated.js';
import { type Site, seeOther } from './show.js';
import { type Badge, count, when } from './words.js';

const PAGE = 20;
/** Events of a backfill whose figures stand in the list: they are counted as they are asked for. */
const MOST_COUNTED = 10_000;
const KNOWN = 50;
const CONFLICTS_SHOWN = 20;

const LIST = '/billing/backfills';
const listQuery = z.object({ cursor: given(cursorSchema) });
type ListQuery = z.output<typeof listQuery>;

const idParams = z.object({ id: digits(1, 2_147_483_647) });
type Id = z.output<typeof idParams>;
const oneQuery = z.object({ cursor: given(cursorSchema), done: given(z.enum(['close', 'revert'])) });
type OneQuery = z.output<typeof oneQuery>;

const figure = given(z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER));
const endForm = z.object({
  action: z.enum(['close', 'revert']),
  why: reasonField,
  confirm: given(z.literal('1')),
  /** Of what was confirmed. */
  sent: figure,
  read: figure,
  adjust: given(z.literal('1')),
});
type EndForm = z.output<typeof endForm>;

interface Failed {
  readonly form: EndForm;
  readonly detail: string;
  /** It can be had in the next statement. */
  readonly adjust: boolean;
  readonly conflicts: readonly object[];
  readonly status: number;
}

/** Events of the past: what became of each backfill, closing and reverting one. */
export function backfillPages(deps: PageDeps, site: Site): Route[] {
  const replies = { 200: { description: 'The page', type: 'text/html' } };
  return [
    {
      method: 'get',
      path: LIST,
      permission: 'billing.read',
      summary: 'Backfills, the newest first',
      query: listQuery,
      replies,
      handler: ({ principal, query }: ApiRequest<unknown, ListQuery>) =>
        showBackfills(deps, site, caller(principal), query),
    },
    {
      method: 'get',
      path: `${LIST}/:id`,
      permission: 'billing.read',
      summary: 'One backfill, and what became of its events',
      params: idParams,
      query: oneQuery,
      replies,
      handler: ({ principal, params: { id }, query }: ApiRequest<Id, OneQuery>) =>
        showBackfill(deps, site, caller(principal), id, query, null),
    },
    {
      method: 'post',
      path: `${LIST}/:id`,
      permission: 'billing.correct',
      summary: 'Close a backfill, or take it back',
      params: idParams,
      body: 'form',
      replies: { 303: { description: 'Done' }, 409: { description: 'Not as it stands' } },
      handler: ({ principal, params: { id }, body }: ApiRequest<Id>) =>
        end(deps, site, caller(principal), id, readForm(endForm, body)),
    },
  ];
}

async function showBackfills(deps: PageDeps, site: Site, by: Principal, { cursor }: ListQuery): Promise<Reply> {
  const { pool } = deps;
  const now = deps.now();
  const { backfills, next } = await backfillPage(pool, by.tenant, null, cursor, PAGE);
  const rows: object[] = [];
  for (const one of backfills) {
    const counted = one.sent <= MOST_COUNTED ? await backfillFigures(pool, by.tenant.id, one.id) : null;
    rows.push({
      ...backfillShown(one, now),
      href: `${LIST}/${one.id}`,
      read: counted ? counted.read.toLocaleString('en') : '–',
      counted: counted ? counted.counted.toLocaleString('en') : '–',
      known: counted ? counted.known.toLocaleString('en') : '–',
    });
  }
  return site.show({ template: 'billing-backfills', title: 'Backfills', part: 'billing' }, by, {
    sections: sections('backfills'),
    rows,
    uncounted: backfills.some(({ sent }) => sent > MOST_COUNTED) && MOST_COUNTED.toLocaleString('en'),
    mayCorrect: mayCorrect(by),
    first: cursor !== undefined && LIST,
    next: next !== null && address(LIST, { cursor: next }),
  });
}

const BADGES: Readonly<Record<BackfillState, Badge>> = {
  open: { label: 'open', tone: 'wait' },
  closing: { label: 'closing', tone: 'wait' },
  closed: { label: 'closed', tone: 'ok' },
  reverting: { label: 'reverting', tone: 'wait' },
  reverted: { label: 'reverted', tone: 'plain' },
};

/** What holds of a backfill in a state. */
const SAYS: Readonly<Record<BackfillState, string>> = {
  open: 'Nothing of it counts until it is closed.',
  closing: 'It is being closed: its channels are told, one after the other.',
  closed: 'Its events count, but for those known already.',
  reverting: 'It is being taken back: its channels are told, one after the other.',
  reverted: 'Nothing of it counts. Its events may be sent to another one.',
};

function backfillShown(backfill: Backfill, now: number) {
  const { id, state, from, to, account, openedBy, openedAt, why, sent, overdue } = backfill;
  return {
    id,
    badge: BADGES[state],
    overdue,
    range: `${shortTime(from)} to ${shortTime(to)}`,
    account: account === null ? null : { name: visible(account), href: accountPath(account) },
    openedBy,
    openedAt: when(openedAt, now),
    why: visible(why),
    sent: sent.toLocaleString('en'),
  };
}

/** To the day where that says all of it. */
function shortTime(at: Date): string {
  return exactTime(at.toISOString())
    .replace(/ UTC$/, '')
    .replace(/( 00:00)?:00$/, '');
}

async function end(deps: PageDeps, site: Site, by: Principal, id: number, form: EndForm): Promise<Reply> {
  const again = (detail: string, status: number, more: { adjust?: boolean; conflicts?: readonly object[] } = {}) =>
    showBackfill(deps, site, by, id, {}, { form, detail, status, adjust: false, conflicts: [], ...more });
  const { tenant, who } = by;
  const { action, why = '', sent, read } = form;
  if (action === 'revert' && why === '') return again('Say why: the reason is kept with the backfill.', 422);
  if (action === 'close' && form.confirm === undefined)
    return again('Tick the box: closing counts what stands here.', 422);
  const ending = { action, who, why, adjust: form.adjust !== undefined, seen: { sent, read } };
  const ended = await deps.backfills.end(tenant, id, ending);
  if (ended.result === 'ok') return seeOther(address(`${LIST}/${id}`, { done: action }));
  const { status, detail } = endProblem(id, ended);
  switch (ended.result) {
    case 'not_found':
      throw endProblem(id, ended);
    case 'period_final':
      return again(finalText(ended), status, { adjust: true });
    case 'conflict':
      return again(detail, status, { conflicts: ended.conflicts.slice(0, CONFLICTS_SHOWN).map(conflictShown) });
    case 'state':
    case 'behind':
    case 'changed':
      return again(detail, status);
    default: {
      const never: never = ended;
      return never;
    }
  }
}

function finalText({ account, period }: Extract<NotEnded, { readonly result: 'period_final' }>): string {
  const of = `The statement of ${visible(account)} for ${period} is final and stays as it is.`;
  return `${of} The next statement can say the difference.`;
}

function conflictShown({ message, of }: Extract<NotEnded, { readonly result: 'conflict' }>['conflicts'][number]) {
  return { ...messageShown(messageId(message)), of: messageShown(messageId(of)) };
}

function messageShown(id: string) {
  return { id, href: `/messages/${id}` };
}

async function showBackfill(
  deps: PageDeps,
  site: Site,
  by: Principal,
  id: number,
  { cursor, done }: OneQuery,
  failed: Failed | null,
): Promise<Reply> {
  const { pool } = deps;
  const { tenant } = by;
  const now = deps.now();
  const backfill = await getBackfill(pool, tenant.id, id);
  if (!backfill) throw notFound('backfill');
  const { state, closedBy, closedAt, revertedBy, revertedAt, revertedWhy } = backfill;
  const path = `${LIST}/${id}`;
  const [figures, known] = await Promise.all([
    backfillFigures(pool, tenant.id, id),
    knownPage(pool, tenant, id, cursor, KNOWN),
  ]);
  const may = mayCorrect(by);
  const status = failed?.status ?? 200;
  return site.show({ template: 'billing-backfill', title: `Backfill ${id}`, part: 'billing', status }, by, {
    ...backfillShown(backfill, now),
    says: SAYS[state],
    open: state === 'open',
    closed: closedBy !== null && closedAt !== null && { by: closedBy, at: when(closedAt, now) },
    reverted: revertedBy !== null &&
      revertedAt !== null && { by: revertedBy, at: when(revertedAt, now), why: visible(revertedWhy ?? '') },
    figures: figuresShown(backfill, figures),
    known: known.known.map(({ channel, sequence, of }) => ({
      ...messageShown(messageId({ channel, sequence })),
      of: messageShown(messageId({ channel, sequence: of })),
    })),
    noneKnown: NONE_KNOWN[state],
    first: cursor !== undefined && path,
    next: known.next !== null && address(path, { cursor: known.next }),
    mayCorrect: may,
    close: may && state === 'open' && (await closing(deps, by, backfill, figures)),
    revert: may && (state === 'open' || state === 'closing' || state === 'closed') && REVERTING[state],
    ended: state === 'reverting' || state === 'reverted',
    closeFailed: failed?.form.action === 'close' && failed,
    revertFailed: failed?.form.action === 'revert' && failed,
    done: done && DONE[done],
  });
}

const NONE_KNOWN: Readonly<Record<BackfillState, string>> = {
  open: 'What a meter has already is looked for as the backfill is closed.',
  closing: 'What a meter has already is looked for just now.',
  closed: 'None: its meters had none of its events before.',
  reverting: 'None of its events count.',
  reverted: 'None of its events count.',
};

const REVERTING: Readonly<Record<'open' | 'closing' | 'closed', string>> = {
  open: 'Nothing of it will ever count, and it takes no more events.',
  closing: 'What of it counts is taken back. Its events may be sent to another backfill.',
  closed: 'What of it counts is taken back. Its events may be sent to another backfill.',
};

const DONE: Readonly<Record<'close' | 'revert', { readonly did: string; readonly text: string }>> = {
  close: { did: 'Closed.', text: 'Its events count as soon as the ledger has come to it.' },
  revert: { did: 'Reverted.', text: 'What of it counted is taken back as soon as the ledger has come to it.' },
};

function figuresShown({ sent }: Backfill, figures: BackfillFigures) {
  const { accounts, read, counted, known, uncountable, unmetered } = figures;
  return [
    { name: 'Sent', number: sent, means: 'events, repeats among them' },
    { name: 'Read', number: read, means: `by the ledger, of ${count(accounts, 'account', 'accounts')}` },
    { name: 'Counted', number: counted, means: 'by at least one meter' },
    { name: 'Known', number: known, means: 'their meter had them already' },
    { name: 'Not countable', number: uncountable, means: 'a meter is for them and can’t count them' },
    { name: 'No meter', number: unmetered, means: 'no meter is for them' },
  ].map(({ number, ...figure }) => ({ ...figure, number: number.toLocaleString('en') }));
}

/** What closing will count, and what it was said of: what came since is to be looked at first. */
async function closing({ pool }: PageDeps, { tenant }: Principal, { id, sent }: Backfill, figures: BackfillFigures) {
  const waiting = await waitingUsage(pool, tenant.id, id);
  return {
    sent,
    read: figures.read,
    accounts: count(figures.accounts, 'account', 'accounts'),
    waiting: waiting.map(({ meter, events }) => ({ meter, events: count(events, 'event', 'events') })),
  };
}
