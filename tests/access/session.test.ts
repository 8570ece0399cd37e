import { describe, expect, test } from 'vitest';
import { fromOwnPages, SESSION_MS, sessionCookie, setSessionCookie, slide } from '../../src/access/session.js';

test('the cookie is found among others, and only by its whole name', () => {
  expect(sessionCookie('a=1; waybill_session=abc; b=2')).toBe('abc');
  expect(sessionCookie('xwaybill_session=abc')).toBeUndefined();
  expect(sessionCookie('waybill_session')).toBeUndefined();
  expect(sessionCookie(undefined)).toBeUndefined();
});

test('the cookie is kept from scripts and from other sites, and is Secure over https', () => {
  expect(setSessionCookie('abc', true)).toBe(
    `waybill_session=abc; Path=/; Max-Age=${SESSION_MS / 1000}; HttpOnly; SameSite=Lax; Secure`,
  );
  expect(setSessionCookie('', false)).toBe('waybill_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax');
});

test('the end of a session moves on once an hour', () => {
  const now = 1_000_000_000_000;
  expect(slide(now + SESSION_MS, now)).toBeNull();
  expect(slide(now + SESSION_MS, now + 3_599_999)).toBeNull();
  expect(slide(now + SESSION_MS, now + 3_600_000)).toBe(now + 3_600_000 + SESSION_MS);
});

describe('a request that changes something', () => {
  const own = ['https://waybill.example.com'];
  const good = { origin: own[0], fetchSite: 'same-origin', csrf: 'right' };

  test('comes from our own pages', () => expect(fromOwnPages(good, 'right', own)).toBe(true));
  test('may name no origin', () =>
    expect(fromOwnPages({ ...good, origin: undefined, fetchSite: undefined }, 'right', own)).toBe(true));
  test.each([
    ['without the token', { ...good, csrf: undefined }],
    ['with another token', { ...good, csrf: 'wrong' }],
    ['from another origin', { ...good, origin: 'https://evil.example' }],
    ['from a hidden origin', { ...good, origin: 'null' }],
    ['from another site by its own account', { ...good, origin: undefined, fetchSite: 'cross-site' }],
    ['from a neighbouring host', { ...good, origin: undefined, fetchSite: 'same-site' }],
  ])('%s does not', (_, request) => expect(fromOwnPages(request, 'right', own)).toBe(false));
});
