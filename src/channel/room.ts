/**
 * Room for so much (messages, bytes …) that tenants share. Who comes back for more may hold no more than it leaves free:
 * alone half of the room, two tenants a third each, three a quarter. So whoever comes anew finds room, however many
 * others take all they can get, and nobody has to be told beforehand how many they will be.
 */
export class Room {
  readonly #held = new Map<number, number>();
  #used = 0;

  constructor(readonly limit: number) {}

  get used(): number {
    return this.#used;
  }

  get free(): number {
    return this.limit - this.#used;
  }

  heldBy(tenant: number): number {
    return this.#held.get(tenant) ?? 0;
  }

  /**
   * Whether a tenant may have so much more. `own` is what its asker holds already: a tenant's only asker is bounded by
   * the room alone, or a large one would never get in.
   */
  fits(tenant: number, amount: number, own = 0): boolean {
    const held = this.heldBy(tenant);
    const left = this.free - amount;
    return left >= 0 && (held <= own || held + amount <= left);
  }

  /** Takes it when it fits; whoever does gives the same back by `remove`. */
  take(tenant: number, amount: number, own = 0): boolean {
    const fits = this.fits(tenant, amount, own);
    if (fits) this.add(tenant, amount);
    return fits;
  }

  /** Takes it whether there is room or not. */
  add(tenant: number, amount: number): void {
    this.#used += amount;
    this.#held.set(tenant, this.heldBy(tenant) + amount);
  }

  remove(tenant: number, amount: number): void {
    this.#used -= amount;
    const left = this.heldBy(tenant) - amount;
    if (left > 0) this.#held.set(tenant, left);
    else this.#held.delete(tenant);
  }
}
