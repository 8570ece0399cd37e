import { isDeepStrictEqual } from 'node:util';
import type { AmqpSource, Source } from '../../channel/source.js';
import { Consumer, type ConsumerDeps, type QueueLink, type Standing } from './consumer.js';

export interface AmqpDeps extends ConsumerDeps {
  /** Every source that consumes a queue, as things stand. */
  readonly sources: () => readonly Source<AmqpSource>[];
  /** A connection of its own for a source; closed when the source is stopped. */
  readonly open: (source: Source<AmqpSource>) => QueueLink;
}

/** All AMQP sources of a process. */
export interface AmqpIngress {
  /** Starts what is new, stops what is gone, and starts anew what was changed. */
  follow(): void;
  standings(): { readonly source: Source<AmqpSource>; readonly standing: Standing }[];
  /** Takes no more; resolves when everything held is stored, or left to come again. */
  close(): Promise<void>;
}

export function startAmqp(deps: AmqpDeps): AmqpIngress {
  const consumers = new Map<string, Consumer>();
  const ending = new Set<Promise<void>>();
  let closed = false;

  function end(key: string, consumer: Consumer): void {
    consumers.delete(key);
    const ended = consumer.stop().finally(() => ending.delete(ended));
    ending.add(ended);
  }

  function follow(): void {
    if (closed) return;
    const wanted = new Map(deps.sources().map((source) => [keyOf(source), source]));
    for (const [key, consumer] of consumers) {
      const source = wanted.get(key);
      if (!source || !isDeepStrictEqual(source.definition, consumer.source.definition)) end(key, consumer);
    }
    // What was changed begins at once: until its predecessor has let go of the queue, it stands by.
    for (const [key, source] of wanted) {
      if (!consumers.has(key)) consumers.set(key, new Consumer(deps, source, deps.open(source)));
    }
  }

  follow();
  return {
    follow,
    standings: () => [...consumers.values()].map(({ source, standing }) => ({ source, standing })),
    async close() {
      closed = true;
      for (const [key, consumer] of consumers) end(key, consumer);
      await Promise.all(ending);
    },
  };
}

function keyOf({ tenant, id }: Source): string {
  return `${tenant.id}/${id}`;
}
