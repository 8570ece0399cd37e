import type { Pool } from 'pg';
import { z } from 'zod';
import { maybeSchema } from '../src/channel/maybe.js';
import { listChannels } from '../src/storage/channels-read.js';
import { type MaybeEntry, maybeEntries } from '../src/storage/unseen-read.js';
import { timeOut } from './fields.js';
import { caller } from './problem.js';
import type { Route } from './route.js';

/** One generation's filter, as this process has it. */
export interface FilterState {
  readonly generation: number;
  readonly openedAt: Date;
  readonly sealedAt: Date | null;
  /** Loaded; until it is, every key is looked up in the generation itself. */
  readonly ready: boolean;
  readonly keys: number;
  /** Part of its bits that are set, 0 to 1. */
  readonly fill: number;
  /** Of "maybe seen" answers, the part that the store did not confirm; null before the first. */
  readonly falsePositives: number | null;
}

export interface ChannelDeps {
  readonly pool: Pool;
  readonly filters: () => Promise<readonly FilterState[]>;
}

const channelSchema = z.object({
  channel: z.int(),
  lastSequence: z.int(),
  readUpTo: z.int().meta({ description: 'Every sequence up to here has been planned' }),
  owner: z.string().nullable().meta({ description: 'The process that reads it onward' }),
  term: z.int(),
  duplicates: z.int(),
  conflicts: z.int(),
  expired: z.int(),
  parked: z.int(),
});

export const filterSchema = z.object({
  generation: z.int(),
  openedAt: timeOut,
  sealedAt: timeOut.nullable(),
  ready: z.boolean(),
  keys: z.int(),
  fill: z.number().min(0).max(1),
  falsePositives: z
    .number()
    .min(0)
    .max(1)
    .nullable()
    .meta({ description: 'Measured: of "maybe seen", the part that was not' }),
});

const maybeEntrySchema = z.object({
  source: z.string(),
  policy: maybeSchema.nullable().meta({ description: 'In force now; null where every "maybe seen" is looked up' }),
  saved: z.int().meta({ description: 'Messages that were taken as duplicates without a look-up' }),
  waiting: z.int().meta({ description: 'Of these, those that have not been looked up since' }),
  oldest: timeOut.nullable().meta({ description: 'When the oldest of these came' }),
  falsePositives: z
    .object({
      events: z.int(),
      value: z.string().meta({ description: 'A decimal, every digit: the sum of their absolute values' }),
    })
    .meta({ description: 'No duplicates: the filter was wrong, and they were sequenced after all' }),
  conflicts: z.int().meta({ description: 'With other content than their original; see the quarantine' }),
});

export const maybeEntriesSchema = z
  .array(maybeEntrySchema)
  .nullable()
  .meta({ description: 'Sources that take a filter’s word for a duplicate; null without `sources.read`' });

export function maybeEntryOf({ oldest, ...rest }: MaybeEntry): z.input<typeof maybeEntrySchema> {
  return { ...rest, oldest: oldest?.toISOString() ?? null };
}

export function channelRoutes({ pool, filters }: ChannelDeps): Route[] {
  return [
    {
      method: 'get',
      path: '/v1/channels',
      permission: 'channels.read',
      summary: 'The channels, how far each is read and by whom, and the filters of this process',
      replies: {
        200: {
          description: 'All of them',
          schema: z.object({
            items: z.array(channelSchema),
            filters: z.array(filterSchema),
            maybe: maybeEntriesSchema,
          }),
        },
      },
      handler: async ({ principal }) => {
        const { tenant, permissions } = caller(principal);
        const [items, maybe] = await Promise.all([
          listChannels(pool, tenant.id),
          permissions.has('sources.read') ? maybeEntries(pool, tenant.id) : null,
        ]);
        return { status: 200, body: { items, filters: await filters(), maybe: maybe?.map(maybeEntryOf) ?? null } };
      },
    },
  ];
}
