import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { type EventsDeps, receiveEvents } from '../src/ingress/events/receive.js';
import { requestMode } from '../src/ingress/events/request.js';
import { type BodyLimits, BodyReader } from '../src/ingress/http/body.js';
import { type ApiRequest, Problem, type Reply, type Route } from './route.js';
import { eventResultSchema, sendingProblem } from './sending.js';

export interface EventRoutesDeps extends EventsDeps {
  readonly limits: BodyLimits & { readonly maxEvents: number };
}

const resultsSchema = z.object({ results: z.array(eventResultSchema) });

/** `POST /v1/events`: CloudEvents 1.0, structured, binary, batch and NDJSON. */
export function eventRoutes(deps: EventRoutesDeps): Route[] {
  const bodies = new BodyReader(deps.limits, 'gzip');
  return [
    {
      method: 'post',
      path: '/v1/events',
      permission: 'events.send',
      summary: 'Send CloudEvents 1.0: one, structured or binary, or a batch as a JSON array or NDJSON',
      body: 'raw',
      replies: {
        202: { description: 'Sequenced; of a batch, all sequenced or duplicate', schema: resultsSchema },
        200: { description: 'A duplicate of an event that is in', schema: resultsSchema },
        409: { description: 'Its id is taken by other content; it is held in quarantine', schema: resultsSchema },
        422: {
          description:
            'Expired or rejected; of a batch, at least one is in conflict, expired or rejected, and the others are in',
          schema: resultsSchema,
        },
      },
      handler: (request) => sendEvents(deps, bodies, request),
    },
  ];
}

/** Takes the events of a request, as `deps.accept` takes them. */
export async function sendEvents(deps: EventRoutesDeps, bodies: BodyReader, request: ApiRequest): Promise<Reply> {
  const { principal } = request;
  if (principal === null) throw new Problem(401, 'unauthenticated', 'Sending events takes a token.');
  try {
    return await takeEvents(deps, bodies, request, principal);
  } catch (error) {
    const problem = sendingProblem(error);
    if (problem instanceof Problem) noteRefused(deps, principal, problem);
    throw problem;
  }
}

async function takeEvents(
  deps: EventRoutesDeps,
  bodies: BodyReader,
  { headers, incoming }: ApiRequest,
  { tenant, who }: Principal,
): Promise<Reply> {
  const mode = requestMode(headers);
  if (mode === undefined) throw new Problem(415, 'media_type_unsupported', MEDIA_TYPES);
  return bodies.use(tenant.id, incoming, async (body) => {
    const answer = await receiveEvents(deps, { tenant, who }, mode, headers, body, deps.limits.maxEvents);
    if (!answer.ok) throw requestProblem(answer.code, deps.limits.maxEvents);
    return { status: answer.status, body: answer.body, type: 'application/json' };
  });
}

const MEDIA_TYPES =
  'Events come as application/cloudevents+json, application/cloudevents-batch+json, application/x-ndjson, ' +
  'application/json, or with ce-specversion, ce-id, ce-source and ce-type as headers.';

function requestProblem(code: 'json_malformed' | 'too_many_events', maxEvents: number): Problem {
  switch (code) {
    case 'json_malformed':
      return new Problem(400, code, 'The array is not JSON, so none of it was taken; NDJSON takes the lines that are.');
    case 'too_many_events':
      return new Problem(413, code, `A request may hold ${maxEvents} events; send them in several. None was taken.`);
    default: {
      const never: never = code;
      return never;
    }
  }
}

/** Requests refused whole; being busy is no refusal. */
function noteRefused({ refuse }: EventRoutesDeps, { tenant, who }: Principal, { status, code, detail }: Problem): void {
  if (status === 429 || status >= 500) return;
  refuse({ tenant: tenant.id, ingress: 'events', peer: who, envelope: {}, code, why: detail });
}
