/** An organisation whose data is its own. */
export interface Tenant {
  /** Row id; part of every storage key. Never leaves the house. */
  readonly id: number;
  /** Public name: `[a-z0-9][a-z0-9-]{0,62}`. */
  readonly name: string;
  /** Number of ordered partitions, 1 to 1024; fixed when the tenant is made. */
  readonly channels: number;
}
