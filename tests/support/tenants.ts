import { expect } from 'vitest';
import type { Waybill } from './waybill.js';

/** Makes a tenant as an owner does it: by the API, then signing in with the link, for a token that may do these. */
export async function addTenant(waybill: Waybill, name: string, permissions: readonly string[]): Promise<string> {
  const made = await waybill.call('POST', '/v1/tenants', { json: { name } });
  expect(made.status).toBe(201);
  const link = new URL(made.json.signIn);
  const signedIn = await waybill.call('POST', link.pathname, { token: null });
  expect(signedIn.status).toBe(303);
  const cookie = signedIn.headers.get('set-cookie')?.split(';')[0] as string;
  const page = await waybill.call('GET', '/tokens', { token: null, headers: { cookie, accept: 'text/html' } });
  const csrf = /name="_csrf" value="([^"]+)"/.exec(page.bytes.toString())?.[1] ?? '';
  const token = await waybill.call('POST', '/v1/tokens', {
    token: null,
    headers: { cookie, origin: waybill.http, 'x-csrf-token': csrf },
    json: { name: 'sender', permissions },
  });
  expect(token.status).toBe(201);
  return token.json.token;
}
