import { readFileSync } from 'node:fs';
import { type ClientFile, clientFilePath, clientFileSchema } from '../config/client-file.js';
import type { Io } from './io.js';

/** What a Waybill on this machine has left for its own user; undefined where there is none. */
export function readClientFile(io: Io): ClientFile | undefined {
  try {
    return clientFileSchema.parse(JSON.parse(readFileSync(clientFilePath(io.env.WAYBILL_DATA ?? './data'), 'utf8')));
  } catch {
    // No Waybill was started here without a token of its own: then the environment has to say how to reach one.
    return undefined;
  }
}
