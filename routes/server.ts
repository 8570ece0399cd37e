import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer, IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import express from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import type { Principal } from '../src/access/principal.js';
import { fromOwnPages } from '../src/access/session.js';
import { Room } from '../src/channel/room.js';
import { Busy } from '../src/message/verdict.js';
import type { Authentication } from './authentication.js';
import { ownOrigins } from './origin.js';
import { asProblem, invalid, notFound, PROBLEM_TYPE, problemBody, statusText } from './problem.js';
import { type ApiRequest, Problem, type Reply, type Route } from './route.js';
import { Unread, type UnreadLimits } from './unread.js';

export interface ServerSettings {
  /** Addresses and networks whose `X-Forwarded-*` headers are believed; empty believes nobody. */
  readonly trustedProxies: readonly string[];
  /** Where people reach this server, for example `https://waybill.example.com`; null: by whatever name they came. */
  readonly publicUrl: string | null;
  /** Most open connections; further ones are refused by closing them. */
  readonly maxConnections: number;
}

/** Files served as they are, without credentials. */
export interface Assets {
  /** `/assets` */
  readonly path: string;
  readonly directory: string;
}

/** What a page of an error may show of its request. */
export interface FailedRequest {
  readonly principal: Principal | null;
  readonly url: string;
  readonly requestId: string;
}

export interface ServerDeps {
  /** Everything that can be called; see `table.ts`. */
  readonly routes: readonly Route[];
  readonly authentication: Authentication;
  /** Notes that a caller was refused what it may not do; must not throw. */
  readonly refused: (principal: Principal, route: Route) => void;
  readonly log: Logger;
  readonly settings: ServerSettings;
  readonly assets?: readonly Assets[];
  /** What answers may come to that clients don't read. */
  readonly unread?: UnreadLimits;
  /** Shows an error as a page to browsers that asked for a page outside /v1; without it they get the JSON. */
  readonly problemPage?: (problem: Problem, request: FailedRequest) => Promise<Reply>;
}

export interface WaybillServer {
  readonly app: express.Application;
  readonly http: Server;
  /** Port 0 takes a free one. Rejects when the port is in use. */
  listen(host: string, port: number): Promise<AddressInfo>;
  /** Takes no more connections, lets what is under way end for `graceMs`, then cuts it off. */
  close(graceMs: number): Promise<void>;
}

/** A client may take this long to send a request's headers, and this long for all of it: 32 MiB at 2.5 Mbit/s. */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 120_000;
/** Longer than the minute after which usual load balancers drop an idle connection, so that they never meet a closed one. */
const KEEP_ALIVE_MS = 75_000;
const TIMEOUTS_CHECKED_MS = 5_000;
/** Answers are mostly small; a mail of 25 MB read by ten slow clients fits. */
const UNREAD: UnreadLimits = { maxBytes: 256 * 1024 * 1024, idleMs: 30_000 };
/** Of one body of the API or a page, and of all that are being read and handled; tenants share these. */
const MAX_BODY_BYTES = 1024 * 1024;
const MAX_BODIES_BYTES = 64 * MAX_BODY_BYTES;

const JSON_BODY = express.json({
  limit: MAX_BODY_BYTES,
  inflate: false,
  strict: false,
  type: ['application/json', 'application/*+json'],
});
const FORM_BODY = express.urlencoded({ limit: MAX_BODY_BYTES, inflate: false, extended: false, parameterLimit: 1000 });

/** Builds the HTTP server over a table of routes. Throws when the table holds a route without permission, or one twice. */
export function createServer(deps: ServerDeps): WaybillServer {
  checkTable(deps.routes);
  const app = express();
  const state: ServerState = {
    closing: false,
    unread: new Unread(deps.unread ?? UNREAD),
    bodies: new Room(MAX_BODIES_BYTES),
  };
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.set('trust proxy', [...deps.settings.trustedProxies]);
  app.use(identify);
  // What programs send in masses comes before everything that only pages need.
  for (const route of deps.routes) if (route.body === 'raw') mount(app, route, deps, state);
  app.use(securityHeaders(deps.settings));
  for (const { path, directory } of deps.assets ?? []) {
    app.use(path, express.static(directory, { index: false, maxAge: '1h', fallthrough: true }));
  }
  for (const route of deps.routes) if (route.body !== 'raw') mount(app, route, deps, state);
  // Not `app.all`, which keeps a layer for each of thirty-five methods.
  for (const [path, methods] of mostExactFirst(methodsByPath(deps.routes))) app.route(path).all(otherMethod(methods));
  app.use(() => {
    throw notFound('address');
  });
  app.use(answerError(deps, state));
  return serve(app, deps, state);
}

