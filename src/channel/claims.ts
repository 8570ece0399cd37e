import type { SourceDefinition } from './source.js';

/** A source among all that the configuration names, of whichever tenant. */
export interface NamedSource {
  readonly tenant: string;
  readonly name: string;
  readonly definition: SourceDefinition;
}

/** Two sources want the same messages. */
export interface Clash<S extends NamedSource> {
  readonly kind: 'address' | 'feed' | 'queue';
  /** The mail address, the CloudEvents `source` value (null for two feeds that take all the rest), or the queue. */
  readonly what: string | null;
  /** Its place in the list of `addresses` or `accepts`; 0 for a queue. */
  readonly index: number;
  readonly first: S;
  readonly second: S;
}

/**
 * Everything that two sources claim, or one source twice: mail addresses over all tenants, as mail comes without a
 * tenant's name; queues likewise, since a broker knows no tenants; events within each tenant. Of the clashing ones the
 * first keeps its claim.
 */
export function clashes<S extends NamedSource>(sources: readonly S[]): Clash<S>[] {
  const holders = new Map<string, S>();
  return sources.flatMap((source) =>
    claimsOf(source).flatMap(({ key, ...claim }) => {
      const first = holders.get(key);
      if (first === undefined) holders.set(key, source);
      return first === undefined ? [] : [{ ...claim, first, second: source }];
    }),
  );
}

interface Claim {
  readonly key: string;
  readonly kind: Clash<NamedSource>['kind'];
  readonly what: string | null;
  readonly index: number;
}

function claimsOf({ tenant, definition }: NamedSource): Claim[] {
  switch (definition.kind) {
    case 'mail':
      return definition.addresses.map((address, index) => {
        const what = address.toLowerCase();
        return { key: `mail ${what}`, kind: 'address', what, index };
      });
    case 'events':
      if (!definition.accepts) return [{ key: `rest ${tenant}`, kind: 'feed', what: null, index: 0 }];
      return definition.accepts.map((what, index) => ({ key: `feed ${tenant} ${what}`, kind: 'feed', what, index }));
    case 'amqp': {
      const { queue, url = '' } = definition;
      return [{ key: `queue ${url} ${queue}`, kind: 'queue', what: queue, index: 0 }];
    }
    case 'webhook':
      return [];
    default: {
      const never: never = definition;
      return never;
    }
  }
}
