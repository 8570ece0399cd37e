import type { IncomingHttpHeaders } from 'node:http';
import type { Principal } from '../../src/access/principal.js';
import { messageId, quarantineId } from '../../src/message/id.js';
import { decideAbout, type Request } from '../decisions.js';
import { asProblem } from '../problem.js';
import { decide as decideQuarantined, release } from '../quarantine-decide.js';
import { Problem } from '../route.js';
import type { PageDeps } from './deps.js';
import type { Seen } from './form.js';
import { when } from './words.js';

/** What a person sends here can still be taken back for so long, in seconds (DESIGN 2.4). */
const HOLD_SECONDS = 10;

/** A decision that was not carried out, and why. */
export interface NotDone {
  readonly id: string;
  readonly href: string;
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
      const id = messageId(place);
      notDone.push({ id, href: `/messages/${id}`, why: whyNot(problem, deps.now()), status: problem.status });
    }
  }
  return { done, notDone };
}

interface Ended {
  /** How many are done. */
  readonly ended: number;
  readonly notDone: NotDone[];
}

/** Discards entries of the quarantine, one after another. Throws Problem for what isn't about a single one. */
export function discardEach(
  deps: PageDeps,
  by: Principal,
  numbers: readonly number[],
  reason: string | undefined,
): Promise<Ended> {
  return endEach(by, numbers, (number) => decideQuarantined(deps, by, number, { action: 'discard', reason }));
}

/** Lets entries of the quarantine go on, one after another. */
export function releaseEach(deps: PageDeps, by: Principal, numbers: readonly number[]): Promise<Ended> {
  return endEach(by, numbers, (number) => release(deps, by, number));
}

async function endEach(
  by: Principal,
  numbers: readonly number[],
  end: (number: number) => Promise<unknown>,
): Promise<Ended> {
  if (!by.permissions.has('quarantine.decide')) {
    throw new Problem(403, 'forbidden', 'This takes the permission quarantine.decide.', {
      permission: 'quarantine.decide',
    });
  }
  const notDone: NotDone[] = [];
  for (const number of numbers) {
    try {
      await end(number);
    } catch (error) {
      const { status, detail } = asProblem(error);
      if (!SHOWN_IN_PLACE.has(status)) throw error;
      const id = quarantineId(number);
      notDone.push({ id, href: `/quarantine/${id}`, why: detail, status });
    }
  }
  return { ended: numbers.length - notDone.length, notDone };
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
