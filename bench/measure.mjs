import { readdirSync, readFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** Middle value of an odd number of runs. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** The value below which a share of all lie. */
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** Rounded to one decimal. */
export function tenths(value) {
  return Math.round(value * 10) / 10;
}

/** Rounds of some seconds scatter by a tenth: of five pairs the median was off by a twentieth from one run to the next. */
export const PAIRS = 9;

/** Runs a and b in turn, `rounds` times, so that drift of the machine meets both; answers the figures of each. */
export async function inTurn(rounds, a, b) {
  const figures = { a: [], b: [] };
  for (let round = 0; round < rounds; round++) {
    // Whoever comes second finds the machine as the first left it, so they take turns at that too.
    const order = round % 2 === 0 ? ['a', 'b'] : ['b', 'a'];
    for (const which of order) figures[which].push(await (which === 'a' ? a : b)(round));
  }
  return figures;
}

/** What comes out of runs in turn: the median of each, and the median and range of the ratios of the pairs. */
export function compared({ a, b }) {
  const ratios = a.map((figure, i) => figure / b[i]);
  return {
    figure: median(a),
    limit: median(b),
    ratio: median(ratios),
    ratioRange: [Math.min(...ratios), Math.max(...ratios)],
    rounds: { measured: a, limit: b },
  };
}

/** A goal: at least so much, or at most. */
export function atLeast(what, is, goal) {
  return { what, is, goal, held: is >= goal, broken: is < goal * 0.8 };
}

export function atMost(what, is, goal) {
  return { what, is, goal, held: is <= goal, broken: is > goal * 1.2 };
}

/** Things done per second, from a count and milliseconds. */
export function perSecond(count, ms) {
  return (count * 1000) / ms;
}

/** Keeps at most `width` of the jobs under way; resolves when all are done. */
export async function abreast(width, jobs) {
  let next = 0;
  async function worker() {
    while (next < jobs.length) await jobs[next++]();
  }
  await Promise.all(Array.from({ length: width }, worker));
}

/**
 * Keeps `width` of the jobs under way, and times them from when the first `runIn` have ended, without a stop: what
 * begins all at once, on connections just opened, waits longer than anything does later. Answers the jobs a second and
 * the wait of the slowest hundredth, in milliseconds.
 */
export async function steadily(width, runIn, jobs) {
  const waits = [];
  let ended = 0;
  let begun = 0;
  await abreast(
    width,
    jobs.map((job) => async () => {
      const from = performance.now();
      await job();
      if (++ended === runIn) begun = performance.now();
      else if (ended > runIn) waits.push(performance.now() - from);
    }),
  );
  return { rate: perSecond(waits.length, performance.now() - begun), p99Ms: percentile(waits, 0.99) };
}

/** Looks every few milliseconds until it is so; rejects after two minutes. */
export async function until(isSo, what, everyMs = 20, withinMs = 120_000) {
  for (const deadline = performance.now() + withinMs; !(await isSo()); await sleep(everyMs)) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
  }
}

/** Begins to watch the machine; the function it answers says how much of the processors others used since then. */
export function bystanders() {
  const before = { ...processorTime(), ours: familyCpuMs(process.pid) };
  return () => {
    const { busy, all } = processorTime();
    const others = busy - before.busy - (familyCpuMs(process.pid) - before.ours);
    return { load: tenths(loadavg()[0]), othersPercent: Math.max(0, Math.round((others / (all - before.all)) * 100)) };
  };
}

/** Of all processors together, in milliseconds since the machine started. */
function processorTime() {
  const [, ...fields] = readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/);
  const ticks = fields.slice(0, 8).map(Number);
  const all = ticks.reduce((sum, each) => sum + each, 0) * 10;
  return { busy: all - (ticks[3] + ticks[4]) * 10, all };
}

/** Processor time of one process so far, in milliseconds (the kernel counts in hundredths of a second). */
export function cpuMs(pid) {
  return statOf(pid).own;
}

/** Of a process and everything that came from it. */
export function familyCpuMs(pid) {
  const processes = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      processes.set(Number(name), statOf(name));
    } catch {
      // It ended just now.
    }
  }
  let sum = 0;
  for (const [each, { own, ended }] of processes) {
    for (let at = each; at !== undefined; at = processes.get(at)?.parent) {
      if (at !== pid) continue;
      sum += own + ended;
      break;
    }
  }
  return sum;
}

function statOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
  const [user, system, ofEnded, systemOfEnded] = fields.slice(11, 15).map(Number);
  return { parent: Number(fields[1]), own: (user + system) * 10, ended: (ofEnded + systemOfEnded) * 10 };
}

/** Memory a process holds, in MB of 10⁶ bytes. */
export function rssMB(pid) {
  return (Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096) / 1e6;
}

/** Bytes a process has had written to disk so far, by itself. */
export function writtenBytes(pid) {
  return Number(/^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))[1]);
}

export function machine() {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
}
