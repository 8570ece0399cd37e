import type { Rung } from '../message/view.js';

/** Where some messages of a channel are, by sequence: the rung their view is of, and its words. */
export type WordsBySequence = ReadonlyMap<number, { readonly rung: Rung; readonly words: string }>;

/**
 * Words of views that this process has just written, kept until it fills the search with them, so that no view need be read
 * back for its words. A cache and no more: what is missing is found in the view.
 */
export interface FreshWords {
  put(tenant: number, channel: number, view: { readonly sequence: number; readonly rung: Rung }, words: string): void;
  /** Those of a channel at present. */
  of(tenant: number, channel: number): WordsBySequence;
  /** Lets go of a channel's up to a sequence: they are in the search. */
  dropUpTo(tenant: number, channel: number, last: number): void;
  /** Lets go of single ones. */
  drop(tenant: number, channel: number, sequences: readonly number[]): void;
}

/** What an entry takes beside its words. */
const ENTRY_BYTES = 200;

/** Keeps about so many bytes; beyond them the oldest are let go of. */
export function createFreshWords(maxBytes: number): FreshWords {
  type Entries = Map<number, { readonly rung: Rung; readonly words: string }>;
  const channels = new Map<string, Entries>();
  let bytes = 0;

  function drop(key: string, entries: Entries, sequence: number): void {
    const entry = entries.get(sequence);
    if (!entry) return;
    bytes -= ENTRY_BYTES + entry.words.length;
    entries.delete(sequence);
    if (entries.size === 0) channels.delete(key);
  }

  return {
    put(tenant, channel, { sequence, rung }, words) {
      const key = `${tenant}/${channel}`;
      const entries = channels.get(key) ?? new Map();
      drop(key, entries, sequence);
      // A channel that is written to goes behind the others, so that the first is the one that has waited longest.
      channels.delete(key);
      channels.set(key, entries.set(sequence, { rung, words }));
      bytes += ENTRY_BYTES + words.length;
      for (const [oldest, all] of channels) {
        for (const each of all.keys()) {
          if (bytes <= maxBytes) return;
          drop(oldest, all, each);
        }
      }
    },
    of: (tenant, channel) => new Map(channels.get(`${tenant}/${channel}`)),
    dropUpTo(tenant, channel, last) {
      const key = `${tenant}/${channel}`;
      const entries = channels.get(key);
      for (const sequence of [...(entries?.keys() ?? [])])
        if (entries && sequence <= last) drop(key, entries, sequence);
    },
    drop(tenant, channel, sequences) {
      const key = `${tenant}/${channel}`;
      const entries = channels.get(key);
      if (entries) for (const sequence of sequences) drop(key, entries, sequence);
    },
  };
}
