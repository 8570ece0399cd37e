import { fileURLToPath } from 'node:url';
import { askFor } from './ask.js';

/** The path of the `waybill` command, for `process.execPath`; built from the sources as they are now. */
export async function builtProgram(): Promise<string> {
  await askFor('program');
  return fileURLToPath(new URL('../../bin/waybill.mjs', import.meta.url));
}
