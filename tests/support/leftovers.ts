import { readdir, readFile } from 'node:fs/promises';

/** In the environment of a run's workers, and so of all that they start. */
export const MARK = 'WAYBILL_TEST_RUN';

export interface Leftover {
  readonly pid: number;
  readonly command: string;
}

/** The processes of a run that still live, other than this one and Vitest's own. Linux only; elsewhere none is found. */
export async function leftovers(run: string): Promise<Leftover[]> {
  const ids = await readdir('/proc').catch(() => []);
  const found = await Promise.all(ids.filter((id) => /^\d+$/.test(id)).map((id) => inspect(id, run)));
  return found.flatMap((one) => one ?? []).filter(({ pid, command }) => pid !== process.pid && !isVitest(command));
}

async function inspect(id: string, run: string): Promise<Leftover | undefined> {
  try {
    const environment = await readFile(`/proc/${id}/environ`, 'utf8');
    if (!environment.split('\0').includes(`${MARK}=${run}`)) return undefined;
    return { pid: Number(id), command: (await readFile(`/proc/${id}/cmdline`, 'utf8')).replaceAll('\0', ' ').trim() };
  } catch {
    // It has gone, or is somebody else's.
    return undefined;
  }
}

function isVitest(command: string): boolean {
  return /\/vitest\/|\(vitest|esbuild/.test(command);
}
