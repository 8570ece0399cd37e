/** Bytes that many mails share. Whoever reserves some gives the same number back. */
export class Memory {
  #used = 0;

  constructor(readonly limit: number) {}

  get used(): number {
    return this.#used;
  }

  get free(): number {
    return this.limit - this.#used;
  }

  /** False, and nothing reserved, when there is not as much left. */
  reserve(bytes: number): boolean {
    if (bytes > this.free) return false;
    this.#used += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#used -= bytes;
  }
}
