import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { argv, execPath, exit, stderr } from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/*
 * npm run test:faults [-- --seed N] [--scenario TEXT] [--kills N]
 * The whole fault suite, one scenario after the other, with its progress.
 */

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const OPTIONS = /** @type {const} */ ({
  seed: { type: 'string' },
  scenario: { type: 'string' },
  kills: { type: 'string' },
});

/** @returns {Record<string, string>} */
function environment() {
  const { values } = parseArgs({ args: argv.slice(2), options: OPTIONS });
  for (const name of /** @type {const} */ (['seed', 'kills'])) {
    if (values[name] !== undefined && !/^\d{1,10}$/.test(values[name])) throw new TypeError(`--${name} takes a number`);
  }
  const seed = values.seed ?? String(Math.floor(Math.random() * 2 ** 31));
  stderr.write(`Seed ${seed}; the same again: npm run test:faults -- --seed ${seed}\n`);
  return {
    WAYBILL_FAULTS: 'long',
    WAYBILL_SEED: seed,
    WAYBILL_SCENARIO: values.scenario ?? '',
    ...(values.kills && { WAYBILL_KILLS: values.kills }),
  };
}

try {
  const own = environment();
  const vitest = join(dirname(fileURLToPath(import.meta.resolve('vitest/package.json'))), 'vitest.mjs');
  const tests = own.WAYBILL_SCENARIO === '' ? 'tests/faults' : 'tests/faults/faults.test.ts';
  const args = ['run', tests, '--maxWorkers=1', '--sequence.shuffle=false', '--reporter=verbose'];
  const child = spawn(execPath, [vitest, ...args], { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...own } });
  child.on('close', (code) => exit(code ?? 1));
} catch (error) {
  stderr.write(`${error instanceof Error ? error.message : error}\n`);
  exit(2);
}
