import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv, env, execPath, exit, stderr } from 'node:process';
import { fileURLToPath } from 'node:url';
import { NODE_FLAGS } from './node-flags.mjs';
import { startRabbitmq } from './rabbitmq.mjs';

/*
 * `npm run start:rabbitmq`: Waybill with a RabbitMQ of its own, kept in the data directory; with AMQP_URL set, that one.
 * Waybill gets every signal and drains; the node is stopped when it has ended.
 */

/** @param {string} line */
function say(line) {
  stderr.write(`waybill: ${line}\n`);
}

async function main() {
  const directory = join(env.WAYBILL_DATA ?? 'data', 'rabbitmq');
  const node = env.AMQP_URL ? undefined : await startRabbitmq({ directory, say });
  if (node) {
    const file = join(directory, 'url');
    writeFileSync(file, `${node.url}\n`, { mode: 0o600 });
    say(`RabbitMQ is ready; its URL, for consumers, is in ${file}`);
  }
  const cli = fileURLToPath(new URL('./waybill.mjs', import.meta.url));
  // Should this process be killed, Waybill drains and ends too.
  const waybill = spawn(
    'setpriv',
    ['--pdeathsig', 'TERM', '--', execPath, ...NODE_FLAGS, cli, 'start', ...argv.slice(2)],
    {
      stdio: 'inherit',
      env: { ...env, AMQP_URL: env.AMQP_URL ?? node?.url },
    },
  );
  // In a terminal Ctrl-C reaches Waybill by itself; here it must only not end this process first.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => waybill.kill('SIGTERM'));
  const [code] = await once(waybill, 'exit');
  await node?.stop();
  return code ?? 1;
}

main().then(exit, (error) => {
  say(error instanceof Error ? error.message : String(error));
  exit(1);
});
