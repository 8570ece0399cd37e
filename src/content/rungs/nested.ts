import type { RungDefinition } from './rung.js';

/** Mails and reports within the mail are kept as the files they are. */
export const nested: RungDefinition = {
  means: 'mails and reports within it are files',
  without: ['nested', 'report'],
  reader: 'whole',
};
