import { stringify } from 'lossless-json';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { keyWords } from '../src/channel/key-words.js';
import { accountHash, channelOf } from '../src/channel/partition.js';
import { isPseudonym } from '../src/channel/pseudonym.js';
import type { Extractor } from '../src/content/extract/extract.js';
import { type FieldNames, unknownTo } from '../src/delivery/fields.js';
import { deciderText } from '../src/delivery/plan.js';
import type { Found } from '../src/message/found.js';
import { messageId, type Place, quarantineId } from '../src/message/id.js';
import type { CanonicalMessage, StoredMessage } from '../src/message/message.js';
import { EMPTY_VIEW, type View } from '../src/message/view.js';
import { canonicalMessage } from '../src/routing/canonical.js';
import { type Explanation, explaining } from '../src/routing/explain.js';
import { decisionsOf } from '../src/storage/decisions.js';
import { getSource, listTargets } from '../src/storage/definitions.js';
import { deliveriesOfMessage, type PlannedRun } from '../src/storage/deliveries-read.js';
import { listInbox } from '../src/storage/inbox.js';
import {
  findMessage,
  listMessages,
  type MessageFilter,
  type MessageSummary,
  summary,
} from '../src/storage/messages.js';
import { idsByName } from '../src/storage/names.js';
import { getRuleSet } from '../src/storage/rule-sets.js';
import { type HeldCopy, type Story, storyOf } from '../src/storage/story.js';
import { placeInThread } from '../src/storage/threads-read.js';
import { automaticExplained, automaticSchema } from './automatic.js';
import { positionsSchema, readCursor, writeCursor, writePositions } from './cursor.js';
import {
  decisionEntry,
  decisionSchema,
  deliveryEntry,
  deliverySchema,
  MESSAGE_STATES,
  summaryEntry,
  summarySchema,
} from './entries.js';
import { cursorSchema, digits, limitSchema, messageParams, pageOf, text, timeSchema } from './fields.js';
import { caller, contentErased, contentGone, notFound, unknownName } from './problem.js';
import type { ApiRequest, Reply, Route } from './route.js';
import type { RuleReading } from './rule-reading.js';
import { threadPlaceSchema, threadStory } from './threads.js';
import { Turns } from './turns.js';

/** Bytes of one part of a mail. */
export interface PartContent {
  readonly name: string | null;
  /** Media type as the message states it. */
  readonly type: string;
  readonly bytes: Uint8Array;
}

export interface MessageDeps {
  readonly pool: Pool;
  /** Our own host name, which no Authentication-Results of others may carry. */
  readonly hostname: string;
  /** Reads an event or a webhook in place; null where its body can't be read. Mail has its view stored. */
  readonly contentOf: (message: StoredMessage) => Promise<View | null>;
  /** Texts of rules are read by a thread of their own. */
  readonly rules: RuleReading;
  /** What a message's source looks for in it. */
  readonly extractorsOf: (message: StoredMessage) => readonly Extractor[];
  /** A part of a mail by its number in the view; undefined where there is none. */
  readonly partOf: (message: StoredMessage, view: View, n: number) => Promise<PartContent | undefined>;
}

const foundSchema = z.object({
  type: z.string(),
  value: z.string().meta({ description: 'In the one spelling of its type; as written where that is unclear' }),
  written: z.string(),
  where: z.string(),
  currency: z.string().optional().meta({ description: 'Of an amount' }),
  unclear: z.literal(true).optional().meta({ description: 'It may mean several things' }),
});

const detailSchema = summarySchema.extend({
  sha256: z.string(),
  peer: z.string(),
  envelope: z.record(z.string(), z.unknown()).meta({ description: 'What the transport said' }),
  view: z
    .record(z.string(), z.unknown())
    .nullable()
    .meta({ description: 'What could be read of it; null until it has been' }),
  found: z.array(foundSchema).meta({ description: 'Structured data, by what its source looks for' }),
  unmapped: z
    .array(z.object({ target: z.string(), type: z.string(), count: z.int() }))
    .meta({ description: 'What was found and a target that names `fields` does not know' }),
  decisions: z.array(decisionSchema).meta({ description: 'Of people; the first is the rules’ and is under /explain' }),
  deliveries: z.array(deliverySchema),
  thread: threadPlaceSchema,
});

