import type { Principal } from './principal.js';

/** A revoked token is refused at most this long after; milliseconds. */
const TRUSTED_MS = 1000;
/** From this age on it is looked up again beside the request that uses it, so that a busy token never waits. */
const REFRESH_MS = 400;

interface Known {
  principal: Principal;
  /** On the monotonic clock. */
  checkedAt: number;
  refreshing: boolean;
}

/** Looks a token up where it is kept; undefined when it is unknown, expired or revoked. */
export type FindToken = (hash: string) => Promise<Principal | undefined>;

/**
 * The tokens that were used lately, so that checking one costs a single look into a map.
 * At most `capacity` are remembered; the one that was checked longest ago goes first.
 */
export class KnownTokens {
  readonly #known = new Map<string, Known>();
  readonly #underWay = new Map<string, Promise<Principal | undefined>>();

  constructor(
    private readonly find: FindToken,
    private readonly monotonic: () => number,
    private readonly capacity = 10_000,
  ) {}

  /** The principal when it is known and fresh. The hash is the SHA-256 in any one encoding. */
  fresh(hash: string): Principal | undefined {
    const known = this.#known.get(hash);
    if (!known) return undefined;
    const age = this.monotonic() - known.checkedAt;
    if (age >= TRUSTED_MS) return undefined;
    if (age >= REFRESH_MS && !known.refreshing) this.#refresh(hash, known);
    return known.principal;
  }

  /** Whether it was good when last looked up, however long ago: such a token isn't a guess. */
  seen(hash: string): boolean {
    return this.#known.has(hash);
  }

  /** Looks it up; many callers with one token share a look-up. Rejects as `find` does. */
  lookUp(hash: string): Promise<Principal | undefined> {
    const already = this.#underWay.get(hash);
    if (already !== undefined) return already;
    const asked = this.monotonic();
    const found = this.find(hash)
      .then((principal) => this.#note(hash, principal, asked))
      .finally(() => this.#underWay.delete(hash));
    this.#underWay.set(hash, found);
    return found;
  }

  /** Forgets what this process knows of it, so that a revocation made here holds at once. */
  forget(hash: string): void {
    this.#known.delete(hash);
  }

  #note(hash: string, principal: Principal | undefined, asked: number): Principal | undefined {
    this.#known.delete(hash);
    if (principal) {
      this.#known.set(hash, { principal, checkedAt: asked, refreshing: false });
      const oldest = this.#known.keys().next();
      if (this.#known.size > this.capacity && !oldest.done) this.#known.delete(oldest.value);
    }
    return principal;
  }

  #refresh(hash: string, known: Known): void {
    known.refreshing = true;
    // A look-up that fails leaves the old answer until it is too old to be trusted; the next request then meets the error.
    this.lookUp(hash).catch(() => {
      known.refreshing = false;
    });
  }
}
