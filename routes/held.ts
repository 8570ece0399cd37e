import type { Pool } from 'pg';
import { z } from 'zod';
import type { DecideHeld, HeldDecided } from '../src/billing/backfill.js';
import { messageId, type Place } from '../src/message/id.js';
import type { Tenant } from '../src/message/tenant.js';
import { type Held, listHeld } from '../src/storage/held.js';
import { placeBefore, placeCursor } from './cursor.js';
import { cursorSchema, limitSchema, messageParams, pageOf, text, timeOut } from './fields.js';
import { caller } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export interface HeldDeps {
  readonly pool: Pool;
  readonly decideHeld: DecideHeld;
}

const heldSchema = z.object({
  message: z.string(),
  account: z.string(),
  meters: z.array(z.string()).meta({ description: 'The meters that hold it' }),
  time: z.string().meta({ description: 'When it happened' }),
  arrivedAt: timeOut,
  period: z.string().nullable().meta({ description: 'The final period it is of' }),
});

const listQuery = z.strictObject({
  account: text(512).optional(),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
});
const decideSchema = z.strictObject({ why: text(2_000) });
const decidedSchema = z.object({
  id: z.string().meta({ description: 'The message that says so' }),
  again: z.boolean().meta({ description: 'It was said before; nothing has changed' }),
});

/** What meters with `"late": "quarantine"` hold, because its period was final when it came. */
export function heldRoutes({ pool, decideHeld }: HeldDeps): Route[] {
  const decide = (action: 'accept' | 'discard', summary: string): Route => ({
    method: 'post',
    path: `/v1/ledger/held/:id/${action}`,
    permission: 'billing.correct',
    summary,
    params: messageParams,
    body: 'json',
    bodySchema: decideSchema,
    replies: {
      200: { description: 'Said before', schema: decidedSchema },
      202: { description: 'Sequenced; holds as soon as the ledger has come to it', schema: decidedSchema },
      404: { description: 'No meter holds it (`not_held`)' },
      410: { description: 'Its account was erased' },
    },
    handler: async ({
      principal,
      params: { id },
      body,
    }: ApiRequest<z.output<typeof messageParams>, unknown, z.output<typeof decideSchema>>) => {
      const { tenant, who } = caller(principal);
      const decided = await decideHeld(tenant, { target: id, action, who, why: body.why });
      if (decided.result !== 'ok') throw heldProblem(id, decided);
      return { status: decided.again ? 200 : 202, body: { id: messageId(decided.by), again: decided.again } };
    },
  });
  return [
    {
      method: 'get',
      path: '/v1/ledger/held',
      permission: 'billing.read',
      summary: 'Messages that meters hold because their period was final, by channel and sequence',
      query: listQuery,
      replies: { 200: { description: 'The messages', schema: pageOf(heldSchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.output<typeof listQuery>>) => {
        const { account = null, limit, cursor } = query;
        const { held: found, next } = await heldPage(pool, caller(principal).tenant, account, cursor, limit);
        const items = found.map(({ channel, sequence, arrivedAt, ...held }) => ({
          message: messageId({ channel, sequence }),
          ...held,
          arrivedAt: arrivedAt.toISOString(),
        }));
        return { status: 200, body: { items, next } };
      },
    },
    decide('accept', 'Count a held message: the next statement charges it as an adjustment'),
    decide('discard', 'Void a held message: it is not charged'),
  ];
}

/** By channel and sequence; `next` is the cursor of the next page. */
export async function heldPage(
  pool: Pool,
  tenant: Tenant,
  account: string | null,
  cursor: string | undefined,
  limit: number,
): Promise<{ readonly held: readonly Held[]; readonly next: string | null }> {
  const held = await listHeld(pool, tenant.id, placeBefore('held', cursor), account, limit);
  return { held, next: placeCursor('held', held, limit) };
}

export function heldProblem(place: Place, not: Exclude<HeldDecided, { readonly result: 'ok' }>): Problem {
  const id = messageId(place);
  switch (not.result) {
    case 'not_held':
      return new Problem(404, 'not_held', `No meter holds the message ${id}.`);
    case 'gone':
      return new Problem(410, 'content_gone', `The account of ${id} was erased: it stays as it is.`);
    default: {
      const never: never = not;
      return never;
    }
  }
}