function checkTable(routes: readonly Route[]): void {
  const seen = new Set<string>();
  for (const { method, path, permission } of routes) {
    const name = `${method} ${path}`;
    if (!permission) throw new Error(`${name} names no permission`);
    if (seen.has(name)) throw new Error(`${name} stands in the table twice`);
    seen.add(name);
  }
}

/** Every answer carries the id that its log lines and problem carry. */
function identify(_request: IncomingMessage, response: ServerResponse, next: () => void): void {
  response.setHeader('x-request-id', randomUUID());
  response.setHeader('x-content-type-options', 'nosniff');
  next();
}

function securityHeaders({ publicUrl }: ServerSettings) {
  const https = publicUrl?.startsWith('https:') ?? false;
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'self'"],
        'img-src': ["'self'", 'data:'],
        'object-src': ["'none'"],
        'base-uri': ["'none'"],
        'form-action': ["'self'"],
        'frame-ancestors': ["'self'"],
      },
    },
    // `no-referrer` would make browsers send `Origin: null` with our own forms.
    referrerPolicy: { policy: 'same-origin' },
    strictTransportSecurity: https ? { maxAge: 31_536_000, includeSubDomains: false } : false,
  });
}

/** What all requests of a server share. */
interface ServerState {
  closing: boolean;
  readonly unread: Unread;
  readonly bodies: Room;
}

function mount(app: express.Application, route: Route, deps: ServerDeps, state: ServerState): void {
  app[route.method](route.path, (request, response, next) => {
    answer(route, deps, state, request, response)
      .then((reply) => send(reply, response, state))
      .catch(next);
  });
}

/** The order of work of every request. */
async function answer(
  route: Route,
  deps: ServerDeps,
  state: ServerState,
  request: express.Request,
  response: express.Response,
): Promise<Reply> {
  const principal = route.permission === 'public' ? null : await caller(route, deps, request);
  response.locals.principal = principal;
  const handle = (body: unknown) => {
    if (principal?.csrf && changes(request)) checkProvenance(deps.settings, request, principal.csrf, body);
    return route.handler(new Call(route, deps, request, principal, body));
  };
  const kind = route.body;
  if (kind !== 'json' && kind !== 'form') return handle(undefined);
  return withRoomForBody(state.bodies, principal, request, async () => handle(await readBody(kind, request, response)));
}

/** Of those who have shown no credentials. */
const NO_TENANT = 0;

/** A body is in memory until it has been handled; one whose size is not said counts as large as it may be. */
async function withRoomForBody<T>(
  bodies: Room,
  principal: Principal | null,
  { headers }: IncomingMessage,
  work: () => Promise<T>,
): Promise<T> {
  const tenant = principal?.tenant.id ?? NO_TENANT;
  const said = Number(headers['content-length'] ?? (headers['transfer-encoding'] === undefined ? 0 : MAX_BODY_BYTES));
  // More than that is refused before it is read.
  const bytes = Math.min(said, MAX_BODY_BYTES);
  if (!bodies.take(tenant, bytes)) throw new Busy(1);
  try {
    return await work();
  } finally {
    bodies.remove(tenant, bytes);
  }
}

/** Who calls, and that it may. Already known callers cost no turn of the event loop beyond the one of `await`. */
async function caller(route: Route, deps: ServerDeps, request: express.Request): Promise<Principal> {
  const peer = () => peerOf(request);
  const known = deps.authentication.principal(request.headers, peer);
  const principal = known instanceof Promise ? await known : known;
  if (!principal) {
    const how = { 'www-authenticate': 'Bearer realm="waybill"' };
    throw new Problem(401, 'unauthenticated', 'Say who you are: a bearer token, or sign in.', {}, how);
  }
  if (!mayCall(principal, route)) {
    deps.refused(principal, route);
    throw new Problem(403, 'forbidden', `This takes the permission ${route.permission}.`, {
      permission: route.permission,
    });
  }
  return principal;
}

function mayCall(principal: Principal, route: Route): boolean {
  return route.permission !== 'public' && principal.permissions.has(route.permission);
}

function changes({ method }: IncomingMessage): boolean {
  return method !== 'GET' && method !== 'HEAD' && method !== 'OPTIONS';
}

