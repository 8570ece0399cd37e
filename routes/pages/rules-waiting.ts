import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { messageId } from '../../src/message/id.js';
import { activeRuleSet } from '../../src/storage/rule-sets.js';
import { cursorSchema, digits } from '../fields.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { matchesAt, reasonOf, type WaitingMatch, type WaitingMatches, waitingMatches } from '../rules-waiting.js';
import { decideEach, type NotDone } from './decide.js';
import type { PageDeps } from './deps.js';
import { address, given, listOf, readForm, type Seen, seenField } from './form.js';
import { outcomeText } from './rule-words.js';
import { type Site, seeOther } from './show.js';
import { count, kindLabel, subtitleOf, titleOf, when } from './words.js';

const PAGE = 50;
/** A page may have more, because what is read together is shown together. */
const MOST = 500;

const listQuery = z.object({ cursor: given(cursorSchema), routed: given(digits(0, MOST)) });
type ListQuery = z.infer<typeof listQuery>;

const routeForm = z.object({
  /** Version of the rules that the page asked. */
  rules: z.coerce.number().int().min(1),
  messages: listOf(seenField, MOST),
});

interface Failed {
  readonly summary: string;
  readonly notDone: readonly NotDone[];
  readonly status: number;
}

/** What waits for a person and would match the rules in force by now; a person may route it so. */
export function waitingRulePages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/rules/waiting',
      permission: 'messages.read',
      summary: 'What waits and would match now, with what each would get',
      query: listQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, ListQuery>) =>
        showMatches(deps, site, caller(principal), query, null),
    },
    {
      method: 'post',
      path: '/rules/waiting',
      permission: 'messages.decide',
      summary: 'Route some of it as the rules in force say',
      query: listQuery,
      body: 'form',
      replies: { 303: { description: 'Done' }, 409: { description: 'Not all of it could be done' } },
      handler: ({ principal, query, body, headers }: ApiRequest<unknown, ListQuery>) =>
        routeSome(deps, site, caller(principal), query, readForm(routeForm, body), headers),
    },
  ];
}

async function routeSome(
  deps: PageDeps,
  site: Site,
  by: Principal,
  query: ListQuery,
  { rules, messages }: z.infer<typeof routeForm>,
  headers: ApiRequest['headers'],
): Promise<Reply> {
  const failed = (summary: string, status: number, notDone: readonly NotDone[] = []) =>
    showMatches(deps, site, by, query, { summary, notDone, status });
  if (messages.length === 0) return failed('Choose at least one message first.', 422);
  const places = messages.map(({ place }) => place);
  const found = await matchesAt(deps, by, places);
  if (found.version !== rules) {
    return failed('Other rules are in force by now: look at what they would do, then route.', 412);
  }
  const matches = new Map(found.matches.map((one) => [messageId(one), one]));
  const notDone: NotDone[] = [];
  let done = 0;
  for (const seen of messages) {
    const match = matches.get(messageId(seen.place));
    const result = match ? await routeOne(deps, by, found, match, seen, headers) : LEFT;
    if (result === null) done++;
    else notDone.push({ ...idOf(seen), status: 409, ...result });
  }
  if (notDone.length === 0) return seeOther(address('/rules/waiting', { cursor: query.cursor, routed: String(done) }));
  return failed(`${done} of ${messages.length} routed; left as they are:`, 409, notDone);
}

function idOf({ place }: Seen) {
  const id = messageId(place);
  return { id, href: `/messages/${id}` };
}

const LEFT = { why: 'It would not match now, or its content is gone.' };

/** Null when it is done. */
async function routeOne(
  deps: PageDeps,
  by: Principal,
  { version }: Pick<WaitingMatches, 'version'>,
  match: WaitingMatch,
  seen: Seen,
  headers: ApiRequest['headers'],
): Promise<NotDone | null> {
  const { outcome } = match;
  const reason = reasonOf(version, match);
  const wish =
    outcome.do === 'deliver'
      ? ({ action: 'assign', targets: outcome.targets, reason } as const)
      : ({ action: 'close', reason } as const);
  const { notDone } = await decideEach(deps, by, [seen], wish, headers);
  return notDone[0] ?? null;
}

async function showMatches(
  deps: PageDeps,
  site: Site,
  by: Principal,
  query: ListQuery,
  failed: Failed | null,
): Promise<Reply> {
  const { version, matches, looked, next } = await waitingMatches(deps, by, { cursor: query.cursor, limit: PAGE });
  const now = deps.now();
  const here = address('/rules/waiting', { cursor: query.cursor });
  const page = {
    template: 'rules-waiting',
    title: 'What waits and would match',
    part: 'rules',
    scripts: ['rules.js'],
  } as const;
  return site.show({ ...page, status: failed?.status ?? 200 }, by, {
    heading: page.title,
    rules: version !== null && { version, href: `/rules/${version}` },
    here,
    rows: matches.slice(0, MOST).map((match) => row(match, now)),
    number: count(matches.length, 'message', 'messages'),
    looked: count(looked, 'waiting message', 'waiting messages'),
    mayDecide: by.permissions.has('messages.decide'),
    first: query.cursor !== undefined && '/rules/waiting',
    further: next !== null && address('/rules/waiting', { cursor: next }),
    failed,
    done: query.routed !== undefined && {
      did: `${count(query.routed, 'message', 'messages')} routed.`,
      held: query.routed > 0,
    },
  });
}

function row(match: WaitingMatch, now: number) {
  const id = messageId(match);
  const { kind, account, arrivedAt, outcome, rules, source, version } = match;
  return {
    id,
    seen: `${id}:${version}`,
    href: `/messages/${id}`,
    kind: kindLabel(kind),
    title: titleOf(match),
    subtitle: subtitleOf(match),
    account,
    source,
    would: outcomeText(outcome),
    rules: rules.join(', '),
    received: when(new Date(arrivedAt), now),
  };
}

/** After rules came in force: how many of those that have waited the shortest would match now. */
export async function matchesAmongNewest(deps: PageDeps, by: Principal) {
  const version = (await activeRuleSet(deps.pool, by.tenant.id))?.version;
  if (version === undefined) return null;
  const { matches, looked, next } = await waitingMatches(deps, by, { limit: Number.POSITIVE_INFINITY });
  const among = next === null ? '' : ` of the newest ${looked.toLocaleString('en')}`;
  if (matches.length === 0 && next === null) return { text: 'Nothing that waits would match now.' };
  const what = matches.length === 1 ? 'message' : 'messages';
  const text = `${matches.length.toLocaleString('en')} waiting ${what}${among} would match now.`;
  return { text, href: '/rules/waiting' };
}
