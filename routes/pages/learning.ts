import type { AutomaticExplained } from '../automatic.js';
import type { suggestionsFor, TargetLearning } from '../learning.js';
import { when } from './words.js';

/* What was learnt from people's decisions, in words. */

type Suggestions = Awaited<ReturnType<typeof suggestionsFor>>;
type Evidence = Suggestions['items'][number]['evidence'][number];

const FIELDS: Readonly<Record<string, string>> = {
  kind: 'kind',
  source: 'source',
  account: 'account',
  type: 'type',
  from: 'from',
  domain: 'domain',
  subject: 'subject',
  text: 'text',
  defect: 'defect',
  part: 'attachment',
  data: 'data',
};

function showEvidence({ field, word, odds, decisions, chosen }: Evidence) {
  const speaksFor = odds >= 1;
  return {
    tone: speaksFor ? 'for' : 'against',
    field: FIELDS[field] ?? field,
    word,
    odds: speaksFor ? `×${factor(odds)}` : `÷${factor(1 / odds)}`,
    of: `${chosen} of ${decisions}`,
  };
}

function factor(odds: number): string {
  return odds < 10 ? odds.toFixed(1) : Math.min(odds, 9999).toFixed(0);
}

function showProbability(probability: number): string {
  return probability.toFixed(2);
}

/** What is less probable than this is not worth a person's look. */
const LEAST_SHOWN = 0.2;
const MOST_SHOWN = 3;

/** The targets to suggest: what is more probable than not is taken together, else the most probable alone. Null for none. */
export function showSuggestions({ model, items }: Suggestions, has: ReadonlySet<string>) {
  const open = items.filter(({ target, probability }) => !has.has(target) && probability >= LEAST_SHOWN);
  const probable = open.filter(({ probability }) => probability > 0.5);
  const taken = (probable.length > 0 ? probable : open.slice(0, 1)).map(({ target }) => target);
  if (!model || taken.length === 0) return null;
  return {
    taken,
    label: taken.join(', '),
    decisions: model.decisions,
    items: open.slice(0, Math.max(MOST_SHOWN, taken.length)).map(({ target, probability, evidence, further }) => ({
      target,
      probability: showProbability(probability),
      evidence: evidence.map(showEvidence),
      further,
    })),
  };
}

/** Why a message was given to targets by probability, or to none. */
export function showAutomatic({ model, scores }: AutomaticExplained) {
  return {
    model,
    scores: scores.map(({ target, probability, threshold, exceeded, recomputed, evidence, further }) => ({
      target,
      badge: exceeded ? { label: 'exceeded', tone: 'ok' } : { label: 'not exceeded', tone: 'plain' },
      open: exceeded,
      compared: exceeded
        ? `${showExact(probability)}, above ${threshold}`
        : `${showExact(probability)} of ${threshold} needed`,
      evidence: evidence.map(showEvidence),
      further,
      gone: recomputed === null,
      otherwise: recomputed !== null && recomputed !== probability && showExact(recomputed),
    })),
  };
}

/** As it was compared. */
function showExact(probability: number): string {
  return String(probability);
}

/** A target's part of what was learnt, for its page. */
export function showLearning({ automatic, on, why, model, chosen, refused, measured }: TargetLearning, now: number) {
  const own = measured?.thresholds.find(({ threshold }) => threshold === automatic?.threshold);
  return {
    badge: on ? { label: 'on', tone: 'ok' } : { label: 'off', tone: 'plain' },
    why: why.charAt(0).toUpperCase() + why.slice(1),
    model: model && { version: model.version, made: when(new Date(model.madeAt), now) },
    chosen,
    refused,
    decisions: chosen + refused,
    own: own && { precision: percent(own.precision), recall: percent(own.recall) },
    measured: measured && {
      decisions: measured.decisions,
      thresholds: measured.thresholds.map((one) => ({
        ...one,
        precision: percent(one.precision),
        recall: percent(one.recall),
        current: one === own,
      })),
    },
  };
}

function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? '–' : `${Math.round(share * 100)}\u00a0%`;
}
