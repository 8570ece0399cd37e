import type { Pool } from 'pg';
import { excerpt, wordsOf } from '../../src/message/folded.js';
import { textsOf } from '../../src/storage/search.js';
import type { Listed } from '../inbox.js';

/** Characters shown on both sides of a hit. */
const AROUND = 70;

/** Of what was found by words, where in its text they are. */
export async function hitsOf(
  pool: Pool,
  tenant: number,
  q: string | undefined,
  items: readonly Listed[],
): Promise<ReadonlyMap<string, string>> {
  const words = q === undefined ? [] : wordsOf(q, 8);
  const places = items.flatMap(({ message }) => message ?? []);
  if (words.length === 0 || places.length === 0) return new Map();
  const texts = await textsOf(pool, tenant, places);
  return new Map(
    [...texts].flatMap(([id, text]) => {
      const found = excerpt(text, words, AROUND);
      return found === null ? [] : [[id, found]];
    }),
  );
}
