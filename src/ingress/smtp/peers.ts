import type { Clock } from '../../message/clock.js';

interface PeerLimits {
  readonly maxConnectionsPerPeer: number;
  readonly messagesPerMinute: number | null;
  readonly recipientsPerMinute: number | null;
}

/** Failed logins a peer may have in a minute before it is sent away. */
const FAILED_LOGINS_PER_MINUTE = 10;
/** Peers remembered at most, and how many are kept when there are as many. About 20 MB. */
const MAX_PEERS = 50_000;
const PEERS_KEPT = 40_000;

/** A minute's worth of something, refilled evenly. */
interface Bucket {
  left: number;
  /** Milliseconds on the monotonic clock. */
  filledAt: number;
}

interface Peer {
  connections: number;
  readonly messages: Bucket;
  readonly recipients: Bucket;
  readonly logins: Bucket;
}

/** Counts what each peer does. Memory is bounded: of too many, the longest known without a connection are forgotten. */
export class Peers {
  readonly #peers = new Map<string, Peer>();

  constructor(
    readonly limits: PeerLimits,
    readonly clock: Pick<Clock, 'monotonic'>,
  ) {}

  /** One more connection; false when the peer has as many as it may. Each success takes one `leave`. */
  enter(name: string): boolean {
    const peer = this.#peer(name);
    if (peer.connections >= this.limits.maxConnectionsPerPeer) return false;
    peer.connections++;
    return true;
  }

  leave(name: string): void {
    const peer = this.#peers.get(name);
    if (peer) peer.connections--;
  }

  mayBeginMail(name: string): boolean {
    const { messagesPerMinute } = this.limits;
    return messagesPerMinute === null || this.#take(this.#peer(name).messages, messagesPerMinute);
  }

  mayNameRecipient(name: string): boolean {
    const { recipientsPerMinute } = this.limits;
    return recipientsPerMinute === null || this.#take(this.#peer(name).recipients, recipientsPerMinute);
  }

  /** Takes a try at once, so that many at a time gain nothing; `loggedIn` gives it back. */
  mayTryLogin(name: string): boolean {
    return this.#take(this.#peer(name).logins, FAILED_LOGINS_PER_MINUTE);
  }

  loggedIn(name: string): void {
    this.#peer(name).logins.left++;
  }

  #take(bucket: Bucket, perMinute: number): boolean {
    const now = this.clock.monotonic();
    bucket.left = Math.min(perMinute, bucket.left + ((now - bucket.filledAt) * perMinute) / 60_000);
    bucket.filledAt = now;
    if (bucket.left < 1) return false;
    bucket.left--;
    return true;
  }

  #peer(name: string): Peer {
    const known = this.#peers.get(name);
    if (known) return known;
    if (this.#peers.size >= MAX_PEERS) this.#forget();
    const bucket = (perMinute: number | null): Bucket => ({
      left: perMinute ?? 0,
      filledAt: this.clock.monotonic(),
    });
    const peer = {
      connections: 0,
      messages: bucket(this.limits.messagesPerMinute),
      recipients: bucket(this.limits.recipientsPerMinute),
      logins: bucket(FAILED_LOGINS_PER_MINUTE),
    };
    this.#peers.set(name, peer);
    return peer;
  }

  #forget(): void {
    for (const [name, peer] of this.#peers) {
      if (this.#peers.size <= PEERS_KEPT) return;
      if (peer.connections === 0) this.#peers.delete(name);
    }
  }
}
