import { parentPort } from 'node:worker_threads';
import { insertRule } from '../routing/insert.js';
import { type LintTargets, lint } from '../routing/lint.js';
import { outlineOf } from '../routing/outline.js';
import {
  type ParsedRuleSet,
  parseRuleSet,
  type RuleProblem,
  type TargetMention,
  type TextPlace,
} from '../routing/parse.js';
import type { Rule, RuleSet } from '../routing/rule.js';

/*
 * Reads texts of rules, one after another. What a text comes to may be many megabytes, and to take it in costs the one
 * who asked as long as it is: so it goes over in pieces, each when the one before it was taken.
 */

export type Job =
  | { readonly do: 'parse'; readonly text: string }
  | { readonly do: 'lint'; readonly text: string; readonly targets: LintTargets }
  | { readonly do: 'outline'; readonly text: string; readonly most: number }
  | { readonly do: 'insert'; readonly text: string; readonly rule: Rule; readonly before: string | null };

/** What comes over the port: a job when nothing is under way, `next` for the piece after the one that came. */
export type Asked = Job | { readonly do: 'next' };

export type Piece =
  | { readonly of: 'rules'; readonly items: readonly Rule[] }
  | { readonly of: 'mentions'; readonly items: readonly TargetMention[] }
  | { readonly of: 'places'; readonly items: readonly (readonly [string, TextPlace])[] }
  /** The last one of a text that was parsed. */
  | { readonly of: 'parsed'; readonly mode: RuleSet['mode'] | null; readonly problems: readonly RuleProblem[] }
  /** The only one of any other job. */
  | { readonly of: 'result'; readonly result: unknown };

/** Characters of a piece as JSON, about: some milliseconds to take in. */
const PIECE = 32_768;

let pieces: Iterator<Piece> = none();

parentPort?.on('message', (asked: Asked) => {
  if (asked.do !== 'next') pieces = piecesOf(asked);
  const { value, done } = pieces.next();
  if (!done) parentPort?.postMessage(value);
});

function* none(): Generator<Piece> {
  // Nothing was asked yet.
}

function* piecesOf(job: Job): Generator<Piece> {
  switch (job.do) {
    case 'parse':
      return yield* parsedPieces(parseRuleSet(job.text));
    case 'lint':
      return yield { of: 'result', result: lint(job.text, job.targets) };
    case 'outline':
      return yield { of: 'result', result: outlineOf(job.text, job.most) };
    case 'insert':
      return yield { of: 'result', result: insertRule(job.text, job.rule, job.before) };
    default: {
      const never: never = job;
      return never;
    }
  }
}

function* parsedPieces(parsed: ParsedRuleSet): Generator<Piece> {
  for (const items of inPieces(parsed.mentions)) yield { of: 'mentions', items };
  if (!parsed.ok) return yield { of: 'parsed', mode: null, problems: parsed.problems };
  for (const items of inPieces(parsed.ruleSet.rules)) yield { of: 'rules', items };
  for (const items of inPieces([...parsed.places])) yield { of: 'places', items };
  return yield { of: 'parsed', mode: parsed.ruleSet.mode, problems: [] };
}

function* inPieces<T>(all: readonly T[]): Generator<T[]> {
  let piece: T[] = [];
  let size = 0;
  for (const one of all) {
    piece.push(one);
    size += JSON.stringify(one).length;
    if (size < PIECE) continue;
    yield piece;
    piece = [];
    size = 0;
  }
  if (piece.length > 0) yield piece;
}
