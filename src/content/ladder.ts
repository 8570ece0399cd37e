/*
 * What follows from a try of a message's content (DESIGN 2.3), as plain rules over plain values.
 *
 *   its child died or failed    the message's fault: one rung lower, alone, parked while the channel goes on
 *   a limit refused it          nobody died: one rung lower, at once
 *   the whole process died      perhaps not its fault: alone on its rung again; the third time costs a rung
 *   our surroundings failed     never its fault: on its rung again, as often as it takes
 *
 * A message never climbs by itself, and after the last rung it is quarantined whole: no message is tried for ever.
 */
import type { Rung } from '../message/view.js';
import type { FailureKind } from './content.js';
import type { Ladder } from './index.js';

/** Where a message stands between two tries. */
export interface Standing {
  readonly rung: Rung;
  /** How often the whole process died while it was tried on this rung. */
  readonly interruptions: number;
}

export const TOP: Standing = { rung: 0, interruptions: 0 };

/** How a try ended. */
export type TryEnd =
  | { readonly end: 'processed' }
  | { readonly end: 'failed'; readonly failure: FailureKind }
  | { readonly end: 'interrupted' };

/** What is to be done with the message. */
export type Next =
  | { readonly do: 'go_on' }
  /** `alone`: in no batch with others. `parked`: the channel goes on meanwhile, and it is marked late. */
  | { readonly do: 'try'; readonly standing: Standing; readonly alone: boolean; readonly parked: boolean }
  /** Nothing more can be taken away. The rung is the ladder's last. */
  | { readonly do: 'quarantine'; readonly standing: Standing };

/** So many deaths of the whole process are taken for chance. */
const CHANCE_INTERRUPTIONS = 2;

export function afterTry(current: Standing, how: TryEnd, ladder: Ladder): Next {
  switch (how.end) {
    case 'processed':
      return { do: 'go_on' };
    case 'failed':
      return afterFailure(current, how.failure, ladder);
    case 'interrupted':
      return afterInterruption(current, ladder);
    default: {
      const never: never = how;
      return never;
    }
  }
}

function afterFailure(current: Standing, failure: FailureKind, ladder: Ladder): Next {
  switch (failure) {
    case 'crashed':
    case 'killed_time':
    case 'killed_memory':
    case 'output_too_large':
      return lower(current, ladder, { alone: true, parked: true });
    case 'refused':
      return lower(current, ladder, { alone: false, parked: false });
    case 'unavailable':
      return { do: 'try', standing: current, alone: false, parked: false };
    default: {
      const never: never = failure;
      return never;
    }
  }
}

function afterInterruption(current: Standing, ladder: Ladder): Next {
  const interruptions = current.interruptions + 1;
  if (interruptions > CHANCE_INTERRUPTIONS) return lower(current, ladder, { alone: true, parked: true });
  return { do: 'try', standing: { ...current, interruptions }, alone: true, parked: false };
}

function lower(current: Standing, ladder: Ladder, how: { readonly alone: boolean; readonly parked: boolean }): Next {
  const standing = { rung: Math.min(current.rung + 1, lastRung(ladder)), interruptions: 0 };
  return standing.rung === lastRung(ladder) ? { do: 'quarantine', standing } : { do: 'try', standing, ...how };
}

function lastRung(ladder: Ladder): Rung {
  return ladder.length - 1;
}
