import type { IncomingHttpHeaders } from 'node:http';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { messageId, type Place } from '../src/message/id.js';
import type { Portion } from '../src/message/portion.js';
import type { Action } from '../src/routing/person.js';
import { type Decided, type DecisionEntry, decide } from '../src/storage/decisions.js';
import { wasGiven } from '../src/storage/messages.js';
import { idsByName } from '../src/storage/names.js';
import { decisionEntry, decisionSchema } from './entries.js';
import { messageParams, text, timeSchema } from './fields.js';
import type { MessageDeps } from './messages.js';
import type { Notices } from './notices.js';
import { checkPortion, portionFields, portionOf } from './portion.js';
import { caller, contentErased, contentGone, notFound, unknownName } from './problem.js';
import { type ApiRequest, Problem, type Reply, type Route } from './route.js';

export interface DecisionDeps extends MessageDeps {
  readonly notices: Notices;
  /** Tells the channel's owner, in whatever process, that a decision waits for it. Best effort: it looks by itself too. */
  readonly wake: (tenant: number, channel: number) => void;
}

/** What a person asks for, targets by name. */
export interface Request {
  readonly action: Action;
  readonly version: number | null;
  readonly targets?: readonly string[] | undefined;
  /** Only this of the message, null for all of it; undefined means all to be assigned, and what each target had again. */
  readonly portion?: Portion | null | undefined;
  readonly reason?: string | undefined;
  readonly until?: Date | undefined;
  /** Seconds within which it may still be taken back. */
  readonly hold?: number | undefined;
}

/** A year and a bit: what is snoozed for longer is forgotten. */
const LONGEST_SNOOZE_MS = 400 * 24 * 3_600_000;
const LONGEST_HOLD_SECONDS = 3600;

const version = z.int().min(1).meta({ description: 'Of the message as it was seen' });
const reason = text(2000);
const targets = z.array(text(63)).min(1).max(100);
const hold = z
  .int()
  .min(0)
  .max(LONGEST_HOLD_SECONDS)
  .default(0)
  .meta({ description: 'Seconds within which it can be taken back' });

const BODIES = {
  assign: z.strictObject({ version, targets, reason: reason.optional(), hold, ...portionFields }),
  unassign: z.strictObject({ version, targets: targets.optional(), reason: reason.optional(), hold }),
  close: z.strictObject({ version, reason }),
  snooze: z.strictObject({ version, until: timeSchema, reason: reason.optional() }),
  reopen: z.strictObject({ version, reason: reason.optional() }),
  note: z.strictObject({ version, reason }),
  replay: z.strictObject({ version, targets: targets.optional(), reason: reason.optional(), hold }),
} as const satisfies Record<Action, z.ZodType>;

const SUMMARIES: Readonly<Record<Action, string>> = {
  assign: 'Send it, or a portion of it (`part`, `fields`), to targets, in addition to those it has',
  unassign: 'Take targets back, as far as nothing has been sent to them; without `targets` all',
  close: 'It needs no target: out of the inbox, with a reason',
  snooze: 'Out of the inbox until a time',
  reopen: 'Back into the inbox',
  note: 'Write a note',
  replay:
    'Send it again to the targets it had, or to `targets`, under new numbers, without asking the rules; who had a portion gets that',
};

/** What the channel's owner carries out is answered 202, what is done by being written 200. */
const STATUS: Readonly<Record<Action, 200 | 202>> = {
  assign: 202,
  unassign: 202,
  replay: 202,
  close: 200,
  snooze: 200,
  reopen: 200,
  note: 200,
};

export function decisionRoutes(deps: DecisionDeps & { readonly now: () => number }): Route[] {
  return (Object.keys(BODIES) as Action[]).map((action) => ({
    method: 'post',
    path: `/v1/messages/:id/${action}`,
    permission: 'messages.decide',
    summary: SUMMARIES[action],
    params: messageParams,
    body: 'json',
    bodySchema: BODIES[action],
    replies: {
      [STATUS[action]]: { description: 'Decided', schema: decisionSchema },
      409: {
        description:
          'Somebody decided meanwhile (`decision_changed`), it is not planned yet (`not_routed_yet`), or it can’t be done from where it stands',
      },
      ...(CONTENT_NEEDED.has(action) && {
        410: {
          description: 'Its content is older than what is kept (`content_gone`), or was erased (`content_erased`)',
        },
      }),
    },
    handler: async ({ principal, params, body, headers }: ApiRequest<{ id: Place }, unknown, Body>) => {
      if (body.until) checkUntil(body.until, deps.now());
      const { part, fields, ...rest } = body;
      const request = { action, ...rest, portion: portionOf({ part, fields }) };
      return decisionReply(await decideAbout(deps, caller(principal), params.id, request, headers));
    },
  }));
}

const CONTENT_NEEDED: ReadonlySet<Action> = new Set(['assign', 'replay', 'reopen']);

