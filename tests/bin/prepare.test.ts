import { spawnSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { beforeEach, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/directory.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let project: string;
beforeEach(async () => {
  project = await temporaryDirectory();
  await Promise.all(['bin', 'src/storage', 'routes'].map((name) => mkdir(join(project, name), { recursive: true })));
  await symlink(join(ROOT, 'node_modules'), join(project, 'node_modules'));
  for (const name of ['package.json', 'tsconfig.json', 'bin/prepare.mjs'])
    await cp(join(ROOT, name), join(project, name));
  await put('src/a.ts', 'export const a: number = 1;');
  await put('src/storage/0001_first.sql', 'select 1;');
});

const put = (name: string, text: string) => writeFile(join(project, name), text);

function build(): void {
  const script = `(await import(${JSON.stringify(pathToFileURL(join(project, 'bin/prepare.mjs')).href)})).build()`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
}

const built = (name: string) => readFile(join(project, 'dist', name), 'utf8');

test('builds the sources and what lies beside them', async () => {
  build();
  expect(await built('src/a.js')).toContain('export const a = 1;');
  expect(await built('src/storage/0001_first.sql')).toBe('select 1;');
});

test('does nothing when nothing has changed', async () => {
  build();
  const before = await stat(join(project, 'dist'));
  build();
  expect((await stat(join(project, 'dist'))).ino).toBe(before.ino);
});

test('builds what was changed, and keeps nothing of what was removed', async () => {
  await put('src/b.ts', 'export const b = 1;');
  build();
  await put('src/a.ts', 'export const a: number = 22;');
  await put('src/storage/0001_first.sql', 'select 22;');
  await rm(join(project, 'src/b.ts'));
  build();
  expect(await built('src/a.js')).toContain('22');
  expect(await built('src/storage/0001_first.sql')).toBe('select 22;');
  expect((await readdir(join(project, 'dist/src'))).sort()).toEqual(['a.js', 'a.js.map', 'storage']);
});

test('leaves what was built before when the sources do not compile', async () => {
  build();
  await put('src/a.ts', 'export const = ;');
  const script = `(await import(${JSON.stringify(pathToFileURL(join(project, 'bin/prepare.mjs')).href)})).build()`;
  expect(spawnSync(process.execPath, ['--input-type=module', '-e', script]).status).not.toBe(0);
  expect(await built('src/a.js')).toContain('export const a = 1;');
  expect((await readdir(project)).filter((name) => name.includes('dist'))).toEqual(['dist']);
});
