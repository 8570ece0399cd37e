import { readFileSync } from 'node:fs';

/** Milliseconds of the processor that this process has spent so far, with all its threads: others share the machine. */
export function spentMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** Milliseconds of the processor that a piece of work takes, done here and at once. */
export function costMs(work: () => unknown): number {
  const from = spentMs();
  work();
  return spentMs() - from;
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

/** Milliseconds of the processor, to 10, that children of this process have spent so far: those that have ended, and these. */
export function spentByChildrenMs(living: readonly number[]): number {
  const ofLiving = living.map((pid) => {
    try {
      return timesOf(`/proc/${pid}/stat`).own;
    } catch {
      // It has ended meanwhile.
      return 0;
    }
  });
  return ofLiving.reduce((sum, each) => sum + each, timesOf('/proc/self/stat').ofChildren);
}

/** What the thread of the tests has spent so far, without the process's other threads. */
function spentHereMs(): number {
  return timesOf(`/proc/self/task/${process.pid}/stat`).own;
}

function timesOf(path: string): { readonly own: number; readonly ofChildren: number } {
  const stat = readFileSync(path, 'latin1');
  // What comes before is a name in parentheses; of the fields after it the 12th to the 15th are in hundredths of a second.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user, system, childrensUser, childrensSystem] = fields.slice(11, 15).map((ticks) => Number(ticks) * 10);
  return { own: (user ?? 0) + (system ?? 0), ofChildren: (childrensUser ?? 0) + (childrensSystem ?? 0) };
}
