import type { RungDefinition } from './rung.js';

/** The texts, and no HTML. */
export const html: RungDefinition = {
  means: 'HTML is left out',
  without: ['html'],
  reader: 'whole',
};
