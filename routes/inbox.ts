import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { wordsOf } from '../src/message/folded.js';
import { messageId, type Place, quarantineId } from '../src/message/id.js';
import {
  type Claim,
  claim,
  claimsOf,
  entryPlace,
  NO_CHANNEL,
  newestNotes,
  presences,
  unclaim,
} from '../src/storage/claims.js';
import { databaseTime } from '../src/storage/clock.js';
import {
  allInInbox,
  type InboxFilter,
  type InboxItem,
  listInbox,
  MOST_MATCHING,
  oldestWaiting,
} from '../src/storage/inbox.js';
import { inboxCounts, NEEDS, type Need } from '../src/storage/inbox-counts.js';
import { wasGiven } from '../src/storage/messages.js';
import { idsByName } from '../src/storage/names.js';
import { findQuarantined } from '../src/storage/quarantine.js';
import { searchBehind } from '../src/storage/search.js';
import { readCursor, writeCursor } from './cursor.js';
import { decideAll } from './decide-all.js';
import { checkUntil, type DecisionDeps } from './decisions.js';
import { summaryEntry, summarySchema } from './entries.js';
import {
  cursorSchema,
  limitSchema,
  messageParams,
  pageOf,
  quarantineParams,
  text,
  timeOut,
  timeSchema,
} from './fields.js';
import { LINES_TYPE, type LinesDeps, lines } from './lines.js';
import { caller, notFound, unknownName } from './problem.js';
import { entrySchema, quarantineEntry } from './quarantine.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export type InboxDeps = DecisionDeps & LinesDeps;

const claimSchema = z.object({ who: z.string(), since: timeOut, until: timeOut });

const itemSchema = z.object({
  id: z.string().meta({ description: 'Of a message, or `q-12` of an entry of the quarantine' }),
  need: z.enum(NEEDS).meta({ description: 'Why it needs a person' }),
  since: timeOut.meta({ description: 'When it began to; of a snoozed one, when its time came or comes' }),
  message: summarySchema.nullable(),
  entry: entrySchema.nullable(),
  claim: claimSchema.nullable().meta({ description: 'Who sees to it' }),
  note: z.object({ who: z.string(), text: z.string() }).nullable().meta({ description: 'The newest one' }),
  open: z.array(z.string()).meta({ description: 'Who has it open' }),
});

const filterShape = {
  state: z.enum(['waiting', 'snoozed']).default('waiting'),
  need: z.enum(NEEDS).optional(),
  source: text(63).optional(),
  account: text(512).optional(),
  sort: z.enum(['newest', 'oldest']).optional().meta({ description: 'What comes first; `newest` without it' }),
  claim: z.enum(['mine', 'none']).optional().meta({ description: 'What the caller has claimed; what nobody has' }),
  q: text(200)
    .optional()
    .meta({ description: 'Words of it, or how they begin: subject, sender, text, account, ids, names of attachments' }),
};
const listQuery = z.strictObject({ ...filterShape, limit: limitSchema, cursor: cursorSchema.optional() });
const filterSchema = z.strictObject(filterShape);
/** What a list of the inbox is narrowed by, as it is asked for. */
export type InboxWish = z.infer<typeof filterSchema>;

const asOfSchema = z
  .string()
  .max(40)
  .pipe(z.iso.datetime())
  .meta({ description: 'As `GET /v1/inbox/matching` gave it: what began to wait later is left out' });

const decideBody = z
  .discriminatedUnion('action', [
    z.strictObject({
      action: z.literal('assign'),
      targets: z.array(text(63)).min(1).max(100),
      reason: text(2000).optional(),
    }),
    z.strictObject({ action: z.literal('close'), reason: text(2000) }),
    z.strictObject({ action: z.literal('snooze'), until: timeSchema, reason: text(2000).optional() }),
  ])
  .and(z.object({ filter: filterSchema, asOf: asOfSchema, hold: z.int().min(0).max(3600).default(0) }));

const progressSchema = z.discriminatedUnion('event', [
  z.object({ event: z.literal('progress'), looked: z.int(), done: z.int(), total: z.int() }),
  z.object({ event: z.literal('left'), id: z.string(), why: z.string() }),
  z.object({
    event: z.literal('result'),
    total: z.int(),
    done: z.int(),
    left: z.int().meta({ description: 'Somebody had decided about them meanwhile, or it can’t be done with them' }),
    more: z.boolean().meta({ description: `More than ${MOST_MATCHING} match: ask again` }),
  }),
]);

