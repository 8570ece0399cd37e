import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { CAUSES } from '../../src/storage/quarantine.js';
import { cursorSchema, quarantineParams } from '../fields.js';
import { asProblem, caller } from '../problem.js';
import { crashSchema, quarantinePage } from '../quarantine.js';
import { type Asked, decide, decideAll, release } from '../quarantine-decide.js';
import { rungsOf } from '../quarantine-views.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { address, backField, given, readForm, reasonField } from './form.js';
import { summaryOf } from './quarantine-words.js';
import { showEntry } from './quarantined.js';
import { type Site, seeOther } from './show.js';
import { count } from './words.js';

const PAGE = 50;
const STATES = ['held', 'released', 'discarded'] as const;
const ACTIONS = ['release', 'requeue', 'discard'] as const;
type Action = (typeof ACTIONS)[number];

const numberField = given(z.coerce.number().int().min(0).max(1_000_000));

const listQuery = z.object({
  state: given(z.enum(STATES)),
  cause: given(z.enum(CAUSES)),
  crash: given(crashSchema),
  cursor: given(cursorSchema),
  done: given(z.enum(ACTIONS)),
  of: numberField,
});
type ListQuery = z.infer<typeof listQuery>;
const entryQuery = z.object({ rung: numberField, back: backField });
type EntryQuery = z.infer<typeof entryQuery>;
type Named = { readonly id: number };

/** `hours`: so much later; without it at once. */
const decisionForm = z.object({
  reason: reasonField,
  rung: given(z.coerce.number().int().min(0).max(1000)),
  hours: given(z.coerce.number().int().min(1).max(720)),
});
type DecisionForm = z.infer<typeof decisionForm>;
const bulkForm = decisionForm.extend({ crash: crashSchema, action: z.enum(ACTIONS) });
type BulkForm = z.infer<typeof bulkForm>;

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
      summary: 'One entry, and what a rung makes of it',
      params: quarantineParams,
      query: entryQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params, query }: ApiRequest<Named, EntryQuery>) =>
        showEntry(deps, site, caller(principal), params.id, query, null),
    },
    ...ACTIONS.map(
      (action): Route => ({
        method: 'post',
        path: `/quarantine/:id/${action}`,
        permission: 'quarantine.decide',
        summary: `Decide about an entry: ${action}`,
        params: quarantineParams,
        query: entryQuery,
        body: 'form',
        replies: { 303: { description: 'Done' }, 409: { description: 'Somebody else was faster' } },
        handler: ({ principal, params, query, body }: ApiRequest<Named, EntryQuery>) =>
          decideOne(deps, site, caller(principal), { number: params.id, query, action }, readForm(decisionForm, body)),
      }),
    ),
    {
      method: 'post',
      path: '/quarantine/bulk',
      permission: 'quarantine.decide',
      summary: 'Decide about all held entries of one crash hash',
      body: 'form',
      replies: { 303: { description: 'Done' } },
      handler: ({ principal, body }: ApiRequest) => decideBulk(deps, caller(principal), readForm(bulkForm, body)),
    },
  ];
}

async function decideOne(
  deps: PageDeps,
  site: Site,
  by: Principal,
  { number, query, action }: { readonly number: number; readonly query: EntryQuery; readonly action: Action },
  form: DecisionForm,
): Promise<Reply> {
  const { back } = query;
  try {
    if (action === 'release') {
      const { message } = await release(deps, by, number);
      return seeOther(back?.startsWith('/inbox') ? back : `/messages/${message}`);
    }
    await decide(deps, by, number, askedOf(action, form, deps.now()));
    return seeOther(back?.startsWith('/inbox') ? back : address('/quarantine', { done: action }));
  } catch (error) {
    const problem = asProblem(error);
    if (problem.status !== 409) throw error;
    return showEntry(deps, site, by, number, { back }, problem);
  }
}

async function decideBulk(deps: PageDeps, by: Principal, { crash, action, ...form }: BulkForm): Promise<Reply> {
  const { done } = await decideAll(deps, by, crash, askedOf(action, form, deps.now()));
  return seeOther(address('/quarantine', { crash, done: action, of: String(done) }));
}

const HOUR_MS = 3_600_000;

function askedOf(action: Action, { reason, rung, hours }: DecisionForm, now: number): Asked {
  switch (action) {
    case 'discard':
      return { action, reason };
    case 'release':
      return { action };
    case 'requeue':
      if (hours === undefined) return { action, rung, reason };
      return { action: 'delay', rung, reason, until: new Date(now + hours * HOUR_MS) };
    default: {
      const never: never = action;
      throw new Error(`no such action: ${String(never)}`);
    }
  }
}

const DID: Readonly<Record<Action, string>> = {
  discard: 'Discarded',
  requeue: 'Will be read once more',
  release: 'Released',
};

async function showList(deps: PageDeps, site: Site, by: Principal, query: ListQuery): Promise<Reply> {
  const { state = 'held', cause, crash, cursor, done } = query;
  const { entries, next } = await quarantinePage(deps.pool, by, { state, cause, crash, cursor, limit: PAGE });
  const now = deps.now();
  const filters = { state: query.state, cause, crash };
  const decides = state === 'held' && entries.length > 0 && by.permissions.has('quarantine.decide');
  return site.show({ template: 'quarantine', title: 'Quarantine', part: 'quarantine' }, by, {
    rows: entries.map((entry) => summaryOf(entry, now)),
    states: STATES.map((one) => ({
      label: one,
      href: address('/quarantine', { ...filters, state: one }),
      current: one === state,
    })),
    causes: CAUSES.map((name) => ({ name, selected: name === cause })),
    state: query.state,
    crash: crash && {
      hash: crash,
      short: crash.slice(0, 12),
      without: address('/quarantine', { ...filters, crash: undefined }),
    },
    bulk: crash !== undefined && decides && { rungs: rungsOf(deps, 'mail') },
    newest: cursor !== undefined && address('/quarantine', filters),
    older: next !== null && address('/quarantine', { ...filters, cursor: next }),
    held: state === 'held',
    narrowed: cause !== undefined || crash !== undefined,
    done: done && {
      did: query.of === undefined ? `${DID[done]}.` : `${DID[done]}: ${count(query.of, 'entry', 'entries')}.`,
    },
  });
}
