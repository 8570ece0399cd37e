import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type { Place } from '../../src/message/id.js';
import { inboxPlaces, placeInInbox } from '../../src/storage/inbox.js';
import { filterOf, messagesOnly } from '../inbox.js';
import type { PageDeps } from './deps.js';
import { inboxFilterShape, wishOf } from './inbox.js';

const listAddress = z.object(inboxFilterShape);

/** The message that follows one in the list of the inbox it was opened from; null where there is none, or no such list. */
export async function nextInList(
  { pool }: PageDeps,
  by: Principal,
  place: Place,
  back: string | undefined,
): Promise<Place | null> {
  const [path, query = ''] = back?.split('?') ?? [];
  if (path !== '/inbox') return null;
  const asked = listAddress.safeParse(Object.fromEntries(new URLSearchParams(query)));
  const mark = await placeInInbox(pool, by.tenant.id, place);
  if (!asked.success || !mark) return null;
  const filter = messagesOnly(await filterOf(pool, by, wishOf(asked.data)));
  const { items } = await inboxPlaces(pool, by.tenant.id, filter, 1, mark);
  return items[0] ?? null;
}