const listQuery = z.strictObject({
  state: z.enum(MESSAGE_STATES).optional(),
  channel: digits(0, 1023).optional(),
  account: text(512).optional(),
  source: text(63).optional(),
  type: text(512).optional(),
  target: text(63).optional(),
  q: text(200).optional().meta({
    description:
      'Words, or how they begin: of subject, sender, text, account, ids, names of attachments. Of what is not searched for its words, part of account, type, external id or subject',
  }),
  after: timeSchema.optional().meta({ description: 'Received then or later' }),
  before: timeSchema.optional().meta({ description: 'Received before' }),
  limit: limitSchema,
  cursor: cursorSchema.optional(),
});
export type MessageQuery = z.infer<typeof listQuery>;

const explanationSchema = z.object({
  message: z.string(),
  accepted: z.record(z.string(), z.unknown()).meta({
    description:
      'When, from whom, over which TLS, how large; verdict, place, and the key that tells it apart, in words',
  }),
  held: z.array(z.record(z.string(), z.unknown())).meta({
    description: 'In quarantine: itself, and what came later with its key and other content. Mere repeats leave no row',
  }),
  setAside: z.array(z.record(z.string(), z.unknown())).meta({ description: 'What its rung leaves out, and why' }),
  state: z.string(),
  version: z.int(),
  content: z.array(z.record(z.string(), z.unknown())).meta({ description: 'Tries of reading it' }),
  plans: z.array(z.record(z.string(), z.unknown())).meta({ description: 'What was planned of it, oldest first' }),
  rules: z
    .record(z.string(), z.unknown())
    .nullable()
    .meta({ description: 'Every rule that was asked, every clause, and the actual value' }),
  automatic: automaticSchema
    .nullable()
    .meta({ description: 'Where no rule matched: the probabilities that were looked at, and the words that counted' }),
  thread: z.record(z.string(), z.unknown()).nullable().meta({
    description: 'Its conversation: which message it followed, what it was compared with, what was new',
  }),
  decisions: z.array(decisionSchema),
  deliveries: z
    .array(deliverySchema.extend({ tries: z.array(z.record(z.string(), z.unknown())) }))
    .meta({ description: 'The newest 50, with their tries' }),
  olderDeliveries: z.int().meta({ description: 'How many more there are' }),
});

