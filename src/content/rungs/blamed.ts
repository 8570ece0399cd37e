import type { RungDefinition } from './rung.js';

/** What is blamed is left out: each try that died of one part names it. */
export const blamed: RungDefinition = {
  means: 'the part that stopped an earlier try is left out',
  without: [],
  reader: 'whole',
};
