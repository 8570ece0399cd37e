import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ParseResult } from '../../src/content/content.js';
import { DEFECTS } from '../../src/content/defects.js';
import { DEFAULT_LADDER } from '../../src/content/index.js';
import { parseOn, poolOf } from './pool.js';

/** Real and odd mail of other projects, which is not kept here. */
const CORPUS = new URL('../../../shared/corpus/mail', import.meta.url).pathname;

it.skipIf(!existsSync(CORPUS))(
  `every mail of ${CORPUS} gives a view on every rung, nearly all on the first`,
  async () => {
    const content = await poolOf({ children: 2 });
    const mails = readdirSync(CORPUS, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
    const hashes = mails.map(sha256);
    const results = await Promise.all(mails.map((raw) => parseOn(content, 'full', raw)));
    const lower: ParseResult[] = [];
    for (const rung of DEFAULT_LADDER.slice(1))
      lower.push(...(await Promise.all(mails.map((raw) => parseOn(content, rung, raw)))));

    const full = results.filter(({ ok }) => ok).length;
    console.info(`${full} of ${mails.length} mails read on rung 0`);
    expect(full).toBeGreaterThanOrEqual(0.95 * mails.length);
    expect(lower.every(({ ok }) => ok)).toBe(true);
    expect(mails.map(sha256)).toEqual(hashes);
    for (const result of [...results, ...lower]) expectStorable(result);
  },
);

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** No NUL and no lone surrogate, which PostgreSQL and others refuse, and known defects alone. */
function expectStorable(result: ParseResult): void {
  if (!result.ok) return;
  const json = JSON.stringify(result.view);
  expect(json).not.toMatch(/\\u0000|\\ud[89a-f][0-9a-f]{2}/i);
  for (const { code } of result.view.defects) expect(Object.keys(DEFECTS)).toContain(code);
}
