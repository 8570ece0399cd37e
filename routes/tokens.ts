import type { Pool } from 'pg';
import { z } from 'zod';
import { PERMISSIONS, type Permission } from '../src/access/permission.js';
import type { Principal } from '../src/access/principal.js';
import { notHeld } from '../src/access/role.js';
import { newToken, type Random } from '../src/access/secret.js';
import { nameSchema } from '../src/channel/source.js';
import {
  createToken,
  hasRoomFor,
  listTokens,
  MOST_TOKENS,
  revokeToken,
  type TokenEntry,
} from '../src/storage/access.js';
import { writeAudit } from '../src/storage/audit.js';
import type { Authentication } from './authentication.js';
import { nameParams, timeOut, timeSchema } from './fields.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export interface TokenDeps {
  readonly pool: Pool;
  readonly random: Random;
  readonly now: () => number;
  readonly authentication: Authentication;
}

const tokenSchema = z.object({
  name: z.string(),
  permissions: z.array(z.enum(PERMISSIONS)),
  createdBy: z.string(),
  createdAt: timeOut,
  expiresAt: timeOut.nullable(),
  revokedAt: timeOut.nullable(),
  lastUsedAt: timeOut.nullable().meta({ description: 'To the minute' }),
});

const createBody = z.strictObject({
  name: nameSchema,
  permissions: z.array(z.enum(PERMISSIONS)).min(1).max(PERMISSIONS.length),
  expiresAt: timeSchema.optional(),
});

export function tokenRoutes(deps: TokenDeps): Route[] {
  const { pool } = deps;
  return [
    {
      method: 'get',
      path: '/v1/tokens',
      permission: 'tokens.manage',
      summary: 'All tokens, by name; never their secrets',
      replies: { 200: { description: 'The tokens', schema: z.object({ items: z.array(tokenSchema) }) } },
      handler: async ({ principal }) => ({
        status: 200,
        body: { items: await listTokens(pool, caller(principal).tenant.id) },
      }),
    },
    {
      method: 'post',
      path: '/v1/tokens',
      permission: 'tokens.manage',
      summary: 'Make a token; its secret is in the answer and nowhere else',
      body: 'json',
      bodySchema: createBody,
      replies: {
        201: { description: 'Made', schema: tokenSchema.extend({ token: z.string() }) },
        409: { description: 'A token of that name is in use' },
      },
      handler: async ({ principal, body }: ApiRequest<unknown, unknown, z.infer<typeof createBody>>) => {
        const { token, entry } = await makeToken(deps, caller(principal), body);
        return { status: 201, body: { ...entry, token } };
      },
    },
    {
      method: 'delete',
      path: '/v1/tokens/:name',
      permission: 'tokens.manage',
      summary: 'Revoke a token; it is refused within a second everywhere',
      params: nameParams,
      replies: { 204: { description: 'Revoked' } },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => {
        await revokeNamed(deps, caller(principal), params.name);
        return { status: 204 };
      },
    },
  ];
}

/** Makes a token with no more rights than whoever makes it. Throws Problem: 403 `not_held`, 409, 422. */
export async function makeToken(
  { pool, random, now }: Omit<TokenDeps, 'authentication'>,
  { tenant, who, permissions: held }: Principal,
  { name, permissions, expiresAt }: z.infer<typeof createBody>,
): Promise<{ readonly token: string; readonly entry: TokenEntry }> {
  const at = new Date(now());
  if (expiresAt && expiresAt <= at) throw new Problem(422, 'expiry_invalid', '`expiresAt` must be in the future.');
  checkHeld(held, permissions);
  if (!(await hasRoomFor(pool, 'token', tenant.id, name)))
    throw new Problem(409, 'too_many', `A tenant can have ${MOST_TOKENS} tokens.`);
  const { text: token, hash } = newToken(random);
  const row = { name, hash, permissions: [...new Set(permissions)], createdBy: who, expiresAt: expiresAt ?? null };
  const entry = await createToken(pool, tenant.id, row, at);
  if (!entry)
    throw new Problem(409, 'name_taken', `A token "${name}" is in use: revoke it first, or take another name.`);
  await writeAudit(pool, {
    tenant: tenant.id,
    who,
    action: 'token.create',
    object: name,
    detail: { permissions: row.permissions },
  });
  return { token, entry };
}

/** Revokes a token by name. Throws Problem: 404. */
export async function revokeNamed(
  { pool, now, authentication }: Omit<TokenDeps, 'random'>,
  { tenant, who }: Principal,
  name: string,
): Promise<void> {
  const hash = await revokeToken(pool, tenant.id, name, new Date(now()));
  if (!hash) throw notFound('token');
  authentication.forgetToken(hash);
  await writeAudit(pool, { tenant: tenant.id, who, action: 'token.revoke', object: name });
}

/** Nobody grants what they don't hold. Throws 403. */
export function checkHeld(held: ReadonlySet<Permission>, granted: Iterable<Permission>): void {
  const missing = notHeld(held, granted);
  if (missing.length === 0) return;
  throw new Problem(403, 'not_held', `You can't give what you don't hold: ${missing.join(', ')}.`, {
    permissions: missing,
  });
}
