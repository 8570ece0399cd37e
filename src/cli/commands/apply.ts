import type { Command } from 'commander';
import type { Context } from '../context.js';
import { plain } from '../io.js';

interface Applied {
  readonly tenants: readonly {
    readonly tenant: string;
    readonly changes: readonly { readonly kind: string; readonly name: string; readonly what: string }[];
  }[];
}

export function addApply(program: Command, context: Context): void {
  program
    .command('apply')
    .description('have Waybill read its sources, targets and rules again; all of them hold, or nothing changes')
    .option('--dry-run', 'say what would change, and change nothing')
    .action(async ({ dryRun }: { dryRun?: true }) => {
      const query = { dryRun: dryRun && 'true' };
      const { text, body } = await context.client().call<Applied>('/v1/apply', { method: 'POST', query });
      await context.out.show(text, () => changeLines(body, dryRun === true));
    });
}

const DONE: Readonly<Record<string, string>> = {
  released: 'no longer named by the file; in force as before, and free to be changed',
};
const WOULD_BE: Readonly<Record<string, string>> = {
  added: 'would be added',
  changed: 'would be changed',
  removed: 'would be removed',
  released: 'would no longer be named by the file; in force as before, and free to be changed',
};

function changeLines({ tenants }: Applied, dryRun: boolean): string[] {
  const words = dryRun ? WOULD_BE : DONE;
  const changed = tenants.flatMap(({ tenant, changes }) =>
    changes
      .filter(({ what }) => what !== 'unchanged')
      .map(({ kind, name, what }) =>
        plain(`${tenant}: ${kind} ${kind === 'rules' ? `version ${name}` : name} ${words[what] ?? what}`),
      ),
  );
  return changed.length > 0 ? changed : [dryRun ? 'nothing would change' : 'nothing has changed'];
}
