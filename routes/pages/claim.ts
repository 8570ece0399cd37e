import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { messageId, type Place } from '../../src/message/id.js';
import { claimsOf, entryPlace, NO_CHANNEL, presences } from '../../src/storage/claims.js';
import { messageParams, quarantineParams } from '../fields.js';
import { claimFor, itemId, unclaimFor } from '../inbox.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { address, backField, readForm } from './form.js';
import { seeOther } from './show.js';
import { when } from './words.js';

const query = z.object({ back: backField });
type Query = z.infer<typeof query>;
const claimForm = z.object({ hours: z.coerce.number().int().min(1).max(72), over: z.coerce.boolean().default(false) });

/** Seeing to a message or an entry of the quarantine, and not after all. */
export function claimPages(deps: PageDeps): Route[] {
  const ofMessage = { permission: 'messages.decide', params: messageParams, query, body: 'form' } as const;
  const ofEntry = { permission: 'quarantine.decide', params: quarantineParams, query, body: 'form' } as const;
  const replies = { 303: { description: 'Its page' }, 409: { description: 'Somebody else sees to it' } };
  const shown = (place: Place, { back }: Query): Reply => seeOther(address(pathOf(place), { back }));
  const claimed = async ({ principal, query: asked, body }: ApiRequest<unknown, Query>, place: Place) => {
    await claimFor(deps, caller(principal), place, readForm(claimForm, body));
    return shown(place, asked);
  };
  const unclaimed = async ({ principal, query: asked }: ApiRequest<unknown, Query>, place: Place) => {
    await unclaimFor(deps, caller(principal), place);
    return shown(place, asked);
  };
  return [
    {
      ...ofMessage,
      method: 'post',
      path: '/messages/:id/claim',
      summary: 'Say that you see to it',
      replies,
      handler: (request: ApiRequest<{ id: Place }, Query>) => claimed(request, request.params.id),
    },
    {
      ...ofMessage,
      method: 'post',
      path: '/messages/:id/unclaim',
      summary: 'You don’t see to it after all',
      replies,
      handler: (request: ApiRequest<{ id: Place }, Query>) => unclaimed(request, request.params.id),
    },
    {
      ...ofEntry,
      method: 'post',
      path: '/quarantine/:id/claim',
      summary: 'Say that you see to it',
      replies,
      handler: (request: ApiRequest<{ id: number }, Query>) => claimed(request, entryPlace(request.params.id)),
    },
    {
      ...ofEntry,
      method: 'post',
      path: '/quarantine/:id/unclaim',
      summary: 'You don’t see to it after all',
      replies,
      handler: (request: ApiRequest<{ id: number }, Query>) => unclaimed(request, entryPlace(request.params.id)),
    },
  ];
}

function pathOf(place: Place): string {
  return place.channel === NO_CHANNEL ? `/quarantine/${itemId(place)}` : `/messages/${messageId(place)}`;
}

/** Who sees to it, and who has it open. */
export async function aroundItem(
  { pool, now }: PageDeps,
  by: Principal,
  place: Place,
  { back, mayClaim }: { readonly back: string | undefined; readonly mayClaim: boolean },
) {
  const tenant = by.tenant.id;
  const [[claimed], open] = await Promise.all([claimsOf(pool, tenant, [place]), presences(pool, tenant)]);
  const here = open.filter((one) => itemId(one) === itemId(place) && one.who !== by.who);
  return {
    open: here.map(({ who }) => who).join(', '),
    claim: claimed && { who: claimed.who, mine: claimed.who === by.who, untilWhen: when(claimed.until, now()) },
    mayClaim: mayClaim && claimed?.who !== by.who,
    claimHref: address(`${pathOf(place)}/claim`, { back }),
    unclaimHref: address(`${pathOf(place)}/unclaim`, { back }),
    mayUnclaim: mayClaim && claimed?.who === by.who,
  };
}
