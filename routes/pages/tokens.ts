import { z } from 'zod';
import { PERMISSIONS } from '../../src/access/permission.js';
import type { Principal } from '../../src/access/principal.js';
import { nameSchema } from '../../src/channel/source.js';
import { listTokens, type TokenEntry } from '../../src/storage/access.js';
import { nameParams } from '../fields.js';
import { asProblem, caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { makeToken, revokeNamed } from '../tokens.js';
import type { PageDeps } from './deps.js';
import { given, listOf, readForm } from './form.js';
import { type Site, seeOther } from './show.js';
import { type Badge, when } from './words.js';

const DAY_MS = 86_400_000;

const createForm = z.object({
  name: z.string().trim(),
  permissions: listOf(z.enum(PERMISSIONS), PERMISSIONS.length),
  days: given(z.coerce.number().int().min(1).max(3650)),
});
type CreateForm = z.infer<typeof createForm>;

interface Said {
  readonly made?: { readonly name: string; readonly token: string };
  readonly failed?: { readonly why: string; readonly form: CreateForm };
  readonly status?: number;
}

/** Tokens of programs. */
export function tokenPages(deps: PageDeps, site: Site): Route[] {
  const replies = { 200: { description: 'The page', type: 'text/html' }, 409: { description: 'The name is taken' } };
  return [
    {
      method: 'get',
      path: '/tokens',
      permission: 'tokens.manage',
      summary: 'All tokens, never their secrets',
      replies,
      handler: ({ principal }) => showTokens(deps, site, caller(principal), {}),
    },
    {
      method: 'post',
      path: '/tokens',
      permission: 'tokens.manage',
      summary: 'Make a token; the page shows its secret, once',
      body: 'form',
      replies,
      handler: ({ principal, body }: ApiRequest) => make(deps, site, caller(principal), readForm(createForm, body)),
    },
    {
      method: 'post',
      path: '/tokens/:name/revoke',
      permission: 'tokens.manage',
      summary: 'Revoke a token',
      params: nameParams,
      body: 'form',
      replies: { 303: { description: 'Revoked' } },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => {
        await revokeNamed(deps, caller(principal), params.name);
        return seeOther('/tokens');
      },
    },
  ];
}

async function make(deps: PageDeps, site: Site, by: Principal, form: CreateForm): Promise<Reply> {
  const { name, permissions, days } = form;
  const missing = missingOf(form);
  if (missing !== null) return showTokens(deps, site, by, { failed: { why: missing, form }, status: 422 });
  const expiresAt = days === undefined ? undefined : new Date(deps.now() + days * DAY_MS);
  try {
    const { token } = await makeToken(deps, by, { name, permissions, expiresAt });
    return await showTokens(deps, site, by, { made: { name, token } });
  } catch (error) {
    const { status, detail } = asProblem(error);
    if (status !== 403 && status !== 409) throw error;
    return showTokens(deps, site, by, { failed: { why: detail, form }, status });
  }
}

function missingOf({ name, permissions }: CreateForm): string | null {
  if (!nameSchema.safeParse(name).success)
    return 'A name is made of lower-case letters, digits and -, at most 63, and begins with a letter or digit.';
  return permissions.length === 0 ? 'Choose what the token may do.' : null;
}

async function showTokens(deps: PageDeps, site: Site, by: Principal, said: Said): Promise<Reply> {
  const tokens = await listTokens(deps.pool, by.tenant.id);
  const now = deps.now();
  const chosen = said.failed?.form.permissions ?? [];
  return site.show({ template: 'tokens', title: 'Tokens', part: 'tokens', status: said.status ?? 200 }, by, {
    tokens: tokens.map((token) => tokenRow(token, now)),
    // Nobody gives what they don't hold.
    permissions: PERMISSIONS.filter((one) => by.permissions.has(one)).map((name) => ({
      name,
      chosen: chosen.includes(name),
    })),
    made: said.made,
    failed: said.failed?.why,
    name: said.failed?.form.name,
  });
}

function tokenRow(token: TokenEntry, now: number) {
  const badge = badgeOf(token, now);
  return {
    name: token.name,
    badge,
    permissions: token.permissions.join(', '),
    by: token.createdBy,
    created: when(token.createdAt, now),
    expires: token.expiresAt && when(token.expiresAt, now),
    used: token.lastUsedAt && when(token.lastUsedAt, now),
    revoke: badge.label === 'good' && `/tokens/${token.name}/revoke`,
  };
}

function badgeOf({ revokedAt, expiresAt }: TokenEntry, now: number): Badge {
  if (revokedAt) return { label: 'revoked', tone: 'plain' };
  if (expiresAt && expiresAt.getTime() <= now) return { label: 'expired', tone: 'plain' };
  return { label: 'good', tone: 'ok' };
}