function checkProvenance(settings: ServerSettings, request: express.Request, csrf: string, body: unknown): void {
  const field = (body as { _csrf?: unknown } | null | undefined)?._csrf;
  const given = request.get('x-csrf-token') ?? (typeof field === 'string' ? field : undefined);
  const { origin } = request.headers;
  const fetchSite = request.get('sec-fetch-site');
  if (!fromOwnPages({ origin, fetchSite, csrf: given }, csrf, ownOrigins(settings.publicUrl, request))) {
    throw new Problem(403, 'csrf', 'This did not come from one of our own pages: load the page again.');
  }
}

function readBody(kind: 'json' | 'form', request: express.Request, response: express.Response): Promise<unknown> {
  switch (kind) {
    case 'json':
      return parsed(JSON_BODY, 'application/json', request, response);
    case 'form':
      return parsed(FORM_BODY, 'application/x-www-form-urlencoded', request, response);
    default: {
      const never: never = kind;
      throw new Error(`no such body: ${String(never)}`);
    }
  }
}

/** No body at all counts as an empty object, which the schema then judges. */
function parsed(
  parser: express.Handler,
  type: string,
  request: express.Request,
  response: express.Response,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    parser(request, response, (error?: unknown) => {
      if (error) reject(error);
      else if (request.body !== undefined) resolve(request.body);
      else if (request.is('*/*') === null || request.headers['content-length'] === '0') resolve({});
      else reject(new Problem(415, 'media_type_unsupported', `The body must be ${type}.`));
    });
  });
}

/** What a handler sees of a request; what few handlers ask for is worked out when they do. */
class Call implements ApiRequest {
  readonly #deps: ServerDeps;
  readonly #route: Route;
  readonly principal: Principal | null;
  readonly incoming: express.Request;
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;

  constructor(route: Route, deps: ServerDeps, request: express.Request, principal: Principal | null, body: unknown) {
    this.#deps = deps;
    this.#route = route;
    this.principal = principal;
    this.incoming = request;
    this.params = checkedParams(route, request);
    this.query = checkedQuery(route, request);
    this.body = checkedBody(route, body);
  }

  get headers() {
    return this.incoming.headers;
  }

  get peer(): string {
    return peerOf(this.incoming);
  }

