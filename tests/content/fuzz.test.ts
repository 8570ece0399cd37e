import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { createContentPort } from '../../src/app/content.js';
import { anatomyOf, rolesOf } from '../../src/content/anatomy.js';
import { CONTENT_LIMITS } from '../../src/content/content.js';
import { DEFAULT_LADDER } from '../../src/content/index.js';
import { MAIL_LIMITS } from '../../src/content/limits.js';
import { TOP, type View } from '../../src/message/view.js';
import type { ContentPort } from '../../src/owner/state.js';
import { type Seeded, seeded } from '../support/seeded.js';
import { spentByChildrenMs } from '../support/spent.js';
import { poolOf } from './pool.js';

/*
 * Real mail with damage done to it by chance, read until there is a view. Here for seconds; `npm run test:fuzz` goes on for
 * half an hour, or WAYBILL_FUZZ_MINUTES. A seed gives the same mails again.
 */

const CORPUS = fileURLToPath(new URL('../../../shared/corpus/mail', import.meta.url));
const OWN = fileURLToPath(new URL('../fixtures/mail', import.meta.url));
const MINUTES = Number(process.env.WAYBILL_FUZZ_MINUTES ?? 0);
const SEED = Number(process.env.WAYBILL_SEED ?? Date.now() % 1_000_000);
const SHORT_MS = 4_000;
/** Of the processor, with the starts of new children, however many tries it takes. */
const MOST_MS = 20_000;
/** And by the clock: what waits in vain spends nothing. Twice as much, for a machine that does much else. */
const LONGEST_MS = 40_000;

type Damage = (mail: Buffer, random: Seeded, all: readonly Buffer[]) => Buffer;

const TOKENS = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  '--',
  '=',
  '=?',
  '?=',
  '"',
  '<',
  '>',
  '(',
  ';',
  ':',
  ',',
  '\t',
  '\xff',
].concat(
  [
    'Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n',
    'Content-Transfer-Encoding: base64\r\n',
    '\r\n\r\n--x--',
  ],
  ["name*0*=utf-8''a;", 'charset=utf-16;', 'format=flowed;', 'BEGIN:VEVENT\r\n', '=?utf-8?b?w==?=', '\x78\x9f\x3e\x22'],
);

const DAMAGES: readonly Damage[] = [
  (mail, random) => mail.subarray(0, random.below(mail.length + 1)),
  (mail, random) => mail.subarray(random.below(mail.length + 1)),
  (mail, random) => {
    const copy = Buffer.from(mail);
    for (let n = 1 + random.below(20); n > 0 && copy.length > 0; n--)
      copy[random.below(copy.length)] = random.below(256);
    return copy;
  },
  (mail, random) => inserted(mail, random, Buffer.from(random.pick(TOKENS), 'latin1')),
  (mail, random) => inserted(mail, random, Buffer.from(random.pick(TOKENS).repeat(1 + random.below(3_000)), 'latin1')),
  // A piece of it once more, or of another mail.
  (mail, random) => inserted(mail, random, pieceOf(mail, random)),
  (mail, random, all) => inserted(mail, random, pieceOf(random.pick(all), random)),
  (mail, random) => {
    const from = random.below(mail.length + 1);
    return Buffer.concat([mail.subarray(0, from), mail.subarray(from + random.below(mail.length - from + 1))]);
  },
  (mail, random) =>
    Buffer.from(mail.toString('latin1').replaceAll('\r\n', random.pick(['\n', '\r', '\r\r\n'])), 'latin1'),
];

function inserted(mail: Buffer, random: Seeded, piece: Buffer): Buffer {
  const at = random.below(mail.length + 1);
  return Buffer.concat([mail.subarray(0, at), piece, mail.subarray(at)]);
}

function pieceOf(mail: Buffer, random: Seeded): Buffer {
  const from = random.below(mail.length + 1);
  return mail.subarray(from, from + random.below(5_000));
}

function damaged(mail: Buffer, random: Seeded, all: readonly Buffer[]): Buffer {
  let bytes = mail;
  for (let n = 1 + random.below(4); n > 0; n--) bytes = random.pick(DAMAGES)(bytes, random, all);
  return bytes;
}

async function viewOf(port: ContentPort, raw: Buffer): Promise<{ view: View | null; deaths: number }> {
  let place = TOP;
  for (;;) {
    const outcome = await port.parse(raw, place, place !== TOP);
    if (outcome.ok) return { view: outcome.view, deaths: place.deaths };
    if (outcome.ours) throw new Error(outcome.reason);
    place = outcome.next;
    if (port.isPoison('mail', place.rung)) return { view: null, deaths: place.deaths };
  }
}

/** Leaves of our scan that are neither a part of the view, nor a text of it, nor set aside. */
function unaccounted(raw: Buffer, view: View): string[] {
  const known = new Set([...view.parts.map(({ path }) => path), ...view.setAside.map(({ where }) => where)]);
  const leaves = rolesOf(anatomyOf(raw, MAIL_LIMITS));
  const isText = (role: string) => role === 'text' || role === 'html';
  return leaves.filter(({ leaf, role }) => !known.has(leaf.path) && !isText(role)).map(({ leaf }) => leaf.path);
}

function mails(): Buffer[] {
  const folders = [CORPUS, OWN].filter(existsSync);
  return folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name))),
  );
}

it(`damaged mail comes to a view, all of it accounted for (seed ${SEED})`, {
  timeout: MINUTES * 60_000 + 60_000,
}, async () => {
  const random = seeded(SEED);
  const content = await poolOf({ children: 1 });
  const port = createContentPort(content, DEFAULT_LADDER, 1, CONTENT_LIMITS.timeMs);
  const all = mails();
  const spent = () => spentByChildrenMs(content.children().flatMap(({ pid }) => pid ?? []));
  const until = performance.now() + (MINUTES > 0 ? MINUTES * 60_000 : SHORT_MS);
  const counts = { mails: 0, whole: 0, lower: 0, deaths: 0, longestMs: 0 };
  while (performance.now() < until) {
    const raw = damaged(random.pick(all), random, all);
    const begun = performance.now();
    const before = spent();
    const { view, deaths } = await viewOf(port, raw);
    const spentMs = spent() - before;
    const tookMs = performance.now() - begun;
    counts.mails++;
    counts.deaths += deaths;
    counts.longestMs = Math.max(counts.longestMs, Math.round(tookMs));
    if (view?.rung === 0) counts.whole++;
    else counts.lower++;
    const which = `mail ${counts.mails} of seed ${SEED}: ${raw.toString('base64').slice(0, 2_000)}`;
    expect(view, which).not.toBeNull();
    expect(spentMs, which).toBeLessThan(MOST_MS);
    expect(tookMs, which).toBeLessThan(LONGEST_MS);
    if (view !== null && view.rung < DEFAULT_LADDER.indexOf('headers'))
      expect(unaccounted(raw, view), which).toEqual([]);
  }
  console.info(counts);
});
