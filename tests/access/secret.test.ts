import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  looksLikeSecret,
  looksLikeToken,
  newSecret,
  newToken,
  sameSecret,
  secretHash,
} from '../../src/access/secret.js';

test('a token is wb_ and 256 bits, and is kept by its hash', () => {
  const { text, hash } = newToken(randomBytes);
  expect(text).toMatch(/^wb_[A-Za-z0-9_-]{43}$/);
  expect(hash.equals(secretHash(text))).toBe(true);
  expect(looksLikeToken(text)).toBe(true);
  expect(looksLikeSecret(text)).toBe(false);
});

test('a secret holds exactly the random bytes it was given', () => {
  const bytes = new Uint8Array(32).fill(7);
  expect(Buffer.from(newSecret(() => bytes).text, 'base64url').equals(Buffer.from(bytes))).toBe(true);
});

test.each([
  '',
  'wb_',
  'wb_short',
  `wb_${'a'.repeat(42)}`,
  `wb_${'a'.repeat(44)}`,
  `xx_${'a'.repeat(43)}`,
  `wb_${'!'.repeat(43)}`,
])('%s is no token', (text) => expect(looksLikeToken(text)).toBe(false));

test('secrets are compared whole, whatever their lengths', () => {
  expect(sameSecret('abc', 'abc')).toBe(true);
  expect(sameSecret('abc', 'abd')).toBe(false);
  expect(sameSecret('abc', 'abcd')).toBe(false);
});
