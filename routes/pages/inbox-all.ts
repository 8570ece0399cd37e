import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { MOST_MATCHING } from '../../src/storage/inbox.js';
import { type DecidedAll, decideAll } from '../decide-all.js';
import { text } from '../fields.js';
import { filterOf, matchingNow, messagesOnly } from '../inbox.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { address, given, listOf, readForm, reasonField } from './form.js';
import { filters, type InboxFilters, inboxFilterShape, targetChoices, wishOf } from './inbox.js';
import { countText, type Site } from './show.js';
import { count } from './words.js';

/** Without a script a browser waits for the whole answer, so that much is done for one. */
const AT_ONCE = 200;
const HOUR_MS = 3_600_000;
const HOLD_SECONDS = 10;

const query = z.object(inboxFilterShape);

const form = z.object({
  action: z.enum(['assign', 'close', 'snooze']),
  asOf: z.iso.datetime(),
  targets: listOf(text(63), 100),
  reason: reasonField,
  hours: given(z.coerce.number().int().min(1).max(9600)),
});
type Form = z.infer<typeof form>;

interface Outcome {
  readonly done: string;
  readonly left: readonly { readonly id: string; readonly why: string }[];
  readonly more: boolean;
}

/** Deciding about everything that a filter lets through. */
export function inboxAllPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/inbox/all',
      permission: 'messages.decide',
      summary: 'How many match, and what is to be done with all of them',
      query,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query: asked }: ApiRequest<unknown, InboxFilters>) =>
        showAll(deps, site, caller(principal), asked),
    },
    {
      method: 'post',
      path: '/inbox/all',
      permission: 'messages.decide',
      summary: `Decide about ${AT_ONCE} of those that match`,
      query,
      body: 'form',
      replies: {
        200: { description: 'What was done', type: 'text/html' },
        422: { description: 'Something is missing' },
      },
      handler: ({ principal, query: asked, body }: ApiRequest<unknown, InboxFilters>) =>
        decide(deps, site, caller(principal), asked, readForm(form, body)),
    },
  ];
}

async function decide(deps: PageDeps, site: Site, by: Principal, asked: InboxFilters, wanted: Form): Promise<Reply> {
  const missing = missingOf(wanted);
  if (missing !== null) return showAll(deps, site, by, asked, { form: wanted, missing });
  const { action, asOf, targets, reason, hours = 24 } = wanted;
  const filter = messagesOnly({ ...(await filterOf(deps.pool, by, wishOf(asked))), asOf });
  const wish = {
    action,
    reason,
    hold: action === 'assign' ? HOLD_SECONDS : 0,
    ...(action === 'assign' && { targets }),
    ...(action === 'snooze' && { until: new Date(deps.now() + hours * HOUR_MS) }),
  };
  const left: { id: string; why: string }[] = [];
  let result: Extract<DecidedAll, { event: 'result' }> | undefined;
  for await (const event of decideAll(deps, by, filter, wish, AT_ONCE)) {
    if (event.event === 'left') left.push(event);
    if (event.event === 'result') result = event;
  }
  const outcome = { done: count(result?.done ?? 0, 'message is', 'messages are'), left, more: result?.more ?? false };
  return showAll(deps, site, by, asked, { form: wanted, outcome });
}

function missingOf({ action, targets, reason }: Form): string | null {
  if (action === 'assign' && targets.length === 0) return 'Choose at least one target to assign to.';
  if (action === 'close' && reason === undefined) return 'Say why they need no target, then close them.';
  return null;
}

async function showAll(
  deps: PageDeps,
  site: Site,
  by: Principal,
  asked: InboxFilters,
  before?: { readonly form: Form; readonly missing?: string; readonly outcome?: Outcome },
): Promise<Reply> {
  const { count: number, more, asOf } = await matchingNow(deps.pool, by, wishOf(asked));
  const { q, source, account, need, claim, state } = asked;
  const said = { Search: q, Source: source, Account: account, Need: need, Claim: claim, State: state };
  const status = before?.missing === undefined ? 200 : 422;
  return site.show({ template: 'inbox-all', title: 'All that match', part: 'inbox', status }, by, {
    here: address('/inbox/all', filters(asked)),
    back: address('/inbox', filters(asked)),
    filter: JSON.stringify(wishOf(asked)),
    said: Object.entries(said).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }])),
    number: more ? `more than ${countText(number)}` : countText(number),
    none: number === 0,
    most: more && countText(MOST_MATCHING),
    // What is confirmed once more is what was confirmed first: nothing that came since.
    asOf: before?.outcome?.more ? before.form.asOf : asOf,
    targets: await targetChoices(deps, by, before?.form.targets ?? []),
    reason: before?.form.reason,
    missing: before?.missing,
    outcome: before?.outcome,
  });
}
