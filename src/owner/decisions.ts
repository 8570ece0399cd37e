import { type Drawing, type Drawn, drawExtra, readyOf } from './planning.js';
import type { DueDecision, MessageWithView, OwnerStore, ThreadCourse } from './ports.js';
import type { Canonical, ContentPort } from './state.js';

export interface DecisionDeps {
  readonly store: Pick<OwnerStore, 'readWithViews' | 'pendingOf'>;
  readonly content: Pick<ContentPort, 'inPlace'>;
  readonly canonical: Canonical;
  /** Keeps a delivery from being sent while it is being cancelled; false when it is being sent already. */
  readonly reserve: (
    tenant: number,
    delivery: { readonly target: number; readonly channel: number; readonly epoch: number; readonly number: number },
  ) => boolean;
}

/** The plan that carries out what a person decided. */
export async function drawDecision(deps: DecisionDeps, drawing: Drawing, decision: DueDecision): Promise<Drawn> {
  const { tenant, channel, sequence } = decision;
  const [found] = await deps.store.readWithViews(tenant, [{ channel, sequence }]);
  const view = found ? (found.view ?? deps.content.inPlace(found.message, undefined, 0)) : null;
  const decider = { by: 'person', who: decision.who, version: decision.version } as const;
  const base = { sequence, rung: view?.rung ?? 0, decider, late: false, why: null };
  switch (decision.action) {
    case 'assign':
    case 'replay': {
      const ready =
        found && view ? readyOf(found.message, view, drawing.directory, deps.canonical, undefined, found.thread) : null;
      const targets = ready ? decision.targets : [];
      const { portion } = decision;
      const decided = { ...base, mode: 'deliver', targets, replay: decision.action === 'replay', portion } as const;
      // Where the message stands was written with the decision, and later ones may have moved it on.
      return drawExtra(drawing, [{ decided, standing: null, ready }], {
        decisions: [decision],
        // Whoever got a portion does not know the rest.
        threads: portion ? [] : courseOf(found, targets, 'add'),
      });
    }
    case 'unassign': {
      const pending = await deps.store.pendingOf(drawing.state.held, sequence);
      const meant = pending.filter((each) => decision.targets.includes(each.target));
      const cancelled = meant.filter((each) => deps.reserve(tenant, { ...each, channel }));
      const decided = { ...base, mode: 'cancel', targets: [], replay: false } as const;
      const threads = courseOf(
        found,
        cancelled.map(({ target }) => target),
        'remove',
      );
      return drawExtra(drawing, [{ decided, standing: null, ready: null }], {
        decisions: [decision],
        cancelled,
        threads,
      });
    }
    default: {
      const never: never = decision.action;
      throw never;
    }
  }
}

/** A conversation goes where a person sends one of its messages. */
function courseOf(
  found: MessageWithView | undefined,
  targets: readonly number[],
  how: ThreadCourse['how'],
): ThreadCourse[] {
  return found?.thread && targets.length > 0 ? [{ sequence: found.message.sequence, targets, how }] : [];
}
