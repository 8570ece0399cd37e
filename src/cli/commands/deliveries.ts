import type { Command } from 'commander';
import type { Context } from '../context.js';
import { table } from '../io.js';
import { timeOrAgo, wholeNumber } from '../options.js';

interface Delivery {
  readonly id: string;
  readonly message: string;
  readonly state: string;
  readonly attempts: number;
  readonly created: string;
  readonly next: string | null;
  readonly code: string | null;
  readonly reason: string | null;
}

interface Attempt {
  readonly attempt: number;
  readonly what: string;
  readonly started: string;
  readonly tookMs: number;
  readonly result: string;
  readonly code: string | null;
  readonly reason: string | null;
  readonly answer: string | null;
}

interface Filter {
  readonly state?: string;
  readonly target?: string;
  readonly message?: string;
  readonly since?: string;
  readonly limit: number;
}

export function addDeliveries(program: Command, context: Context): void {
  const deliveries = program.command('deliveries').description('what went where; the tries of one, and trying again');
  deliveries
    .command('list', { isDefault: true })
    .description('deliveries, newest first')
    .option('--state <state>', 'pending, delivered, failed or cancelled')
    .option('--target <name>', 'only those to this target')
    .option('--message <id>', 'only those of this message')
    .option('--since <time>', 'such as 2026-01-31T12:00:00Z, or 12h', timeOrAgo(context.io.clock.now))
    .option('--limit <n>', 'how many', wholeNumber(1, 200), 50)
    .action((filter: Filter) => listDeliveries(context, filter));
  deliveries
    .command('attempts')
    .description('the tries of a delivery and what its target answered')
    .argument('<id>', 'such as 1767225600.erp.7-312')
    .action(async (id: string) => {
      const { text, body } = await context
        .client()
        .call<{ items: readonly Attempt[] }>(`/v1/deliveries/${encodeURIComponent(id)}/attempts`);
      await context.out.show(text, () => attemptLines(body.items));
    });
  deliveries
    .command('retry')
    .description('send the message to that target again, under a new number')
    .argument('<id>', 'such as 1767225600.erp.7-312')
    .action(async (id: string) => {
      const { text } = await context
        .client()
        .call(`/v1/deliveries/${encodeURIComponent(id)}/retry`, { method: 'POST' });
      await context.out.show(text, () => [`${id} will be sent again under a new number`]);
    });
}

async function listDeliveries(context: Context, filter: Filter): Promise<void> {
  const { state, target, message, since: after } = filter;
  // All of one message come at once: nothing else may be asked with it.
  const query = message === undefined ? { state, target, after, limit: filter.limit } : { message };
  const { text, body } = await context.client().call<{ items: readonly Delivery[] }>('/v1/deliveries', { query });
  await context.out.show(text, () => deliveryLines(body.items));
}

function deliveryLines(deliveries: readonly Delivery[]): string[] {
  const rows = deliveries.map(({ id, message, state, attempts, created, next, code, reason }) => {
    const trouble = [code, reason].filter((part) => part !== null).join(': ');
    return [id, message, state, attempts, created, next ?? '', trouble];
  });
  return table(['delivery', 'message', 'state', 'tries', 'created', 'next try', 'trouble'], rows);
}

function attemptLines(attempts: readonly Attempt[]): string[] {
  if (attempts.length === 0) return ['no tries are written down: it went out at once and was confirmed, or waits'];
  const rows = attempts.map(({ attempt, what, started, tookMs, result, code, reason, answer }) => {
    const said = [code, reason, answer].filter((part) => part !== null).join(': ');
    return [attempt, what, started, tookMs, result, said];
  });
  return table(['try', 'what', 'started', 'ms', 'result', 'answer'], rows);
}
