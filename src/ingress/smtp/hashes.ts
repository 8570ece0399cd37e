import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { mailContentHash, withoutTrace } from '../../channel/identity.js';
import { textOf } from '../../channel/sha256.js';

export interface MailHashes {
  /** Of the bytes without trace fields. */
  readonly contentHash: Uint8Array;
  /** SHA-256 of all bytes, one character a byte, where it was made here; else it is made where it is needed. */
  readonly sha256: string | null;
}

/** Larger mails are hashed in several turns of the event loop, in slices of so many bytes: 25 MB at once hold it up for 40 ms. */
const SLICE_BYTES = 2 * 1024 * 1024;

export function hashesOf(raw: Uint8Array): MailHashes | Promise<MailHashes> {
  return raw.length > SLICE_BYTES ? inTurns(raw) : atOnce(raw);
}

function atOnce(raw: Uint8Array): MailHashes {
  const pieces = withoutTrace(raw);
  const contentHash = mailContentHash(raw, pieces);
  return { contentHash, sha256: pieces.length === 1 ? textOf(contentHash) : null };
}

async function inTurns(raw: Uint8Array): Promise<MailHashes> {
  const pieces = withoutTrace(raw);
  const content = await hashOf(pieces);
  const all = pieces.length === 1 ? content : await hashOf([raw]);
  return { contentHash: content, sha256: textOf(all) };
}

async function hashOf(pieces: readonly Uint8Array[]): Promise<Buffer> {
  const sha = createHash('sha256');
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += SLICE_BYTES) {
      sha.update(piece.subarray(at, at + SLICE_BYTES));
      if (at + SLICE_BYTES < piece.length) await nextTurn();
    }
  }
  return sha.digest();
}
