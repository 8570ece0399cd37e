import { setTimeout as pause } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Extractor } from '../content/extract/extract.js';
import type { StoredMessage } from '../message/message.js';
import type { View } from '../message/view.js';
import { canonicalMessage } from '../routing/canonical.js';
import { isDue } from '../routing/learning/due.js';
import { featuresOf } from '../routing/learning/features.js';
import { type Example, learn } from '../routing/learning/learn.js';
import { lessonOf } from '../routing/learning/lesson.js';
import { Vocabulary } from '../routing/learning/vocabulary.js';
import {
  type DecidedMessage,
  decidedMessages,
  decidedPlaces,
  freshDecisions,
  learningBegins,
  saveModel,
} from '../storage/learning.js';

export interface LearnerDeps {
  readonly pool: Pool;
  /** Reads an event or a webhook where it lies. */
  readonly viewInPlace: (message: StoredMessage) => View;
  readonly extractorsOf: (message: StoredMessage) => readonly Extractor[];
  readonly random: (bytes: number) => Buffer;
  readonly monotonic: () => number;
  readonly log: Logger;
  /** How long content is kept: what decided anything is kept as long. */
  readonly contentMs: number;
  readonly stopping: AbortSignal;
}

/** Messages read from the database together. */
const PAGE = 50;
/** Learning takes the event loop for so long at a time, and leaves it for as long, in ms. */
const SLICE_MS = 10;

/**
 * Learns from what people decided, for every tenant where enough is new. Of several processes that call it one does it; the
 * others resolve at once. What was begun when the process stops is begun anew by the next one.
 */
export async function learnFromDecisions(deps: LearnerDeps): Promise<void> {
  const client = await deps.pool.connect();
  let broken = true;
  try {
    const { rows } = await client.query<{ ours: boolean }>(
      "select pg_try_advisory_lock(hashtext('waybill learning')) as ours",
    );
    if (rows[0]?.ours) {
      for (const one of await freshDecisions(deps.pool)) {
        if (isDue(one) && !deps.stopping.aborted) await learnTenant(deps, one.tenant);
      }
      await client.query("select pg_advisory_unlock(hashtext('waybill learning'))");
    }
    broken = false;
  } finally {
    // The lock ends with the connection.
    client.release(broken);
  }
}

async function learnTenant(deps: LearnerDeps, tenant: number): Promise<void> {
  const { pool, log } = deps;
  const slices = new Slices(deps.monotonic);
  const vocabulary = new Vocabulary();
  const through = await learningBegins(pool);
  const examples = await readExamples(deps, tenant, through, vocabulary, slices);
  const learning = learn(examples, vocabulary, deps.random(16).toString('base64'));
  let step = learning.next();
  while (!step.done) {
    await slices.end();
    if (deps.stopping.aborted) return;
    step = learning.next();
  }
  const learnt = { ...step.value, through, decisions: examples.length };
  const version = await saveModel(pool, tenant, learnt, { contentMs: deps.contentMs });
  const targets = step.value.model.targets.length;
  log.info({ tenant, version, decisions: examples.length, targets }, 'learnt from what people decided');
}

async function readExamples(
  deps: LearnerDeps,
  tenant: number,
  through: Date,
  vocabulary: Vocabulary,
  slices: Slices,
): Promise<Example[]> {
  const places = await decidedPlaces(deps.pool, tenant, through);
  const times = new Map(places.map(({ channel, sequence, at }) => [`${channel}-${sequence}`, at.getTime()]));
  const examples: Example[] = [];
  for (let i = 0; i < places.length && !deps.stopping.aborted; i += PAGE) {
    for (const one of await decidedMessages(deps.pool, tenant, places.slice(i, i + PAGE), through)) {
      const lesson = lessonOf(one.decisions, one.had);
      const { channel, sequence } = one.message;
      const at = times.get(`${channel}-${sequence}`) ?? 0;
      if (lesson) examples.push({ features: vocabulary.number(featuresIn(deps, one)), lesson, at });
      await slices.end();
    }
  }
  return examples;
}

/** As an owner that decides about it would see it; nothing of what is looked at depends on who we are. */
function featuresIn({ viewInPlace, extractorsOf }: LearnerDeps, { message, view, source }: DecidedMessage): string[] {
  const names = { tenant: '', source, hostname: '', extractors: extractorsOf(message) };
  return featuresOf(canonicalMessage(message, names, view ?? viewInPlace(message)));
}

/** Leaves the event loop to others again and again. */
class Slices {
  #begun: number;

  constructor(private readonly monotonic: () => number) {
    this.#begun = monotonic();
  }

  /** Between two steps that take a few milliseconds at most. */
  async end(): Promise<void> {
    if (this.monotonic() - this.#begun < SLICE_MS) return;
    await pause(SLICE_MS);
    this.#begun = this.monotonic();
  }
}