type Body = Omit<Request, 'action' | 'portion'> & Parameters<typeof portionOf>[0];

/** Throws Problem 422. */
export function checkUntil(until: Date, now: number): void {
  if (until.getTime() > now && until.getTime() <= now + LONGEST_SNOOZE_MS) return;
  throw new Problem(422, 'until_invalid', '`until` must be in the future, and within 400 days.');
}

export interface DecisionMade {
  readonly decision: DecisionEntry;
  readonly names: ReadonlyMap<number, string>;
}

/**
 * Decides about a message for a person, tells its channel's owner and whoever watches. Throws Problem: 404, 409
 * (`decision_changed`, `not_routed_yet`, `wrong_state` …), 410, 422 for unknown targets and portions that can't be sent.
 */
export async function decideAbout(
  deps: DecisionDeps,
  principal: Principal,
  place: Place,
  request: Request,
  headers: IncomingHttpHeaders,
): Promise<DecisionMade> {
  const { tenant, who } = principal;
  const { action, targets: named = [], portion } = request;
  if (action === 'assign' && portion) await checkPortion(deps, principal, place, portion, named);
  const decided = await decide(deps.pool, tenant.id, place, {
    action,
    who,
    version: request.version,
    targets: await idsOf(deps.pool, tenant.id, place, request.targets),
    portion,
    reason: request.reason ?? null,
    until: request.until ?? null,
    hold: request.hold ?? 0,
    idempotencyKey: idempotencyKey(headers),
  });
  const all = await idsByName(deps.pool, tenant.id, 'target', 'all');
  const names = new Map([...all].map(([name, id]) => [id, name]));
  const decision = decisionOf(decided, place);
  if (decided.result === 'decided') {
    deps.notices.publish(tenant.id, [messageId(place)]);
    if (decision.plan === null) deps.wake(tenant.id, place.channel);
  }
  return { decision, names };
}

export function decisionReply({ decision, names }: DecisionMade): Reply {
  return { status: STATUS[decision.action], body: decisionEntry(decision, names) };
}

async function idsOf(
  pool: Pool,
  tenant: number,
  place: Place,
  names: readonly string[] | undefined,
): Promise<number[] | undefined> {
  if (names === undefined) return undefined;
  const present = await idsByName(pool, tenant, 'target', 'present');
  const ids = names.map((name) => present.get(name));
  const unknown = names.find((_, i) => ids[i] === undefined);
  if (unknown === undefined) return ids.filter((id) => id !== undefined);
  // That there is no such message says more than that its target is misspelt.
  throw (await wasGiven(pool, tenant, place))
    ? unknownName('target', unknown, [...present.keys()])
    : notFound('message');
}

function idempotencyKey(headers: IncomingHttpHeaders): string | null {
  const key = headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key === 'string' && /^[\x21-\x7e]{1,255}$/.test(key)) return key;
  throw new Problem(400, 'idempotency_key_invalid', 'An Idempotency-Key is 1 to 255 visible ASCII characters.');
}

/** The decision that was made, now or by the same request before. Throws Problem for all else. */
function decisionOf(decided: Decided, place: Place): DecisionEntry {
  const id = messageId(place);
  switch (decided.result) {
    case 'decided':
    case 'repeated':
      return decided.decision;
    case 'unknown':
      throw notFound('message');
    case 'gone':
      throw contentGone();
    case 'erased':
      throw contentErased();
    case 'key_reused':
      throw new Problem(
        422,
        'idempotency_key_reused',
        'This Idempotency-Key came with another decision before: take a new one.',
      );
    case 'not_routed_yet':
      throw new Problem(
        409,
        'not_routed_yet',
        `Message ${id} has been accepted and not yet planned; try again in a moment.`,
      );
    case 'changed':
      throw changed(decided);
    case 'wrong_state':
      throw new Problem(409, 'wrong_state', decided.why, { state: decided.state });
    case 'already_assigned':
      throw new Problem(
        409,
        'already_assigned',
        'Each of these targets has the message or will get it; `replay` sends it again.',
      );
    case 'nothing_to_take_back':
      throw new Problem(409, 'nothing_to_take_back', 'Nothing is left to be sent to these targets.');
    case 'no_targets':
      throw new Problem(422, 'no_targets', 'The message never had a target: name some in `targets`.');
    default: {
      const never: never = decided;
      return never;
    }
  }
}

function changed({ version: now, last }: Extract<Decided, { result: 'changed' }>): Problem {
  const what = last ? `${last.who} decided "${last.action}" meanwhile` : 'the rules decided meanwhile';
  return new Problem(409, 'decision_changed', `Not done: ${what}. Look at it again, then decide with version ${now}.`, {
    version: now,
    who: last?.who ?? 'rules',
    action: last?.action ?? null,
    at: last?.decidedAt.toISOString() ?? null,
  });
}
