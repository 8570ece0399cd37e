import type { IncomingMessage } from 'node:http';
import { createGunzip } from 'node:zlib';
import { Room } from '../../channel/room.js';
import { Busy } from '../../message/verdict.js';

export type BodyRefusalCode = 'body_too_large' | 'encoding_unsupported' | 'encoding_malformed' | 'request_aborted';

/** A body that is not taken. The caller must send less, or otherwise encoded; nothing of it was kept. */
export class BodyRefused extends Error {
  override readonly name = 'BodyRefused';
  constructor(
    readonly code: BodyRefusalCode,
    why: string,
  ) {
    super(why);
  }
}

export interface BodyLimits {
  /** Bytes of one body, after decompression. */
  readonly maxBodyBytes: number;
  /** Bytes of all bodies that are read or worked on at once; tenants share them (channel/room.ts). */
  readonly maxBytesInFlight: number;
}

/** Reads request bodies whole, within limits that hold while they stream in. */
export class BodyReader {
  private readonly room: Room;

  constructor(
    private readonly limits: BodyLimits,
    /** `gzip`: taken beside plain bodies. `none`: only bodies as they are, because signatures are over those. */
    private readonly compression: 'gzip' | 'none',
  ) {
    this.room = new Room(limits.maxBytesInFlight);
  }

  /**
   * Reads the body and holds its share of the bytes in flight until `work` is done. Rejects with BodyRefused, with Busy
   * when too many bytes are in flight, of all or of this tenant, and with what `work` rejects with.
   */
  async use<T>(tenant: number, incoming: IncomingMessage, work: (body: Buffer) => Promise<T>): Promise<T> {
    const share: Share = { tenant, bytes: 0 };
    try {
      return await work(await this.read(incoming, share));
    } finally {
      this.room.remove(tenant, share.bytes);
    }
  }

  private async read(incoming: IncomingMessage, share: Share): Promise<Buffer> {
    try {
      return await this.collect(incoming, this.isCompressed(incoming), share);
    } catch (error) {
      await discard(incoming, this.limits.maxBodyBytes);
      throw error;
    }
  }

  private isCompressed(incoming: IncomingMessage): boolean {
    const encoding = (incoming.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
    if (encoding === 'identity' || encoding === '') return false;
    if (this.compression === 'gzip' && (encoding === 'gzip' || encoding === 'x-gzip')) return true;
    const taken = this.compression === 'gzip' ? 'gzip or none' : 'none';
    throw new BodyRefused(
      'encoding_unsupported',
      `Content-Encoding ${encoding.slice(0, 32)} is not taken here; use ${taken}.`,
    );
  }

  private collect(incoming: IncomingMessage, compressed: boolean, share: Share): Promise<Buffer> {
    const gunzip = compressed ? createGunzip() : null;
    const source = gunzip === null ? incoming : incoming.pipe(gunzip);
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      const leave = () => {
        source.off('data', onData).off('end', onEnd);
        incoming.off('error', onLost).off('close', onLost);
        if (gunzip !== null) {
          incoming.unpipe(gunzip);
          gunzip.destroy();
        }
      };
      const fail = (error: Error) => {
        leave();
        reject(error);
      };
      const onData = (chunk: Buffer) => {
        const problem = this.take(chunk.length, share);
        if (problem === null) chunks.push(chunk);
        else fail(problem);
      };
      const onEnd = () => {
        leave();
        resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, share.bytes));
      };
      const onLost = () => {
        if (!incoming.complete) fail(new BodyRefused('request_aborted', 'The request ended before its body did.'));
      };
      incoming.on('error', onLost).on('close', onLost);
      source.on('data', onData).on('end', onEnd);
      gunzip?.on('error', () => fail(new BodyRefused('encoding_malformed', 'The body is not valid gzip.')));
    });
  }

  /** Counts bytes in; says what is wrong with taking them. */
  private take(bytes: number, share: Share): Error | null {
    const { maxBodyBytes } = this.limits;
    if (share.bytes + bytes > maxBodyBytes) {
      return new BodyRefused('body_too_large', `A body may have ${maxBodyBytes} bytes; send less in one request.`);
    }
    if (!this.room.take(share.tenant, bytes, share.bytes)) return new Busy(1);
    share.bytes += bytes;
    return null;
  }
}

/** What one body has of the bytes in flight. */
interface Share {
  readonly tenant: number;
  bytes: number;
}

/**
 * Lets the rest of a refused body go by, at most `maxBytes` of it, so that its sender reads our answer rather than a
 * reset connection. Resolves when the body has ended, the connection has, or enough has gone by.
 */
function discard(incoming: IncomingMessage, maxBytes: number): Promise<void> {
  return new Promise((resolve) => {
    if (incoming.complete || incoming.destroyed) {
      resolve();
      return;
    }
    let bytes = 0;
    const done = () => {
      incoming.off('data', onData).off('end', done).off('close', done);
      resolve();
    };
    const onData = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) done();
    };
    incoming.on('data', onData).on('end', done).on('close', done);
    incoming.resume();
  });
}
