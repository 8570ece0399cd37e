import { execFile } from 'node:child_process';
import { openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { logLines } from '../../src/app/log-lines.js';
import { temporaryDirectory } from '../support/directory.js';
import { builtProgram } from '../support/program.js';
import { until } from '../support/until.js';

const run = promisify(execFile);

describe('log lines', () => {
  it('are written once the turn is over, all of them, in their order', async () => {
    const path = join(await temporaryDirectory(), 'log');
    const log = pino({ base: null, timestamp: false }, logLines(openSync(path, 'a')));
    for (let n = 0; n < 1000; n++) log.info({ n });
    await until(async () => (await readFile(path, 'utf8')).split('\n').length === 1001, 'the last line');
    const read = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(read.map((line) => JSON.parse(line).n)).toEqual(Array.from({ length: 1000 }, (_, n) => n));
  });

  it('are written by a process that fails in the same turn', async () => {
    const built = pathToFileURL(join(await builtProgram(), '../../dist/src/app/log-lines.js'));
    const script = `
      import { logLines } from ${JSON.stringify(built.href)};
      const lines = logLines(2);
      lines.write('the last thing that was known\\n');
      throw new Error('a fault');
    `;
    const failed = await run(process.execPath, ['--input-type=module', '-e', script]).catch((error) => error);
    expect(failed.stderr).toContain('the last thing that was known');
  });
});
