import { hash } from 'node:crypto';
import { type Calibration, probabilityOf } from './calibrate.js';
import { priorOf, weightOf } from './weight.js';

/**
 * What was learnt for one tenant, as it is stored: plain JSON. It outlives the messages it was learnt from, so it holds no
 * word of them: features are there as keyed hashes, by which they are recognised in a message that has them.
 */
export interface Model {
  readonly format: 1;
  readonly salt: string;
  /** Hashes of features; what is learnt of targets names them by their index. */
  readonly features: readonly string[];
  readonly targets: readonly LearntTarget[];
}

export interface LearntTarget extends Calibration {
  /** Id. */
  readonly target: number;
  /** Decisions that chose it, and that did not. */
  readonly yes: number;
  readonly no: number;
  /** Features that speak for it or against it, by index; in how many decisions for it each was, and in how many against. */
  readonly features: readonly number[];
  readonly withYes: readonly number[];
  readonly withNo: readonly number[];
}

export function hashOf(salt: string, feature: string): string {
  return hash('sha256', `${salt}\0${feature}`, 'base64').slice(0, 10);
}

/** Four digits: what is shown is what is compared. */
export function rounded(probability: number): number {
  return Math.round(probability * 10_000) / 10_000;
}

export interface Score {
  /** Id. */
  readonly target: number;
  readonly probability: number;
}

/** One feature's part in a score. */
export interface Evidence {
  /** `subject`, `from` …, and what stands there. */
  readonly field: string;
  readonly word: string;
  /** By what the odds are multiplied: above 1 it speaks for the target, below 1 against it. */
  readonly odds: number;
  /** Of the decisions about messages that had it, how many there are, and how many chose the target. */
  readonly decisions: number;
  readonly chosen: number;
}

export interface ExplainedScore extends Score {
  /** What it would be without any evidence. */
  readonly base: number;
  /** What counted most comes first. */
  readonly evidence: readonly Evidence[];
  /** How much more there was. */
  readonly further: number;
}

/** A model ready to be asked. */
export interface OpenModel {
  /** For every target that was learnt, in the order of their ids. */
  score(features: readonly string[]): readonly Score[];
  explain(features: readonly string[]): readonly ExplainedScore[];
}

const EVIDENCE_SHOWN = 8;
/** Features whose hashes are remembered: most messages have the same few. */
const MOST_REMEMBERED = 50_000;

export function openModel(model: Model): OpenModel {
  const indexes = new Map(model.features.map((feature, index) => [feature, index]));
  const targets = model.targets
    .map((target) => open(target, model.features.length))
    .sort((a, b) => a.target - b.target);
  const remembered = new Map<string, number>();

  function indexOf(feature: string): number {
    const known = remembered.get(feature);
    if (known !== undefined) return known;
    const index = indexes.get(hashOf(model.salt, feature)) ?? UNKNOWN;
    if (remembered.size >= MOST_REMEMBERED) remembered.clear();
    remembered.set(feature, index);
    return index;
  }

  return {
    score(features) {
      const known = features.map(indexOf).filter((index) => index !== UNKNOWN);
      return targets.map(({ target, calibration, weights }) => {
        let sum = 0;
        for (const index of known) sum += weights[index] as number;
        return { target, probability: rounded(probabilityOf(calibration, sum)) };
      });
    },
    explain(features) {
      const known = features.map((feature) => ({ feature, index: indexOf(feature) }));
      return targets.map((target) => explainTarget(target, known));
    },
  };
}

const UNKNOWN = -1;

interface OpenTarget {
  readonly target: number;
  readonly calibration: Calibration;
  /** By index. */
  readonly weights: Float64Array;
  readonly learnt: LearntTarget;
}

function open(learnt: LearntTarget, size: number): OpenTarget {
  const weights = new Float64Array(size);
  const prior = priorOf(learnt.yes, learnt.no);
  learnt.features.forEach((index, i) => {
    weights[index] = weightOf(learnt.withYes[i] ?? 0, learnt.withNo[i] ?? 0, prior);
  });
  const { slope, offset } = learnt;
  return { target: learnt.target, calibration: { slope, offset }, weights, learnt };
}

function explainTarget(
  { target, calibration, weights, learnt }: OpenTarget,
  known: readonly { readonly feature: string; readonly index: number }[],
): ExplainedScore {
  // With a slope of 0 nothing that stands in it makes a difference.
  const counts = calibration.slope > 0;
  const telling = known.filter(({ index }) => counts && index !== UNKNOWN && weights[index] !== 0);
  let sum = 0;
  for (const { index } of telling) sum += weights[index] as number;
  const strongest = telling.toSorted(
    (a, b) => Math.abs(weights[b.index] as number) - Math.abs(weights[a.index] as number),
  );
  return {
    target,
    probability: rounded(probabilityOf(calibration, sum)),
    base: rounded(probabilityOf(calibration, 0)),
    evidence: strongest.slice(0, EVIDENCE_SHOWN).map(({ feature, index }) => {
      const at = learnt.features.indexOf(index);
      const colon = feature.indexOf(':');
      const chosen = learnt.withYes[at] ?? 0;
      return {
        field: feature.slice(0, colon),
        word: feature.slice(colon + 1),
        odds: Math.exp(calibration.slope * (weights[index] as number)),
        decisions: chosen + (learnt.withNo[at] ?? 0),
        chosen,
      };
    }),
    further: Math.max(0, telling.length - EVIDENCE_SHOWN),
  };
}
