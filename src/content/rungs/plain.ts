import type { RungDefinition } from './rung.js';

/** Without what is only made for convenience. */
export const plain: RungDefinition = {
  means: 'paragraphs are not put together, and no text is made of HTML',
  without: ['reflow', 'html_text'],
  reader: 'whole',
};
