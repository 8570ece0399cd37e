import { hash } from 'node:crypto';

/** SHA-256 of an account: decides its channel, and tells accounts apart in the exact store. */
export function accountHash(account: string): Buffer {
  return hash('sha256', account, 'buffer');
}

/** The channel of an account: `hash(account) mod N`. */
export function channelOf(accountHash: Buffer, channels: number): number {
  return accountHash.readUInt32BE(0) % channels;
}
