import type { Decided } from '../delivery/plan.js';
import { exceeding } from '../routing/learning/readiness.js';
import type { OwnerDirectory, Ready } from './state.js';

/**
 * What follows from what people decided before, for a message that no rule matches: it goes to every target whose threshold is
 * exceeded, or waits for a person, with the probabilities that were looked at. Null where no target asks for any.
 */
export function suggest(
  { message, canonical }: Pick<Ready, 'message' | 'canonical'>,
  directory: OwnerDirectory,
  set: number,
): Pick<Decided, 'decider' | 'mode' | 'targets' | 'why'> | null {
  const automatic = directory.automatic(message.tenant);
  if (!automatic) return null;
  const scores = automatic.score(canonical);
  const targets = exceeding(scores);
  const decider = {
    by: 'suggestion',
    set,
    model: automatic.model,
    scores: scores.map(({ target, probability, threshold }) => [target, probability, threshold] as const),
  } as const;
  return { decider, mode: targets.length > 0 ? 'deliver' : 'wait', targets, why: null };
}
