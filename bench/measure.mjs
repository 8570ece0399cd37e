import { cpus, totalmem } from 'node:os';

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

/** Runs a and b in turn, `rounds` times, so that drift of the machine meets both; answers the figures of each. */
export async function inTurn(rounds, a, b) {
  const figures = { a: [], b: [] };
  for (let round = 0; round < rounds; round++) {
    figures.a.push(await a(round));
    figures.b.push(await b(round));
  }
  return figures;
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
