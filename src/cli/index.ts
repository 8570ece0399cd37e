import { run } from './run.js';

/* What bin/waybill.mjs runs. */

const { argv, env, stdin, stdout, stderr } = process;
const interrupted = new AbortController();
const command = argv.slice(2).find((word) => !word.startsWith('-'));

// `start` has signals of its own: it drains.
if (command !== 'start') {
  process.on('SIGINT', () => interrupted.abort());
  process.on('SIGTERM', () => interrupted.abort());
}

// Whoever reads our output may have seen enough (`waybill tail | head`). Of other errors, a full disk for one, each write
// is told itself.
stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') interrupted.abort();
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
