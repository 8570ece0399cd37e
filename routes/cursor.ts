import { z } from 'zod';
import type { Place } from '../src/message/id.js';
import { Problem } from './route.js';

/** A place in a list as an opaque text; `kind` tells the lists apart, so that none reads another's. */
export function writeCursor(kind: string, place: unknown): string {
  return Buffer.from(JSON.stringify([kind, place])).toString('base64url');
}

/** The place again. Throws 400 for what isn't a cursor of this list. */
export function readCursor<T>(kind: string, cursor: string, schema: z.ZodType<T>): T {
  const parsed = z.tuple([z.literal(kind), schema]).safeParse(json(cursor));
  if (!parsed.success) throw new Problem(400, 'invalid_cursor', 'The cursor is not one that this list gave out.');
  return parsed.data[1];
}

const placeSchema = z.strictObject({ channel: z.int(), sequence: z.int() });

/** What a list by channel and sequence goes on behind; without a cursor, before its beginning. Throws as `readCursor`. */
export function placeBefore(kind: string, cursor: string | undefined): Place {
  return cursor === undefined ? { channel: -1, sequence: 0 } : readCursor(kind, cursor, placeSchema);
}

/** The cursor behind such a page; null where there are no more. */
export function placeCursor(kind: string, page: readonly Place[], limit: number): string | null {
  const last = page.length === limit ? page.at(-1) : undefined;
  return last ? writeCursor(kind, { channel: last.channel, sequence: last.sequence }) : null;
}

function json(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    return undefined;
  }
}

const positionSchema = z.int().min(0);

/** A position in each of up to 1,024 channels, short enough for an address: numbers of base 36 in channel order, runs of unread ones as their count. */
export const positionsSchema = z
  .string()
  .max(8000)
  .regex(/^([0-9a-z]{1,11}|_\d{1,4})(\.([0-9a-z]{1,11}|_\d{1,4}))*$/)
  .or(z.literal(''))
  .transform(readPositions);

export function writePositions(positions: ReadonlyMap<number, number>): string {
  const parts: string[] = [];
  let next = 0;
  for (const channel of [...positions.keys()].sort((a, b) => a - b)) {
    if (channel > next) parts.push(`_${channel - next}`);
    parts.push((positions.get(channel) ?? 0).toString(36));
    next = channel + 1;
  }
  return parts.join('.');
}

function readPositions(written: string): Map<number, number> {
  const positions = new Map<number, number>();
  let channel = 0;
  for (const part of written === '' ? [] : written.split('.')) {
    if (part.startsWith('_')) {
      channel += Number(part.slice(1));
      continue;
    }
    const position = positionSchema.safeParse(Number.parseInt(part, 36));
    if (position.success) positions.set(channel, position.data);
    channel += 1;
  }
  return positions;
}