const countsSchema = z.object({
  waiting: z.int(),
  needs: z.record(z.enum(NEEDS), z.int()).meta({ description: 'How many of each' }),
  snoozed: z.int(),
  oldest: timeOut.nullable(),
  search: z.object({ behind: z.int().meta({ description: 'Messages whose words are not searched yet' }) }),
});

const claimBody = z.strictObject({
  hours: z.int().min(1).max(72).default(4),
  over: z.boolean().default(false).meta({ description: 'Though somebody else has claimed it' }),
});

export function inboxRoutes(deps: InboxDeps): Route[] {
  const { pool } = deps;
  return [
    {
      method: 'get',
      path: '/v1/inbox',
      permission: 'messages.read',
      summary: 'What needs a person: messages that wait, and what is held in quarantine where the caller may read that',
      query: listQuery,
      replies: {
        200: { description: 'A page', schema: pageOf(itemSchema) },
        422: { description: 'No such source' },
      },
      handler: async ({ principal, query }: ApiRequest<unknown, z.infer<typeof listQuery>>) => {
        const { items, next } = await inboxPage(pool, caller(principal), query);
        return { status: 200, body: { items: items.map(itemEntry), next } };
      },
    },
    {
      method: 'get',
      path: '/v1/inbox/counts',
      permission: 'messages.read',
      summary: 'How many need a person, exactly, and how long the oldest has',
      replies: { 200: { description: 'The counts', schema: countsSchema } },
      handler: async ({ principal }: ApiRequest) => {
        const by = caller(principal);
        const { needs, waiting, snoozed } = await countsFor(pool, by);
        const oldest = await oldestFor(pool, by);
        const behind = await searchBehind(pool, by.tenant.id);
        return {
          status: 200,
          body: {
            waiting,
            needs: Object.fromEntries(NEEDS.map((need) => [need, needs.get(need) ?? 0])),
            snoozed,
            oldest: oldest?.toISOString() ?? null,
            search: { behind },
          },
        };
      },
    },
    {
      method: 'get',
      path: '/v1/inbox/matching',
      permission: 'messages.read',
      summary: `How many messages match, counted up to ${MOST_MATCHING}, and up to which moment`,
      query: filterSchema,
      replies: {
        200: {
          description: 'The count',
          schema: z.object({ count: z.int(), more: z.boolean(), asOf: timeOut }),
        },
        422: { description: 'No such source' },
      },
      handler: async ({ principal, query }: ApiRequest<unknown, InboxWish>) => ({
        status: 200,
        body: await matchingNow(pool, caller(principal), query),
      }),
    },
    {
      method: 'post',
      path: '/v1/inbox/decide',
      permission: 'messages.decide',
      summary: 'Decide about all messages that match, one decision each; hang up to stop it',
      body: 'json',
      bodySchema: decideBody,
      replies: {
        200: {
          description: 'Lines while it goes on; the last one is the result. Without it, it was cut off: ask again',
          type: LINES_TYPE,
          schema: progressSchema,
        },
        422: { description: 'No such source or target' },
      },
      handler: async (request: ApiRequest<unknown, unknown, z.infer<typeof decideBody>>) => {
        const by = caller(request.principal);
        const { filter, asOf, ...wish } = request.body;
        if (wish.action === 'snooze') checkUntil(wish.until, deps.now());
        const wanted = messagesOnly({ ...(await filterOf(pool, by, filter)), asOf });
        return lines(deps, request, decideAll(deps, by, wanted, wish));
      },
    },
    {
      method: 'post',
      path: '/v1/messages/:id/claim',
      permission: 'messages.decide',
      summary: 'Say that you see to it; others see that, and can decide about it all the same',
      params: messageParams,
      body: 'json',
      bodySchema: claimBody,
      replies: {
        200: { description: 'Yours', schema: claimSchema },
        409: { description: 'Somebody else has (`claimed`), or it waits for nobody (`wrong_state`)' },
      },
      handler: async ({ principal, params, body }: ApiRequest<{ id: Place }, unknown, z.infer<typeof claimBody>>) => ({
        status: 200,
        body: claimEntry(await claimFor(deps, caller(principal), params.id, body)),
      }),
    },
    {
      method: 'post',
      path: '/v1/messages/:id/unclaim',
      permission: 'messages.decide',
      summary: 'You don’t see to it after all',
      params: messageParams,
      replies: { 204: { description: 'Not yours' } },
      handler: async ({ principal, params }: ApiRequest<{ id: Place }>) => {
        await unclaimFor(deps, caller(principal), params.id);
        return { status: 204 };
      },
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/claim',
      permission: 'quarantine.decide',
      summary: 'Say that you see to an entry; others see that, and can decide about it all the same',
      params: quarantineParams,
      body: 'json',
      bodySchema: claimBody,
      replies: {
        200: { description: 'Yours', schema: claimSchema },
        409: { description: 'Somebody else has (`claimed`), or it is not held (`wrong_state`)' },
      },
      handler: async ({ principal, params, body }: ApiRequest<{ id: number }, unknown, z.infer<typeof claimBody>>) => ({
        status: 200,
        body: claimEntry(await claimFor(deps, caller(principal), entryPlace(params.id), body)),
      }),
    },
    {
      method: 'post',
      path: '/v1/quarantine/:id/unclaim',
      permission: 'quarantine.decide',
      summary: 'You don’t see to it after all',
      params: quarantineParams,
      replies: { 204: { description: 'Not yours' } },
      handler: async ({ principal, params }: ApiRequest<{ id: number }>) => {
        await unclaimFor(deps, caller(principal), entryPlace(params.id));
        return { status: 204 };
      },
    },
  ];
}

