import type { PassThrough } from 'node:stream';
import type { Room } from '../../channel/room.js';
import type { RefusalCode } from './refusals.js';

/** What a piece of a mail takes in memory beside its bytes: a Buffer of its own. A mail that trickles in pays for it. */
const PIECE_BYTES = 256;

/** How the data of one mail ended. `release` gives back the memory it is counted with, once. */
export type Received =
  | { readonly end: 'whole'; readonly raw: Buffer; release(): void }
  | { readonly end: 'refused'; readonly code: RefusalCode }
  /** The connection went: there is nobody to answer, and half a mail is no mail. */
  | { readonly end: 'lost' };

/**
 * Collects the data of one mail. A mail over a limit is let go at that very byte; the rest is read and thrown away, so
 * that its sender hears why (RFC 5321 has no other place for the answer), for as much again as a mail may have.
 * After that `giveUp` is called, once, to end the connection.
 */
export function receive(
  stream: PassThrough,
  limits: { readonly maxBytes: number; readonly memory: Room; readonly tenant: number },
  giveUp: (code: RefusalCode) => void,
): Promise<Received> {
  return new Promise((resolve) => {
    let pieces: Buffer[] = [];
    let size = 0;
    let reserved = 0;
    let discarded = 0;
    let refusal: RefusalCode | undefined;
    let ended = false;

    const { maxBytes, memory, tenant } = limits;
    const release = (): void => {
      pieces = [];
      memory.remove(tenant, reserved);
      reserved = 0;
    };
    const refuse = (code: RefusalCode): void => {
      refusal = code;
      release();
    };

    stream.on('data', (piece: Buffer) => {
      if (refusal === undefined) {
        size += piece.length;
        if (size > maxBytes) refuse('too_large');
        else if (!memory.take(tenant, piece.length + PIECE_BYTES, reserved)) refuse('buffers_full');
        else {
          reserved += piece.length + PIECE_BYTES;
          pieces.push(piece);
        }
        return;
      }
      const before = discarded;
      discarded += piece.length;
      if (before <= maxBytes && discarded > maxBytes) giveUp(refusal);
    });
    stream.on('end', () => {
      ended = true;
      if (refusal !== undefined) return resolve({ end: 'refused', code: refusal });
      const raw = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces, size);
      pieces = [];
      resolve({ end: 'whole', raw, release });
    });
    // A lost connection ends in 'close' and never in 'end'. Without a listener 'error' would end the process.
    stream.on('error', () => {});
    stream.on('close', () => {
      if (ended) return;
      release();
      resolve({ end: 'lost' });
    });
  });
}
