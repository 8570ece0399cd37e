import { createHash, timingSafeEqual } from 'node:crypto';

/** A source of random bytes, passed in. */
export type Random = (bytes: number) => Uint8Array;

/** 256 bits: nobody guesses one, so a plain SHA-256 without salt is enough to keep it by. */
const SECRET_BYTES = 32;
const SECRET_FORM = /^[A-Za-z0-9_-]{43}$/;
const TOKEN_PREFIX = 'wb_';

export interface NewSecret {
  /** Shown once to whom it is for. */
  readonly text: string;
  /** SHA-256 of the text: what is stored. */
  readonly hash: Buffer;
}

/** SHA-256 of a secret's text, 32 bytes. */
export function secretHash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** A secret for a session or a sign-in link: 43 characters of base64url. */
export function newSecret(random: Random): NewSecret {
  const text = Buffer.from(random(SECRET_BYTES)).toString('base64url');
  return { text, hash: secretHash(text) };
}

/** A bearer token: `wb_` and 43 characters; the prefix lets scanners of leaked secrets know it. */
export function newToken(random: Random): NewSecret {
  const text = TOKEN_PREFIX + newSecret(random).text;
  return { text, hash: secretHash(text) };
}

/** Whether a text can be a secret at all; what can't is refused without a look-up. */
export function looksLikeSecret(text: string): boolean {
  return SECRET_FORM.test(text);
}

export function looksLikeToken(text: string): boolean {
  return text.startsWith(TOKEN_PREFIX) && SECRET_FORM.test(text.slice(TOKEN_PREFIX.length));
}

/** Compares two texts in a time that tells nothing about where they differ. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(secretHash(a), secretHash(b));
}
