import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { WebhookSource } from '../../channel/source.js';

/** Whether a delivery is genuine. `signature_expired`: rightly signed, but for a time too far from now. */
export type Verification =
  | { readonly genuine: true }
  | { readonly genuine: false; readonly code: 'signature_invalid' | 'signature_expired'; readonly why: string };

type SignatureScheme = Exclude<WebhookSource['verify'], { scheme: 'token' | 'none' }>;
type SchemeOf<S extends SignatureScheme['scheme']> = Extract<SignatureScheme, { scheme: S }>;

/** What a delivery claims: signatures over a text, made for a time. */
interface Claim {
  /** Candidates: the sender may sign with several keys while it changes them. */
  readonly signatures: readonly Buffer[];
  readonly signed: readonly (string | Buffer)[];
  /** Seconds since 1970; null where the scheme signs none. */
  readonly at: number | null;
}

/** Checks a delivery's signature over its raw bytes, with each of the source's secrets. `now` in ms since 1970. */
export function verify(
  scheme: SignatureScheme,
  toleranceSeconds: number,
  headers: IncomingHttpHeaders,
  body: Buffer,
  now: number,
): Verification {
  const claim = readClaim(scheme, headers, body);
  if (typeof claim === 'string') return { genuine: false, code: 'signature_invalid', why: claim };
  if (!isSigned(scheme, claim)) {
    return { genuine: false, code: 'signature_invalid', why: 'The signature does not match the body and the secret.' };
  }
  if (claim.at !== null && Math.abs(now / 1000 - claim.at) > toleranceSeconds) {
    const why = `The signed time is more than ${toleranceSeconds} s from now; check the sender's clock, or send it anew.`;
    return { genuine: false, code: 'signature_expired', why };
  }
  return { genuine: true };
}

/** Compares two texts without telling by the time it takes how far they agree, or how long the expected one is. */
export function sameText(given: string, expected: string): boolean {
  return timingSafeEqual(sha256(given), sha256(expected));
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** Reads what is claimed, or says what is missing. */
function readClaim(scheme: SignatureScheme, headers: IncomingHttpHeaders, body: Buffer): Claim | string {
  switch (scheme.scheme) {
    case 'standard':
      return standardClaim(headers, body);
    case 'stripe':
      return stripeClaim(headers, body);
    case 'github':
      return headerClaim(GITHUB, headers, body);
    case 'hmac':
      return headerClaim(scheme, headers, body);
    default: {
      const never: never = scheme;
      return never;
    }
  }
}

const SECONDS = /^\d{1,12}$/;
const NO_TIME = 'The signature names no time in Unix seconds.';

/** Standard Webhooks: `webhook-signature: v1,<base64> v1,<base64>` over `<id>.<timestamp>.<body>`. */
function standardClaim(headers: IncomingHttpHeaders, body: Buffer): Claim | string {
  const id = header(headers, 'webhook-id');
  const timestamp = header(headers, 'webhook-timestamp');
  const signatures = header(headers, 'webhook-signature');
  if (id === undefined || timestamp === undefined || signatures === undefined) {
    return 'The headers webhook-id, webhook-timestamp and webhook-signature are needed.';
  }
  if (!SECONDS.test(timestamp)) return NO_TIME;
  return {
    signatures: versioned(signatures.split(' '), 'v1,').map((text) => Buffer.from(text, 'base64')),
    signed: [`${id}.${timestamp}.`, body],
    at: Number(timestamp),
  };
}

/** Stripe: `stripe-signature: t=<seconds>,v1=<hex>,v1=<hex>` over `<t>.<body>`. */
function stripeClaim(headers: IncomingHttpHeaders, body: Buffer): Claim | string {
  const parts = header(headers, 'stripe-signature')
    ?.split(',')
    .map((part) => part.trim());
  if (parts === undefined) return 'The header stripe-signature is needed.';
  const [timestamp] = versioned(parts, 't=');
  if (timestamp === undefined || !SECONDS.test(timestamp)) return NO_TIME;
  return {
    signatures: versioned(parts, 'v1=').map((text) => Buffer.from(text, 'hex')),
    signed: [`${timestamp}.`, body],
    at: Number(timestamp),
  };
}

const GITHUB = { header: 'x-hub-signature-256', encoding: 'hex', prefix: 'sha256=' } as const;

/** One signature in one header, over the body alone. */
function headerClaim(
  form: Pick<SchemeOf<'hmac'>, 'header' | 'encoding' | 'prefix'>,
  headers: IncomingHttpHeaders,
  body: Buffer,
): Claim | string {
  const value = header(headers, form.header.toLowerCase());
  if (value === undefined) return `The header ${form.header.toLowerCase()} is needed.`;
  const signatures = versioned([value], form.prefix).map((text) => Buffer.from(text, form.encoding));
  return { signatures, signed: [body], at: null };
}

/** What follows the prefix in those that have it. */
function versioned(parts: readonly string[], prefix: string): string[] {
  return parts.filter((part) => part.startsWith(prefix)).map((part) => part.slice(prefix.length));
}

function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}

function isSigned(scheme: SignatureScheme, claim: Claim): boolean {
  const algorithm = scheme.scheme === 'hmac' ? scheme.algorithm : 'sha256';
  return scheme.secrets.some((secret) => {
    const hmac = createHmac(algorithm, key(scheme, secret));
    for (const piece of claim.signed) hmac.update(piece);
    const expected = hmac.digest();
    return claim.signatures.some((one) => one.length === expected.length && timingSafeEqual(one, expected));
  });
}

const STANDARD_PREFIX = 'whsec_';

/** Standard Webhooks writes its keys in base64, with or without `whsec_`; everybody else takes the secret's own bytes. */
function key(scheme: SignatureScheme, secret: string): Buffer {
  if (scheme.scheme !== 'standard') return Buffer.from(secret);
  const encoded = secret.startsWith(STANDARD_PREFIX) ? secret.slice(STANDARD_PREFIX.length) : secret;
  const bytes = Buffer.from(encoded, 'base64');
  return isBase64Of(encoded, bytes) ? bytes : Buffer.from(secret);
}

/** Secrets that someone made up are no base64; then they are taken as they are. */
function isBase64Of(text: string, bytes: Buffer): boolean {
  return bytes.length > 0 && bytes.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '');
}
