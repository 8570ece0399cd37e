import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../support/directory.js';
import { cli } from './harness.js';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(await temporaryDirectory(), 'backup-'));
});

describe('backup and restore', () => {
  it.each([
    [['backup'], "missing required argument 'file'"],
    [['backup', '-'], 'a backup is no text'],
    [['backup', 'file', '--replace'], "unknown option '--replace'"],
    [['restore'], "missing required argument 'file'"],
    [['restore', 'one', 'two'], 'too many arguments'],
    [['restore', 'file', '--check', '--replace'], 'say one of them'],
  ])('%j is wrong usage', async (argv, said) => {
    const { code, stdout, stderr } = await cli(null, argv, { terminal: true });
    expect(stderr).toContain(said);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it('says what is wrong with a file, with a stable code', async () => {
    const file = join(directory, 'file');
    await writeFile(file, 'something else\n');
    const text = await cli(null, ['restore', '--check', file]);
    expect(text).toEqual({
      code: 1,
      stdout: '',
      stderr: `waybill: ${file} is not a backup of Waybill: it does not begin like one. Nothing was changed.\n`,
    });
    await writeFile(file, 'waybill backup 1\n{"product"');
    const json = await cli(null, ['restore', '--json', '--check', file]);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'backup_cut_short' } });
  });

  it('say that the configuration does not hold, and where', async () => {
    const file = join(directory, 'waybill.yaml');
    await writeFile(file, 'htpp: {}\n');
    const { code, stderr } = await cli(null, ['backup', join(directory, 'out')], { env: { WAYBILL_CONFIG: file } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/The configuration does not hold.*waybill\.yaml:1:1.*http/s);
  });
});
