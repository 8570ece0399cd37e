import type { RungDefinition } from './rung.js';

/** The first text, by our own linear reader: from here on no third party sees the mail. */
export const text: RungDefinition = {
  means: 'its first text, and what the header says',
  without: [],
  reader: 'text',
};
