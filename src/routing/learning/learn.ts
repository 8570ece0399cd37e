import { calibrate, probabilityOf } from './calibrate.js';
import { answerOf, type Lesson } from './lesson.js';
import { binOf, type Measured, type TargetMeasure } from './measure.js';
import { hashOf, type LearntTarget, type Model, rounded } from './model.js';
import { isEnough } from './readiness.js';
import type { Vocabulary } from './vocabulary.js';
import { priorOf, weightOf } from './weight.js';

/** A message that people decided about. */
export interface Example {
  /** Numbers of its features. */
  readonly features: Uint32Array;
  readonly lesson: Lesson;
  /** When it was last decided, milliseconds since 1970. */
  readonly at: number;
}

export interface Learning {
  readonly model: Model;
  /** For every target that people chose or refused. */
  readonly measures: readonly TargetMeasure[];
}

/** Targets that are learnt at most: those that were chosen most often. */
const MOST_TARGETS = 100;
/** Features kept of a target: those that tell most surely. */
const MOST_FEATURES = 1_000;
/** Share of the decisions that are learnt from when what is learnt is measured; the newer ones are measured by. */
const OLDER_SHARE = 0.75;
/** Examples, and features, between two pauses: a few milliseconds. */
const SLICE = 250;
const FEATURES_SLICE = 10_000;

/**
 * Learns for each target whether people choose it, and measures how well that goes. It yields every few milliseconds, so that
 * whoever runs it can let others go on. The order of the examples makes no difference.
 */
export function* learn(
  examples: readonly Example[],
  vocabulary: Vocabulary,
  salt: string,
): Generator<void, Learning, void> {
  const room = new Room(vocabulary.size);
  const inTime = examples.toSorted((a, b) => a.at - b.at);
  const older = inTime.slice(0, Math.floor(inTime.length * OLDER_SHARE));
  const newer = inTime.slice(older.length);
  const counted = yield* countTargets(examples);
  const olderCounted = new Map((yield* countTargets(older)).map((one) => [one.target, one]));
  const enough = counted.filter(({ yes, no }) => isEnough(yes, no)).slice(0, MOST_TARGETS);
  const fits = new Map<number, Fit>();
  const measured = new Map<number, Measured | null>();
  for (const { target } of enough) {
    const { yes, no } = olderCounted.get(target) ?? { yes: 0, no: 0 };
    measured.set(target, isEnough(yes, no) ? yield* measure(older, newer, target, vocabulary, room) : null);
    fits.set(target, yield* learnTarget(examples, target, vocabulary, room));
  }
  return {
    model: modelOf(fits, vocabulary, salt),
    measures: counted.map((one) => ({
      ...one,
      learnt: fits.has(one.target),
      measured: measured.get(one.target) ?? null,
    })),
  };
}

/** How often each target was chosen and refused: those that were chosen most often first. */
function* countTargets(
  examples: readonly Example[],
): Generator<void, { target: number; yes: number; no: number }[], void> {
  const targets = new Set(examples.flatMap(({ lesson }) => [...lesson.chosen, ...lesson.refused]));
  const counted: { target: number; yes: number; no: number }[] = [];
  for (const target of targets) {
    let [yes, no] = [0, 0];
    for (const { lesson } of examples) {
      const answer = answerOf(lesson, target);
      if (answer === true) yes++;
      else if (answer === false) no++;
    }
    counted.push({ target, yes, no });
    yield;
  }
  return counted.sort((a, b) => b.yes - a.yes || a.target - b.target);
}

/** What is needed again for each target, by feature. */
class Room {
  readonly withYes: Uint32Array;
  readonly withNo: Uint32Array;
  readonly weights: Float64Array;

  constructor(size: number) {
    this.withYes = new Uint32Array(size);
    this.withNo = new Uint32Array(size);
    this.weights = new Float64Array(size);
  }

  clear(): void {
    this.withYes.fill(0);
    this.withNo.fill(0);
    this.weights.fill(0);
  }
}

/** What was learnt of a target, features by their numbers. */
type Fit = Omit<LearntTarget, 'target'>;

