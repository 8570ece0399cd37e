import type { RungDefinition } from './rung.js';

/** Winmail.dat is kept as the file it is. */
export const tnef: RungDefinition = {
  means: "Outlook's winmail.dat is a file",
  without: ['tnef'],
  reader: 'whole',
};
