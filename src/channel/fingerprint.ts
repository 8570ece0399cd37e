import { sha256 } from './sha256.js';

/** Bytes of a fingerprint: 128 bits of a keyed SHA-256. */
export const FINGERPRINT_BYTES = 16;

/**
 * The de-duplication key of an arrival: SHA-256 over the installation's secret and length-prefixed
 * (tenant, source, identity), cut to 128 bits, one character a byte. Unique per tenant whatever the account.
 */
export function fingerprint(secret: Uint8Array, tenant: number, source: number, identity: Uint8Array): string {
  // secret (32) · 4 · tenant (4) · 4 · source (4) · length (4) · identity. One buffer, one hash.
  const input = Buffer.allocUnsafe(secret.length + 20 + identity.length);
  input.set(secret, 0);
  let at = secret.length;
  at = input.writeUInt32BE(4, at);
  at = input.writeUInt32BE(tenant, at);
  at = input.writeUInt32BE(4, at);
  at = input.writeUInt32BE(source, at);
  at = input.writeUInt32BE(identity.length, at);
  input.set(identity, at);
  return sha256(input).slice(0, FINGERPRINT_BYTES);
}
