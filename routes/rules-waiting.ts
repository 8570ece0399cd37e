import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import type { Outcome } from '../src/message/decision.js';
import { messageId, type Place } from '../src/message/id.js';
import type { StoredMessage } from '../src/message/message.js';
import { type Address, EMPTY_VIEW } from '../src/message/view.js';
import { canonicalMessage } from '../src/routing/canonical.js';
import type { CompiledRules } from '../src/routing/compile.js';
import { deciding } from '../src/routing/decide.js';
import type { InboxMark } from '../src/storage/inbox.js';
import { activeRuleSet } from '../src/storage/rule-sets.js';
import { listWaiting, readWaiting, type WaitingMessage } from '../src/storage/waiting.js';
import { readCursor, writeCursor } from './cursor.js';
import { cursorSchema, digits, pageOf } from './fields.js';
import type { MessageDeps } from './messages.js';
import { caller } from './problem.js';
import type { ApiRequest, Route } from './route.js';
import { Turns } from './turns.js';

/**
 * A message that waits for a person and that the rules in force would decide about, if it came in now. Without its content:
 * thousands of them are held together.
 */
export interface WaitingMatch
  extends Place,
    Pick<StoredMessage, 'kind' | 'type' | 'account' | 'externalId' | 'arrivedAt'> {
  /** Of its last decision: what a person decides with. */
  readonly version: number;
  readonly source: string;
  readonly subject: string | null;
  /** The first of those it is from. */
  readonly from: readonly Address[];
  readonly outcome: Exclude<Outcome, { readonly do: 'wait' }>;
  /** The rules that would decide. */
  readonly rules: readonly string[];
}

export interface WaitingMatches {
  /** Of the rules that were asked; null where none are in force. */
  readonly version: number | null;
  readonly matches: readonly WaitingMatch[];
  /** How many waiting messages were asked about. */
  readonly looked: number;
  /** Cursor to look on with; null when all have been. */
  readonly next: string | null;
}

/** Messages read at once, and the most that are looked through for one answer. */
const STEP = 100;
const MOST_LOOKED = 2_000;

const inboxMark = z.object({ since: z.iso.datetime(), channel: z.int().min(0).max(1023), sequence: z.int().min(1) });

/** What waits and would match now, newest first: up to some more than `limit`. Throws Problem for cursors that are none. */
export async function waitingMatches(
  deps: MessageDeps,
  { tenant }: Principal,
  {
    cursor,
    limit,
    most = MOST_LOOKED,
  }: { readonly cursor?: string | undefined; readonly limit: number; readonly most?: number },
): Promise<WaitingMatches> {
  const before = cursor === undefined ? null : readCursor('rules-waiting', cursor, inboxMark);
  const rules = await compiledRules(deps, tenant.id);
  if (!rules) return { version: null, matches: [], looked: 0, next: null };
  const matches: WaitingMatch[] = [];
  let looked = 0;
  let mark: InboxMark | null = before;
  do {
    const page = await listWaiting(deps.pool, tenant.id, STEP, mark);
    matches.push(...(await matchesOf(deps, tenant.name, rules.compiled, page.messages)));
    looked += page.looked;
    mark = page.next;
  } while (mark && matches.length < limit && looked < most);
  return { version: rules.version, matches, looked, next: mark && writeCursor('rules-waiting', mark) };
}

/** The same of messages that somebody has chosen, whatever became of them since: who decides is told. */
export async function matchesAt(
  deps: MessageDeps,
  { tenant }: Principal,
  places: readonly Place[],
): Promise<Pick<WaitingMatches, 'version' | 'matches'>> {
  const rules = await compiledRules(deps, tenant.id);
  if (!rules) return { version: null, matches: [] };
  const matches: WaitingMatch[] = [];
  for (let rest = places; rest.length > 0; ) {
    const { messages, read } = await readWaiting(deps.pool, tenant.id, rest);
    matches.push(...(await matchesOf(deps, tenant.name, rules.compiled, messages)));
    rest = rest.slice(read);
  }
  return { version: rules.version, matches };
}

