/*
 * What follows from a try of a message's content (DESIGN 2.3), as plain rules over plain values.
 *
 *   its child died or failed    the message's fault: one step down, alone, parked while the channel goes on
 *   a limit refused it          nobody died: to the rung that has room for it, at once
 *   the whole process died      perhaps not its fault: alone on its rung again; the third time costs a step
 *   our surroundings failed     never its fault: on its rung again, as often as it takes
 *
 * A step down goes to where the stage that was under way no longer happens: first without the one part it was about,
 * then without all such parts. Of an unknown stage it goes down a short list. A message never climbs by itself, and at
 * the end of the ladder it is quarantined whole.
 */
import type { LadderPlace, Rung } from '../message/view.js';
import type { FailureKind } from './content.js';
import { EVERYTHING, type Feature, type Level, type Reader } from './features.js';
import { type Ladder, RUNGS, type RungName } from './index.js';
import type { Stage } from './stages.js';

/** What a child was about to do when a try ended. */
export interface Blame {
  readonly stage: Stage | 'queued';
  /** The leaf it was about. */
  readonly leaf: number | null;
}

/** No message costs more children than this. */
export const MOST_DEATHS = 6;
/** So many deaths of the whole process are taken for chance. */
const CHANCE_INTERRUPTIONS = 2;
/** So many parts may be blamed one by one; then all parts of that kind are left alone. */
export const MOST_BLAMED = 2;

/** How much is read on a rung of a ladder. */
export function levelOf(ladder: Ladder, { rung, blamed }: Pick<LadderPlace, 'rung' | 'blamed'>): Level {
  if (rung === 0 && blamed.length === 0) return EVERYTHING;
  const passed = ladder.slice(0, rung + 1).map((name) => RUNGS[name]);
  const reader = passed.reduce<Reader>((least, { reader }) => lesser(least, reader), 'whole');
  const without = new Set<Feature>(passed.flatMap((each) => each.without));
  return { reader, without, blamed: new Set(blamed) };
}

const READERS: readonly Reader[] = ['whole', 'text', 'headers', 'envelope', 'nothing'];

function lesser(one: Reader, other: Reader): Reader {
  return READERS.indexOf(one) > READERS.indexOf(other) ? one : other;
}

/** Where a message is to be tried next, after a failure that is its own. The ladder's last rung: nowhere, it is poison. */
export function afterFailure(
  current: LadderPlace,
  failure: Exclude<FailureKind, 'unavailable'>,
  blame: Blame,
  ladder: Ladder,
): LadderPlace {
  switch (failure) {
    case 'refused':
      return { ...current, rung: roomyRung(current.rung, ladder), interruptions: 0 };
    case 'crashed':
    case 'killed_time':
    case 'killed_memory':
    case 'output_too_large':
      return afterDeath(current, blame, ladder);
    default: {
      const never: never = failure;
      return never;
    }
  }
}

/** Where a message is tried next that the death of the whole process interrupted: where it was, or after the third time lower. */
export function afterInterruptions(current: LadderPlace, ladder: Ladder): LadderPlace {
  if (current.interruptions <= CHANCE_INTERRUPTIONS) return current;
  return { ...current, rung: nextOfShortList(current.rung, ladder), interruptions: 0 };
}

export function isPoison(rung: Rung, ladder: Ladder): boolean {
  return rung >= ladder.length - 1;
}

function afterDeath(current: LadderPlace, { stage, leaf }: Blame, ladder: Ladder): LadderPlace {
  const deaths = current.deaths + 1;
  if (deaths >= MOST_DEATHS) return { ...current, deaths, rung: ladder.length - 1, interruptions: 0 };
  const next = { ...current, deaths, interruptions: 0 };
  const blamedRung = ladder.indexOf('blamed');
  const mayBlame =
    leaf !== null &&
    PER_LEAF.has(stage) &&
    blamedRung > 0 &&
    !current.blamed.includes(leaf) &&
    current.blamed.length < MOST_BLAMED;
  if (mayBlame) return { ...next, rung: Math.max(current.rung, blamedRung), blamed: [...current.blamed, leaf] };
  return { ...next, rung: withoutStage(current.rung, stage, ladder) };
}

/** Stages that are about one leaf, which can be left out alone. */
const PER_LEAF: ReadonlySet<Stage | 'queued'> = new Set([
  'body',
  'reflow',
  'file',
  'tnef',
  'calendar',
  'nested',
  'report',
]);

/** The rungs where a stage no longer happens, the least loss first. */
const REMEDIES: Readonly<Record<Stage | 'queued', readonly RungName[]>> = {
  queued: [],
  begun: [],
  answer: [],
  safe_html: [],
  headers: ['envelope'],
  structure: ['headers'],
  checks: ['text'],
  body: ['html', 'text'],
  reflow: ['plain'],
  html_text: ['plain'],
  file: ['files'],
  tnef: ['tnef'],
  calendar: ['calendar'],
  nested: ['nested'],
  report: ['nested'],
  first_text: ['headers'],
  words: ['headers'],
};

function withoutStage(rung: Rung, stage: Stage | 'queued', ladder: Ladder): Rung {
  const remedies = REMEDIES[stage].map((name) => ladder.indexOf(name)).filter((index) => index > rung);
  return remedies.length > 0 ? Math.min(...remedies) : nextOfShortList(rung, ladder);
}

/** Where nothing is known of the reason: each takes much away, so that few tries are needed. */
const SHORT_LIST: readonly RungName[] = ['files', 'text', 'headers', 'envelope', 'poison'];

function nextOfShortList(rung: Rung, ladder: Ladder): Rung {
  const listed = SHORT_LIST.map((name) => ladder.indexOf(name)).filter((index) => index > rung);
  return listed.length > 0 ? Math.min(...listed) : ladder.length - 1;
}

/** What has too many parts, or too deep ones, fits where attachments are only named; what is too large, where little is read. */
function roomyRung(rung: Rung, ladder: Ladder): Rung {
  const files = ladder.indexOf('files');
  return files > rung ? files : nextOfShortList(rung, ladder);
}