/** Claims a message, or an entry of the quarantine. Throws Problem: 409. */
export async function claimFor(
  { pool, notices }: Pick<InboxDeps, 'pool' | 'notices'>,
  { tenant, who }: Principal,
  place: Place,
  wish: { readonly hours: number; readonly over: boolean },
): Promise<Claim> {
  const made = await claim(pool, tenant.id, place, who, wish);
  if (!made) throw await notWaiting(pool, tenant.id, place);
  if (made.who !== who) {
    const until = made.until.toISOString();
    throw new Problem(
      409,
      'claimed',
      `${made.who} sees to it until ${until}. You can decide about it all the same, or claim it \`over\` them.`,
      {
        who: made.who,
        until,
      },
    );
  }
  notices.publish(tenant.id, [itemId(place)]);
  return made;
}

async function notWaiting(pool: Pool, tenant: number, place: Place): Promise<Problem> {
  if (!(await isThere(pool, tenant, place))) return notFound(whatIs(place));
  return new Problem(409, 'wrong_state', 'It waits for nobody: only what is in the inbox can be claimed.');
}

/** Gives a claim up, where it is the caller's. Throws Problem 404. */
export async function unclaimFor(
  { pool, notices }: Pick<InboxDeps, 'pool' | 'notices'>,
  { tenant, who }: Principal,
  place: Place,
): Promise<void> {
  if (!(await isThere(pool, tenant.id, place))) throw notFound(whatIs(place));
  await unclaim(pool, tenant.id, place, who);
  notices.publish(tenant.id, [itemId(place)]);
}

function whatIs({ channel }: Place): string {
  return channel === NO_CHANNEL ? 'entry of the quarantine' : 'message';
}

async function isThere(pool: Pool, tenant: number, place: Place): Promise<boolean> {
  if (place.channel !== NO_CHANNEL) return wasGiven(pool, tenant, place);
  return (await findQuarantined(pool, tenant, place.sequence)) !== undefined;
}

/** Of what stands in the list: a message, or an entry of the quarantine. */
export function itemId(place: Place): string {
  return place.channel === NO_CHANNEL ? quarantineId(place.sequence) : messageId(place);
}

/** A thing in the list with what people say of it. */
export type Listed = InboxItem & {
  readonly id: string;
  readonly claim: Claim | null;
  readonly note: { readonly who: string; readonly note: string } | null;
  readonly open: readonly string[];
};

export interface ListedInbox {
  readonly items: readonly Listed[];
  /** Cursor of the next page. */
  readonly next: string | null;
}

const markSchema = z.object({
  since: z.iso.datetime(),
  channel: z.int().min(-1).max(1023),
  sequence: z.int().min(1),
});

