import { Failed } from './failure.js';

export interface Endpoint {
  /** Where Waybill is, for example `http://127.0.0.1:8420`. */
  readonly url: string;
  readonly token: string | undefined;
}

export interface Call {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is, under its content type. */
  readonly body?: { readonly bytes: Uint8Array; readonly type: string };
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses besides 2xx that are an answer rather than a failure. */
  readonly accept?: readonly number[];
  /** False where the call proves by other means who makes it. */
  readonly withToken?: boolean;
  /** Milliseconds to the end of the answer. */
  readonly timeoutMs?: number;
}

export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  /** The body as it came, every digit kept. */
  readonly text: string;
  /** The body as JSON; undefined when it is empty. */
  readonly body: T;
}

/** The answer was an error of Waybill's: `message` is its detail, `code` its code. */
export class Refused extends Failed {
  constructor(
    readonly status: number,
    code: string,
    message: string,
    details: readonly string[],
    /** Seconds after which trying again makes sense; null where nothing says that it does. */
    readonly retryAfter: number | null,
  ) {
    super(code, message, details);
  }
}

const WHO_ONE_IS =
  ' Set WAYBILL_TOKEN, or WAYBILL_DATA to the data directory of the Waybill that runs on this machine.';

const TIMEOUT_MS = 60_000;

/** Calls Waybill's HTTP API. Every failure is a Failed with a sentence that says what to do. */
export class Client {
  constructor(
    private readonly endpoint: Endpoint,
    private readonly interrupted: AbortSignal,
  ) {}

