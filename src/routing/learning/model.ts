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
  const targets = model.targets.toSorted((a, b) => a.target - b.target);
  const { starts, positions, weights } = weightsOf(targets, model.features.length);
  const remembered = new Map<string, number>();

  function indexOf(feature: string): number {
    const known = remembered.get(feature);
    if (known !== undefined) return known;
    const index = indexes.get(hashOf(model.salt, feature)) ?? UNKNOWN;
    if (remembered.size >= MOST_REMEMBERED) remembered.clear();
    remembered.set(feature, index);
    return index;
  }

  function eachWeight(features: readonly string[], tell: (position: number, weight: number, feature: string) => void) {
    for (const feature of features) {
      const index = indexOf(feature);
      if (index === UNKNOWN) continue;
      const end = starts[index + 1] as number;
      for (let i = starts[index] as number; i < end; i++) {
        tell(positions[i] as number, weights[i] as number, feature);
      }
    }
  }

  return {
    score(features) {
      const sums = new Float64Array(targets.length);
      eachWeight(features, (position, weight) => {
        sums[position] = (sums[position] as number) + weight;
      });
      return targets.map((learnt, position) => ({
        target: learnt.target,
        probability: rounded(probabilityOf(learnt, sums[position] as number)),
      }));
    },
    explain(features) {
      const telling = targets.map((): Telling[] => []);
      eachWeight(features, (position, weight, feature) => {
        if (weight !== 0) telling[position]?.push({ feature, index: indexOf(feature), weight });
      });
      return targets.map((learnt, position) => explainTarget(learnt, telling[position] ?? []));
    },
  };
}

const UNKNOWN = -1;

/** Of the feature with index `f` from `starts[f]` up to `starts[f + 1]`: most features tell something of few targets. */
interface Weights {
  readonly starts: Uint32Array;
  /** Of the targets in their list. */
  readonly positions: Uint32Array;
  readonly weights: Float64Array;
}

function weightsOf(targets: readonly LearntTarget[], size: number): Weights {
  const starts = new Uint32Array(size + 1);
  for (const { features } of targets) {
    for (const index of features) starts[index + 1] = (starts[index + 1] as number) + 1;
  }
  for (let index = 0; index < size; index++) {
    starts[index + 1] = (starts[index + 1] as number) + (starts[index] as number);
  }
  const free = starts.slice();
  const positions = new Uint32Array(starts[size] as number);
  const weights = new Float64Array(positions.length);
  for (const [position, learnt] of targets.entries()) {
    const prior = priorOf(learnt.yes, learnt.no);
    for (const [i, index] of learnt.features.entries()) {
      const at = free[index] as number;
      free[index] = at + 1;
      positions[at] = position;
      weights[at] = weightOf(learnt.withYes[i] ?? 0, learnt.withNo[i] ?? 0, prior);
    }
  }
  return { starts, positions, weights };
}

/** A feature that counts for a target, or against it. */
interface Telling {
  readonly feature: string;
  readonly index: number;
  readonly weight: number;
}

function explainTarget(learnt: LearntTarget, weighed: readonly Telling[]): ExplainedScore {
  // With a slope of 0 nothing that stands in it makes a difference.
  const telling = learnt.slope > 0 ? weighed : [];
  let sum = 0;
  for (const { weight } of telling) sum += weight;
  const strongest = telling.toSorted((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  return {
    target: learnt.target,
    probability: rounded(probabilityOf(learnt, sum)),
    base: rounded(probabilityOf(learnt, 0)),
    evidence: strongest.slice(0, EVIDENCE_SHOWN).map(({ feature, index, weight }) => {
      const at = learnt.features.indexOf(index);
      const colon = feature.indexOf(':');
      const chosen = learnt.withYes[at] ?? 0;
      return {
        field: feature.slice(0, colon),
        word: feature.slice(colon + 1),
        odds: Math.exp(learnt.slope * weight),
        decisions: chosen + (learnt.withNo[at] ?? 0),
        chosen,
      };
    }),
    further: Math.max(0, telling.length - EVIDENCE_SHOWN),
  };
}