  async stillAllowed(): Promise<boolean> {
    try {
      const principal = await this.#deps.authentication.principal(this.headers, () => this.peer);
      return principal !== null && mayCall(principal, this.#route);
    } catch (error) {
      if (error instanceof Problem) return false;
      throw error;
    }
  }
}

/** A path that can't name anything names nothing: 404, as for a name that isn't there. */
function checkedParams(route: Route, request: express.Request): unknown {
  if (!route.params) return request.params;
  const checked = route.params.safeParse(request.params);
  if (!checked.success) throw notFound('address');
  return checked.data;
}

function checkedQuery(route: Route, request: express.Request): unknown {
  if (!route.query) return undefined;
  const checked = route.query.safeParse(request.query);
  if (!checked.success) throw invalid('query', checked.error);
  return checked.data;
}

function checkedBody(route: Route, body: unknown): unknown {
  if (!route.bodySchema) return body;
  const checked = route.bodySchema.safeParse(body);
  if (!checked.success) throw invalid('body', checked.error);
  return checked.data;
}

function peerOf(request: express.Request): string {
  const address = request.ip ?? '';
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}

function send(reply: Reply, response: ServerResponse, state: ServerState): Promise<void> | undefined {
  if (state.closing) response.setHeader('connection', 'close');
  if ('stream' in reply) return reply.stream(response);
  response.statusCode = reply.status;
  if (!('body' in reply) || reply.body === undefined) {
    setHeaders(response, reply.headers);
    response.end();
    return undefined;
  }
  const asIs = typeof reply.body === 'string' || reply.body instanceof Uint8Array;
  const bytes = asIs ? reply.body : JSON.stringify(reply.body);
  response.setHeader('content-type', reply.type ?? (asIs ? 'application/octet-stream' : 'application/json'));
  response.setHeader('content-length', Buffer.byteLength(bytes as string | Uint8Array));
  response.setHeader('cache-control', 'no-store');
  setHeaders(response, reply.headers);
  response.end(bytes);
  state.unread.follow(response);
  return undefined;
}

function setHeaders(response: ServerResponse, headers: Readonly<Record<string, string>> | undefined): void {
  if (headers) for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
}

function methodsByPath(routes: readonly Route[]): Map<string, Set<string>> {
  const byPath = new Map<string, Set<string>>();
  for (const { path, method } of routes) {
    const methods = byPath.get(path) ?? new Set();
    methods.add(method.toUpperCase());
    if (method === 'get') methods.add('HEAD');
    byPath.set(path, methods);
  }
  return byPath;
}

/** `/v1/rules/test` before `/v1/rules/:version`, which would answer for it. */
function mostExactFirst(byPath: ReadonlyMap<string, Set<string>>): [string, Set<string>][] {
  const parameters = (path: string) => path.split(':').length;
  return [...byPath].sort(([a], [b]) => parameters(a) - parameters(b));
}

function otherMethod(methods: ReadonlySet<string>): express.Handler {
  const allow = [...methods, 'OPTIONS'].join(', ');
  return (request, response) => {
    if (request.method !== 'OPTIONS') {
      throw new Problem(405, 'method_not_allowed', `This address takes ${allow}.`, {}, { allow });
    }
    response.setHeader('allow', allow);
    response.statusCode = 204;
    response.end();
  };
}

function answerError(deps: ServerDeps, state: ServerState): express.ErrorRequestHandler {
  return (error: unknown, request, response, _next) => {
    const requestId = String(response.getHeader('x-request-id'));
    const problem = asProblem(error);
    if (problem.status >= 500) {
      const level = problem.status === 503 ? 'warn' : 'error';
      deps.log[level](
        { err: error, request: requestId, method: request.method, path: request.path },
        'a request failed',
      );
    }
    // An answer that has begun can't become another one: cutting it off is how the client learns that it is not whole.
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const failed = { principal: response.locals.principal ?? null, url: request.originalUrl, requestId };
    problemReply(deps, problem, request, failed)
      .then((reply) => send(reply, response, state))
      .catch((fault: unknown) => {
        deps.log.error({ err: fault, request: requestId }, 'the page of an error failed');
        response.destroy();
      });
  };
}

async function problemReply(
  deps: ServerDeps,
  problem: Problem,
  request: express.Request,
  failed: FailedRequest,
): Promise<Reply> {
  const wantsPage = !request.path.startsWith('/v1/') && request.accepts(['json', 'html']) === 'html';
  if (deps.problemPage && wantsPage) return deps.problemPage(problem, failed);
  return {
    status: problem.status,
    type: PROBLEM_TYPE,
    body: JSON.stringify(problemBody(problem, failed.requestId)),
    headers: problem.headers,
  };
}

function serve(app: express.Application, deps: ServerDeps, state: ServerState): WaybillServer {
  const { request, response } = app as unknown as Prototypes;
  const http = createHttpServer(
    {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: TIMEOUTS_CHECKED_MS,
      IncomingMessage: withPrototype(IncomingMessage, request),
      ServerResponse: withPrototype(ServerResponse, response),
    },
    app,
  );
  http.maxConnections = deps.settings.maxConnections;
  http.on('clientError', answerUnreadable);
  return {
    app,
    http,
    listen: (host, port) => listen(http, host, port),
    close: (graceMs) => {
      state.closing = true;
      return close(http, graceMs);
    },
  };
}

/** What express gives every request and answer as its prototype, which its types leave out. */
interface Prototypes {
  readonly request: object;
  readonly response: object;
}

/**
 * A constructor of what `base` constructs, with the prototype that express would give it later. Giving it then makes V8 look
 * up everything about each request anew, which took a fifth of the time of a small one.
 */
function withPrototype<Base extends typeof IncomingMessage | typeof ServerResponse>(
  base: Base,
  prototype: object,
): Base {
  function construct(this: object, ...args: unknown[]): void {
    Reflect.apply(base, this, args);
  }
  construct.prototype = prototype;
  return construct as unknown as Base;
}

/** What arrives isn't HTTP, is too slow, or its headers are too large: said in the same form, and the connection ends. */
function answerUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const problem = unreadable(error.code);
  const body = JSON.stringify(problemBody(problem, randomUUID()));
  socket.end(
    `HTTP/1.1 ${problem.status} ${statusText(problem.status)}\r\ncontent-type: ${PROBLEM_TYPE}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

function unreadable(code: string | undefined): Problem {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Problem(408, 'too_slow', 'The request did not arrive whole in time.');
    case 'HPE_HEADER_OVERFLOW':
      return new Problem(431, 'headers_too_large', 'The headers are larger than 16 KiB.');
    default:
      return new Problem(400, 'bad_request', 'This is not HTTP as it should be.');
  }
}

function listen(http: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    http.once('error', reject);
    http.listen(port, host, () => {
      http.off('error', reject);
      resolve(http.address() as AddressInfo);
    });
  });
}

function close(http: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => http.closeAllConnections(), graceMs);
    http.close(() => {
      clearTimeout(cut);
      resolve();
    });
  });
}