/** Leaves the weights in the room. */
function* learnTarget(
  examples: readonly Example[],
  target: number,
  vocabulary: Vocabulary,
  room: Room,
): Generator<void, Fit, void> {
  room.clear();
  const { withYes, withNo, weights } = room;
  const answered = examples.flatMap(({ features, lesson }) => {
    const answer = answerOf(lesson, target);
    return answer === undefined ? [] : [{ features, chosen: answer }];
  });
  let yes = 0;
  for (const [i, { features, chosen }] of answered.entries()) {
    if (chosen) yes++;
    const counts = chosen ? withYes : withNo;
    for (const feature of features) counts[feature] = (counts[feature] as number) + 1;
    if (i % SLICE === 0) yield;
  }
  const no = answered.length - yes;
  const kept = yield* tellingFeatures(room, priorOf(yes, no), vocabulary);

  // Each decision is left out of the weights that it is judged by.
  const sums = { yes: new Float64Array(yes), no: new Float64Array(no) };
  const judged = { yes: 0, no: 0 };
  for (const [i, { features, chosen }] of answered.entries()) {
    const own = chosen ? 1 : 0;
    const prior = priorOf(yes - own, no - (1 - own));
    let sum = 0;
    for (const feature of features) {
      if (weights[feature] === 0) continue;
      sum += weightOf((withYes[feature] as number) - own, (withNo[feature] as number) - (1 - own), prior);
    }
    const side = chosen ? 'yes' : 'no';
    sums[side][judged[side]++] = sum;
    if (i % SLICE === 0) yield;
  }
  // What is made of doubles depends on their order, and what is learnt must not depend on that of the examples.
  const calibration = yield* calibrate(sums.yes.sort(), sums.no.sort());
  return {
    yes,
    no,
    ...calibration,
    features: kept,
    withYes: kept.map((feature) => withYes[feature] as number),
    withNo: kept.map((feature) => withNo[feature] as number),
  };
}

interface Telling {
  readonly feature: number;
  readonly weight: number;
  readonly rank: number;
}

/** Fills in the weights of those that are kept: what is strong and often is surer than what is either. */
function* tellingFeatures(
  { withYes, withNo, weights }: Room,
  prior: number,
  vocabulary: Vocabulary,
): Generator<void, number[], void> {
  const strongest = (some: readonly Telling[]) =>
    some
      .toSorted((a, b) => b.rank - a.rank || compare(vocabulary.feature(a.feature), vocabulary.feature(b.feature)))
      .slice(0, MOST_FEATURES);
  let telling: Telling[] = [];
  for (let feature = 0; feature < weights.length; feature++) {
    const [yes, no] = [withYes[feature] as number, withNo[feature] as number];
    const weight = weightOf(yes, no, prior);
    if (weight !== 0) telling.push({ feature, weight, rank: Math.abs(weight) * Math.sqrt(yes + no) });
    // Sorted a few at a time: there can be a hundred thousand.
    if (telling.length >= 4 * MOST_FEATURES) telling = strongest(telling);
    if (feature % FEATURES_SLICE === 0) yield;
  }
  const kept = strongest(telling);
  for (const { feature, weight } of kept) weights[feature] = weight;
  return kept.map(({ feature }) => feature);
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** What would have been said of the newer decisions by who knew only the older. */
function* measure(
  older: readonly Example[],
  newer: readonly Example[],
  target: number,
  vocabulary: Vocabulary,
  room: Room,
): Generator<void, Measured, void> {
  const learnt = yield* learnTarget(older, target, vocabulary, room);
  const bins = new Map<number, { yes: number; no: number }>();
  for (const { features, lesson } of newer) {
    const answer = answerOf(lesson, target);
    if (answer === undefined) continue;
    let sum = 0;
    for (const feature of features) sum += room.weights[feature] as number;
    const bin = binOf(rounded(probabilityOf(learnt, sum)));
    const counts = bins.get(bin) ?? { yes: 0, no: 0 };
    bins.set(bin, counts);
    if (answer) counts.yes++;
    else counts.no++;
  }
  yield;
  return { bins: [...bins].sort(([a], [b]) => a - b).map(([bin, { yes, no }]) => [bin, yes, no] as const) };
}

function modelOf(fits: ReadonlyMap<number, Fit>, vocabulary: Vocabulary, salt: string): Model {
  const used = [...new Set([...fits.values()].flatMap(({ features }) => features))];
  // By their hashes: an order by the features themselves would tell something of them.
  const hashed = used.map((feature) => ({ feature, hash: hashOf(salt, vocabulary.feature(feature)) }));
  hashed.sort((a, b) => compare(a.hash, b.hash));
  const indexes = new Map(hashed.map(({ feature }, index) => [feature, index]));
  return {
    format: 1,
    salt,
    features: hashed.map(({ hash }) => hash),
    targets: [...fits].map(([target, one]) => ({
      target,
      ...one,
      features: one.features.map((feature) => indexes.get(feature) as number),
    })),
  };
}
