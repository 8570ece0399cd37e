import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Anatomy, anatomyOf, bytesOf, rolesOf } from '../../src/content/anatomy.js';
import { BodyTexts } from '../../src/content/body-texts.js';
import { DefectList } from '../../src/content/defects.js';
import { EVERYTHING } from '../../src/content/features.js';
import { MAIL_LIMITS } from '../../src/content/limits.js';
import { readMail } from '../../src/content/reader.js';
import type { Leaf } from '../../src/content/scan.js';

/* Real and odd mail of other projects, which is not kept here, judged by somebody else: Python, and people who read it. */

const CORPUS = fileURLToPath(new URL('../../../shared/corpus/mail', import.meta.url));
const FIXTURES = new URL('../fixtures/', import.meta.url);
const MISSING = !existsSync(CORPUS) || spawnSync('python3', ['--version']).status !== 0;

interface Part {
  readonly path: string;
  readonly type: string;
  readonly name: string | null;
  readonly sha256: string | null;
}

interface Reference {
  readonly file: string;
  readonly parts: readonly Part[];
  readonly firstText: { readonly sha256: string } | null;
}

const tools = { level: EVERYTHING, limits: MAIL_LIMITS, stage: () => undefined };

function files(): string[] {
  const entries = readdirSync(CORPUS, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

function references(): Reference[] {
  const script = fileURLToPath(new URL('reference.py', FIXTURES));
  const out = execFileSync('python3', [script], { input: `${files().join('\n')}\n`, maxBuffer: 2 ** 30 });
  return out
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Reference);
}

function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What of our own reading is other than Python's. */
async function differences({ parts, firstText }: Reference, anatomy: Anatomy): Promise<string[]> {
  const ours = rolesOf(anatomy).map(({ leaf }) => leaf);
  if (ours.length !== parts.length) return [`${ours.length} parts, and not ${parts.length}`];
  const found: string[] = [];
  for (const [i, leaf] of ours.entries()) {
    const theirs = parts[i] as Part;
    const { path, type, name } = leaf;
    if (path !== theirs.path || type !== theirs.type || name !== theirs.name) found.push(`${path} is another part`);
    if (theirs.sha256 !== null && !isSame(anatomy, leaf, theirs.sha256)) found.push(`${path} has other bytes`);
  }
  const text = await firstPlainText(anatomy);
  if ((text === null) !== (firstText === null)) found.push('one has a first text, and one has not');
  else if (text !== null && sha256(text) !== firstText?.sha256) found.push('the first text is another');
  return found;
}

/** Blanks at the end of a line of quoted-printable are no part of it (RFC 2045, 6.7 (3)): Python keeps them. */
function isSame(anatomy: Anatomy, leaf: Leaf, theirs: string): boolean {
  const bytes = bytesOf(anatomy, leaf);
  if (sha256(bytes) === theirs) return true;
  const written = anatomy.raw.toString('latin1', leaf.start, leaf.end);
  return leaf.encoding === 'quoted-printable' && /[ \t]\r?$/m.test(written);
}

async function firstPlainText(anatomy: Anatomy): Promise<string | null> {
  const leaf = rolesOf(anatomy).find(
    ({ leaf }) => leaf.type === 'text/plain' && leaf.disposition !== 'attachment',
  )?.leaf;
  if (leaf === undefined) return null;
  const texts = new BodyTexts(anatomy, MAIL_LIMITS, new DefectList(), () => undefined);
  await texts.add(leaf, false);
  return (texts.joined(false).text ?? '')
    .replace(/^\ufeff/, '')
    .replace(/\r\n?/g, '\n')
    .trimEnd();
}

describe.skipIf(MISSING)(`the mails of ${CORPUS}`, () => {
  it('have the parts and the first text that Python finds, or a defect that says why not', async () => {
    const unexplained: string[] = [];
    let same = 0;
    for (const reference of references()) {
      const raw = readFileSync(reference.file);
      const found = await differences(reference, anatomyOf(raw, MAIL_LIMITS));
      if (found.length === 0) same++;
      const { defects } = await readMail(raw, tools);
      const explained = defects.some(({ severity }) => severity !== 'note');
      if (found.length > 0 && !explained) unexplained.push(`${relative(CORPUS, reference.file)}: ${found.join('; ')}`);
    }
    console.info(`${same} of ${files().length} mails as Python reads them, the others with a defect`);
    expect(unexplained).toEqual([]);
    expect(same).toBeGreaterThan(0.9 * files().length);
  });

  it('have the defects that people found who read them, nearly all and hardly any other', async () => {
    const labels = JSON.parse(readFileSync(new URL('labels.json', FIXTURES), 'utf8')) as Record<string, string[]>;
    const missed: string[] = [];
    const wrong: string[] = [];
    let right = 0;
    for (const [file, wanted] of Object.entries(labels)) {
      const { defects } = await readMail(readFileSync(join(CORPUS, file)), tools);
      const found = new Set(defects.map(({ code }) => code));
      right += wanted.filter((code) => found.has(code)).length;
      missed.push(...wanted.filter((code) => !found.has(code)).map((code) => `${file}: ${code}`));
      wrong.push(...[...found].filter((code) => !wanted.includes(code)).map((code) => `${file}: ${code}`));
    }
    const [precision, recall] = [right / (right + wrong.length), right / (right + missed.length)];
    console.info(`precision ${precision.toFixed(3)}, recall ${recall.toFixed(3)}; missed: ${missed.join(', ')}`);
    expect(precision, wrong.join('\n')).toBeGreaterThanOrEqual(0.9);
    expect(recall, missed.join('\n')).toBeGreaterThanOrEqual(0.9);
    const clean = new Set(Object.entries(labels).flatMap(([file, codes]) => (codes.length === 0 ? [file] : [])));
    expect(clean.size).toBeGreaterThanOrEqual(10);
    expect(wrong.filter((each) => clean.has(each.split(':')[0] as string))).toEqual([]);
  });
});
