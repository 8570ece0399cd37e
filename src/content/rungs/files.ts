import type { RungDefinition } from './rung.js';

/** Attachments are only listed, with what they say of themselves. */
export const files: RungDefinition = {
  means: 'attachments are only named',
  without: ['files'],
  reader: 'whole',
};
