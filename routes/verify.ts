import type { Pool } from 'pg';
import { z } from 'zod';
import { verifyTenant } from '../src/storage/verify.js';
import { timeSchema } from './fields.js';
import { LINES_TYPE, type LinesDeps, lines } from './lines.js';
import { caller } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export interface VerifyDeps extends LinesDeps {
  readonly pool: Pool;
}

const sequence = z.int().min(1).max(Number.MAX_SAFE_INTEGER);

const verifyBody = z
  .strictObject({
    channel: z.int().min(0).max(1023).optional(),
    from: sequence.optional().meta({ description: 'First sequence; takes a channel' }),
    to: sequence.optional().meta({ description: 'Last sequence; takes a channel' }),
    since: timeSchema.optional().meta({ description: 'Only what arrived then or later' }),
  })
  .refine(({ channel, from, to }) => channel !== undefined || (from === undefined && to === undefined), {
    path: ['channel'],
    message: 'sequences are of a channel: say which',
  })
  .refine(({ from = 1, to = from }) => from <= to, { path: ['to'], message: 'must not lie before `from`' });

const eventSchema = z.discriminatedUnion('event', [
  z.object({
    event: z.literal('progress'),
    doing: z.enum(['messages', 'keys']),
    done: z.int(),
    total: z.int(),
  }),
  z.object({
    event: z.literal('finding'),
    code: z.string().meta({ description: 'Stable; what programs go by' }),
    channel: z.int(),
    message: z.string().nullable().meta({ description: 'The one message it is about' }),
    plan: z.int().nullable(),
    detail: z.string().meta({ description: 'A sentence that names everything concerned' }),
  }),
  z.object({
    event: z.literal('result'),
    ok: z.boolean().meta({ description: 'Nothing was found' }),
    channels: z.int(),
    messages: z.int(),
    erased: z.int().meta({ description: 'Messages of which an erased account left only the hash' }),
    plans: z.int(),
    keys: z.int().meta({ description: 'Keys that were compared with their messages' }),
    findings: z.int().meta({ description: 'How many; the first hundred of each channel are told' }),
    checkpoints: z.int().meta({ description: 'Channels of which retention has dropped messages' }),
    signer: z.string().meta({ description: 'Fingerprint of the key that the checkpoints are signed with' }),
  }),
]);

/** A user's own proof, on a live system, that nothing is missing, altered or out of its order. */
export function verifyRoutes(deps: VerifyDeps): Route[] {
  const running = new Set<number>();
  return [
    {
      method: 'post',
      path: '/v1/verify',
      permission: 'channels.read',
      summary: 'Read all messages and plans again, or a part of them, and say what is missing, altered or re-ordered',
      body: 'json',
      bodySchema: verifyBody,
      replies: {
        200: {
          description: 'Lines while it goes on; the last one is the result. Without it, it was cut off',
          type: LINES_TYPE,
          schema: eventSchema,
        },
        429: { description: 'One is going on already' },
      },
      handler: async (request: ApiRequest<unknown, unknown, z.infer<typeof verifyBody>>) => {
        const { tenant } = caller(request.principal);
        const { channel } = request.body;
        if (channel !== undefined && channel >= tenant.channels) {
          throw new Problem(422, 'unknown_channel', `There are channels 0 to ${tenant.channels - 1}.`, { channel });
        }
        if (running.has(tenant.id)) {
          const detail = 'A verification is going on already: wait for its end.';
          throw new Problem(429, 'verify_running', detail, {}, { 'retry-after': '30' });
        }
        return lines(deps, request, alone(running, tenant.id, verifyTenant(deps.pool, tenant, request.body)));
      },
    },
  ];
}

/** One at a time for each tenant: each reads everything. */
async function* alone<T>(running: Set<number>, tenant: number, events: AsyncGenerator<T>): AsyncGenerator<T> {
  running.add(tenant);
  try {
    yield* events;
  } finally {
    running.delete(tenant);
  }
}
