import { OpenAPIRegistry, OpenApiGeneratorV31, type ResponseConfig } from '@asteasolutions/zod-to-openapi';
import { SESSION_COOKIE } from '../src/access/session.js';
import { PROBLEM_TYPE, problemSchema, statusText } from './problem.js';
import type { Route } from './route.js';

/** Paths that are described: the programs' side. Pages are for people. */
function isDescribed({ path }: Route): boolean {
  return path.startsWith('/v1/') || ['/healthz', '/readyz', '/metrics', '/openapi.json'].includes(path);
}

/** `/v1/messages/:id` as OpenAPI writes it. */
export function openapiPath(path: string): string {
  return path.replace(/:([A-Za-z]+)/g, '{$1}');
}

/** `GET /openapi.json` over the other routes; itself included. Made when first asked for: it is a fifth of a start's work. */
export function openapiRoute(others: readonly Route[], version: string): Route {
  let document: string | undefined;
  const own: Route = {
    method: 'get',
    path: '/openapi.json',
    permission: 'public',
    summary: 'This description, OpenAPI 3.1',
    replies: { 200: { description: 'The description', type: 'application/json' } },
    handler: () => {
      document ??= JSON.stringify(describeRoutes([...others, own], version));
      return { status: 200, type: 'application/json', body: document };
    },
  };
  return own;
}

/** The OpenAPI document of a table of routes, from the schemas that check their requests. */
function describeRoutes(routes: readonly Route[], version: string): object {
  const registry = new OpenAPIRegistry();
  const problem = problemSchema.meta({ id: 'Problem' });
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  registry.registerComponent('securitySchemes', 'session', { type: 'apiKey', in: 'cookie', name: SESSION_COOKIE });
  for (const route of routes.filter(isDescribed)) {
    registry.registerPath({
      method: route.method,
      path: openapiPath(route.path),
      operationId: operationId(route),
      summary: route.summary,
      ...(route.permission === 'public'
        ? { security: [] }
        : {
            security: [{ bearer: [] }, { session: [] }],
            description: `Takes the permission \`${route.permission}\`.`,
          }),
      request: requestOf(route),
      responses: responsesOf(route, problem),
    });
  }
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: { title: 'Waybill', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
  });
}

function operationId({ method, path }: Route): string {
  return [method, ...path.split('/').filter((part) => part !== '' && part !== 'v1')]
    .map((part) => part.replace(/^:/, 'by-'))
    .join('-');
}

function requestOf({ params, query, body, bodySchema, bodyDocument }: Route) {
  const schema = bodyDocument ?? bodySchema;
  const content = schema && {
    [body === 'form' ? 'application/x-www-form-urlencoded' : 'application/json']: { schema },
  };
  return {
    ...(params && { params }),
    ...(query && { query }),
    ...(content && { body: { required: true, content } }),
    ...(body === 'raw' && { body: { content: { '*/*': { schema: {} } } } }),
  };
}

function responsesOf(route: Route, problem: typeof problemSchema): Record<string, ResponseConfig> {
  const described = Object.entries(route.replies).map(([status, { description, schema, type }]) => {
    if (Number(status) >= 400 && !schema) return [status, problemResponse(description, problem)] as const;
    const media = type ?? (schema && 'application/json');
    return [status, media ? { description, content: { [media]: { schema: schema ?? {} } } } : { description }] as const;
  });
  const usual = usualProblems(route).map(
    (status) => [String(status), problemResponse(statusText(status), problem)] as const,
  );
  return Object.fromEntries([...usual, ...described]);
}

function problemResponse(description: string, problem: typeof problemSchema): ResponseConfig {
  return { description, content: { [PROBLEM_TYPE]: { schema: problem } } };
}

/** What any route of its kind may answer besides what its line in the table names. */
export function usualProblems({ permission, params, query, body, bodySchema, bodyDocument }: Route): number[] {
  const statuses = [500, 503];
  if (permission !== 'public') statuses.push(401, 403, 429);
  if (params) statuses.push(404);
  if (params || query || body === 'json' || body === 'form') statuses.push(400);
  if (body === 'json' || body === 'form') statuses.push(413, 415);
  if (bodySchema || bodyDocument) statuses.push(422);
  return statuses.sort((a, b) => a - b);
}
