import type { RungDefinition } from './rung.js';

/** Everything. */
export const full: RungDefinition = {
  means: 'everything is there',
  without: [],
  reader: 'whole',
};
