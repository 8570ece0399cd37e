import type { Command } from 'commander';
import type { Context } from '../context.js';
import { table } from '../io.js';
import { timeOrAgo } from '../options.js';

interface Target {
  readonly name: string;
  readonly kind: string;
  readonly managedBy: string;
  readonly health: {
    readonly state: string;
    readonly pending: number;
    readonly code: string | null;
    readonly reason: string | null;
    readonly lastTaken: string | null;
  };
}

export function addTargets(program: Command, context: Context): void {
  const targets = program.command('targets').description('the targets and how they are; pause, resume, recover');
  targets
    .command('list', { isDefault: true })
    .description('all targets with their health')
    .action(async () => {
      const { text, body } = await context.client().call<{ items: readonly Target[] }>('/v1/targets');
      await context.out.show(text, () => targetLines(body.items));
    });
  targets
    .command('pause')
    .description('send it nothing; its deliveries wait')
    .argument('<name>')
    .option('--reason <text>', 'why, for others to read')
    .action((name: string, { reason }: { reason?: string }) =>
      operate(context, name, 'pause', reason === undefined ? {} : { reason }),
    );
  targets
    .command('resume')
    .description('let it go on')
    .argument('<name>')
    .action((name: string) => operate(context, name, 'resume', undefined));
  targets
    .command('recover')
    .description('send again, in order, what failed since a time')
    .argument('<name>')
    .requiredOption('--since <time>', 'such as 2026-01-31T12:00:00Z, or 12h', timeOrAgo(context.io.clock.now))
    .action((name: string, { since }: { since: string }) => recover(context, name, since));
}

function path(name: string): string {
  return `/v1/targets/${encodeURIComponent(name)}`;
}

async function operate(context: Context, name: string, what: 'pause' | 'resume', json: unknown): Promise<void> {
  const { text, body } = await context.client().call<Target>(`${path(name)}/${what}`, { method: 'POST', json });
  await context.out.show(text, () => targetLines([body]));
}

interface Recovered {
  readonly recovered: number;
  readonly more: boolean;
}

/** The server does a bounded number at a time. */
async function recover(context: Context, name: string, since: string): Promise<void> {
  let recovered = 0;
  const progress = context.out.progress('deliveries sent again', undefined);
  for (let more = true; more; ) {
    const { body } = await context
      .client()
      .call<Recovered>(`${path(name)}/recover`, { method: 'POST', json: { since } });
    recovered += body.recovered;
    more = body.more && body.recovered > 0;
    progress.update(recovered);
  }
  progress.end();
  await context.out.show(JSON.stringify({ recovered }), () => [`${recovered} deliveries will be sent again`]);
}

function targetLines(targets: readonly Target[]): string[] {
  const rows = targets.map(({ name, kind, managedBy, health }) => {
    const trouble = [health.code, health.reason].filter((part) => part !== null).join(': ');
    return [name, kind, managedBy, health.state, health.pending, health.lastTaken ?? 'never', trouble];
  });
  return table(['target', 'kind', 'from', 'state', 'pending', 'last taken', 'trouble'], rows);
}
