import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import type { Permission } from '../src/access/permission.js';
import type { Principal } from '../src/access/principal.js';

/** What a handler gets. `params`, `query` and `body` have been checked against the route's schemas. */
export interface ApiRequest<P = unknown, Q = unknown, B = unknown> {
  /** Null on public routes only. */
  readonly principal: Principal | null;
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly headers: IncomingHttpHeaders;
  /** The peer's address, behind trusted proxies the forwarded one. */
  readonly peer: string;
  /** The request itself, for handlers of `body: 'raw'` that read the stream, and the response for `stream` replies. */
  readonly incoming: IncomingMessage;
  /** Asks again whether the caller may still do this; for replies that go on for long. */
  readonly stillAllowed?: () => Promise<boolean>;
}

/** What a handler answers. Objects become JSON; Buffers and strings go out as they are, under their content type. */
export type Reply =
  | {
      readonly status: number;
      readonly body?: unknown;
      readonly type?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** The handler writes the response itself (server-sent events, downloads) until it ends or the caller goes. */
  | { readonly stream: (response: ServerResponse) => Promise<void> };

/** One line of the table of routes. */
export interface Route {
  readonly method: 'get' | 'post' | 'put' | 'delete' | 'options';
  /** Express path, `/v1/messages/:id`. */
  readonly path: string;
  /** The one permission it takes; `public` for what authenticates otherwise or needs nothing (hooks, health, sign-in). */
  readonly permission: Permission | 'public';
  readonly summary: string;
  /** Objects it names that belong to a tenant, by path parameter: OpenAPI and the tests of isolation read it. */
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  /** `json` is parsed (1 MiB) and checked by `bodySchema`; `form` likewise from a page's form; `raw` leaves the stream to the handler. */
  readonly body?: 'none' | 'json' | 'form' | 'raw';
  readonly bodySchema?: z.ZodType;
  /** What the description says of the body, where the handler checks it itself. */
  readonly bodyDocument?: z.ZodType;
  /** Documented answers; every error is RFC 9457 problem+json on top of these. */
  readonly replies: Readonly<
    Record<number, { readonly description: string; readonly schema?: z.ZodType; readonly type?: string }>
  >;
  // biome-ignore lint/suspicious/noExplicitAny: each handler states its own shapes, which the schemas beside it guarantee
  readonly handler: (request: ApiRequest<any, any, any>) => Promise<Reply> | Reply;
}

/** An error with its answer: status, stable code, a sentence, and what to do next. Thrown by handlers, shown as problem+json or a page. */
export class Problem extends Error {
  override readonly name = 'Problem';
  constructor(
    readonly status: number,
    /** Stable, lower_snake_case. */
    readonly code: string,
    /** What happened and what the caller can do. */
    readonly detail: string,
    readonly extra: Readonly<Record<string, unknown>> = {},
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
  }
}
