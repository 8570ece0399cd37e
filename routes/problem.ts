import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { Backlogged, Busy, Unavailable } from '../src/message/verdict.js';
import { didYouMean } from '../src/routing/spelling.js';
import { classify } from '../src/storage/pool.js';
import { Problem } from './route.js';

/** What every error looks like on the wire (RFC 9457). */
export const problemSchema = z.looseObject({
  type: z.string().meta({ description: '`urn:waybill:problem:` and the code' }),
  title: z.string(),
  status: z.int(),
  detail: z.string().meta({ description: 'What happened and what to do' }),
  code: z.string().meta({ description: 'Stable; what programs go by' }),
  instance: z.string().meta({ description: 'The request, as in the header `x-request-id` and in the log' }),
});

export const PROBLEM_TYPE = 'application/problem+json';

/** The body of a problem. */
export function problemBody(problem: Problem, requestId: string): z.infer<typeof problemSchema> {
  const words = problem.code.replaceAll('_', ' ');
  return {
    type: `urn:waybill:problem:${problem.code}`,
    title: words.charAt(0).toUpperCase() + words.slice(1),
    status: problem.status,
    detail: problem.detail,
    code: problem.code,
    ...problem.extra,
    instance: `urn:uuid:${requestId}`,
  };
}

/** What an error means to the caller: itself when it is a problem, "not now" when our surroundings failed, else a fault of ours. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof Busy) return busy(error);
  if (error instanceof Backlogged) return backlogged();
  if (error instanceof Unavailable || classify(error) === 'unavailable') return unavailable();
  if (classify(error) === 'repeat') return contended();
  return (
    fromBodyParser(error) ??
    new Problem(500, 'internal', 'Waybill failed at this; the log has more under the instance.')
  );
}

function busy(error: Busy): Problem {
  const seconds = String(error.retryAfterSeconds);
  return new Problem(
    429,
    'busy',
    `Too much is waiting to be stored; try again in ${seconds} s.`,
    {},
    { 'retry-after': seconds },
  );
}

/** Sending goes on when RabbitMQ is back, which takes longer than a busy moment. */
export function backlogged(): Problem {
  const detail =
    'RabbitMQ is away or in alarm, and too much waits for it; nothing was taken, send all of it again later.';
  return new Problem(503, 'delivery_backlog', detail, {}, { 'retry-after': '30' });
}

function unavailable(): Problem {
  return new Problem(
    503,
    'storage_unavailable',
    'The database does not answer just now; try again.',
    {},
    { 'retry-after': '2' },
  );
}

function contended(): Problem {
  return new Problem(
    503,
    'contended',
    'Others were changing the same at that moment; try again.',
    {},
    { 'retry-after': '1' },
  );
}

/** What express and its body parsers throw: errors with a status of their own and a `type`. */
function fromBodyParser(error: unknown): Problem | undefined {
  if (!(error instanceof Error) || !('status' in error) || typeof error.status !== 'number') return undefined;
  switch ('type' in error ? error.type : undefined) {
    case 'entity.too.large':
      return new Problem(413, 'body_too_large', 'The body is larger than this call takes (1 MiB).');
    case 'entity.parse.failed':
      return new Problem(400, 'json_malformed', 'The body is not JSON.');
    case 'charset.unsupported':
    case 'encoding.unsupported':
      return new Problem(415, 'media_type_unsupported', 'The body must be UTF-8 and not compressed.');
    default:
      return error.status < 500 ? new Problem(error.status, 'bad_request', 'The request is malformed.') : undefined;
  }
}

export function notFound(what: string): Problem {
  return new Problem(404, 'not_found', `There is no such ${what}.`);
}

/** One thing that a body or query has wrong. */
interface Fault {
  /** JSON pointer, or the parameter's name. */
  readonly pointer: string;
  readonly detail: string;
}

/** The body or query did not hold what its schema says. */
export function invalid(where: 'body' | 'query', error: z.ZodError): Problem {
  const errors: Fault[] = error.issues.slice(0, 50).map((issue) => ({
    pointer: pointerOf(issue.path),
    detail: issue.message,
  }));
  const [first] = errors;
  const detail = first
    ? `${first.pointer === '' ? `the ${where}` : first.pointer}: ${first.detail}`
    : `The ${where} is wrong.`;
  return where === 'body'
    ? new Problem(422, 'invalid_body', detail, { errors })
    : new Problem(400, 'invalid_query', detail, { errors });
}

function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** 422 for a name in a body that names nothing, with what was probably meant. */
export function unknownName(what: 'source' | 'target', name: string, candidates: readonly string[]): Problem {
  const meant = didYouMean(name, candidates);
  const hint = meant === undefined ? '' : ` Did you mean "${meant}"?`;
  return new Problem(422, `unknown_${what}`, `There is no ${what} "${name}".${hint}`, {
    [what]: name,
    ...(meant === undefined ? {} : { suggestion: meant }),
  });
}

/** What was there and retention has dropped. */
export function contentGone(): Problem {
  return new Problem(410, 'content_gone', 'The message is older than what is kept: its content is gone.');
}

/** What was there until a person had its account erased. */
export function contentErased(): Problem {
  return new Problem(410, 'content_erased', 'The account of this message was erased: its content is gone.');
}

export function statusText(status: number): string {
  return STATUS_CODES[status] ?? 'Unknown';
}

/** The caller of a route that takes a permission, which is never called without one. */
export function caller(principal: Principal | null): Principal {
  if (!principal) throw new Problem(401, 'unauthenticated', 'Say who you are: a bearer token, or sign in.');
  return principal;
}
