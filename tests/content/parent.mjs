/* A parent to be killed: two children, one of them in an endless loop. Prints their process ids. */
import { startContent } from '../../dist/src/content/children.js';
import { EVERYTHING } from '../../dist/src/content/features.js';

const silent = { info: () => undefined, warn: () => undefined };
const clock = { now: () => Date.now(), monotonic: () => performance.now() };
const content = await startContent({
  children: 2,
  log: silent,
  clock,
  entry: new URL(process.argv[2]),
  limits: { timeMs: 600_000 },
});
void content.parse({ raw: Buffer.from('loop body'), rung: 0, level: EVERYTHING, suspect: false });
const pids = content.children().flatMap(({ pid }) => (pid === null ? [] : [pid]));
process.stdout.write(JSON.stringify(pids));
