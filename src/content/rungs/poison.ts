import type { RungDefinition } from './rung.js';

/** Nothing is read, and the message is quarantined. */
export const poison: RungDefinition = {
  means: 'nothing; a person decides',
  without: [],
  reader: 'nothing',
};
