import { argv, env, on, stderr, stdin, stdout } from 'node:process';
import { run } from './run.js';

/* What bin/waybill.mjs runs. */

const interrupted = new AbortController();
const [command] = argv.slice(2);

// `start` has signals of its own: it drains.
if (command !== 'start') {
  on('SIGINT', () => interrupted.abort());
  on('SIGTERM', () => interrupted.abort());
}

// Whoever reads our output may have seen enough (`waybill tail | head`).
stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  interrupted.abort();
});

process.exitCode = await run(
  argv.slice(2),
  {
    env,
    stdin,
    stdout,
    stderr,
    clock: { now: () => Date.now(), monotonic: () => performance.now() },
    interrupted: interrupted.signal,
  },
  async () => {
    const { main } = await import('../main.js');
    return main(env);
  },
);
