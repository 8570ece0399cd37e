import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { MARK } from './leftovers.js';

/** An empty directory of one's own, closed to other users. It goes at the end of the run, whatever becomes of the test. */
export function temporaryDirectory(): Promise<string> {
  const run = process.env[MARK];
  if (run === undefined) throw new Error('the global setup of the tests did not run');
  return mkdtemp(join(run, 't-'));
}