/** A page of the inbox, as `GET /v1/inbox` gives it. Throws Problem for names and cursors that are none. */
export async function inboxPage(
  pool: Pool,
  by: Principal,
  { limit, cursor, ...wish }: InboxWish & { readonly limit: number; readonly cursor?: string | undefined },
): Promise<ListedInbox> {
  const tenant = by.tenant.id;
  const before = cursor === undefined ? null : readCursor('inbox', cursor, markSchema);
  const { items, next } = await listInbox(pool, tenant, await filterOf(pool, by, wish), limit, before);
  const places = items.map(({ message, entry }) => message ?? entryPlace(entry.number));
  const [claims, notes, open] = await Promise.all([
    claimsOf(pool, tenant, places),
    newestNotes(pool, tenant, places),
    presences(pool, tenant),
  ]);
  const of = <T extends Place>(all: readonly T[], id: string) => all.filter((one) => itemId(one) === id);
  return {
    items: items.map((item) => {
      const id = item.message ? messageId(item.message) : quarantineId(item.entry?.number ?? 0);
      return {
        ...item,
        id,
        claim: of(claims, id)[0] ?? null,
        note: of(notes, id)[0] ?? null,
        open: of(open, id).map(({ who }) => who),
      };
    }),
    next: next && writeCursor('inbox', next),
  };
}

/** What the storage is asked. Throws Problem 422 for a source that is none. */
export async function filterOf(pool: Pool, by: Principal, wish: InboxWish): Promise<InboxFilter> {
  const { state, sort, need, source, account, claim: claimed, q } = wish;
  const words = q === undefined ? undefined : wordsOf(q, MOST_WORDS_ASKED);
  // Without a letter or a digit it asks for nothing that anything has.
  const wanted = words?.length === 0 ? [] : visibleNeeds(by);
  return {
    which: state,
    first: sort,
    needs: wanted.filter((one) => need === undefined || one === need),
    source: source === undefined ? undefined : await sourceNamed(pool, by.tenant.id, source),
    account,
    claim: claimed === 'mine' ? { who: by.who } : claimed,
    words,
  };
}

const MOST_WORDS_ASKED = 8;

/** Who may not see the quarantine sees the messages. */
function visibleNeeds({ permissions }: Principal): readonly Need[] {
  return permissions.has('quarantine.read') ? NEEDS : ['unrouted'];
}

async function sourceNamed(pool: Pool, tenant: number, name: string): Promise<number> {
  const ids = await idsByName(pool, tenant, 'source', 'all');
  const id = ids.get(name);
  if (id === undefined) throw unknownName('source', name, [...ids.keys()]);
  return id;
}

/** What the caller may see of how many there are. */
export async function countsFor(pool: Pool, by: Principal) {
  const visible = visibleNeeds(by);
  const { waiting, snoozed } = await inboxCounts(pool, by.tenant.id);
  const needs = new Map([...waiting].filter(([need]) => visible.includes(need)));
  return { needs, waiting: [...needs.values()].reduce((all, one) => all + one, 0), snoozed };
}

/** When the oldest that the caller may see began to need somebody. */
export function oldestFor(pool: Pool, by: Principal): Promise<Date | null> {
  return oldestWaiting(pool, by.tenant.id, visibleNeeds(by).length > 1);
}

/** How many messages match now. */
export async function matchingNow(
  pool: Pool,
  by: Principal,
  wish: InboxWish,
): Promise<{ readonly count: number; readonly more: boolean; readonly asOf: string }> {
  // By the clock that says since when something waits.
  const asOf = new Date(Math.ceil(await databaseTime(pool))).toISOString();
  const filter = messagesOnly({ ...(await filterOf(pool, by, wish)), asOf });
  const sum = { count: 0, more: false };
  for await (const { places, more } of allInInbox(pool, by.tenant.id, filter)) {
    sum.count += places.length;
    sum.more = more;
  }
  return { ...sum, asOf };
}

/** Entries of the quarantine are decided about there. */
export function messagesOnly(filter: InboxFilter): InboxFilter {
  return { ...filter, needs: filter.needs?.filter((need) => need === 'unrouted') };
}

function claimEntry({ who, since, until }: Claim): z.infer<typeof claimSchema> {
  return { who, since: since.toISOString(), until: until.toISOString() };
}

function itemEntry({
  id,
  need,
  since,
  message,
  entry,
  claim: claimed,
  note,
  open,
}: Listed): z.input<typeof itemSchema> {
  return {
    id,
    need,
    since: since.toISOString(),
    message: message && summaryEntry(message),
    entry: entry && quarantineEntry(entry),
    claim: claimed && claimEntry(claimed),
    note: note && { who: note.who, text: note.note },
    open: [...open],
  };
}
