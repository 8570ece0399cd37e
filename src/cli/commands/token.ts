import type { Command } from 'commander';
import { PERMISSIONS } from '../../access/permission.js';
import { didYouMean } from '../../routing/spelling.js';
import type { Context } from '../context.js';
import { UsageError } from '../failure.js';
import { table } from '../io.js';
import { list } from '../options.js';

interface Token {
  readonly name: string;
  readonly permissions: readonly string[];
  readonly createdBy: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly lastUsedAt: string | null;
}

interface CreateOptions {
  readonly permission: string[];
  readonly expires?: string;
}

export function addToken(program: Command, context: Context): void {
  const token = program.command('token').description('tokens by which programs call Waybill');
  token
    .command('list', { isDefault: true })
    .description('all tokens, without their secrets')
    .action(async () => {
      const { text, body } = await context.client().call<{ items: readonly Token[] }>('/v1/tokens');
      await context.out.show(text, () => tokenLines(body.items));
    });
  token
    .command('create')
    .description('make a token and print it, this once')
    .argument('<name>')
    .requiredOption('--permission <permission>', `several times or with commas: ${PERMISSIONS.join(', ')}`, list)
    .option('--expires <time>', 'such as 2027-01-31T12:00:00Z; never without it')
    .action((name: string, options: CreateOptions) => create(context, name, options));
  token
    .command('revoke')
    .description('refuse a token from now on')
    .argument('<name>')
    .action(async (name: string) => {
      await context.client().call(`/v1/tokens/${encodeURIComponent(name)}`, { method: 'DELETE' });
      await context.out.show(JSON.stringify({ name, revoked: true }), () => [`${name} is refused from now on`]);
    });
}

async function create(context: Context, name: string, { permission, expires }: CreateOptions): Promise<void> {
  for (const one of permission) checkPermission(one);
  const json = { name, permissions: permission, ...(expires !== undefined && { expiresAt: expires }) };
  const { text, body } = await context.client().call<{ token: string }>('/v1/tokens', { method: 'POST', json });
  await context.out.show(text, () => [body.token]);
}

function checkPermission(permission: string): void {
  if ((PERMISSIONS as readonly string[]).includes(permission)) return;
  const near = didYouMean(permission, PERMISSIONS);
  const hint = near === undefined ? `there are ${PERMISSIONS.join(', ')}` : `did you mean ${near}?`;
  throw new UsageError(`there is no permission "${permission}"; ${hint}`);
}

function tokenLines(tokens: readonly Token[]): string[] {
  const rows = tokens.map(({ name, permissions, createdBy, expiresAt, revokedAt, lastUsedAt }) => {
    const ends = revokedAt === null ? (expiresAt ?? 'never') : `revoked ${revokedAt}`;
    return [name, createdBy, lastUsedAt ?? 'never', ends, permissions.join(' ')];
  });
  return table(['token', 'made by', 'last used', 'ends', 'permissions'], rows);
}
