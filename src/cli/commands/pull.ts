import { type Command, Option } from 'commander';
import { parse, stringify } from 'lossless-json';
import type { Call } from '../client.js';
import type { Context } from '../context.js';
import { Failed } from '../failure.js';
import { plain, plainLines } from '../io.js';
import { wholeNumber } from '../options.js';

interface Options {
  readonly max: number;
  readonly wait: number;
  readonly follow?: true;
  readonly keep?: true;
}

/** What a pull gives, numbers as lossless-json reads them. */
interface Pulled {
  readonly lease: string | null;
  readonly deliveries: readonly Delivery[];
}

interface Delivery {
  readonly id: string;
  readonly type: string | null;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly contentType: string;
  readonly encoding?: 'base64';
  readonly body: unknown;
}

/** As long as the server lets a call wait. */
const LONGEST_WAIT = 30;

export function addPull(program: Command, context: Context): void {
  program
    .command('pull')
    .description('fetch what waits for a pull target, show it, and settle it as delivered')
    .argument('<target>')
    .option('--max <n>', 'how many at most; with --follow, at a time', wholeNumber(1, 1000), 10)
    .option('--wait <seconds>', 'how long to wait for the first', wholeNumber(0, LONGEST_WAIT), 0)
    .option('--follow', 'go on until Ctrl-C')
    .addOption(new Option('--keep', 'give back what was shown instead of settling it').conflicts('follow'))
    .action((target: string, options: Options) => (options.follow ? follow : once)(context, target, options));
}

async function once(context: Context, target: string, options: Options): Promise<void> {
  const shown = await pullAndShow(context, target, options);
  if (shown === 0) context.out.note(`nothing waits for ${target}`);
}

async function follow(context: Context, target: string, options: Options): Promise<void> {
  const { interrupted } = context.io;
  while (!interrupted.aborted) {
    try {
      await pullAndShow(context, target, { ...options, wait: LONGEST_WAIT });
    } catch (error) {
      if (!interrupted.aborted) throw error;
    }
  }
}

/** Settled only once it has been shown: what can't be shown is given out again. */
async function pullAndShow(context: Context, target: string, { max, wait, keep }: Options): Promise<number> {
  const json = { max, wait };
  const { text } = await post<unknown>(context, target, 'pull', { json, timeoutMs: (wait + 60) * 1000 });
  const { lease, deliveries } = parse(text) as Pulled;
  for (const delivery of deliveries) {
    await context.out.show(stringify(delivery) ?? '', () => deliveryLines(delivery));
  }
  if (lease !== null && deliveries.length > 0) {
    await settle(context, target, keep ? 'nack' : 'ack', { ids: deliveries.map(({ id }) => id), lease });
  }
  return deliveries.length;
}

interface Settled {
  readonly results: readonly { readonly id: string; readonly result: string }[];
}

async function settle(
  context: Context,
  target: string,
  how: 'ack' | 'nack',
  json: { readonly ids: readonly string[]; readonly lease: string },
): Promise<void> {
  const { body } = await post<Settled>(context, target, how, { json });
  const lost = body.results.filter(({ result }) => result === 'lease_lost' || result === 'unknown');
  if (lost.length === 0) return;
  const details = lost.map(({ id, result }) => `${id}: ${result}`);
  throw new Failed('lease_lost', `${lost.length} deliveries were no longer ours and will be given out again.`, details);
}

function post<T>(context: Context, target: string, what: string, call: Call) {
  return context.client().call<T>(`/v1/targets/${encodeURIComponent(target)}/${what}`, { method: 'POST', ...call });
}

function deliveryLines({ id, type, headers, contentType, encoding, body }: Delivery): string[] {
  const account = String(headers['waybill-account'] ?? '');
  const head = plain(`${id} ${type ?? '(no type)'} ${account} ${contentType}`);
  if (encoding === undefined) return [head, ...indented(plainLines(stringify(body, undefined, 2) ?? 'null'))];
  return [head, ...indented(plainLines(Buffer.from(String(body), 'base64').toString()))];
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => (line === '' ? '' : `  ${line}`));
}