export function messageRoutes(deps: MessageDeps): Route[] {
  const gone = {
    description: 'Its content is older than what is kept (`content_gone`), or was erased (`content_erased`)',
  };
  return [
    {
      method: 'get',
      path: '/v1/messages',
      permission: 'messages.read',
      summary: 'Messages, newest first; what waits or is snoozed by when it began to, if nothing else is asked for',
      query: listQuery,
      replies: {
        200: { description: 'A page', schema: pageOf(summarySchema) },
        422: { description: 'No such source or target' },
      },
      handler: async ({ principal, query }: ApiRequest<unknown, MessageQuery>) => {
        const { messages, next } = await messagePage(deps, caller(principal), query);
        return { status: 200, body: { items: messages.map(summaryEntry), next } };
      },
    },
    {
      method: 'get',
      path: '/v1/messages/:id',
      permission: 'messages.read',
      summary: 'One message: where it stands, what could be read of it, its decisions and deliveries',
      params: messageParams,
      replies: { 200: { description: 'The message', schema: detailSchema }, 410: gone },
      handler: async ({ principal, params }: ApiRequest<{ id: Place }>) => {
        const read = await readMessage(deps, caller(principal), params.id);
        const { message, view, standing, envelope, canonical } = read;
        const tenant = caller(principal).tenant.id;
        const names = await targetNames(deps.pool, tenant);
        const decisions = await decisionsOf(deps.pool, tenant, params.id);
        const deliveries = await deliveriesOfMessage(deps.pool, tenant, params.id);
        const knowing = await knowingTargets(deps.pool, tenant, canonical.found);
        return json({
          ...summaryEntry(standing),
          sha256: Buffer.from(message.sha256).toString('hex'),
          peer: message.peer,
          envelope,
          view,
          found: canonical.found,
          unmapped: knowing.flatMap(({ name, unknown }) => unknown.map((one) => ({ target: name, ...one }))),
          decisions: decisions.map((one) => decisionEntry(one, names)),
          deliveries: deliveries.map(deliveryEntry),
          thread: await placeInThread(deps.pool, tenant, params.id),
        });
      },
    },
    {
      method: 'get',
      path: '/v1/messages/:id/raw',
      permission: 'messages.read',
      summary: 'Its bytes, as they came',
      params: messageParams,
      replies: { 200: { description: 'The bytes', type: 'application/octet-stream' }, 410: gone },
      handler: async ({ principal, params }: ApiRequest<{ id: Place }>) => {
        const { message } = await storedMessage(deps.pool, caller(principal).tenant.id, params.id);
        return rawReply(message.kind === 'mail', message.raw, messageId(params.id));
      },
    },
    {
      method: 'get',
      path: '/v1/messages/:id/parts/:n',
      permission: 'messages.read',
      summary: 'A part of a mail, for example an attachment',
      params: messageParams.extend({ n: digits(1, 10_000) }),
      replies: { 200: { description: 'The bytes', type: 'application/octet-stream' }, 410: gone },
      handler: async ({ principal, params }: ApiRequest<{ id: Place; n: number }>) => {
        const { message, view } = await storedMessage(deps.pool, caller(principal).tenant.id, params.id);
        const part = view && (await deps.partOf(message, view, params.n));
        if (!part) throw notFound('part');
        return download(part.bytes, safeType(part.type), part.name ?? `${messageId(params.id)}-${params.n}`);
      },
    },
    {
      method: 'get',
      path: '/v1/messages/:id/explain',
      permission: 'messages.read',
      summary: 'Its whole story: verdict, tries, plans, every rule and clause, decisions, deliveries with their tries',
      params: messageParams,
      replies: { 200: { description: 'The story', schema: explanationSchema }, 410: gone },
      handler: async ({ principal, params }: ApiRequest<{ id: Place }>) =>
        json(await explanationOf(deps, caller(principal), params.id)),
    },
  ];
}

/** JSON with every digit of the numbers that a message brought. */
export function json(body: unknown): Reply {
  return { status: 200, type: 'application/json', body: stringify(body) ?? 'null' };
}

export interface ListedMessages {
  readonly messages: readonly MessageSummary[];
  /** Cursor of the next page. */
  readonly next: string | null;
}

/** A page of messages, as `GET /v1/messages` gives it. Throws Problem for names and cursors that are none. */
export async function messagePage(
  { pool }: Pick<MessageDeps, 'pool'>,
  { tenant }: Principal,
  query: MessageQuery,
): Promise<ListedMessages> {
  const { limit, cursor, source, target, ...rest } = query;
  const narrowed = [
    source,
    target,
    ...Object.entries(rest)
      .filter(([key]) => key !== 'state')
      .map(([, value]) => value),
  ];
  if ((query.state === 'waiting' || query.state === 'snoozed') && narrowed.every((one) => one === undefined)) {
    return inboxPage(pool, tenant.id, query.state, limit, cursor);
  }
  const filter: MessageFilter = {
    ...rest,
    source: await idOf(pool, tenant.id, 'source', source),
    target: await idOf(pool, tenant.id, 'target', target),
  };
  const from = cursor === undefined ? undefined : readCursor('messages', cursor, positionsSchema);
  const page = await listMessages(pool, tenant.id, channelsOf(tenant.channels, query), filter, limit, from);
  return {
    messages: page.messages,
    next: page.next.size === 0 ? null : writeCursor('messages', writePositions(page.next)),
  };
}

/** An account has one channel, so a list of its messages looks at that one alone. Of one that was erased nobody knows which. */
function channelsOf(channels: number, { channel, account }: MessageQuery): number[] {
  const all = Array.from({ length: channels }, (_, n) => n);
  const own = account === undefined || isPseudonym(account) ? undefined : channelOf(accountHash(account), channels);
  return all.filter((n) => (channel === undefined || n === channel) && (own === undefined || n === own));
}

const inboxMark = z.object({ since: z.iso.datetime(), channel: z.int().min(0).max(1023), sequence: z.int().min(1) });

