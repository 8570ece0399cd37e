import { z } from 'zod';
import { looksLikeSecret, secretHash } from '../../src/access/secret.js';
import { readSignIn } from '../../src/storage/access.js';
import type { ApiRequest, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { given } from './form.js';
import type { Site } from './show.js';

const signInQuery = z.object({ ended: given(z.literal('1')), out: given(z.literal('1')) });
const secretParams = z.object({ secret: z.string().max(100) });

/** Signing in: there are no passwords, only one-time links. Looking at one does not use it up: programs look at links too. */
export function signInPages({ pool, now }: PageDeps, site: Site): Route[] {
  const replies = { 200: { description: 'The page', type: 'text/html' } };
  return [
    {
      method: 'get',
      path: '/sign-in',
      permission: 'public',
      summary: 'How to get a link',
      query: signInQuery,
      replies,
      handler: ({ query }: ApiRequest<unknown, z.infer<typeof signInQuery>>) =>
        site.showPublic({ template: 'sign-in', title: 'Sign in' }, { ended: query.ended !== undefined }),
    },
    {
      method: 'get',
      path: '/sign-in/:secret',
      permission: 'public',
      summary: 'The button that uses a link up',
      params: secretParams,
      replies: { ...replies, 410: { description: 'The link was used, or has run out' } },
      handler: async ({ params: { secret } }: ApiRequest<{ secret: string }>) => {
        const known = looksLikeSecret(secret) ? await readSignIn(pool, secretHash(secret), new Date(now())) : undefined;
        const page = { template: 'link', title: 'Sign in', status: known ? 200 : 410 };
        return site.showPublic(page, { known, action: `/sign-in/${secret}` });
      },
    },
  ];
}
