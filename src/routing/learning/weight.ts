/*
 * Naive Bayes by odds. With n decisions of which y chose a target, the odds that it is chosen are multiplied, for each
 * feature of a message, by
 *
 *     odds of the target among the decisions that had the feature / odds of the target among all
 *
 * where the few decisions that had a feature are completed by one that is as the average is (Robinson's degree of belief,
 * "A statistical approach to the spam problem", Linux Journal, March 2003): what was never seen says nothing, and what was
 * seen once says little. The logarithm of that is the feature's weight.
 */

/** How many average decisions each feature is taken to have been in besides those it was in. */
const STRENGTH = 1;
/** A feature of a single decision tells nothing but that decision. */
const LEAST_DECISIONS = 2;
/** Weights nearer to 0 than this are mostly chance, and there are many of them: a third more or less odds. */
const LEAST_WEIGHT = 0.3;

/** Share of decisions that chose the target: never 0 or 1. */
export function priorOf(yes: number, no: number): number {
  return (yes + 1) / (yes + no + 2);
}

/** What a feature says that was in so many decisions for the target and so many against it; 0 where that is too little. */
export function weightOf(yes: number, no: number, prior: number): number {
  if (yes + no < LEAST_DECISIONS) return 0;
  const weight = Math.log(((yes + STRENGTH * prior) * (1 - prior)) / ((no + STRENGTH * (1 - prior)) * prior));
  return Math.abs(weight) < LEAST_WEIGHT ? 0 : weight;
}
