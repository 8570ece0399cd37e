import type { Principal } from '../src/access/principal.js';
import { messageId } from '../src/message/id.js';
import { allInInbox, type InboxFilter, type InboxPlace } from '../src/storage/inbox.js';
import { type DecisionDeps, decideAbout, type Request } from './decisions.js';
import { asProblem } from './problem.js';

export type DecidedAll =
  | { readonly event: 'progress'; readonly looked: number; readonly done: number; readonly total: number }
  /** Left as it is. */
  | { readonly event: 'left'; readonly id: string; readonly why: string }
  | {
      readonly event: 'result';
      readonly total: number;
      readonly done: number;
      readonly left: number;
      readonly more: boolean;
    };

/** Told after so many. */
const TOLD_EVERY = 20;
/** What concerns one message and not the others. */
const OF_ONE: ReadonlySet<number> = new Set([404, 409, 410]);

/**
 * Decides about every message of the inbox that matches, one after another: each is a decision of the caller's like any other,
 * with the version the message had when this began. Leaving it early stops it; what is done is done.
 */
export async function* decideAll(
  deps: DecisionDeps,
  by: Principal,
  filter: InboxFilter,
  wish: Omit<Request, 'version'>,
  most = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<DecidedAll> {
  const found = await everything(deps, by, filter);
  const all = found.places.slice(0, most);
  const total = all.length;
  let [done, left] = [0, 0];
  yield { event: 'progress', looked: 0, done, total };
  for (const place of all) {
    const why = await decideOne(deps, by, place, wish);
    if (why === null) done++;
    else {
      left++;
      yield { event: 'left', id: messageId(place), why };
    }
    if ((done + left) % TOLD_EVERY === 0) yield { event: 'progress', looked: done + left, done, total };
  }
  yield { event: 'result', total, done, left, more: found.more || found.places.length > total };
}

async function everything({ pool }: DecisionDeps, { tenant }: Principal, filter: InboxFilter) {
  const places: InboxPlace[] = [];
  let more = false;
  for await (const page of allInInbox(pool, tenant.id, filter)) {
    places.push(...page.places);
    ({ more } = page);
  }
  return { places, more };
}

/** Null when it is done, else why not. */
async function decideOne(
  deps: DecisionDeps,
  by: Principal,
  place: InboxPlace,
  wish: Omit<Request, 'version'>,
): Promise<string | null> {
  try {
    await decideAbout(deps, by, place, { ...wish, version: place.version }, {});
    return null;
  } catch (error) {
    const problem = asProblem(error);
    if (!OF_ONE.has(problem.status)) throw error;
    return problem.detail;
  }
}
