import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type ClientFile, clientFilePath } from '../config/client-file.js';

/** Leaves word for the `waybill` command; at no time is the token readable by others. */
export async function writeClientFile(dataDirectory: string, content: ClientFile): Promise<void> {
  const path = clientFilePath(dataDirectory);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, `${JSON.stringify(content)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
