import { onTestFinished } from 'vitest';
import { startContent } from '../../src/content/children.js';
import type { Content, ContentOptions, ParseResult } from '../../src/content/content.js';
import { DEFAULT_LADDER, type RungName } from '../../src/content/index.js';
import { levelOf } from '../../src/content/ladder.js';
import { realClock } from '../support/clock.js';
import { silent } from '../support/log.js';

export const HOSTILE = new URL('./hostile-child.mjs', import.meta.url);

/** A pool that is closed when the test is over. */
export async function poolOf(options: Partial<ContentOptions> = {}): Promise<Content> {
  const content = await startContent({ children: 1, log: silent, clock: realClock, ...options });
  onTestFinished(() => content.close());
  return content;
}

/** Reads a mail on a rung of the default ladder. */
export function parseOn(
  content: Content,
  name: RungName,
  raw: Uint8Array,
  { blamed = [], suspect = false }: { readonly blamed?: readonly number[]; readonly suspect?: boolean } = {},
): Promise<ParseResult> {
  const rung = rungOf(name);
  return content.parse({ raw, rung, level: levelOf(DEFAULT_LADDER, { rung, blamed }), suspect });
}

/** A rung's number on the default ladder. */
export function rungOf(name: RungName): number {
  return DEFAULT_LADDER.indexOf(name);
}
