import type { SequencedRow } from '../channel/accept.js';

/**
 * What this process has just accepted, kept in memory for its own reader, so that in the common case nothing is read
 * back from the database and nothing is parsed twice. A cache and no more: whatever is missing is read from the store.
 */
export interface Handover {
  put(rows: readonly SequencedRow[]): void;
  /** Rows of a channel from `from` on without a gap, at most so many; empty when the first of them is not here. */
  take(tenant: number, channel: number, from: number, max: number, maxMails: number): SequencedRow[];
  /** The first sequence from `from` on that is here; null when there is none. */
  next(tenant: number, channel: number, from: number): number | null;
  /** Forgets a channel that another process reads now. */
  forget(tenant: number, channel: number): void;
}

export function createHandover(maxBytes: number): Handover {
  const lines = new Map<string, SequencedRow[]>();
  let bytes = 0;

  function drop(key: string, count: number): SequencedRow[] {
    const line = lines.get(key) ?? [];
    const dropped = line.splice(0, count);
    for (const row of dropped) bytes -= sizeOf(row);
    if (line.length === 0) lines.delete(key);
    return dropped;
  }

  return {
    put(rows) {
      for (const each of rows) {
        const row = bytes > maxBytes / PARSED_SHARE ? withoutParsed(each) : each;
        // Too much for memory: the reader is behind and reads the rest from the store.
        if (bytes + sizeOf(row) > maxBytes) return;
        const key = `${row.arrival.tenant.id}/${row.channel}`;
        const line = lines.get(key);
        if (line) line.push(row);
        else lines.set(key, [row]);
        bytes += sizeOf(row);
      }
    },
    take(tenant, channel, from, max, maxMails) {
      const key = `${tenant}/${channel}`;
      const line = lines.get(key);
      if (!line) return [];
      const old = line.findIndex((row) => row.sequence >= from);
      drop(key, old === -1 ? line.length : old);
      if (line[0]?.sequence !== from) return [];
      let count = 1;
      while (count < max && line[count]?.sequence === from + count) count++;
      return drop(key, upToMails(line.slice(0, count), maxMails));
    },
    next(tenant, channel, from) {
      return lines.get(`${tenant}/${channel}`)?.find((row) => row.sequence >= from)?.sequence ?? null;
    },
    forget(tenant, channel) {
      drop(`${tenant}/${channel}`, Number.POSITIVE_INFINITY);
    },
  };
}

/**
 * JSON that has been read is kept only while what waits fits an eighth of the memory: when the reader is behind, reading
 * bytes again is cheaper than moving thousands of small objects about in memory, and far cheaper than the database.
 */
const PARSED_SHARE = 8;

/** Only of what `ContentPort.parsedOf` reads again just so: an event whose bytes say all. */
function withoutParsed(row: SequencedRow): SequencedRow {
  const { parsed: known, kind, meta } = row.arrival;
  if (known === undefined || kind !== 'event' || meta !== null) return row;
  const { parsed: _, ...arrival } = row.arrival;
  return { ...row, arrival };
}

/** JSON that has been read takes several times the bytes it was read from (measured: 320 bytes became 1.9 kB). */
const PARSED_FACTOR = 6;

function sizeOf({ arrival }: SequencedRow): number {
  return arrival.raw.length * (arrival.parsed ? 1 + PARSED_FACTOR : 1);
}

function upToMails(rows: readonly SequencedRow[], maxMails: number): number {
  let mails = 0;
  const end = rows.findIndex((row) => row.arrival.kind === 'mail' && ++mails > maxMails);
  return end === -1 ? rows.length : Math.max(1, end);
}