  async call<T>(path: string, call: Call = {}): Promise<Answer<T>> {
    const signal = AbortSignal.any([this.interrupted, AbortSignal.timeout(call.timeoutMs ?? TIMEOUT_MS)]);
    try {
      const response = await fetch(this.#address(path, call.query), { ...this.#request(call), signal });
      const text = await response.text();
      const { status, headers } = response;
      if (!response.ok && !call.accept?.includes(status)) throw this.#refused(response, text);
      return { status, headers, text, body: this.#readJson(text) as T };
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /** An answer that is not JSON, as it came. */
  async text(path: string, type: string): Promise<string> {
    const signal = AbortSignal.any([this.interrupted, AbortSignal.timeout(TIMEOUT_MS)]);
    try {
      const request = this.#request({ headers: { accept: type } });
      const response = await fetch(this.#address(path), { ...request, signal });
      const text = await response.text();
      if (!response.ok) throw this.#refused(response, text);
      return text;
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /** A stream of server-sent events: the data of each. Ends when either side ends it. */
  async *events(path: string): AsyncGenerator<unknown> {
    try {
      const response = await fetch(this.#address(path), { ...this.#request({}), signal: this.interrupted });
      if (!response.ok || !response.body) throw this.#refused(response, await response.text());
      yield* serverSentEvents(response.body);
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /** Asks for what is answered line by line, however long it takes: each line as JSON. Ends when either side ends it. */
  async *lines(path: string, json: unknown): AsyncGenerator<unknown> {
    try {
      const request = this.#request({ method: 'POST', json });
      const response = await fetch(this.#address(path), { ...request, signal: this.interrupted });
      if (!response.ok || !response.body) throw this.#refused(response, await response.text());
      yield* jsonLines(response.body);
    } catch (error) {
      throw this.#explained(error);
    }
  }

  #address(path: string, query: Call['query'] = {}): URL {
    const address = new URL(this.endpoint.url.replace(/\/+$/, '') + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) address.searchParams.set(name, String(value));
    }
    return address;
  }

  #request({ method = 'GET', json, body, headers, withToken = true }: Call): RequestInit {
    const { token } = this.endpoint;
    const type = json === undefined ? body?.type : 'application/json';
    const content = json === undefined ? body?.bytes : JSON.stringify(json);
    return {
      method,
      // Following one would hide that WAYBILL_URL is not where Waybill is, and could take the token elsewhere.
      redirect: 'manual',
      headers: {
        accept: 'application/json',
        'user-agent': 'waybill',
        ...(token !== undefined && withToken && { authorization: `Bearer ${token}` }),
        ...(type !== undefined && { 'content-type': type }),
        ...headers,
      },
      ...(content !== undefined && { body: content }),
    };
  }

  #readJson(text: string): unknown {
    if (text === '') return undefined;
    try {
      return JSON.parse(text);
    } catch {
      throw this.#notWaybill('an answer that is not JSON');
    }
  }

  #refused(response: Response, text: string): Failed {
    const { status, headers } = response;
    if (status >= 300 && status < 400) return this.#notWaybill(`a redirect to ${headers.get('location')}`);
    const problem = readProblem(text);
    if (!problem) return this.#notWaybill(`status ${status} and no explanation`);
    const hint = problem.code === 'unauthenticated' ? WHO_ONE_IS : '';
    const retryAfter = Number(headers.get('retry-after') ?? Number.NaN);
    const again = Number.isFinite(retryAfter) ? retryAfter : null;
    return new Refused(status, problem.code, `${problem.detail}${hint} (${problem.code})`, faultsOf(problem), again);
  }

  #notWaybill(what: string): Failed {
    return new Failed('not_waybill', `${this.endpoint.url} gives ${what}: is WAYBILL_URL right?`);
  }

  #explained(error: unknown): unknown {
    if (error instanceof Failed) return error;
    if (this.interrupted.aborted) return new Failed('interrupted', 'interrupted');
    const { url } = this.endpoint;
    if (error instanceof DOMException && error.name === 'TimeoutError') {
      return new Failed('timeout', `${url} did not answer in time; it is not known whether it did what it was asked.`);
    }
    if (error instanceof TypeError) return new Failed('unreachable', unreachable(url, error));
    return error;
  }
}

/** fetch says no more than "fetch failed"; the cause has the reason. */
function unreachable(url: string, error: TypeError): string {
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  if (cause?.code === 'ECONNREFUSED')
    return `Nothing answers at ${url}: start Waybill with "waybill start", or set WAYBILL_URL.`;
  return `${url} can't be reached: ${cause?.code ?? cause?.message ?? error.message}.`;
}

interface ProblemBody {
  readonly code: string;
  readonly detail: string;
  readonly errors?: readonly { readonly pointer?: unknown; readonly detail?: unknown }[];
  readonly problems?: readonly (ProblemPlace | string)[];
}

/** One thing wrong with a text of several lines. */
interface ProblemPlace {
  readonly line?: unknown;
  readonly column?: unknown;
  readonly path?: unknown;
  readonly message?: unknown;
  readonly didYouMean?: unknown;
}

function readProblem(text: string): ProblemBody | undefined {
  try {
    const problem = JSON.parse(text) as Partial<ProblemBody> | null;
    if (typeof problem?.code !== 'string' || typeof problem.detail !== 'string') return undefined;
    // Further lines of a detail repeat what stands apart.
    const [detail = ''] = problem.detail.split('\n', 1);
    return { ...problem, code: problem.code, detail: detail.replace(/:$/, '.') };
  } catch {
    return undefined;
  }
}

/** Where a body or a file is wrong; a single fault stands in the detail already. */
function faultsOf({ errors, problems }: ProblemBody): string[] {
  const faults = Array.isArray(errors) && errors.length > 1 ? errors : [];
  return [
    ...faults.map(({ pointer, detail }) => `${pointer}: ${detail}`),
    ...(Array.isArray(problems) ? problems.map(problemLine) : []),
  ];
}

/** A line that names its file already, or `6:7: rules[0].when.subjct: there is no field …; did you mean "subject"?` */
function problemLine(problem: ProblemPlace | string): string {
  if (typeof problem === 'string') return problem;
  const { line, column, path, message, didYouMean } = problem;
  const hint = didYouMean === undefined ? '' : `; did you mean "${didYouMean}"?`;
  return `${[`${line}:${column}`, path, message].filter((part) => part !== '').join(': ')}${hint}`;
}

/** A line that was cut off is left out. */
async function* jsonLines(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line);
  }
}

/** Reads `data:` lines up to each empty line; everything else of the format is not used by Waybill. */
async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const events = (rest + decoder.decode(chunk, { stream: true })).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) {
      const data = event
        .split('\n')
        .filter((line) => line.startsWith('data:'))
        .map((line) => line.slice('data:'.length));
      if (data.length > 0) yield JSON.parse(data.join('\n'));
    }
  }
}
