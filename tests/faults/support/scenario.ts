import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished, test } from 'vitest';
import { seeded } from '../../support/seeded.js';
import type { Findings } from './audit.js';
import { inDatabase } from './database.js';
import { LONG, ONLY, SEED } from './options.js';
import { type Stage, type StageOptions, setStage } from './stage.js';

/** One thing that goes wrong, and how it is brought about. What must hold afterwards is the same for all: see audit.ts. */
export interface Scenario extends StageOptions {
  readonly name: string;
  /** Part of the short form, which runs with `npm test`. */
  readonly short?: true;
  /** Why it can't be run here; null when it can. */
  readonly skip?: () => string | null;
  /** Breaks something while everybody sends. Everything is up again and answered for before the books are opened. */
  readonly fault: (stage: Stage) => Promise<void>;
  /** How often, with a seed each; once by default. Long form only. */
  readonly times?: number;
}

/** How long one run may take, on a machine that does much else. */
const PATIENCE_MS = 300_000;

/** Makes a test of each scenario that is to be run, once for each of its seeds. */
export function play(scenarios: readonly Scenario[]): void {
  const chosen = scenarios.filter((one) => (LONG || one.short) && one.name.includes(ONLY));
  if (chosen.length === 0) throw new RangeError(`no scenario is called ${ONLY}`);
  const runs = chosen.flatMap((scenario) =>
    Array.from({ length: LONG ? (scenario.times ?? 1) : 1 }, (_, i) => ({ scenario, seed: SEED + i })),
  );
  runs.forEach(({ scenario, seed }, i) => {
    test(`${scenario.name} (seed ${seed})`, { timeout: PATIENCE_MS }, async (context) => {
      const why = scenario.skip?.() ?? null;
      if (why !== null) context.skip(why);
      const begun = performance.now();
      const { summary } = await playOnce(scenario, seed);
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      if (LONG)
        console.info(`${i + 1} of ${runs.length}: ${scenario.name}: right after ${seconds} s. ${told(summary)}`);
    });
  });
}

function told(summary: Findings['summary']): string {
  return Object.entries(summary)
    .map(([what, count]) => `${count} ${what}`)
    .join(', ');
}

async function playOnce(scenario: Scenario, seed: number): Promise<Findings> {
  const stage = await setStage(scenario, seeded(seed));
  let passed = false;
  onTestFinished(async () => {
    if (!passed) await keepEvidence(scenario, seed, stage);
    await stage.close();
  });
  await stage.begin();
  await scenario.fault(stage);
  const findings = await stage.conclude();
  if (findings.violations.length > 0) throw new BooksWrong(findings);
  passed = true;
  return { ...findings, summary: { ...findings.summary, kills: stage.kills } };
}

class BooksWrong extends Error {
  override readonly name = 'BooksWrong';
  constructor({ violations, summary }: Findings) {
    super(`${violations.length} things are wrong:\n${violations.join('\n')}\n${JSON.stringify(summary)}`);
  }
}

/** What each connection to the database is at, and whom it waits for; a server that is gone says why. */
async function activityOf(databaseUrl: string): Promise<string> {
  const asked = `select pid, pg_blocking_pids(pid) as "blockedBy", state, wait_event_type, wait_event, application_name,
    now() - xact_start as "inTransaction", now() - state_change as "since", left(query, 200) as query
    from pg_stat_activity where datname = current_database() order by xact_start`;
  try {
    const rows = await inDatabase(databaseUrl, async (client) => (await client.query(asked)).rows);
    return `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`;
  } catch (error) {
    return `${error}\n`;
  }
}

/** What the processes said and the consumers got, kept where the run tells. */
async function keepEvidence({ name }: Scenario, seed: number, stage: Stage): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), `waybill-fault-${name.replace(/\W+/g, '-')}-${seed}-`));
  for (const post of stage.posts) {
    const lines = post.log().map((line) => JSON.stringify(line));
    await writeFile(join(directory, `${post.name}.log`), `${lines.join('\n')}\n`);
  }
  for (const [target, receipts] of stage.receipts()) {
    const lines = receipts.map((receipt) => JSON.stringify(receipt));
    await writeFile(join(directory, `${target.replace('/', '-')}.receipts`), `${lines.join('\n')}\n`);
  }
  await writeFile(join(directory, 'story.log'), `${stage.story.join('\n')}\n`);
  await writeFile(join(directory, 'activity.log'), await activityOf(stage.databaseUrl));
  console.error(
    `${name} failed with seed ${seed}.\n  Again: npm run test:faults -- --seed ${seed} --scenario '${name}'\n  Logs: ${directory}`,
  );
}
