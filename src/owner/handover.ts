import type { SequencedRow } from '../channel/accept.js';

/**
 * What this process has just accepted, kept in memory for its own reader, so that in the common case nothing is read
 * back from the database and nothing is parsed twice. A cache and no more: whatever is missing is read from the store.
 */
export interface Handover {
  put(rows: readonly SequencedRow[]): void;
  /** What is here of a channel's sequences from `first` up to `last`, in order, with gaps. */
  peek(tenant: number, channel: number, first: number, last: number): readonly SequencedRow[];
  /** Lets go of a channel's rows up to a sequence. */
  dropUpTo(tenant: number, channel: number, last: number): void;
  /** Forgets a channel that another process reads now. */
  forget(tenant: number, channel: number): void;
}

export function createHandover(maxBytes: number): Handover {
  const lines = new Map<string, SequencedRow[]>();
  let bytes = 0;

  function drop(key: string, count: number): void {
    const line = lines.get(key) ?? [];
    const dropped = line.splice(0, count);
    for (const row of dropped) bytes -= sizeOf(row);
    if (line.length === 0) lines.delete(key);
  }

  return {
    put(rows) {
      for (const each of rows) {
        const row = bytes > maxBytes / PARSED_SHARE ? withoutParsed(each) : each;
        // Too much for memory: the reader is behind and reads the rest from the store.
        if (bytes + sizeOf(row) > maxBytes) return;
        const key = `${row.arrival.tenant.id}/${row.channel}`;
        const line = lines.get(key) ?? [];
        if (!putInto(line, row)) continue;
        lines.set(key, line);
        bytes += sizeOf(row);
      }
    },
    peek(tenant, channel, first, last) {
      const line = lines.get(`${tenant}/${channel}`) ?? [];
      const begin = line.findIndex(({ sequence }) => sequence >= first);
      if (begin === -1) return [];
      let end = begin;
      while (end < line.length && (line[end] as SequencedRow).sequence <= last) end++;
      return line.slice(begin, end);
    },
    dropUpTo(tenant, channel, last) {
      const key = `${tenant}/${channel}`;
      const line = lines.get(key) ?? [];
      const kept = line.findIndex(({ sequence }) => sequence > last);
      drop(key, kept === -1 ? line.length : kept);
    },
    forget(tenant, channel) {
      drop(`${tenant}/${channel}`, Number.POSITIVE_INFINITY);
    },
  };
}

/**
 * Keeps a line in the order of its sequences: what was accepted earlier may be heard of later, or twice, where the answer
 * to a commit was lost. False for what is there already.
 */
function putInto(line: SequencedRow[], row: SequencedRow): boolean {
  let at = line.length;
  while (at > 0 && (line[at - 1] as SequencedRow).sequence > row.sequence) at--;
  if (line[at - 1]?.sequence === row.sequence) return false;
  line.splice(at, 0, row);
  return true;
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

/** What a row holds beyond its bytes: objects, strings, hashes (measured). */
export const ROW_BYTES = 1_200;

function sizeOf({ arrival }: SequencedRow): number {
  return ROW_BYTES + arrival.raw.length * (arrival.parsed ? 1 + PARSED_FACTOR : 1);
}
