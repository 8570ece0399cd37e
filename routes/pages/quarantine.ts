import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { messageId, quarantineId } from '../../src/message/id.js';
import {
  CAUSES,
  type Cause,
  findQuarantined,
  type QuarantineEntry,
  quarantinedBytes,
} from '../../src/storage/quarantine.js';
import { cursorSchema, quarantineParams } from '../fields.js';
import { asProblem, caller, notFound } from '../problem.js';
import { quarantinePage, release, throwAway, tryAgain } from '../quarantine.js';
import type { ApiRequest, Problem, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { address, given, readForm, reasonField } from './form.js';
import { type Site, seeOther } from './show.js';
import { type Badge, kindLabel, size, when } from './words.js';

const PAGE = 50;
const STATES = ['held', 'released', 'discarded'] as const;

const listQuery = z.object({
  state: given(z.enum(STATES)),
  cause: given(z.enum(CAUSES)),
  cursor: given(cursorSchema),
  done: given(z.enum(['discard', 'requeue'])),
});
type ListQuery = z.infer<typeof listQuery>;
type Named = { readonly id: number };

const decisionForm = z.object({ reason: reasonField });

const ACTIONS = ['release', 'requeue', 'discard'] as const;
type Action = (typeof ACTIONS)[number];

/** What was taken out of the stream, and what can be done with it. */
export function quarantinePages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/quarantine',
      permission: 'quarantine.read',
      summary: 'What was taken out of the stream',
      query: listQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, ListQuery>) => showList(deps, site, caller(principal), query),
    },
    {
      method: 'get',
      path: '/quarantine/:id',
      permission: 'quarantine.read',
      summary: 'One entry',
      params: quarantineParams,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params }: ApiRequest<Named>) => showEntry(deps, site, caller(principal), params.id, null),
    },
    ...ACTIONS.map(
      (action): Route => ({
        method: 'post',
        path: `/quarantine/:id/${action}`,
        permission: 'quarantine.decide',
        summary: `Decide about an entry: ${action}`,
        params: quarantineParams,
        body: 'form',
        replies: { 303: { description: 'Done' }, 409: { description: 'Somebody else was faster' } },
        handler: ({ principal, params, body }: ApiRequest<Named>) =>
          decide(deps, site, caller(principal), params.id, action, readForm(decisionForm, body).reason ?? null),
      }),
    ),
  ];
}

async function decide(
  deps: PageDeps,
  site: Site,
  by: Principal,
  number: number,
  action: Action,
  reason: string | null,
): Promise<Reply> {
  try {
    return seeOther(await carryOut(deps, by, number, action, reason));
  } catch (error) {
    const problem = asProblem(error);
    if (problem.status !== 409) throw error;
    return showEntry(deps, site, by, number, problem);
  }
}

/** Answers where to go then. */
async function carryOut(
  deps: PageDeps,
  by: Principal,
  number: number,
  action: Action,
  reason: string | null,
): Promise<string> {
  switch (action) {
    case 'release':
      return `/messages/${messageId(await release(deps, by, number))}`;
    case 'requeue':
      await tryAgain(deps, by, number, null);
      return address('/quarantine', { done: action });
    case 'discard':
      await throwAway(deps, by, number, reason);
      return address('/quarantine', { done: action });
    default: {
      const never: never = action;
      throw new Error(`no such action: ${String(never)}`);
    }
  }
}

const DID = { discard: 'Discarded.', requeue: 'It is being read once more.' } as const;

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

async function showList(deps: PageDeps, site: Site, by: Principal, query: ListQuery): Promise<Reply> {
  const { state = 'held', cause, cursor, done } = query;
  const { entries, next } = await quarantinePage(deps.pool, by, { state, cause, cursor, limit: PAGE });
  const now = deps.now();
  const filters = { state: query.state, cause };
  return site.show({ template: 'quarantine', title: 'Quarantine', part: 'quarantine' }, by, {
    rows: entries.map((entry) => summaryOf(entry, now)),
    states: STATES.map((one) => ({
      label: one,
      href: address('/quarantine', { ...filters, state: one }),
      current: one === state,
    })),
    causes: CAUSES.map((name) => ({ name, selected: name === cause })),
    state: query.state,
    newest: cursor !== undefined && address('/quarantine', filters),
    older: next !== null && address('/quarantine', { ...filters, cursor: next }),
    held: state === 'held',
    narrowed: cause !== undefined,
    done: done && { did: DID[done] },
  });
}

function summaryOf(entry: QuarantineEntry, now: number) {
  return {
    id: quarantineId(entry.number),
    href: `/quarantine/${quarantineId(entry.number)}`,
    kind: kindLabel(entry.kind),
    cause: entry.cause,
    why: entry.reason ?? WHY[entry.cause],
    badge: BADGES[entry.state],
    of: entry.of,
    heading: entry.type ?? entry.externalId ?? `${entry.kind} for ${entry.account}`,
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

/** Of the bytes as much as anybody reads on a page. */
const PREVIEW = 16 * 1024;

async function showEntry(
  deps: PageDeps,
  site: Site,
  by: Principal,
  number: number,
  failed: Problem | null,
): Promise<Reply> {
  const entry = await findQuarantined(deps.pool, by.tenant.id, number);
  const bytes = await quarantinedBytes(deps.pool, by.tenant.id, number);
  if (!entry || !bytes) throw notFound('entry of the quarantine');
  const held = entry.state === 'held' && by.permissions.has('quarantine.decide');
  const id = quarantineId(number);
  const page = { template: 'quarantined', title: id, part: 'quarantine', status: failed?.status ?? 200 } as const;
  return site.show(page, by, {
    ...summaryOf(entry, deps.now()),
    ofHref: entry.of && `/messages/${entry.of}`,
    poison: entry.cause === 'poison',
    mayRelease: held && entry.cause !== 'poison',
    mayRequeue: held && entry.cause === 'poison',
    mayDiscard: held,
    failed: failed?.detail,
    preview: bytes.erased ? 'Its account was erased.' : bytes.raw.toString('utf8', 0, PREVIEW),
    cut: bytes.raw.length > PREVIEW && size(PREVIEW),
    rawHref: !bytes.erased && `/v1/quarantine/${id}/raw`,
  });
}
