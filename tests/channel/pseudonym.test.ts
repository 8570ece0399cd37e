import { expect, test } from 'vitest';
import { isPseudonym, pseudonymOf } from '../../src/channel/pseudonym.js';

test('a pseudonym is the same for the same account of a tenant, and for nothing else', () => {
  const secret = Buffer.alloc(32, 1);
  const one = pseudonymOf(secret, 1, 'anna@example.com');
  expect(one).toMatch(/^erased-[A-Za-z0-9_-]{22}$/);
  expect(pseudonymOf(secret, 1, 'anna@example.com')).toBe(one);
  const others = [
    pseudonymOf(secret, 2, 'anna@example.com'),
    pseudonymOf(secret, 1, 'anna@example.co'),
    pseudonymOf(Buffer.alloc(32, 2), 1, 'anna@example.com'),
    pseudonymOf(secret, 1, one),
  ];
  expect(new Set([one, ...others]).size).toBe(5);
});

test('is told from an account', () => {
  expect(isPseudonym(pseudonymOf(Buffer.alloc(32), 1, ''))).toBe(true);
  for (const account of ['', 'anna@example.com', 'erased-', 'erased-by mistake', `erased-${'x'.repeat(23)}`])
    expect(isPseudonym(account)).toBe(false);
});
