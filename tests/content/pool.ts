import { onTestFinished } from 'vitest';
import { startContent } from '../../src/content/children.js';
import type { Content, ContentOptions } from '../../src/content/content.js';
import { realClock } from '../support/clock.js';
import { silent } from '../support/log.js';

export const HOSTILE = new URL('./hostile-child.mjs', import.meta.url);

/** A pool that is closed when the test is over. */
export async function poolOf(options: Partial<ContentOptions> = {}): Promise<Content> {
  const content = await startContent({ children: 1, log: silent, clock: realClock, ...options });
  onTestFinished(() => content.close());
  return content;
}
