/** Below this nothing is said of a target at all: decisions, those that chose it, and those that did not. */
const LEAST = { decisions: 10, chosen: 3, refused: 3 } as const;

/** Whether there is anything to learn from so many decisions that chose a target and that did not. */
export function isEnough(yes: number, no: number): boolean {
  return yes + no >= LEAST.decisions && yes >= LEAST.chosen && no >= LEAST.refused;
}

/** What a target asks for before anything is sent to it by probability. */
export interface AutomaticSetting {
  /** Strictly exceeded: equal is not. */
  readonly threshold: number;
  /** Decisions that must have been learnt from. */
  readonly decisions: number;
}

/** Why a target that is to be chosen by probability is not; null when it is. */
export function whyNotReady(
  { decisions }: AutomaticSetting,
  counted: { readonly yes: number; readonly no: number } | undefined,
): string | null {
  const { yes, no } = counted ?? { yes: 0, no: 0 };
  if (yes + no < decisions) return `needs ${decisions} decisions, has ${yes + no}`;
  if (yes < LEAST.chosen) return `needs ${LEAST.chosen} decisions that chose it, has ${yes}`;
  if (no < LEAST.refused) return `needs ${LEAST.refused} decisions that did not choose it, has ${no}`;
  return null;
}

/** A score beside what it had to exceed. */
export interface AskedScore {
  /** Id. */
  readonly target: number;
  readonly probability: number;
  readonly threshold: number;
}

/** Ids of the targets whose threshold is exceeded. */
export function exceeding(scores: readonly AskedScore[]): number[] {
  return scores.filter(({ probability, threshold }) => probability > threshold).map(({ target }) => target);
}
