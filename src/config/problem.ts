import type { FilePlace } from '../routing/definitions.js';

export type { FilePlace };

export type ProblemCode =
  /** The file can't be read: missing, forbidden, too large, not UTF-8. */
  | 'file_unreadable'
  | 'yaml_malformed'
  /** Aliases or nesting that would grow beyond all measure. */
  | 'yaml_too_large'
  | 'key_repeated'
  | 'key_unknown'
  | 'value_missing'
  | 'value_invalid'
  | 'variable_missing'
  | 'variable_malformed'
  /** Both NAME and NAME_FILE are set. */
  | 'variable_twice'
  | 'variable_unknown'
  | 'address_repeated'
  | 'feed_ambiguous'
  | 'queue_repeated'
  | 'reference_unknown'
  | 'rules_invalid';

/** One thing wrong with the configuration. Never holds a value that may be secret. */
export interface Problem {
  /** Warnings don't keep anything from starting. */
  readonly severity: 'error' | 'warning';
  readonly code: ProblemCode;
  /** Null for what comes from an environment variable alone. */
  readonly place: FilePlace | null;
  /** `targets.crm.url`, or the name of an environment variable. */
  readonly path: string;
  /** A sentence without its full stop. */
  readonly message: string;
  /** What was probably meant. */
  readonly suggestion?: string;
}

/** `config/waybill.yaml:12:5: targets.crm.uri: unknown key; did you mean "url"?` */
export function formatProblem(problem: Problem): string {
  const { place, severity, path, message, suggestion } = problem;
  const where = place === null ? 'environment' : `${place.file}:${place.line}:${place.column}`;
  const what = severity === 'warning' ? `warning: ${message}` : message;
  const meant = suggestion === undefined ? '' : `; did you mean "${suggestion}"?`;
  return `${where}: ${path === '' ? '' : `${path}: `}${what}${meant}`;
}

/** More than a person reads; the rest is counted. */
const MOST_REPORTED = 200;

/** Each once, by file and place, what has none first; errors before warnings where they are too many to be told. */
export function inOrder(found: readonly Problem[]): Problem[] {
  const problems = [...new Map(found.map((problem) => [JSON.stringify(problem), problem])).values()];
  const weight = ({ severity }: Problem) => (severity === 'error' ? 0 : 1);
  const told = [...problems]
    .sort((a, b) => weight(a) - weight(b))
    .slice(0, MOST_REPORTED)
    .sort(byPlace);
  const last = told.at(-1);
  if (!last || told.length === problems.length) return told;
  const { severity, code, place } = last;
  return [...told, { severity, code, place, path: '', message: `and ${problems.length - told.length} more` }];
}

function byPlace(a: Problem, b: Problem): number {
  const file = (a.place?.file ?? '').localeCompare(b.place?.file ?? '');
  const place = (a.place?.line ?? 0) - (b.place?.line ?? 0) || (a.place?.column ?? 0) - (b.place?.column ?? 0);
  return file || place || a.path.localeCompare(b.path);
}