async function inboxPage(
  pool: Pool,
  tenant: number,
  which: 'waiting' | 'snoozed',
  limit: number,
  cursor: string | undefined,
): Promise<ListedMessages> {
  const before = cursor === undefined ? null : readCursor(which, cursor, inboxMark);
  const { items, next } = await listInbox(pool, tenant, { which, needs: ['unrouted'] }, limit, before);
  return { messages: items.flatMap(({ message }) => message ?? []), next: next && writeCursor(which, next) };
}

async function idOf(
  pool: Pool,
  tenant: number,
  table: 'source' | 'target',
  name: string | undefined,
): Promise<number | undefined> {
  if (name === undefined) return undefined;
  const ids = await idsByName(pool, tenant, table, 'all');
  const id = ids.get(name);
  if (id === undefined) throw unknownName(table, name, [...ids.keys()]);
  return id;
}

/** A target that knows types of found data: by its own names for them, and what of a message it does not know. */
export interface KnowingTarget {
  readonly name: string;
  readonly fields: FieldNames;
  readonly unknown: ReturnType<typeof unknownTo>;
}

/** The targets that name `fields`; none where nothing was found. */
export async function knowingTargets(pool: Pool, tenant: number, found: readonly Found[]): Promise<KnowingTarget[]> {
  if (found.length === 0) return [];
  const targets = await listTargets(pool, tenant);
  return targets.flatMap(({ name, definition: { fields } }) =>
    fields ? [{ name, fields, unknown: unknownTo(fields, found) }] : [],
  );
}

/** Names of a tenant's targets by id, removed ones too. */
export async function targetNames(pool: Pool, tenant: number): Promise<Map<number, string>> {
  return new Map([...(await idsByName(pool, tenant, 'target', 'all'))].map(([name, id]) => [id, name]));
}

async function storedMessage(pool: Pool, tenant: number, place: Place) {
  const found = await findMessage(pool, tenant, place);
  if (found === undefined) throw notFound('message');
  if (found === 'gone') throw contentGone();
  if (found === 'erased') throw contentErased();
  return found;
}

export interface ReadMessage {
  readonly message: StoredMessage;
  readonly standing: MessageSummary;
  /** Null while nothing of it could be read. */
  readonly view: View | null;
  readonly envelope: Readonly<Record<string, unknown>>;
  /** As rules and targets see it; with nothing in it while nothing could be read. */
  readonly canonical: CanonicalMessage;
}

/** A message with what can be read of it, headers that pretend to be ours renamed. Throws Problem: 404, 410. */
export async function readMessage(deps: MessageDeps, { tenant }: Principal, place: Place): Promise<ReadMessage> {
  const { message, view } = await storedMessage(deps.pool, tenant.id, place);
  const standing = await summary(deps.pool, tenant.id, place);
  if (!standing) throw contentGone();
  const read = message.kind === 'mail' ? view : await deps.contentOf(message);
  const names = {
    tenant: tenant.name,
    source: standing.source,
    hostname: deps.hostname,
    extractors: deps.extractorsOf(message),
  };
  const canonical = canonicalMessage(message, names, read ?? EMPTY_VIEW);
  return { message, standing, view: read && canonical.view, envelope: canonical.envelope, canonical };
}

/** Bytes as they came: nothing a browser would show, whatever they are. */
export function rawReply(mail: boolean, raw: Uint8Array, id: string): Reply {
  return mail ? download(raw, 'message/rfc822', `${id}.eml`) : download(raw, 'application/octet-stream', `${id}.json`);
}

/** A stated media type, or bytes where what is stated could do harm in a header or is no type. */
function safeType(type: string): string {
  return /^[a-z0-9][a-z0-9.+-]{0,63}\/[a-z0-9][a-z0-9.+-]{0,63}$/i.test(type) ? type : 'application/octet-stream';
}

