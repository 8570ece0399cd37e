import { readFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { pino } from 'pino';
import type { LoadFrom } from '../config/load.js';
import type { Settings } from '../config/schema.js';
import type { Clock } from '../message/clock.js';
import { openBackup } from '../storage/backup/reader.js';
import { type Restored, refuseUnknownMigrations, restoreBackup } from '../storage/backup/restore.js';
import { fileSink, streamSink } from '../storage/backup/sink.js';
import { type BackupProgress, type Taken, takeBackup } from '../storage/backup/take.js';
import { borrowEmbedded, startEmbedded } from '../storage/embedded.js';
import { readConfiguration } from './configuration.js';

export { BackupFailed } from '../storage/backup/failure.js';
export { ConfigurationInvalid } from './configuration.js';
export type { BackupProgress, Restored, Taken };

export interface BackupDeps {
  readonly from: LoadFrom;
  readonly clock: Clock;
  /** Fires when the user wants it to end: then nothing is left behind, and nothing was changed. */
  readonly signal: AbortSignal;
}

export interface BackupOptions {
  /** A file, or where its bytes go. */
  readonly to: string | Writable;
  /** Whether a file that is there may be replaced. */
  readonly force: boolean;
  readonly progress: (so: BackupProgress) => void;
}

/**
 * Backs up the database that `waybill start` would work on, whether one runs on it or not. Rejects with BackupFailed,
 * ConfigurationInvalid, or as a start would.
 */
export async function backUp({ from, clock, signal }: BackupDeps, options: BackupOptions): Promise<Taken> {
  const { settings } = readConfiguration(from);
  const sink =
    typeof options.to === 'string' ? await fileSink(options.to, { force: options.force }) : streamSink(options.to);
  try {
    const taken = await withDatabase(borrowEmbedded, settings, clock, (url) =>
      takeBackup(
        { url, applicationName: 'waybill backup', product: version(), signal, progress: options.progress },
        sink,
      ),
    );
    await sink.finish();
    return taken;
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

export interface RestoreOptions {
  readonly file: string;
  /** Puts it in the place of an installation that is there. */
  readonly replace: boolean;
  readonly checking: (read: number, of: number) => void;
  readonly progress: (so: Omit<BackupProgress, 'bytes'>) => void;
}

export interface Checked {
  readonly takenAt: string;
  readonly product: string;
  readonly installation: string;
  readonly epoch: number;
  readonly messages: number;
  readonly tables: number;
  readonly rows: number;
  readonly bytes: number;
}

/** Reads a whole backup and says what is in it. Rejects with BackupFailed when it could not be restored. */
export async function checkBackup(
  { signal }: Pick<BackupDeps, 'signal'>,
  options: Pick<RestoreOptions, 'file' | 'checking'>,
): Promise<Checked> {
  const backup = await openBackup(options.file, { signal, checking: options.checking });
  try {
    await refuseUnknownMigrations(backup.header);
    return contentsOf(backup);
  } finally {
    await backup.close();
  }
}

/**
 * Restores a backup into the database that `waybill start` would work on. Rejects with BackupFailed,
 * ConfigurationInvalid, or as a start would; then nothing was changed, unless it says otherwise.
 */
export async function restore(
  deps: BackupDeps,
  options: RestoreOptions,
): Promise<Restored & { readonly backup: Checked }> {
  const { from, clock, signal } = deps;
  const { settings } = readConfiguration(from);
  const backup = await openBackup(options.file, { signal, checking: options.checking });
  try {
    await refuseUnknownMigrations(backup.header);
    const { replace, progress } = options;
    const { lostAfterMs } = settings.lease;
    const restored = await withDatabase(startEmbedded, settings, clock, (url) =>
      restoreBackup(
        { url, applicationName: 'waybill restore', signal, replace, lostAfterMs, now: clock.now, progress },
        backup,
      ),
    );
    return { ...restored, backup: contentsOf(backup) };
  } finally {
    await backup.close();
  }
}

function contentsOf({ header, trailer, size }: Awaited<ReturnType<typeof openBackup>>): Checked {
  const { takenAt, product, installation, epoch, messages } = header;
  return { takenAt, product, installation, epoch, messages, tables: trailer.tables, rows: trailer.rows, bytes: size };
}

/** Runs `work` on the database that the settings name; an embedded one is had by `embedded`, and stopped after it. */
async function withDatabase<T>(
  embedded: typeof borrowEmbedded,
  settings: Settings,
  clock: Clock,
  work: (url: string) => Promise<T>,
): Promise<T> {
  if (settings.database.url) return work(settings.database.url);
  // What it does in the ordinary way is nobody's news here.
  const log = pino({ level: 'error' }, pino.destination(2));
  const server = await embedded({ dataDir: settings.data, log, clock });
  try {
    return await work(server.url);
  } finally {
    await server.stop();
  }
}

/** Of the program, as it was built: this file lies in dist/src/app then. */
function version(): string {
  const file = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}
