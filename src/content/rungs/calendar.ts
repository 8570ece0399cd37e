import type { RungDefinition } from './rung.js';

/** Calendars are kept as the files they are. */
export const calendar: RungDefinition = {
  means: 'calendars are files',
  without: ['calendar'],
  reader: 'whole',
};