async function compiledRules(
  { pool, rules }: MessageDeps,
  tenant: number,
): Promise<{ readonly version: number; readonly compiled: CompiledRules } | undefined> {
  const active = await activeRuleSet(pool, tenant);
  if (!active) return undefined;
  const read = await rules.compile(tenant, active.text);
  return read.ok ? { version: active.version, compiled: read.compiled } : undefined;
}

async function matchesOf(
  deps: MessageDeps,
  tenant: string,
  compiled: CompiledRules,
  messages: readonly WaitingMessage[],
): Promise<WaitingMatch[]> {
  const matches: WaitingMatch[] = [];
  const turns = new Turns();
  for (const waiting of messages) {
    const match = await matchOf(deps, tenant, compiled, waiting, turns);
    if (match) matches.push(match);
  }
  return matches;
}

async function matchOf(
  deps: MessageDeps,
  tenant: string,
  compiled: CompiledRules,
  { message, source, view, version }: WaitingMessage,
  turns: Turns,
): Promise<WaitingMatch | undefined> {
  const read = (message.kind === 'mail' ? view : await deps.contentOf(message)) ?? EMPTY_VIEW;
  const names = { tenant, source, hostname: deps.hostname, extractors: deps.extractorsOf(message) };
  const canonical = canonicalMessage(message, names, read);
  const { outcome, rules } = await turns.run(deciding(compiled, canonical));
  if (outcome.do === 'wait') return undefined;
  const { channel, sequence, kind, type, account, externalId, arrivedAt } = message;
  const shown = { kind, type, account, externalId, arrivedAt, subject: read.subject, from: read.from.slice(0, 1) };
  return { channel, sequence, version, source, ...shown, outcome, rules };
}

/** What a person's decision says who follows the rules in force. */
export function reasonOf(version: number | null, { rules, outcome }: Pick<WaitingMatch, 'rules' | 'outcome'>): string {
  return outcome.do === 'close' ? outcome.reason : `as ${rules.join(', ')} of rule set ${version} says`;
}

const matchSchema = z.object({
  message: z.string(),
  version: z.int().meta({ description: 'Of the message: what to decide with' }),
  outcome: z
    .record(z.string(), z.unknown())
    .meta({ description: '`deliver` with `targets`, or `close` with `reason`' }),
  rules: z.array(z.string()),
  reason: z.string().meta({ description: 'To decide with' }),
});
const matchesSchema = pageOf(matchSchema).extend({
  rules: z.int().nullable().meta({ description: 'Version of the rules that were asked' }),
  looked: z.int().meta({ description: 'How many waiting messages were asked about' }),
});
const listQuery = z.strictObject({ limit: digits(1, 200).default(50), cursor: cursorSchema.optional() });

export function waitingRuleRoutes(deps: MessageDeps): Route[] {
  return [
    {
      method: 'get',
      path: '/v1/rules/waiting',
      permission: 'messages.read',
      summary: 'What waits for a person and would match the rules in force, with what each would get; nothing is done',
      query: listQuery,
      replies: { 200: { description: 'A page, short or a little longer than its limit', schema: matchesSchema } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.infer<typeof listQuery>>) => {
        const { version, matches, looked, next } = await waitingMatches(deps, caller(principal), query);
        const items = matches.map((one) => matchEntry(version, one));
        return { status: 200, body: { items, next, rules: version, looked } };
      },
    },
  ];
}

function matchEntry(rulesVersion: number | null, match: WaitingMatch): z.input<typeof matchSchema> {
  const { version, outcome, rules } = match;
  return {
    message: messageId(match),
    version,
    outcome: { ...outcome },
    rules: [...rules],
    reason: reasonOf(rulesVersion, match),
  };
}
