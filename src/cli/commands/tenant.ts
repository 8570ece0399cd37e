import type { Command } from 'commander';
import type { Context } from '../context.js';
import { table } from '../io.js';
import { wholeNumber } from '../options.js';

interface Tenant {
  readonly name: string;
  readonly channels: number;
}

export function addTenant(program: Command, context: Context): void {
  const tenant = program.command('tenant').description('the tenants of the installation');
  tenant
    .command('list', { isDefault: true })
    .description('all tenants')
    .action(async () => {
      const { text, body } = await context.client().call<{ items: readonly Tenant[] }>('/v1/tenants');
      const rows = body.items.map(({ name, channels }) => [name, channels]);
      await context.out.show(text, () => table(['tenant', 'channels'], rows));
    });
  tenant
    .command('add')
    .description("make a tenant and print its owner's one-time sign-in link")
    .argument('<name>')
    .option('--channels <n>', 'ordered partitions, for good; 16 without it', wholeNumber(1, 1024))
    .action(async (name: string, { channels }: { channels?: number }) => {
      const json = { name, ...(channels !== undefined && { channels }) };
      const { text, body } = await context
        .client()
        .call<Tenant & { signIn: string | null }>('/v1/tenants', { method: 'POST', json });
      await context.out.show(text, () => [
        `${body.name} has ${body.channels} channels`,
        ...(body.signIn ? [body.signIn] : []),
      ]);
    });
}
