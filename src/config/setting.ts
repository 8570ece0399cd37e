import ipaddr from 'ipaddr.js';
import { z } from 'zod';

/** What is said of a setting beside its type, default and text. */
export interface About {
  readonly unit?: string;
  /** The environment variable that overrules the file; for secrets also with `_FILE` behind it. */
  readonly env?: string;
  /** Never shown. */
  readonly secret?: true;
}

export const abouts = z.registry<About>();
/** How the reference names a type of our own; zod's own types are named from their definition. */
export const typeNames = z.registry<{ readonly name: string }>();

/** Declares one setting: its type with its default, one sentence, and what else there is to say. */
export function setting<S extends z.ZodType>(schema: S, text: string, about: About = {}): S {
  const described = schema.describe(text);
  abouts.add(described, about);
  return described;
}

/** A group of settings under one key. Every one has a default or may be left out, so the group may be, too. */
export function section<S extends z.ZodObject>(text: string, settings: S) {
  // The cast says what zod's types can't: an empty object is valid input, because no setting is required.
  return settings.prefault({} as never).describe(text);
}

/** Bytes, as a plain number or with a unit: `32 MiB`, `25 MB`. */
export function size(least: number, most: number) {
  const bytes = z.int({ error: 'a size such as 512 kB or 32 MiB' }).min(least).max(most);
  return named('size', z.preprocess(bytesOf, bytes));
}

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** `127.0.0.1:8420`, `[::1]:8420`, `localhost:0`. */
export function listenAddress() {
  const text = 'an address with a port, such as 127.0.0.1:8420 or [::1]:8420';
  return named(
    'address:port',
    z.string().transform((value, context): ListenAddress => {
      const address = parseListenAddress(value);
      if (address) return address;
      context.addIssue({ code: 'custom', message: text });
      return z.NEVER;
    }),
  );
}

/** Addresses and networks: `10.0.0.0/8`, `::1`. */
export function networks() {
  const network = z.string().refine(isNetwork, 'an address or a network such as 10.0.0.0/8 or ::1');
  return named('list of networks', z.array(network).max(1000)).default([]);
}

export function path() {
  return named('path', z.string().min(1).max(4096));
}

export function url(...protocols: string[]) {
  const start = new RegExp(`^(${protocols.join('|')})://[^\\s/]+`);
  const text = `a URL that begins with ${protocols.map((protocol) => `${protocol}://`).join(' or ')}`;
  return named('URL', z.string().max(2048).regex(start, text).refine(URL.canParse, text));
}

function named<S extends z.ZodType>(name: string, schema: S): S {
  typeNames.add(schema, { name });
  return schema;
}

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1000,
  KB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/** Bytes of `32 MiB`; anything else as it came, for the schema behind it to judge. */
function bytesOf(value: unknown): unknown {
  const match = typeof value === 'string' ? /^(\d{1,15}(?:\.\d{1,3})?) ?([kKMG]i?B|B)?$/.exec(value) : null;
  const unit = UNITS[match?.[2] ?? 'B'];
  return match && unit ? Math.floor(Number(match[1]) * unit) : value;
}

function parseListenAddress(value: string): ListenAddress | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):(\d{1,5})$/.exec(value);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) return undefined;
  return match?.[1] !== undefined && !ipaddr.IPv6.isValid(host) ? undefined : { host, port };
}

function isNetwork(value: string): boolean {
  return value.includes('/') ? ipaddr.isValidCIDR(value) : ipaddr.isValid(value);
}
