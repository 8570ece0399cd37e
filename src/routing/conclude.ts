import type { Outcome } from '../message/decision.js';
import type { Rule, RuleSet } from './rule.js';

/** What rules make of a message. */
export interface Decided {
  /** Names of the rules that matched, in priority order; empty when none did. */
  readonly rules: readonly string[];
  /** `wait` when no rule matched. */
  readonly outcome: Outcome;
}

/**
 * What the rules that matched, in priority order, come to. In all-match targets are united in the order they are first
 * named, and a close counts only when no rule chose targets; then the first one's reason stands.
 */
export function conclude(mode: RuleSet['mode'], matched: readonly Rule[]): Decided {
  const deciding = mode === 'first-match' ? matched.slice(0, 1) : matched;
  return { rules: deciding.map((rule) => rule.name), outcome: outcomeOf(deciding) };
}

function outcomeOf(rules: readonly Rule[]): Outcome {
  const targets = new Set<string>();
  let reason: string | undefined;
  for (const { choice } of rules) {
    if ('targets' in choice) for (const target of choice.targets) targets.add(target);
    else reason ??= choice.close;
  }
  if (targets.size > 0) return { do: 'deliver', targets: [...targets] };
  return reason === undefined ? { do: 'wait' } : { do: 'close', reason };
}
