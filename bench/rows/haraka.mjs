import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compared, inTurn, median, tenths } from '../measure.mjs';
import { startHaraka } from '../peers/haraka.mjs';
import { startStack } from '../stack.mjs';
import { send, WARM_UPS } from './smtp-accept.mjs';

/**
 * Beside Haraka, the same mails by the same client. It writes each mail to a file, fsyncs and renames it before it says
 * 250: as durable, without account, de-duplication, number or order. It reads nothing onward, so here Waybill does not
 * either.
 */
export async function run({ scale }) {
  const directory = mkdtempSync(join(tmpdir(), 'waybill-bench-'));
  const stack = await startStack({ rabbitmq: false, roles: 'ingress,web' });
  const haraka = await startHaraka({ directory });
  const tails = { a: [], b: [] };
  try {
    const count = Math.ceil(3000 * scale);
    const ours = (into) => () => send(Number(stack.smtp.split(':').at(-1)), count, into);
    const theirs = (into) => () => send(haraka.port, count, into);
    await inTurn(WARM_UPS, ours([]), theirs([]));
    const found = compared(await inTurn(5, ours(tails.a), theirs(tails.b)));
    if (haraka.kept() < count) throw new Error(`Haraka kept ${haraka.kept()} of ${count} mails a round`);
    return {
      row: 'beside Haraka: SMTP accept, 5 kB mails, 100 connections, durable',
      unit: 'mails/s',
      ...found,
      limitIs: 'Haraka 3.3 with a queue plugin that writes, fsyncs and renames a file',
      also: { p99Ms: tenths(median(tails.a)), p99MsOfHaraka: tenths(median(tails.b)) },
    };
  } finally {
    await haraka.stop();
    await stack.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}
