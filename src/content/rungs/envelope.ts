import type { RungDefinition } from './rung.js';

/** Nothing of the mail: only its envelope, which is stored apart. */
export const envelope: RungDefinition = {
  means: 'what was said as it was handed over',
  without: [],
  reader: 'envelope',
};
