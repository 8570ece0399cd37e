import type { Action } from '../person.js';

/** What people said of one message: which targets it was for, and which not. */
export interface Lesson {
  readonly chosen: readonly number[];
  readonly refused: readonly number[];
  /** Targets of which nothing was said: it has them by rules or by suggestion, and nobody took them back or chose them. */
  readonly unsaid: readonly number[];
  /** Every other target was refused by that: the message was given to others, or closed. */
  readonly othersRefused: boolean;
}

/** A person's decision, as far as it teaches anything. */
export interface Said {
  readonly action: Action;
  readonly targets: readonly number[];
}

/**
 * What follows from people's decisions about one message, in their order; null where nothing does. `had` are the targets it
 * had by rules or by suggestion: that those stay confirms nothing, or Waybill would learn from itself. A choice that was
 * taken back, and a close that was reopened, are as if they had never been.
 */
export function lessonOf(decisions: readonly Said[], had: readonly number[]): Lesson | null {
  const chosen = new Set<number>();
  const refused = new Set<number>();
  let closed = false;
  for (const { action, targets } of decisions) {
    switch (action) {
      case 'assign':
        closed = false;
        for (const target of targets) {
          chosen.add(target);
          refused.delete(target);
        }
        break;
      case 'unassign':
        for (const target of targets) {
          // A person's own choice that they took back says nothing; the program's says no.
          if (!chosen.delete(target) && had.includes(target)) refused.add(target);
        }
        break;
      case 'close':
        closed = true;
        break;
      case 'reopen':
        closed = false;
        break;
      case 'snooze':
      case 'note':
      case 'replay':
        break;
      default: {
        const never: never = action;
        throw new Error(`no such action: ${String(never)}`);
      }
    }
  }
  const othersRefused = closed || chosen.size > 0;
  if (!othersRefused && refused.size === 0) return null;
  return {
    chosen: [...chosen],
    refused: [...refused],
    unsaid: had.filter((target) => !chosen.has(target) && !refused.has(target)),
    othersRefused,
  };
}

/** Whether a target was chosen; undefined where nothing was said of it. */
export function answerOf(lesson: Lesson, target: number): boolean | undefined {
  if (lesson.chosen.includes(target)) return true;
  if (lesson.refused.includes(target)) return false;
  return lesson.othersRefused && !lesson.unsaid.includes(target) ? false : undefined;
}
