import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import type { Failure } from '../src/content/content.js';
import type { Kind } from '../src/message/arrival.js';
import { parseMessageId } from '../src/message/id.js';
import type { View } from '../src/message/view.js';
import { didYouMean } from '../src/routing/spelling.js';
import { findQuarantined, type QuarantinedBytes, quarantinedBytes } from '../src/storage/quarantine.js';
import { type ContentAttempt, contentAttempts } from '../src/storage/story.js';
import { timeOut } from './fields.js';
import { contentErased, notFound } from './problem.js';
import { Problem } from './route.js';

/** One rung of a kind's ladder, for people. */
export interface RungInfo {
  readonly name: string;
  /** What a view of it lacks. */
  readonly means: string;
}

export type RungView = { readonly ok: true; readonly view: View } | Failure;

/** The ladders, and what each rung makes of an entry. */
export interface RungViews {
  /** Those of a kind from the top, without the last, on which nothing is read. A rung's number is its place. */
  readonly of: (kind: Kind) => readonly RungInfo[];
  /** Reads an entry on a rung, away from everything else; `busy` while another of the tenant's is being read. */
  readonly view: (tenant: number, entry: Omit<QuarantinedBytes, 'erased'>, rung: number) => Promise<RungView | 'busy'>;
}

export interface QuarantineViewDeps {
  readonly pool: Pool;
  readonly rungs: RungViews;
}

/** A rung by its number or name, as requests give it. */
export const rungSchema = z
  .union([z.int().min(0).max(1000), z.string().regex(/^[a-z_]{1,40}$/)])
  .meta({ description: 'A rung of the ladder, by name or number: `files`, 6' });

/** In a path, where a number is text. */
export const rungInPath = z
  .string()
  .regex(/^(\d{1,4}|[a-z_]{1,40})$/)
  .meta({ example: 'files' });

export const rungInfoSchema = z.object({ rung: z.int(), name: z.string(), means: z.string() });

export const rungViewSchema = rungInfoSchema.extend({
  view: z.record(z.string(), z.unknown()).optional().meta({ description: 'What this rung makes of it' }),
  failed: z
    .object({
      failure: z.string(),
      stage: z.string().meta({ description: 'What had begun' }),
      leaf: z.int().nullable().meta({ description: 'The part it was about' }),
      reason: z.string().meta({ description: 'May quote content' }),
    })
    .optional()
    .meta({ description: 'Why this rung has no view' }),
});

export const contentAttemptSchema = z.object({
  rung: z.int(),
  name: z.string().meta({ description: 'Of the rung' }),
  stage: z.string(),
  try: z.int(),
  blamed: z.array(z.int()).meta({ description: 'Parts that were left out for what they did before' }),
  started: timeOut,
  ended: timeOut.nullable(),
  outcome: z.enum(['processed', 'failed', 'interrupted', 'not_tried']).nullable(),
  reason: z.string().nullable().meta({ description: 'May quote content' }),
  process: z.string(),
  child: z.string().nullable(),
});

export interface Rung extends RungInfo {
  readonly number: number;
}

/** The rungs of a kind with their numbers. */
export function rungsOf({ rungs }: Pick<QuarantineViewDeps, 'rungs'>, kind: Kind): Rung[] {
  return rungs.of(kind).map((rung, number) => ({ number, ...rung }));
}

/** The rung that a request means. Throws Problem 422 for one that there is not, and for the last one. */
export function rungNamed(deps: Pick<QuarantineViewDeps, 'rungs'>, kind: Kind, wanted: string | number): Rung {
  const all = rungsOf(deps, kind);
  const found = all.find(({ number, name }) => name === wanted || number === wanted);
  if (found) return found;
  const names = all.map(({ name }) => name);
  const meant = typeof wanted === 'string' ? didYouMean(wanted, names) : undefined;
  const hint = meant === undefined ? '' : ` Did you mean "${meant}"?`;
  const detail = `There is no rung "${wanted}" on which a message of kind ${kind} is read; from 0 on there are ${names.join(', ')}.${hint}`;
  throw new Problem(422, 'unknown_rung', detail, { rung: wanted, rungs: names });
}

export interface ViewedEntry {
  readonly rung: Rung;
  readonly result: RungView;
}

/** What a rung makes of an entry. Throws Problem: 404, 410, 429 while another is being made, 503. */
export async function viewOn(
  deps: QuarantineViewDeps,
  { tenant }: Principal,
  number: number,
  wanted: string | number,
): Promise<ViewedEntry> {
  const entry = await quarantinedBytes(deps.pool, tenant.id, number);
  if (!entry) throw notFound('entry of the quarantine');
  if (entry.erased) throw contentErased();
  const rung = rungsOf(deps, entry.kind).find(({ number, name }) => name === wanted || number === wanted);
  if (!rung) throw notFound('rung on which something is read');
  const result = await deps.rungs.view(tenant.id, entry, rung.number);
  if (result === 'busy') {
    const detail = 'Another view is being made for this tenant; try again when it is done.';
    throw new Problem(429, 'view_running', detail, {}, { 'retry-after': '1' });
  }
  if (!result.ok && result.failure === 'unavailable') {
    throw new Problem(503, 'content_unavailable', `Nothing can be read just now: ${result.reason}.`);
  }
  return { rung, result };
}

/** As it is given out. */
export function rungViewEntry({ rung, result }: ViewedEntry): z.input<typeof rungViewSchema> {
  const { number, name, means } = rung;
  if (result.ok) return { rung: number, name, means, view: { ...result.view } };
  const { failure, stage, leaf, reason } = result;
  return { rung: number, name, means, failed: { failure, stage, leaf, reason } };
}

export type EntryAttempt = ContentAttempt & { readonly name: string };

/** The latest tries of a poison message, in order; of others there are none. Throws Problem 404. */
export async function attemptsOf(
  deps: QuarantineViewDeps,
  { tenant }: Principal,
  number: number,
): Promise<EntryAttempt[]> {
  const entry = await findQuarantined(deps.pool, tenant.id, number);
  if (!entry) throw notFound('entry of the quarantine');
  const place = entry.cause === 'poison' && entry.of !== null ? parseMessageId(entry.of) : undefined;
  if (!place) return [];
  const names = deps.rungs.of(entry.kind);
  const attempts = await contentAttempts(deps.pool, tenant.id, place);
  return attempts.map((one) => ({ ...one, name: names[one.rung]?.name ?? 'poison' }));
}

export function contentAttemptEntry({ started, ended, ...one }: EntryAttempt): z.input<typeof contentAttemptSchema> {
  return {
    ...one,
    blamed: [...one.blamed],
    started: started.toISOString(),
    ended: ended?.toISOString() ?? null,
  };
}
