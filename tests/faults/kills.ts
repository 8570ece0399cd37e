import { setTimeout as pause } from 'node:timers/promises';
import { ageGeneration } from './support/database.js';
import { KILLS, LONG } from './support/options.js';
import type { Post, PostPlan } from './support/post.js';
import type { Scenario } from './support/scenario.js';
import type { Stage } from './support/stage.js';

/* SIGKILL at random moments, to processes of every role, also while others are still being started again. */

const LAYOUTS: Readonly<Record<string, readonly PostPlan[]>> = {
  'one process': [{ name: 'one' }],
  'two alike': [{ name: 'one' }, { name: 'two' }],
  'roles apart': [
    { name: 'ingress-1', roles: ['ingress'] },
    { name: 'ingress-2', roles: ['ingress'] },
    { name: 'owner-1', roles: ['owner'] },
    { name: 'owner-2', roles: ['owner'] },
    { name: 'web', roles: ['web'] },
    { name: 'ledger', roles: ['ledger'] },
  ],
};

const KILLS_A_RUN = LONG ? 10 : 3;
/** Between the end of one and the next kill, and before a dead one is started again, at most. */
const BETWEEN_MS = 800;
const DEAD_MS = 600;

export function killScenarios(): Scenario[] {
  const runs = Math.ceil(KILLS / KILLS_A_RUN / Object.keys(LAYOUTS).length);
  return Object.entries(LAYOUTS).map(([name, posts]) => ({
    name: `killed at random, ${name}`,
    posts,
    times: runs,
    ...(name === 'two alike' && { short: true as const }),
    fault: (stage) => killSome(stage, KILLS_A_RUN),
  }));
}

async function killSome(stage: Stage, kills: number): Promise<void> {
  const { random } = stage;
  const starting = new Set<Promise<void>>();
  for (let kill = 0; kill < kills; kill++) {
    await pause(random.below(BETWEEN_MS));
    if (random.below(8) === 0) await ageGeneration(stage.databaseUrl);
    const up = stage.posts.filter((post) => post.up);
    if (up.length === 0) {
      await Promise.race(starting);
      kill--;
      continue;
    }
    const victim = random.pick(up);
    stage.note(`kill ${victim.name}`);
    await victim.kill();
    const started = startAgain(victim, random.below(DEAD_MS)).finally(() => starting.delete(started));
    // Said when all are up.
    started.catch(() => undefined);
    starting.add(started);
  }
  await Promise.all(starting);
}

async function startAgain(post: Post, afterMs: number): Promise<void> {
  await pause(afterMs);
  await post.start();
}
