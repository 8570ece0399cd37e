import { sha256 } from './sha256.js';

/** SHA-256 of an account, one character a byte: decides its channel, and tells accounts apart in the exact store. */
export function accountHash(account: string): string {
  return sha256(account);
}

/** The channel of an account: `hash(account) mod N`, by the hash's first four bytes. */
export function channelOf(accountHash: string, channels: number): number {
  const high = (accountHash.charCodeAt(0) << 8) | accountHash.charCodeAt(1);
  const low = (accountHash.charCodeAt(2) << 8) | accountHash.charCodeAt(3);
  return (high * 0x1_0000 + low) % channels;
}
