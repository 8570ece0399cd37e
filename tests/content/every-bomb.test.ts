import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { createContentPort } from '../../src/app/content.js';
import { CONTENT_LIMITS, type Content } from '../../src/content/content.js';
import { DEFAULT_LADDER } from '../../src/content/index.js';
import { TOP, type View } from '../../src/message/view.js';
import type { ContentPort } from '../../src/owner/state.js';
import { BOMBS, type Bomb } from '../fixtures/bombs/index.js';
import { seeded } from '../support/seeded.js';
import { spentByChildrenMs } from '../support/spent.js';
import { poolOf } from './pool.js';

/*
 * Every kind of mail that is made to stop parsers, to its end on the ladder. Here in small sizes, and some by chance in
 * larger ones; `npm run test:bombs` sends all of them in all sizes (WAYBILL_SIZES=1e6 those alone), and says what each cost.
 */

const LONG = process.env.WAYBILL_BOMBS === 'long';
const ONLY = process.env.WAYBILL_BOMB ?? '';
const SEED = Number(process.env.WAYBILL_SEED ?? Date.now() % 1_000_000);
const SIZES = LONG ? (process.env.WAYBILL_SIZES ?? '1e3,1e5,1e6,8e6,25e6').split(',').map(Number) : [1e3, 5e4];
/** Of the processor, with the starts of new children. */
const MOST_MS = 5_000;
/** However little of the machine is left. */
const LATEST_MS = 60_000;

if (LONG) setFlagsFromString('--expose-gc');
const collectGarbage = LONG ? (runInNewContext('gc') as () => void) : null;

interface Ended {
  readonly view: View | null;
  readonly tries: number;
  readonly deaths: number;
  readonly tookMs: number;
}

/** Down the ladder until there is a view; null where nothing is left but a person. */
async function readToTheEnd(port: ContentPort, raw: Buffer): Promise<Ended> {
  const begun = performance.now();
  let place = TOP;
  for (let tries = 1; ; tries++) {
    const outcome = await port.parse(raw, place, tries > 1);
    const tookMs = performance.now() - begun;
    if (outcome.ok) return { view: outcome.view, tries, deaths: place.deaths, tookMs };
    if (outcome.ours) throw new Error(outcome.reason);
    place = outcome.next;
    if (port.isPoison('mail', place.rung)) return { view: null, tries, deaths: place.deaths, tookMs };
  }
}

/** The most memory that any child of the pool has held, in bytes, looked at as often as the pool does itself. */
function watchMemory(content: Content): () => number {
  let most = 0;
  const timer = setInterval(() => {
    for (const { pid } of content.children()) most = Math.max(most, pid === null ? 0 : peakBytes(pid));
  }, 25);
  return () => {
    clearInterval(timer);
    return most;
  };
}

function peakBytes(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

async function sendAll(bombs: readonly Bomb[], sizes: readonly number[]): Promise<void> {
  const content = await poolOf({ children: 1 });
  const port = createContentPort(content, DEFAULT_LADDER, 1, CONTENT_LIMITS.timeMs);
  const bad: string[] = [];
  for (const bytes of sizes) {
    for (const bomb of bombs) {
      const raw = bomb.make(bytes, seeded(SEED));
      // What making it left behind is not the reader's.
      collectGarbage?.();
      const memory = watchMemory(content);
      const lag = monitorEventLoopDelay({ resolution: 5 });
      lag.enable();
      const livingPids = () => content.children().flatMap(({ pid }) => pid ?? []);
      const before = spentByChildrenMs(livingPids());
      const { view, tries, deaths, tookMs } = await readToTheEnd(port, raw);
      const spentMs = spentByChildrenMs(livingPids()) - before;
      lag.disable();
      const megabytes = Math.round(memory() / 2 ** 20);
      const lagMs = Math.round(lag.max / 1e6);
      const cost = `${bomb.kind}, ${bytes} bytes: ${view === null ? 'poison' : DEFAULT_LADDER[view.rung]} after ${Math.round(tookMs)} ms, ${spentMs} ms of them of the processor, ${tries} tries, ${deaths} deaths, ${megabytes} MiB, lag ${lagMs} ms`;
      if (LONG && (tries > 1 || tookMs > 500)) console.info(cost);
      if (view === null || spentMs > MOST_MS || tookMs > LATEST_MS || megabytes > 256 || (LONG && lagMs > 50))
        bad.push(cost);
    }
  }
  expect(bad, `seed ${SEED}`).toEqual([]);
}

describe('every bomb', () => {
  it('comes to a view in time, and costs no more than its child', { timeout: LONG ? 3_600_000 : 120_000 }, () =>
    sendAll(
      BOMBS.filter(({ kind }) => kind.includes(ONLY)),
      SIZES,
    ),
  );

  it.skipIf(LONG)('of a megabyte, too: some by chance', { timeout: 120_000 }, () => {
    const random = seeded(SEED);
    return sendAll(
      Array.from({ length: 30 }, () => random.pick(BOMBS)),
      [1e6],
    );
  });
});
