import { z } from 'zod';
import { setSessionCookie } from '../src/access/session.js';
import type { Authentication } from './authentication.js';
import { ownOrigin, ownOrigins } from './origin.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export interface SessionDeps {
  readonly authentication: Authentication;
  readonly publicUrl: string | null;
}

const secretParams = z.object({ secret: z.string().max(100) });

/** Signing in and out. The page that shows the button is the pages' own: only its POST uses the link up. */
export function sessionRoutes({ authentication, publicUrl }: SessionDeps): Route[] {
  const https = (incoming: ApiRequest['incoming']) => ownOrigin(publicUrl, incoming).startsWith('https:');
  return [
    {
      method: 'post',
      path: '/sign-in/:secret',
      permission: 'public',
      summary: 'Use a one-time link up: begins a session and goes to the inbox',
      params: secretParams,
      replies: {
        303: { description: 'Signed in' },
        403: { description: 'It came from another site' },
        410: { description: 'The link was used, or has run out' },
      },
      handler: async ({ params, peer, incoming, headers }: ApiRequest<{ secret: string }>) => {
        // Otherwise another site could sign somebody in as somebody else.
        if (headers.origin !== undefined && !ownOrigins(publicUrl, incoming).includes(headers.origin)) {
          throw new Problem(403, 'csrf', 'This did not come from one of our own pages: open the link again.');
        }
        const session = await authentication.signIn(params.secret, peer);
        if (session === undefined)
          throw new Problem(410, 'link_used', 'This link was used already, or has run out: ask for a new one.');
        return { status: 303, headers: { location: '/', 'set-cookie': setSessionCookie(session, https(incoming)) } };
      },
    },
    {
      method: 'post',
      path: '/sign-out',
      permission: 'public',
      summary: 'End the session',
      replies: { 303: { description: 'Signed out' } },
      // The cookie is SameSite=Lax: another site's form comes without it, and ends nothing.
      handler: async ({ headers, incoming }) => {
        await authentication.signOut(headers);
        return { status: 303, headers: { location: '/', 'set-cookie': setSessionCookie('', https(incoming)) } };
      },
    },
  ];
}
