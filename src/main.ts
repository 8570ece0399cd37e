import { pino } from 'pino';
import { ClockOff } from './app/clocks.js';
import { type Configuration, ConfigurationInvalid, readConfiguration } from './app/configuration.js';
import { logLines } from './app/log-lines.js';
import { type App, startApp } from './app.js';
import { BrokerUnfit } from './broker/fitness.js';
import { DataDirectoryInUse, EmbeddedFailed } from './storage/embedded.js';
import { MigrationRefused } from './storage/migrate.js';
import { DatabaseUnreachable, UnsafeDatabase } from './storage/pool.js';

/**
 * Runs Waybill until it is told to stop. Resolves to the exit code: 0 when it was told to stop and did, 1 when it could
 * not start or must not go on. One JSON line on stdout says when it is ready; everything else goes to stderr.
 */
export async function main(env: NodeJS.ProcessEnv): Promise<number> {
  const from = { env };
  let configuration: ReturnType<typeof readConfiguration>;
  try {
    configuration = readConfiguration(from);
  } catch (error) {
    if (!(error instanceof ConfigurationInvalid)) throw error;
    for (const problem of error.problems) process.stderr.write(`${problem}\n`);
    return 1;
  }
  const log = pino({ level: configuration.settings.log.level }, logLines(2));
  for (const warning of configuration.warnings) log.warn(warning);
  const clock = { now: Date.now, monotonic: () => performance.now() };
  const told = signal();
  let app: App;
  try {
    app = await startApp({ from, configuration, clock, log });
  } catch (error) {
    process.stderr.write(`waybill: ${explained(error, configuration.settings)}\n`);
    return 1;
  }
  process.stdout.write(`${JSON.stringify({ event: 'ready', http: app.http, smtp: app.smtp })}\n`);
  if (app.firstLink !== null) {
    process.stderr.write(`\nSign in with this link. It works once:\n\n  ${app.firstLink}\n\n`);
  }
  const replaced = await Promise.race([told.then(() => false), app.replaced.then(() => true)]);
  if (replaced)
    log.error('a backup was restored while this process was away from the database; it ends: start it again');
  log.info('stopping');
  await app.stop();
  log.info('stopped');
  return replaced ? 1 : 0;
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/** npm hands on the Ctrl-C that a terminal has told every process already: what comes so soon is the same one. */
const SAME_SIGNAL_MS = 1_000;

/** The first signal asks to stop; another one ends the process at once, as it would without us. */
function signal(): Promise<void> {
  return new Promise((resolve) => {
    const told = () => {
      resolve();
      setTimeout(() => {
        for (const name of SIGNALS) process.off(name, told);
      }, SAME_SIGNAL_MS).unref();
    };
    for (const name of SIGNALS) process.on(name, told);
  });
}

/** What a person can act on; the rest with its stack, for a report. */
function explained(error: unknown, { http }: Configuration['settings']): string {
  const known = [
    BrokerUnfit,
    ClockOff,
    ConfigurationInvalid,
    DataDirectoryInUse,
    DatabaseUnreachable,
    EmbeddedFailed,
    MigrationRefused,
    UnsafeDatabase,
  ];
  if (known.some((kind) => error instanceof kind)) return (error as Error).message;
  if (error instanceof Error && 'code' in error && 'port' in error) {
    if (error.code === 'EADDRINUSE')
      return `port ${error.port} is in use; choose another by ${error.port === http.listen.port ? 'WAYBILL_HTTP' : 'WAYBILL_SMTP'}`;
    if (error.code === 'EACCES') return `port ${error.port} is not for us; choose one above 1023`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
