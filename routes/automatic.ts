import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import type { Extractor } from '../src/content/extract/extract.js';
import type { StoredMessage } from '../src/message/message.js';
import type { View } from '../src/message/view.js';
import { canonicalMessage } from '../src/routing/canonical.js';
import { featuresOf } from '../src/routing/learning/features.js';
import type { ExplainedScore } from '../src/routing/learning/model.js';
import { modelOf } from '../src/storage/learning.js';
import type { Story } from '../src/storage/story.js';

/* What a model says of a message, as it is given out. */

const evidenceSchema = z.object({
  field: z.string(),
  word: z.string(),
  odds: z.number().meta({ description: 'By what the odds are multiplied: above 1 it speaks for the target' }),
  decisions: z.int().meta({ description: 'Decisions about messages that had it' }),
  chosen: z.int().meta({ description: 'Of those, how many chose the target' }),
});

export const scoreShape = {
  target: z.string(),
  probability: z.number(),
  evidence: z.array(evidenceSchema).meta({ description: 'What counted, the most telling first' }),
  further: z.int().meta({ description: 'How much more counted' }),
};

interface ScoringDeps {
  readonly pool: Pool;
  /** Our own host name. */
  readonly hostname: string;
  readonly extractorsOf: (message: StoredMessage) => readonly Extractor[];
}

/** A message that is asked about; its view is null while nothing of it could be read. */
interface Scored {
  readonly message: StoredMessage;
  readonly standing: { readonly source: string };
  readonly view: View | null;
}

/** What a version of the model says of a message as it is read now; nothing where either is gone. */
export async function scoresOf(
  { pool, hostname, extractorsOf }: ScoringDeps,
  { tenant }: Principal,
  { message, standing, view }: Scored,
  version: number,
): Promise<readonly ExplainedScore[]> {
  const model = view && (await modelOf(pool, tenant.id, version));
  if (!model) return [];
  const names = { tenant: tenant.name, source: standing.source, hostname, extractors: extractorsOf(message) };
  return model.explain(featuresOf(canonicalMessage(message, names, view)));
}

export function scoreEntry({ probability, base, evidence, further }: ExplainedScore) {
  return { probability, base, evidence: evidence.map((one) => ({ ...one })), further };
}

export const automaticSchema = z.object({
  model: z.int().meta({ description: 'Version of what was learnt' }),
  scores: z.array(
    z.object({
      ...scoreShape,
      threshold: z.number(),
      exceeded: z.boolean().meta({ description: 'Equal is not exceeded' }),
      recomputed: z.number().nullable().meta({
        description: 'The probability by the same model, of the message as it is read now; null where it is gone',
      }),
    }),
  ),
});
export type AutomaticExplained = z.input<typeof automaticSchema>;

/** The probabilities that were looked at when no rule matched, with the words that counted; null where none were. */
export async function automaticExplained(
  deps: ScoringDeps,
  by: Principal,
  read: Scored,
  { plans }: Pick<Story, 'plans'>,
  names: ReadonlyMap<number, string>,
): Promise<AutomaticExplained | null> {
  const decider = plans.map(({ run }) => run.d).findLast((one) => one.by === 'suggestion');
  if (!decider) return null;
  const now = new Map((await scoresOf(deps, by, read, decider.model)).map((one) => [one.target, one]));
  return {
    model: decider.model,
    scores: decider.scores.map(([id, probability, threshold]) => {
      const found = now.get(id);
      return {
        target: names.get(id) ?? String(id),
        probability,
        threshold,
        exceeded: probability > threshold,
        recomputed: found?.probability ?? null,
        evidence: found?.evidence.map((one) => ({ ...one })) ?? [],
        further: found?.further ?? 0,
      };
    }),
  };
}
