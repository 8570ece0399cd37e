import { hash } from 'node:crypto';

/**
 * SHA-256 as 32 characters, one a byte (Latin-1). As a `Buffer` it would take eight times as long for a small input:
 * each would have bytes of its own outside the heap.
 */
export function sha256(content: string | Uint8Array): string {
  return hash('sha256', content, 'binary');
}

/** The first `bytes` of a hash, or of what is kept as one is, as bytes. */
export function bytesOf(sha256: string, bytes: number): Buffer {
  return Buffer.from(bytes === sha256.length ? sha256 : sha256.slice(0, bytes), 'latin1');
}

/** Bytes as one is kept: a character each. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
