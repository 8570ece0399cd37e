import type { LookupAddress } from 'node:dns';
import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** A name that leads to an address inside somebody's network, where a webhook has no business. */
export class AddressRefused extends Error {
  override readonly name = 'AddressRefused';
  constructor(host: string) {
    super(`${host} leads to a private, local or reserved address, and this target does not allow them`);
  }
}

/** Global unicast is the only part of IPv6 that is handed out (RFC 4291, 2.4). */
const GLOBAL_V6 = ipaddr.IPv6.parseCIDR('2000::/3');
/** Looks public, but reaches the virtual machine's own host on Azure. */
const AZURE_HOST = '168.63.129.16';

/** Whether an address (as the resolver writes it) belongs to the public Internet. */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  return parsed instanceof ipaddr.IPv6 ? isPublicV6(parsed) : isPublicV4(parsed as ipaddr.IPv4);
}

function isPublicV4(address: ipaddr.IPv4): boolean {
  return address.range() === 'unicast' && address.toString() !== AZURE_HOST;
}

function isPublicV6(address: ipaddr.IPv6): boolean {
  if (address.isIPv4MappedAddress()) return isPublicV4(address.toIPv4Address());
  return address.range() === 'unicast' && address.match(GLOBAL_V6);
}

/** Resolves a name to all its addresses, as `dns.lookup` with `all` does. */
export type Resolve = (
  host: string,
  options: { readonly all: true; readonly family?: number },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** A `lookup` for sockets that hands on public addresses only: what is checked is what is connected to. */
export function publicLookup(resolve: Resolve): LookupFunction {
  return (host, options, callback) => {
    const family = typeof options.family === 'number' ? options.family : 0;
    resolve(host, { all: true, family }, (error, addresses) => {
      if (error) return callback(error, '', 0);
      const open = addresses.filter(({ address }) => isPublic(address));
      const first = open[0];
      if (!first) return callback(new AddressRefused(host), '', 0);
      return options.all ? callback(null, open) : callback(null, first.address, first.family);
    });
  };
}
