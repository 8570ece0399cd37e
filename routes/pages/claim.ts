import { z } from 'zod';
import { messageId, type Place } from '../../src/message/id.js';
import { messageParams } from '../fields.js';
import { claimFor, unclaimFor } from '../inbox.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { address, backField, readForm } from './form.js';
import { seeOther } from './show.js';

const query = z.object({ back: backField });
type Query = z.infer<typeof query>;
const claimForm = z.object({ hours: z.coerce.number().int().min(1).max(72), over: z.coerce.boolean().default(false) });

/** Seeing to a message, and not after all. */
export function claimPages(deps: PageDeps): Route[] {
  const page = { permission: 'messages.decide', params: messageParams, query, body: 'form' } as const;
  const replies = { 303: { description: 'The message' }, 409: { description: 'Somebody else sees to it' } };
  const shown = (place: Place, { back }: Query): Reply => seeOther(address(`/messages/${messageId(place)}`, { back }));
  return [
    {
      ...page,
      method: 'post',
      path: '/messages/:id/claim',
      summary: 'Say that you see to it',
      replies,
      handler: async ({ principal, params, query: asked, body }: ApiRequest<{ id: Place }, Query>) => {
        await claimFor(deps, caller(principal), params.id, readForm(claimForm, body));
        return shown(params.id, asked);
      },
    },
    {
      ...page,
      method: 'post',
      path: '/messages/:id/unclaim',
      summary: 'You don’t see to it after all',
      replies,
      handler: async ({ principal, params, query: asked }: ApiRequest<{ id: Place }, Query>) => {
        await unclaimFor(deps, caller(principal), params.id);
        return shown(params.id, asked);
      },
    },
  ];
}
