import type { Lease } from './leases.js';
import type { Held } from './ports.js';

/** What a process should do about the leases so that every living owner comes to its share. */
export interface Moves {
  readonly take: Held[];
  readonly give: Held[];
}

/**
 * Shares the channels of each tenant out among the living owners, `self` being one of them. All of them compute the same
 * shares, whose sum is all channels; only what is above a share moves, and what nobody holds or somebody who is lost.
 */
export function movesOf(
  leases: readonly Lease[],
  owners: readonly string[],
  self: string,
  isLost: (holder: string) => boolean,
  mayLeave: (lease: Lease) => boolean,
): Moves {
  const take: Lease[] = [];
  const give: Lease[] = [];
  for (const ofTenant of byTenant(leases)) {
    const free = ofTenant.filter(({ holder, present }) => holder === null || !present || isLost(holder));
    let first = 0;
    // What is free is handed out in the order of owners, so that those who look at the same time take different ones.
    for (const owner of owners) {
      const share = shareOf(ofTenant, owners, owner);
      const held = ofTenant.filter(({ holder }) => holder === owner);
      const room = Math.max(0, share - held.length);
      if (owner === self) {
        take.push(...free.slice(first, first + room));
        if (held.length > share) give.push(...held.filter(mayLeave).slice(share - held.length));
      }
      first += room;
    }
  }
  return { take: take.map(heldOf), give: give.map(heldOf) };
}

/** Of what does not divide evenly another owner gets one more for each tenant. */
function shareOf(ofTenant: readonly Lease[], owners: readonly string[], owner: string): number {
  const rank = (owners.indexOf(owner) + (ofTenant[0]?.tenant ?? 0)) % owners.length;
  return Math.floor(ofTenant.length / owners.length) + (rank < ofTenant.length % owners.length ? 1 : 0);
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
