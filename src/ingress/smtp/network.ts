import ipaddr from 'ipaddr.js';

/** Whether an address lies within one of some networks. Addresses that are none lie in no network. */
export type Within = (address: string | undefined) => boolean;

/** @param networks addresses (`192.0.2.1`) and networks (`192.0.2.0/24`, `2001:db8::/32`). Throws on anything else. */
export function within(networks: readonly string[]): Within {
  const ranges = networks.map(range);
  return (address) => {
    if (ranges.length === 0 || address === undefined || !ipaddr.isValid(address)) return false;
    const ip = ipaddr.process(address);
    return ranges.some(([network, bits]) => network.kind() === ip.kind() && ip.match(network, bits));
  };
}

function range(text: string): [ipaddr.IPv4 | ipaddr.IPv6, number] {
  if (text.includes('/')) return ipaddr.parseCIDR(text);
  const ip = ipaddr.process(text);
  return [ip, ip.kind() === 'ipv4' ? 32 : 128];
}

export const loopback: Within = within(['127.0.0.0/8', '::1']);

/** What limits are counted by: an IPv4 address, or the network of 64 bits an IPv6 host has to itself. */
export function peerOf(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const ip = ipaddr.process(address);
  if (ip.kind() === 'ipv4') return ip.toString();
  return (ip as ipaddr.IPv6).parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(':');
}
