import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { ApiRequest, Reply } from './route.js';

/** One JSON object a line. An answer that ends without its last line was cut off. */
export const LINES_TYPE = 'application/x-ndjson';

/** Whether a caller may still have an answer that goes on for long is asked again this often. */
const RECHECK_MS = 5_000;
/** A caller that reads nothing for so long is cut off. */
const UNREAD_MS = 30_000;

export interface LinesDeps {
  readonly now: () => number;
  /** Fires when the process is asked to stop: what is going on is cut off, and can be asked for again. */
  readonly stopping: AbortSignal;
}

/**
 * Answers with what comes, line by line, as fast as the caller reads. Leaves it when the caller hangs up. What fails before
 * the first line is answered as any other error.
 */
export async function lines(
  { now, stopping }: LinesDeps,
  request: ApiRequest,
  events: AsyncGenerator<object>,
): Promise<Reply> {
  const first = await events.next();
  return {
    stream: async (response) => {
      response.writeHead(200, { 'content-type': LINES_TYPE, 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
      let checkedAt = now();
      try {
        for (let next = first; !next.done; next = await events.next()) {
          if (response.destroyed || stopping.aborted) break;
          await write(response, next.value);
          if (now() - checkedAt < RECHECK_MS) continue;
          checkedAt = now();
          if ((await request.stillAllowed?.()) === false) break;
        }
      } finally {
        await events.return(undefined);
      }
      response.end();
    },
  };
}

async function write(response: ServerResponse, value: object): Promise<void> {
  if (response.write(`${JSON.stringify(value)}\n`)) return;
  const gone = new AbortController();
  const leave = () => gone.abort();
  const timer = setTimeout(() => response.destroy(), UNREAD_MS);
  response.once('close', leave);
  await once(response, 'drain', { signal: gone.signal }).catch(() => undefined);
  response.off('close', leave);
  clearTimeout(timer);
}
