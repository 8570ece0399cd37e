import { z } from 'zod';
import { type BodyRefusalCode, BodyRefused } from '../src/ingress/http/body.js';
import { Backlogged, Busy, Unavailable } from '../src/message/verdict.js';
import { backlogged } from './problem.js';
import { Problem } from './route.js';

const verdict = z.enum(['sequenced', 'duplicate', 'conflict', 'expired', 'rejected']);

/** What became of one delivery. */
export const hookResultSchema = z.object({
  id: z.string().nullable().meta({ description: 'As its sender gave it; null where there is none that can be used' }),
  verdict,
  message: z.string().nullable().meta({ description: '`7-10234` when sequenced, `q-12` when set aside, else null' }),
  channel: z.int().nullable(),
  sequence: z.int().nullable(),
  of: z.string().optional().meta({ description: 'The message it repeats or contradicts' }),
  basis: z
    .enum(['store', 'filter'])
    .optional()
    .meta({ description: 'How a duplicate was told; by `filter` it is not known of what' }),
  code: z.string().optional().meta({ description: 'Why it was rejected; stable' }),
  pointer: z.string().optional().meta({ description: 'JSON pointer to what is wrong' }),
  reason: z.string().optional().meta({ description: 'The same in a sentence' }),
});

/** What became of one event of a request. */
export const eventResultSchema = hookResultSchema.extend({
  index: z.int().meta({ description: 'Its place in the request, from 0' }),
});

const BODY_STATUS: Readonly<Record<BodyRefusalCode, number>> = {
  body_too_large: 413,
  encoding_unsupported: 415,
  encoding_malformed: 400,
  request_aborted: 400,
};

/** The answer to what keeps a body from being taken; anything that is no such thing comes back as it is. */
export function sendingProblem(error: unknown): unknown {
  if (error instanceof BodyRefused) return bodyProblem(error);
  if (error instanceof Busy) {
    const after = { 'retry-after': String(error.retryAfterSeconds) };
    return new Problem(429, 'busy', 'Too much is waiting to be stored; send all of it again later.', {}, after);
  }
  if (error instanceof Backlogged) return backlogged();
  if (error instanceof Unavailable) {
    const detail =
      'Nothing can be stored just now; send all of it again later. What was stored already is found as a duplicate.';
    return new Problem(503, 'storage_unavailable', detail, {}, { 'retry-after': RETRY_UNAVAILABLE_SECONDS });
  }
  return error;
}

const RETRY_UNAVAILABLE_SECONDS = '5';

function bodyProblem({ code, message }: BodyRefused): Problem {
  // The rest of a body that is too large may still be on its way; nothing after it could be read.
  const headers: Record<string, string> = code === 'body_too_large' ? { connection: 'close' } : {};
  return new Problem(BODY_STATUS[code], code, message, {}, headers);
}