function download(bytes: Uint8Array, type: string, name: string): Reply {
  const ascii = name.replace(/[^\x20-\x7e]|["\\/]/g, '_').slice(0, 150);
  const exact = encodeURIComponent(name.toWellFormed().slice(0, 150)).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return {
    status: 200,
    type,
    body: bytes,
    headers: {
      'content-disposition': `attachment; filename="${ascii}"; filename*=UTF-8''${exact}`,
      // Should it be shown after all, it may run nothing and load nothing.
      'content-security-policy': "sandbox; default-src 'none'",
    },
  };
}

/** The whole story of a message, as `/explain` gives it. Throws Problem: 404, 410. */
async function explanationOf(
  deps: MessageDeps,
  principal: Principal,
  place: Place,
): Promise<z.input<typeof explanationSchema>> {
  const read = await readMessage(deps, principal, place);
  const { message, standing } = read;
  const { tenant } = principal;
  const story = await storyOf(deps.pool, tenant.id, place);
  const names = await targetNames(deps.pool, tenant.id);
  const { tls } = read.envelope;
  return {
    message: messageId(place),
    accepted: {
      verdict: 'sequenced',
      key: await keyOf(deps, principal, read),
      channel: place.channel,
      sequence: place.sequence,
      source: standing.source,
      kind: message.kind,
      account: message.account,
      received: standing.received.toISOString(),
      peer: message.peer,
      tls: tls ?? null,
      size: standing.size,
      sha256: Buffer.from(message.sha256).toString('hex'),
    },
    held: story.held.map((one) => heldEntry(one)),
    setAside: read.view?.setAside.map((one) => ({ ...one })) ?? [],
    state: standing.state,
    version: standing.version,
    content: story.content.map((one) => ({ ...one })),
    plans: story.plans.map((one) => planEntry(one, place.sequence, names)),
    rules: await rulesExplained(deps, principal, read, story),
    automatic: await automaticExplained(deps, principal, read, story, names),
    thread: await threadOf(deps.pool, tenant.id, place, story, names),
    decisions: story.decisions.map((one) => decisionEntry(one, names)),
    deliveries: story.deliveries.map((one) => ({
      ...deliveryEntry(one),
      tries: one.tries.map((each) => ({ ...each })),
    })),
    olderDeliveries: story.olderDeliveries,
  };
}

/** What tells a message apart, in words; null where its source is gone. */
export async function keyOf(
  { pool }: Pick<MessageDeps, 'pool'>,
  { tenant }: Principal,
  { message, standing, envelope }: ReadMessage,
): Promise<string | null> {
  const source = await getSource(pool, tenant.id, standing.source);
  return keyWords(message, envelope, source?.definition ?? null);
}

function heldEntry({ number, first, last, ...rest }: HeldCopy) {
  return { id: quarantineId(number), ...rest, first: first.toISOString(), last: last.toISOString() };
}

async function threadOf(
  pool: Pool,
  tenant: number,
  place: Place,
  { plans }: Story,
  names: ReadonlyMap<number, string>,
): Promise<Record<string, unknown> | null> {
  const story = await threadStory(pool, tenant, place, plans, names);
  return story && { ...story };
}

function planEntry({ plan, plannedAt, run }: PlannedRun, sequence: number, names: ReadonlyMap<number, string>) {
  return {
    plan,
    at: plannedAt.toISOString(),
    did: run.m,
    by: deciderText(run.d),
    rung: run.r,
    targets: run.t.map(([target, first, how]) => ({
      target: names.get(target) ?? String(target),
      number: first + sequence - run.s,
      sent: how,
      ...(run.u?.[target] && { updated: run.u[target] }),
    })),
    late: run.late ?? false,
    replay: run.replay ?? false,
    portion: run.p ?? null,
    why: run.why ?? null,
  };
}

/** An explanation, and the version of the rule set that is explained. */
export type ExplainedRules = { readonly [K in keyof Explanation]: Explanation[K] } & { readonly version: number };

/** The rules that decided, asked once more of what is read now; null where none did. */
export async function rulesExplained(
  deps: Pick<MessageDeps, 'pool' | 'rules'>,
  { tenant }: Principal,
  { view, canonical }: ReadMessage,
  { plans }: Pick<Story, 'plans'>,
): Promise<ExplainedRules | null> {
  // Where a conversation or a probability decided, rules had been asked before: the set says which.
  const versions = plans.map(({ run }) => (run.d.by === 'person' ? 0 : run.d.set)).filter((set) => set > 0);
  const version = versions.at(-1);
  const stored = version === undefined ? undefined : await getRuleSet(deps.pool, tenant.id, version);
  const read = stored && view && (await deps.rules.compile(tenant.id, stored.text));
  if (version === undefined || !read?.ok) return null;
  return { version, ...(await new Turns().run(explaining(read.compiled, canonical))) };
}
