import type { Pool } from 'pg';
import { z } from 'zod';
import { type EraseDeps, type EraseWish, eraseAccount } from '../src/storage/erase.js';
import { idsByName } from '../src/storage/names.js';
import { text } from './fields.js';
import { LINES_TYPE, type LinesDeps, lines } from './lines.js';
import { caller, unknownName } from './problem.js';
import type { ApiRequest, Route } from './route.js';

export type AccountDeps = LinesDeps & Pick<EraseDeps, 'pool' | 'wake'>;

const eraseBody = z.strictObject({
  account: text(512),
  source: text(63).optional().meta({ description: 'Only what came by this source' }),
  reason: text(2000).meta({ description: 'Kept in the audit and with decisions: don’t name the account in it' }),
});

const eventSchema = z.discriminatedUnion('event', [
  z.object({
    event: z.literal('progress'),
    done: z.int().meta({ description: 'Of the channel’s messages, how far it has looked' }),
    total: z.int(),
    erased: z.int(),
  }),
  z.object({
    event: z.literal('result'),
    pseudonym: z.string().meta({ description: 'What stands in the account’s place from now on' }),
    messages: z.int(),
    closed: z.int().meta({ description: 'Messages that waited for a person, or to be read' }),
    cancelling: z.int().meta({ description: 'Deliveries that waited; their numbers become void' }),
    quarantined: z.int(),
    refusals: z.int(),
    left: z.int().meta({ description: 'Messages that are not planned yet: ask again for those' }),
  }),
]);

export function accountRoutes(deps: AccountDeps): Route[] {
  return [
    {
      method: 'post',
      path: '/v1/accounts/erase',
      permission: 'accounts.erase',
      summary: 'Erase what an account’s messages say, for good; their places, hashes and decisions stay',
      body: 'json',
      bodySchema: eraseBody,
      replies: {
        200: {
          description: 'Lines while it goes on; the last one is the result. Without it, it was cut off: ask again',
          type: LINES_TYPE,
          schema: eventSchema,
        },
        422: { description: 'No such source' },
      },
      handler: async (request: ApiRequest<unknown, unknown, z.infer<typeof eraseBody>>) => {
        const { tenant, who } = caller(request.principal);
        const { account, source, reason } = request.body;
        const wish = { account, source: await sourceNamed(deps.pool, tenant.id, source), who, reason };
        return lines(deps, request, eraseAccount({ pool: deps.pool, wake: deps.wake }, tenant, wish));
      },
    },
  ];
}

async function sourceNamed(pool: Pool, tenant: number, name: string | undefined): Promise<EraseWish['source']> {
  if (name === undefined) return null;
  const ids = await idsByName(pool, tenant, 'source', 'all');
  const id = ids.get(name);
  if (id === undefined) throw unknownName('source', name, [...ids.keys()]);
  return { id, name };
}
