import type { SequencedRow } from '../channel/accept.js';
import { bytesOf } from '../channel/sha256.js';
import type { StoredMessage } from '../message/message.js';

/**
 * What this process has just accepted, kept in memory for its own reader, so that in the common case nothing is read
 * back from the database. A cache and no more: whatever is missing is read from the store. The JSON that the ingress
 * has read is not kept: reading it again costs less than moving its objects about in memory until the commit.
 */
export interface Handover {
  put(rows: readonly SequencedRow[]): void;
  /** What is here of a channel's sequences from `first` up to `last`, in order, with gaps. */
  peek(tenant: number, channel: number, first: number, last: number): readonly StoredMessage[];
  /** Lets go of a channel's rows up to a sequence. */
  dropUpTo(tenant: number, channel: number, last: number): void;
  /** Forgets a channel that another process reads now. */
  forget(tenant: number, channel: number): void;
}

export function createHandover(maxBytes: number): Handover {
  const lines = new Map<string, StoredMessage[]>();
  /** How many rows lie in each piece of memory: events of one request are parts of its body, which stays whole until the last of them has gone. */
  const rowsIn = new Map<ArrayBufferLike, number>();
  let bytes = 0;

  /** What a row adds to what is kept. */
  function sizeOf({ buffer }: Uint8Array): number {
    return ROW_BYTES + (rowsIn.has(buffer) ? 0 : buffer.byteLength);
  }

  function keep({ buffer }: Uint8Array): void {
    rowsIn.set(buffer, (rowsIn.get(buffer) ?? 0) + 1);
  }

  function letGo({ buffer }: Uint8Array): void {
    const left = (rowsIn.get(buffer) ?? 0) - 1;
    if (left > 0) rowsIn.set(buffer, left);
    else rowsIn.delete(buffer);
  }

  function drop(key: string, count: number): void {
    const line = lines.get(key) ?? [];
    const dropped = line.splice(0, count);
    for (const { raw } of dropped) {
      letGo(raw);
      bytes -= sizeOf(raw);
    }
    if (line.length === 0) lines.delete(key);
  }

  return {
    put(rows) {
      for (const row of rows) {
        // Too much for memory: the reader is behind and reads the rest from the store.
        const { raw } = row.arrival;
        const size = sizeOf(raw);
        if (bytes + size > maxBytes) return;
        const key = `${row.arrival.tenant.id}/${row.channel}`;
        const line = lines.get(key) ?? [];
        if (!putInto(line, row)) continue;
        lines.set(key, line);
        keep(raw);
        bytes += size;
      }
    },
    peek(tenant, channel, first, last) {
      const line = lines.get(`${tenant}/${channel}`) ?? [];
      const begin = line.findIndex(({ sequence }) => sequence >= first);
      if (begin === -1) return [];
      let end = begin;
      while (end < line.length && (line[end] as StoredMessage).sequence <= last) end++;
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
function putInto(line: StoredMessage[], row: SequencedRow): boolean {
  let at = line.length;
  while (at > 0 && (line[at - 1] as StoredMessage).sequence > row.sequence) at--;
  if (line[at - 1]?.sequence === row.sequence) return false;
  line.splice(at, 0, storedOf(row));
  return true;
}

function storedOf({ arrival, channel, sequence, sha256 }: SequencedRow): StoredMessage {
  return {
    tenant: arrival.tenant.id,
    channel,
    sequence,
    source: arrival.source.id,
    kind: arrival.kind,
    account: arrival.account,
    type: arrival.type,
    externalId: arrival.externalId,
    value: arrival.value,
    eventTime: arrival.eventTime,
    arrivedAt: arrival.arrivedAt,
    peer: arrival.peer,
    meta: arrival.meta,
    sha256: bytesOf(sha256, 32),
    raw: arrival.raw,
  };
}

/** What a row holds beyond its bytes at most: objects, strings, hashes (measured while it kept the whole arrival). */
export const ROW_BYTES = 1_200;
