import { InvalidArgumentError } from 'commander';

/* Readers of options; commander shows what they throw as wrong usage. */

export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

/** For options that may be given several times, or with commas. */
export function list(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), ...text.split(',').filter((one) => one !== '')];
}

/** `host:port`, also `[::1]:2525`. */
export function hostAndPort(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port };
  throw new InvalidArgumentError('It must be host:port, such as 127.0.0.1:2525.');
}

/** A time as RFC 3339, or how long ago: `30m`, `12h`, `7d`. As RFC 3339. */
export function timeOrAgo(now: () => number): (text: string) => string {
  return (text) => {
    const ago = /^(\d{1,6})([smhd])$/.exec(text);
    if (ago) return new Date(now() - Number(ago[1]) * (UNIT_MS[ago[2] ?? ''] ?? 0)).toISOString();
    if (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text))) return text;
    throw new InvalidArgumentError('It must be a time such as 2026-01-31T12:00:00Z, or how long ago: 30m, 12h, 7d.');
  };
}

/** A time as RFC 3339, or in how long: `30m`, `12h`, `7d`. As RFC 3339. */
export function timeOrIn(now: () => number): (text: string) => string {
  return (text) => {
    const ahead = /^(\d{1,6})([smhd])$/.exec(text);
    if (ahead) return new Date(now() + Number(ahead[1]) * (UNIT_MS[ahead[2] ?? ''] ?? 0)).toISOString();
    if (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text))) return text;
    throw new InvalidArgumentError('It must be a time such as 2026-01-31T12:00:00Z, or in how long: 30m, 12h, 7d.');
  };
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
