import type { ClientConfig } from 'pg';

export interface ConnectionSettings {
  /** `postgres://…`, as `DATABASE_URL` or the embedded server gives it. */
  readonly url: string;
  /** Shown in `pg_stat_activity` and in the server's log. */
  readonly applicationName: string;
}

/** Everything of Waybill lives in this schema, so that a database may be shared with others. */
export const SCHEMA = 'waybill';

/**
 * What every connection has in common. The search path goes through `options`, because the first statement
 * must find it already there; `options` of the URL are kept, and come first so that ours win.
 */
export function connectionConfig(settings: ConnectionSettings): ClientConfig {
  const url = parseUrl(settings.url);
  const options = `${url.searchParams.get('options') ?? ''} -c search_path=${SCHEMA}`.trim();
  url.searchParams.delete('options');
  return {
    connectionString: url.href,
    application_name: settings.applicationName,
    options,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
}

/** `postgres://user@/database` leaves the host out, which PostgreSQL's own programs allow. */
function parseUrl(text: string): URL {
  try {
    return new URL(text.replace('@/', '@localhost/'));
  } catch {
    // The error of the parser would quote the password.
    throw new TypeError('the URL of the database is none: it looks like postgres://user:password@host:5432/database');
  }
}
