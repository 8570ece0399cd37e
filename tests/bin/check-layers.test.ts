import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/directory.js';

const CHECK = fileURLToPath(new URL('../../bin/check-layers.mjs', import.meta.url));

let directory: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
  await Promise.all(['src', 'routes'].map((name) => mkdir(join(directory, name))));
});

/** Checks a project of these files, and returns what it complains about. */
async function complaints(files: Record<string, string>): Promise<string> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), text);
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, [CHECK], { cwd: directory, encoding: 'utf8' });
  expect(stdout).toContain('layers:');
  expect(status).toBe(stderr === '' ? 0 : 1);
  return stderr;
}

test('imports that point down are right', async () => {
  const files = {
    'src/main.ts': `import './app.js';`,
    'src/app.ts': `import './storage/pool.js'; import '../routes/table.js'; import './config/load.js';`,
    'routes/table.ts': `import '../src/access/check.js'; import '../src/ingress/events/receive.js';`,
    'src/ingress/events/receive.ts': `import type { Id } from '../../message/id.js'; import 'node:http';`,
    'src/storage/pool.ts': `import 'pg';`,
    'src/config/load.ts': `import 'node:fs';`,
    'src/access/check.ts': `import { createHash } from 'node:crypto'; export const at = new Date(0);`,
    'src/message/id.ts': 'export type Id = string;',
  };
  expect(await complaints(files)).toBe('');
});

test.each([
  ['an import that points up', { 'src/channel/a.ts': `import '../storage/pool.js';` }, 'point down only'],
  ['one of a type alone', { 'src/channel/a.ts': `import type { Pool } from '../storage/pool.js';` }, 'point down only'],
  ['one by re-export', { 'src/channel/a.ts': `export type { Pool } from '../storage/pool.js';` }, 'point down only'],
  ['one in the middle', { 'src/channel/a.ts': `export const x = import('../storage/pool.js');` }, 'point down only'],
  [
    'one inside a type',
    { 'src/channel/a.ts': `export type X = import('../storage/pool.js').Pool;` },
    'point down only',
  ],
  [
    'an adapter that imports another',
    { 'src/broker/a.ts': `import '../storage/pool.js';` },
    `don't import one another`,
  ],
  ['targets too', { 'src/delivery/targets/a.ts': `import '../../storage/pool.js';` }, `don't import one another`],
  ['one that sees the configuration', { 'src/broker/a.ts': `import '../config/load.js';` }, 'only app and main'],
  ['a word that depends on something', { 'src/message/a.ts': `import 'zod';` }, 'depend on nothing'],
  ['a decision with a socket', { 'src/routing/a.ts': `import type { Socket } from 'node:net';` }, 'no I/O of its own'],
  ['a decision with a database', { 'src/delivery/a.ts': `import pg from 'pg';` }, 'no I/O of its own'],
  ['a decision with a clock', { 'src/billing/a.ts': 'export const at = Date.now();' }, 'time and chance'],
  ['a decision with another clock', { 'src/billing/a.ts': 'export const at = new Date();' }, 'time and chance'],
  ['a decision by chance', { 'src/channel/a.ts': 'export const x = Math.random();' }, 'time and chance'],
  ['a folder nobody knows', { 'src/utils/a.ts': '', 'src/app.ts': `import './utils/a.js';` }, 'in no layer'],
  [
    'a circle',
    { 'src/channel/a.ts': `import './b.js';`, 'src/channel/b.ts': `import type { A } from './a.js';` },
    'src/channel/a.ts → src/channel/b.ts → src/channel/a.ts',
  ],
])('%s is not', async (_what, files, complaint) => {
  expect(await complaints(files as Record<string, string>)).toContain(complaint);
});
