import type { RungDefinition } from './rung.js';

/** The header, by our own linear reader. */
export const headers: RungDefinition = {
  means: 'what the header says',
  without: [],
  reader: 'headers',
};
