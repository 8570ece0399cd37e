import type { Feature, Reader } from '../features.js';

/** One rung of the ladder. What it leaves out is left out on every lower rung, too. */
export interface RungDefinition {
  /** For people: what a view of this rung lacks. */
  readonly means: string;
  readonly without: readonly Feature[];
  readonly reader: Reader;
}
