/** A message that is to have its place in a thread. */
export interface Unplaced {
  readonly tenant: number;
  /** Hashes in hex of what leads to its thread, the nearest first: at least one, each once. */
  readonly references: readonly string[];
}

export interface Joined {
  /** The thread of each message, in their order. Those that begin here are -1, -2, … */
  readonly threads: readonly number[];
  /** Tenants of the threads that begin here: the nth is that of -n. */
  readonly begun: readonly number[];
  /** What leads to a thread from now on, in order of tenant and hash. */
  readonly references: readonly { readonly tenant: number; readonly thread: number; readonly hash: string }[];
  /** Threads that one message belongs to both of. */
  readonly links: readonly { readonly tenant: number; readonly thread: number; readonly other: number }[];
}

export function referenceKey(tenant: number, hash: string): string {
  return `${tenant}/${hash}`;
}

/**
 * Which thread each message belongs to: the first that is known of what it names, else one that begins with it. What it
 * names beside that leads to the same thread from then on; other threads that it names are linked to it.
 * `known`: threads by `referenceKey`.
 */
export function joinThreads(messages: readonly Unplaced[], known: ReadonlyMap<string, number>): Joined {
  const threads = new Map(known);
  const begun: number[] = [];
  const references: { tenant: number; thread: number; hash: string }[] = [];
  const links: { tenant: number; thread: number; other: number }[] = [];
  const own = messages.map(({ tenant, references: named }) => {
    const found = new Set(
      named.map((hash) => threads.get(referenceKey(tenant, hash))).filter((one) => one !== undefined),
    );
    const [first, ...others] = found;
    const thread = first ?? -begun.push(tenant);
    for (const other of others) links.push({ tenant, thread, other });
    for (const hash of named) {
      const key = referenceKey(tenant, hash);
      if (threads.has(key)) continue;
      threads.set(key, thread);
      references.push({ tenant, thread, hash });
    }
    return thread;
  });
  references.sort((a, b) => a.tenant - b.tenant || (a.hash < b.hash ? -1 : 1));
  return { threads: own, begun, references, links };
}
