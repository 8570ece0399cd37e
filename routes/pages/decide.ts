import type { IncomingHttpHeaders } from 'node:http';
import type { Principal } from '../../src/access/principal.js';
import { messageId } from '../../src/message/id.js';
import { decideAbout, type Request } from '../decisions.js';
import { asProblem } from '../problem.js';
import type { Problem } from '../route.js';
import type { PageDeps } from './deps.js';
import type { Seen } from './form.js';
import { when } from './words.js';

/** What a person sends here can still be taken back for so long, in seconds (DESIGN 2.4). */
const HOLD_SECONDS = 10;

/** A decision that was not carried out, and why. */
export interface NotDone {
  readonly id: string;
  readonly why: string;
  /** Of the page that says so. */
  readonly status: number;
}

/** Those problems are shown where the form is; all others are pages of their own. */
const SHOWN_IN_PLACE: ReadonlySet<number> = new Set([409, 410, 422]);

/**
 * Decides about messages as somebody saw them, one after another: the version each has then, and what could not be done.
 * Throws Problem for what isn't about a single message.
 */
export async function decideEach(
  deps: PageDeps,
  by: Principal,
  all: readonly Seen[],
  wish: Omit<Request, 'version' | 'hold'>,
  headers: IncomingHttpHeaders,
): Promise<{ readonly done: Seen[]; readonly notDone: NotDone[] }> {
  const done: Seen[] = [];
  const notDone: NotDone[] = [];
  const hold = wish.action === 'assign' || wish.action === 'replay' ? HOLD_SECONDS : 0;
  for (const { place, version } of all) {
    try {
      const { decision } = await decideAbout(deps, by, place, { ...wish, version, hold }, headers);
      done.push({ place, version: decision.version });
    } catch (error) {
      const problem = asProblem(error);
      if (!SHOWN_IN_PLACE.has(problem.status)) throw error;
      notDone.push({ id: messageId(place), why: whyNot(problem, deps.now()), status: problem.status });
    }
  }
  return { done, notDone };
}

const DECIDED: Readonly<Record<string, string>> = {
  assign: 'assigned it',
  unassign: 'took it back',
  close: 'closed it',
  snooze: 'snoozed it',
  reopen: 'reopened it',
  note: 'wrote a note',
  replay: 'had it sent again',
};

/** Of a stale form: who decided what meanwhile. Of all else what the problem says. */
function whyNot({ code, detail, extra }: Problem, now: number): string {
  if (code !== 'decision_changed') return detail;
  const { who, action, at } = extra;
  const what = (typeof action === 'string' && DECIDED[action]) || 'decided';
  const ago = typeof at === 'string' ? `, ${when(new Date(at), now).full}` : '';
  return `${String(who)} ${what} since you loaded this page${ago}. Look at it as it stands now, then decide.`;
}
