/** What a person may do with a message. */
export const ACTIONS = ['assign', 'unassign', 'close', 'snooze', 'reopen', 'note', 'replay'] as const;
export type Action = (typeof ACTIONS)[number];

/** Where a planned message stands, as people see it: a snoozed one is a waiting one whose time has not come. */
export type Standing = 'waiting' | 'snoozed' | 'routed' | 'closed' | 'parked' | 'quarantined';

export type Consequence =
  /** `by`: whether the channel's owner has to carry it out, or it is done as soon as it is written. */
  | {
      readonly allowed: true;
      readonly becomes: 'waiting' | 'routed' | 'closed' | 'unchanged';
      readonly by: 'owner' | 'nobody';
    }
  /** A sentence: why not, and what to do instead. */
  | { readonly allowed: false; readonly why: string };

/** What an action means for a message that stands somewhere. */
export function consequenceOf(action: Action, standing: Standing): Consequence {
  if (action === 'note') return { allowed: true, becomes: 'unchanged', by: 'nobody' };
  switch (standing) {
    case 'parked':
      return no('It is parked: it is being read again and goes on by itself.');
    case 'quarantined':
      return no('It is in quarantine: release or discard it there.');
    case 'waiting':
    case 'snoozed':
      return onWaiting(action, standing);
    case 'routed':
      return onRouted(action);
    case 'closed':
      return onClosed(action);
    default: {
      const never: never = standing;
      throw new Error(`no such standing: ${String(never)}`);
    }
  }
}

function onWaiting(action: Exclude<Action, 'note'>, standing: 'waiting' | 'snoozed'): Consequence {
  switch (action) {
    case 'assign':
    case 'replay':
      return { allowed: true, becomes: 'routed', by: 'owner' };
    case 'close':
      return { allowed: true, becomes: 'closed', by: 'nobody' };
    case 'snooze':
      return { allowed: true, becomes: 'waiting', by: 'nobody' };
    case 'reopen':
      return standing === 'snoozed'
        ? { allowed: true, becomes: 'waiting', by: 'nobody' }
        : no('It is in the inbox already.');
    case 'unassign':
      return no('It is assigned to nothing.');
    default:
      return unheardOf(action);
  }
}

function onRouted(action: Exclude<Action, 'note'>): Consequence {
  switch (action) {
    case 'assign':
    case 'replay':
      return { allowed: true, becomes: 'routed', by: 'owner' };
    case 'unassign':
      return { allowed: true, becomes: 'unchanged', by: 'owner' };
    case 'reopen':
      return { allowed: true, becomes: 'waiting', by: 'nobody' };
    case 'close':
    case 'snooze':
      return no('It has targets: reopen it first.');
    default:
      return unheardOf(action);
  }
}

function onClosed(action: Exclude<Action, 'note'>): Consequence {
  switch (action) {
    case 'assign':
    case 'replay':
      return { allowed: true, becomes: 'routed', by: 'owner' };
    case 'reopen':
      return { allowed: true, becomes: 'waiting', by: 'nobody' };
    case 'close':
    case 'snooze':
    case 'unassign':
      return no('It is closed: reopen it first.');
    default:
      return unheardOf(action);
  }
}

function no(why: string): Consequence {
  return { allowed: false, why };
}

function unheardOf(action: never): never {
  throw new Error(`no such action: ${String(action)}`);
}

/** The targets a message has at present, by how far each has come. A target can be in several. */
export interface Designated {
  /** Chosen by a decision that the owner has not yet taken up. */
  readonly chosen: ReadonlySet<number>;
  /** Has a delivery that is not yet made. */
  readonly pending: ReadonlySet<number>;
  readonly delivered: ReadonlySet<number>;
}

/** Of the targets to be assigned, those that have the message neither made nor coming. */
export function newTargets(targets: readonly number[], { chosen, pending, delivered }: Designated): number[] {
  return [...new Set(targets)].filter((one) => !chosen.has(one) && !pending.has(one) && !delivered.has(one));
}

/** What taking targets back means. */
export interface TakenBack {
  /** Never handed to the owner: simply struck out of the decisions that chose them. */
  readonly unchosen: readonly number[];
  /** Planned already: the owner cancels what it has not sent. */
  readonly cancel: readonly number[];
  /** Nothing has the message, or will get it, once that is done: it goes back to the inbox. */
  readonly nothingLeft: boolean;
}

/** Takes targets back, all of them where none is named. */
export function takeBack(
  targets: readonly number[] | undefined,
  { chosen, pending, delivered }: Designated,
): TakenBack {
  const goes = (one: number) => targets === undefined || targets.includes(one);
  const unchosen = [...chosen].filter(goes);
  const cancel = [...pending].filter(goes);
  const stays = [...chosen, ...pending].some((one) => !goes(one)) || delivered.size > 0;
  return { unchosen, cancel, nothingLeft: !stays };
}
