import type { BackupDeps } from '../app/backup.js';
import { Failed } from './failure.js';
import type { Io } from './io.js';

/**
 * For commands that work on the database itself, as `waybill start` would find it. They load what they need when they
 * run: the others call a running Waybill and start faster without it.
 */
export async function atTheDatabase<T>(io: Io, command: (deps: BackupDeps) => Promise<T>): Promise<T> {
  const { BackupFailed, ConfigurationInvalid } = await import('../app/backup.js');
  try {
    return await command({ from: { env: io.env }, clock: io.clock, signal: io.interrupted });
  } catch (error) {
    if (error instanceof BackupFailed) throw new Failed(error.code, error.message);
    if (error instanceof ConfigurationInvalid) {
      throw new Failed('configuration_invalid', 'The configuration does not hold.', error.problems);
    }
    throw error;
  }
}
