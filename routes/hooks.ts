import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import type { Source, SourceDirectory, WebhookSource } from '../src/channel/source.js';
import { excerpt } from '../src/ingress/field.js';
import { metaHandshake, permissionHeaders } from '../src/ingress/hooks/handshake.js';
import { type HookAnswer, type HookRefusal, receiveHook } from '../src/ingress/hooks/receive.js';
import { type BodyLimits, BodyReader } from '../src/ingress/http/body.js';
import type { Clock } from '../src/message/clock.js';
import type { Refuse } from '../src/message/refusal.js';
import type { Accept } from '../src/message/verdict.js';
import { type ApiRequest, Problem, type Reply, type Route } from './route.js';
import { hookResultSchema, sendingProblem } from './sending.js';

export interface HookRoutesDeps {
  readonly accept: Accept;
  readonly refuse: Refuse;
  readonly sources: () => SourceDirectory;
  readonly clock: Clock;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Who calls, for sources of scheme `token`; null without credentials, a Problem for wrong ones. */
  readonly authenticate: (request: ApiRequest) => Promise<Principal | null> | Principal | null;
  readonly limits: BodyLimits;
}

const paramsSchema = z.object({ tenant: z.string(), source: z.string() });
type Params = z.infer<typeof paramsSchema>;
type HookRequest = ApiRequest<Params>;

const PATH = '/v1/hooks/:tenant/:source';

/** `/v1/hooks/{tenant}/{source}`: webhooks, and the handshakes that come before them. */
export function hookRoutes(deps: HookRoutesDeps): Route[] {
  const bodies = new BodyReader(deps.limits, 'none');
  const common = { path: PATH, permission: 'public', params: paramsSchema } as const;
  return [
    {
      ...common,
      method: 'post',
      summary: 'Deliver a webhook; verified over its raw bytes as its source is set up',
      body: 'raw',
      replies: {
        202: { description: 'Sequenced', schema: hookResultSchema },
        200: { description: 'A duplicate, set aside, or the answer to a handshake', schema: hookResultSchema },
        422: { description: 'Rejected', schema: hookResultSchema },
      },
      handler: (request) => noted(deps, request, () => takeDelivery(deps, bodies, request)),
    },
    {
      ...common,
      method: 'get',
      summary: "Answer Meta's check of a subscription (hub.mode, hub.verify_token, hub.challenge)",
      query: z.looseObject({}),
      replies: { 200: { description: 'The challenge', type: 'text/plain' } },
      handler: (request) => noted(deps, request, () => checkSubscription(deps, request)),
    },
    {
      ...common,
      method: 'options',
      summary: "Answer CloudEvents' abuse protection (WebHook-Request-Origin)",
      replies: { 200: { description: 'WebHook-Allowed-Origin and WebHook-Allowed-Rate' } },
      handler: (request) => noted(deps, request, () => permitOrigin(deps, request)),
    },
  ];
}

async function takeDelivery(deps: HookRoutesDeps, bodies: BodyReader, request: HookRequest): Promise<Reply> {
  const source = findSource(deps, request);
  const peer = await sender(deps, source, request);
  return bodies.use(source.tenant.id, request.incoming, async (body) => {
    const { headers } = request;
    const delivery = { source, headers, body, peer, arrivedAt: deps.clock.now() };
    return reply(await receiveHook(deps.accept, deps.randomBytes, delivery));
  });
}

/** One look-up for both names: an unknown tenant and an unknown source can't be told apart. */
function findSource(deps: HookRoutesDeps, { params }: HookRequest): Source<WebhookSource> {
  const source = deps.sources().webhook(params.tenant, params.source);
  if (source === undefined) throw new Problem(404, 'source_unknown', 'There is no such webhook; check the address.');
  return source;
}

/** Who delivers: the token's holder where the source asks for a token, else the peer's address. Throws 401. */
async function sender(deps: HookRoutesDeps, source: Source<WebhookSource>, request: HookRequest): Promise<string> {
  if (source.definition.verify.scheme !== 'token') return request.peer;
  const principal = await deps.authenticate(request);
  // A browser adds a session's cookie to requests that other pages make; a token is sent on purpose.
  const isAllowed =
    principal?.kind === 'token' && principal.tenant.id === source.tenant.id && principal.permissions.has('hooks.send');
  if (isAllowed) return principal.who;
  const how = { 'www-authenticate': 'Bearer realm="waybill"' };
  throw new Problem(401, 'token_invalid', 'This webhook takes a bearer token that may send to it.', {}, how);
}

function reply(answer: HookAnswer): Reply {
  switch (answer.answer) {
    case 'verdict':
      return { status: answer.status, body: answer.body, type: 'application/json' };
    case 'challenge':
      return { status: 200, body: { challenge: answer.challenge } };
    case 'refused':
      throw new Problem(REFUSAL_STATUS[answer.code], answer.code, answer.why);
    default: {
      const never: never = answer;
      return never;
    }
  }
}

const REFUSAL_STATUS: Readonly<Record<HookRefusal, number>> = {
  signature_invalid: 401,
  signature_expired: 401,
  handshake_refused: 403,
};

function checkSubscription(deps: HookRoutesDeps, request: HookRequest): Reply {
  const source = findSource(deps, request);
  const handshake = metaHandshake(source.definition, request.query as Record<string, unknown>);
  switch (handshake.handshake) {
    case 'answered':
      return { status: 200, body: handshake.challenge, type: 'text/plain; charset=utf-8' };
    case 'refused':
      throw new Problem(403, 'handshake_refused', handshake.why);
    case 'none':
      throw new Problem(405, 'method_not_allowed', 'Webhooks are delivered by POST.', {}, permissionHeaders({}));
    default: {
      const never: never = handshake;
      return never;
    }
  }
}

function permitOrigin(deps: HookRoutesDeps, request: HookRequest): Reply {
  findSource(deps, request);
  return { status: 200, headers: permissionHeaders(request.headers) };
}

/** Does the work; what is refused is noted, with whom it was meant for as far as that is known. */
async function noted(deps: HookRoutesDeps, request: HookRequest, work: () => Promise<Reply> | Reply): Promise<Reply> {
  try {
    return await work();
  } catch (error) {
    const problem = sendingProblem(error);
    if (problem instanceof Problem) noteRefused(deps, request, problem);
    throw problem;
  }
}

/** Being busy is no refusal, and a person who looks at the address with a browser is none either. */
function noteRefused(deps: HookRoutesDeps, { params, peer }: HookRequest, { status, code, detail }: Problem): void {
  if (status === 405 || status === 429 || status >= 500) return;
  const { tenant, source } = params;
  deps.refuse({
    tenant: deps.sources().webhook(tenant, source)?.tenant.id ?? null,
    ingress: 'hooks',
    peer,
    envelope: { tenant: excerpt(tenant), source: excerpt(source) },
    code,
    why: detail,
  });
}
