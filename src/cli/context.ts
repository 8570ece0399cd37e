import type { Client } from './client.js';
import type { Io, Output } from './io.js';

/** What every command works with. */
export interface Context {
  readonly io: Io;
  readonly out: Output;
  /** Made when a command first calls Waybill. Throws UsageError when the environment doesn't say how. */
  readonly client: () => Client;
}
