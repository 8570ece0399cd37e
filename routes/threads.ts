import type { Pool } from 'pg';
import { z } from 'zod';
import type { Run } from '../src/delivery/plan.js';
import { messageId, type Place } from '../src/message/id.js';
import { type Comparison, compared } from '../src/routing/thread/changes.js';
import { summaries } from '../src/storage/messages.js';
import {
  findThread,
  keptUpTo,
  messagesInThread,
  type NumberedPlace,
  type PlaceInThread,
  placeInThread,
} from '../src/storage/threads-read.js';
import { readCursor, writeCursor } from './cursor.js';
import { summaryEntry, summarySchema } from './entries.js';
import { cursorSchema, digits, limitSchema, pageOf } from './fields.js';
import { caller, notFound } from './problem.js';
import type { ApiRequest, Route } from './route.js';

export interface ThreadDeps {
  readonly pool: Pool;
}

/** A message's place in its conversation, as it is given out with it. */
export const threadPlaceSchema = z
  .object({
    id: z.int(),
    number: z.int().meta({ description: '1, 2, 3 … by time of receipt' }),
    of: z.int().meta({ description: 'The last number given' }),
  })
  .nullable()
  .meta({ description: 'Its place in its conversation; null where it stands alone' });

const threadParams = z.object({ id: digits(1, Number.MAX_SAFE_INTEGER) });
const threadQuery = z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() });
const threadMark = z.object({ after: z.int().min(1) });

const threadSchema = pageOf(summarySchema.extend({ number: z.int() })).extend({
  id: z.int(),
  of: z.int().meta({ description: 'The last number given' }),
  links: z
    .array(z.object({ id: z.int(), of: z.int() }))
    .meta({ description: 'Conversations that a message was found to belong to beside this one' }),
});

export function threadRoutes({ pool }: ThreadDeps): Route[] {
  return [
    {
      method: 'get',
      path: '/v1/threads/:id',
      permission: 'messages.read',
      summary: 'A conversation: its messages in the order they were received, and those linked to it',
      params: threadParams,
      query: threadQuery,
      replies: { 200: { description: 'A page of its messages', schema: threadSchema } },
      handler: async ({
        principal,
        params,
        query,
      }: ApiRequest<z.infer<typeof threadParams>, z.infer<typeof threadQuery>>) => {
        const { tenant } = caller(principal);
        const thread = await findThread(pool, tenant.id, params.id);
        if (!thread) throw notFound('thread');
        const { after } = query.cursor === undefined ? { after: 0 } : readCursor('thread', query.cursor, threadMark);
        const places = await messagesInThread(pool, tenant.id, params.id, after, query.limit);
        const last = places.length === query.limit ? places.at(-1) : undefined;
        return {
          status: 200,
          body: {
            id: params.id,
            ...thread,
            items: await numbered(pool, tenant.id, places),
            next: last ? writeCursor('thread', { after: last.number }) : null,
          },
        };
      },
    },
  ];
}

async function numbered(pool: Pool, tenant: number, places: readonly NumberedPlace[]) {
  const numbers = new Map(places.map((place) => [messageId(place), place.number]));
  const found = await summaries(pool, tenant, places);
  return found.map((one) => ({ number: numbers.get(messageId(one)) ?? 0, ...summaryEntry(one) }));
}

/** What its conversation had to do with what became of a message. */
export interface ThreadStory extends PlaceInThread {
  /** Number of the message it followed, because no rule matched. */
  readonly followed: number | null;
  /** Targets that get changes only, the messages they knew before, and what of this one was new to them. */
  readonly compared: readonly {
    readonly target: string;
    readonly with: readonly number[];
    readonly sent: 'fields' | 'nothing';
    /** Types of data. */
    readonly fields: readonly string[];
  }[];
  /** Beside the message before it; null for the first, and where one of the two could not be read whole. */
  readonly changed: (Comparison & { readonly since: number }) | null;
}

/** Messages before one that are looked at. */
const BEFORE = 20;

/** The part of its conversation in a message's story; null where it has none. `names` are targets by id. */
export async function threadStory(
  pool: Pool,
  tenant: number,
  place: Place,
  plans: readonly { readonly run: Run }[],
  names: ReadonlyMap<number, string>,
): Promise<ThreadStory | null> {
  const thread = await placeInThread(pool, tenant, place);
  if (!thread) return null;
  const [own, ...before] = await keptUpTo(pool, tenant, thread, BEFORE + 1);
  const runs = plans.map(({ run }) => run);
  const decider = runs.map(({ d }) => d).find(({ by }) => by === 'thread');
  const previous = before[0];
  const changed = own && previous && compared(own.content, previous.content);
  return {
    ...thread,
    followed: decider?.by === 'thread' ? decider.number : null,
    compared: (own?.targets ?? []).flatMap((target) => {
      const fields = fieldsSent(runs, target);
      if (fields === 'whole') return [];
      const known = before.filter(({ targets }) => targets?.includes(target)).map(({ number }) => number);
      const sent = fields.length > 0 ? ('fields' as const) : ('nothing' as const);
      return [{ target: names.get(target) ?? String(target), with: known.reverse(), sent, fields }];
    }),
    changed: changed && previous ? { since: previous.number, ...changed } : null,
  };
}

/** What a target was first sent of a message by its conversation's course: types of data, none, or all of it. */
function fieldsSent(runs: readonly Run[], target: number): 'whole' | readonly string[] {
  const run = runs.find(({ t }) => t.some(([id]) => id === target));
  if (!run) return [];
  return run.u?.[target] ?? 'whole';
}
