import type { Lease } from './leases.js';
import type { Held } from './ports.js';

/** What a process should do about the leases so that every living owner comes to its share. */
export interface Moves {
  readonly take: Held[];
  readonly give: Held[];
}

/**
 * Shares the channels of each tenant out among the living owners, `self` being one of them. All of them compute the same
 * shares, whose sum is all channels; only what is above a share moves, and what nobody living holds.
 */
export function movesOf(leases: readonly Lease[], owners: readonly string[], self: string): Moves {
  const take: Lease[] = [];
  const give: Lease[] = [];
  for (const ofTenant of byTenant(leases)) {
    const mine = ofTenant.filter(({ holder }) => holder === self);
    const free = ofTenant.filter(({ holder }) => holder === null || !owners.includes(holder));
    const share = shareOf(ofTenant, owners, self);
    take.push(...turned(free, owners.indexOf(self) / owners.length).slice(0, Math.max(0, share - mine.length)));
    give.push(...mine.slice(share));
  }
  return { take: take.map(heldOf), give: give.map(heldOf) };
}

/** Of what does not divide evenly another owner gets one more for each tenant. */
function shareOf(ofTenant: readonly Lease[], owners: readonly string[], self: string): number {
  const rank = (owners.indexOf(self) + (ofTenant[0]?.tenant ?? 0)) % owners.length;
  return Math.floor(ofTenant.length / owners.length) + (rank < ofTenant.length % owners.length ? 1 : 0);
}

/** Begins at another place for each owner, so that those who take at the same time seldom want the same. */
function turned<T>(items: readonly T[], part: number): T[] {
  const first = Math.floor(items.length * part);
  return [...items.slice(first), ...items.slice(0, first)];
}

function byTenant(leases: readonly Lease[]): Lease[][] {
  const tenants = new Map<number, Lease[]>();
  for (const lease of leases) {
    const ofTenant = tenants.get(lease.tenant);
    if (ofTenant) ofTenant.push(lease);
    else tenants.set(lease.tenant, [lease]);
  }
  return [...tenants.values()];
}

function heldOf({ tenant, channel, term }: Lease): Held {
  return { tenant, channel, term };
}
