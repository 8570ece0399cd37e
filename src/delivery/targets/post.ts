import { type Agent, request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';

/** How much of an answer is kept, and how much is read before the connection is given up instead, bytes. */
const KEPT = 2_048;
const READ = 65_536;

export interface Post {
  readonly url: URL;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Uint8Array;
  readonly agent: Agent;
  readonly lookup: LookupFunction | undefined;
  /** For everything: resolving, connecting, sending, the answer. Milliseconds. */
  readonly timeoutMs: number;
}

export interface PostAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** Its first 2 kB, without NUL. */
  readonly body: string;
}

/** No answer within the time. */
export class PostTimeout extends Error {
  override readonly name = 'PostTimeout';
}

/**
 * Sends one POST and reads the answer. The status decides: an answer whose body hangs or breaks off counts by it.
 * Follows no redirect. Rejects with PostTimeout, with what `lookup` gave, or with the socket's own error.
 */
export async function post(what: Post): Promise<PostAnswer> {
  try {
    return await postOnce(what);
  } catch (error) {
    if (!(error instanceof StaleConnection)) throw error;
    return await postOnce(what);
  }
}

/** A kept connection that the server had closed meanwhile: nothing was answered on it. */
class StaleConnection extends Error {}

const RESET: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE']);

function postOnce({ url, headers, body, agent, lookup, timeoutMs }: Post): Promise<PostAnswer> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(url, { method: 'POST', headers, agent, ...(lookup && { lookup }) });
    let answer: (() => PostAnswer) | undefined;
    const timer = setTimeout(() => finish(new PostTimeout(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const finish = (error: Error | null) => {
      clearTimeout(timer);
      if (answer) resolve(answer());
      else reject(error);
      if (error) request.destroy();
    };
    request.on('response', (response) => {
      answer = collect(response, finish);
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      finish(request.reusedSocket && RESET.has(error.code ?? '') ? new StaleConnection() : error);
    });
    // Last resort: an answer that switches protocols ends in nothing else.
    request.on('close', () => finish(new Error('the connection was closed without an answer')));
    request.end(body);
  });
}

/** Keeps the beginning of the answer; `finish` is called at its end, or with an error to give up the connection. */
function collect(response: IncomingMessage, finish: (error: Error | null) => void): () => PostAnswer {
  const kept: Buffer[] = [];
  let read = 0;
  response.on('data', (chunk: Buffer) => {
    if (read < KEPT) kept.push(chunk.subarray(0, KEPT - read));
    read += chunk.length;
    if (read > READ) finish(new Error('the answer is too long'));
  });
  response.on('end', () => finish(null));
  response.on('error', finish);
  return () => ({
    status: response.statusCode ?? 0,
    retryAfter: response.headers['retry-after'],
    body: Buffer.concat(kept).toString().replaceAll('\0', ''),
  });
}
