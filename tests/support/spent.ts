import { readFileSync } from 'node:fs';

/** Milliseconds of the processor that this process has spent so far, with all its threads: others share the machine. */
export function spentMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** The longest that others in this thread had to wait for a turn while `work` went on, in milliseconds of the processor, to 10. */
export async function longestTurnMs(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let seen = spentHereMs();
  const look = () => {
    const now = spentHereMs();
    longest = Math.max(longest, now - seen);
    seen = now;
  };
  const watch = setInterval(look, 1);
  try {
    await work();
  } finally {
    clearInterval(watch);
  }
  look();
  return longest;
}

/** What the thread of the tests has spent so far, without the process's other threads. */
function spentHereMs(): number {
  // What comes before is the thread's name in parentheses; of the fields after it the 12th and the 13th are in hundredths of a second.
  const stat = readFileSync(`/proc/self/task/${process.pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
