import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { NODE_FLAGS } from '../../bin/node-flags.mjs';

const root = new URL('../../', import.meta.url);

test.each([
  ['package.json', NODE_FLAGS.join(' ')],
  ['packaging/waybill.service', NODE_FLAGS.join(' ')],
  ['docs/operations.md', NODE_FLAGS.join(' ')],
  ['Dockerfile', NODE_FLAGS.map((flag) => `"${flag}"`).join(', ')],
])('%s names the flags that Node is started with', (file, flags) => {
  expect(readFileSync(new URL(file, root), 'utf8')).toContain(flags);
});
