import { statfs } from 'node:fs/promises';

/** Watches how full the disk of the embedded database is: PostgreSQL must never be the one to find out. */
export interface FreeDisk {
  /** Null while there is enough; else a sentence of what to do. */
  problem(): string | null;
  look(): Promise<void>;
}

export function createFreeDisk(directory: string, leastFreePercent: number): FreeDisk {
  let problem: string | null = null;
  return {
    problem: () => problem,
    async look() {
      const { bavail, blocks } = await statfs(directory);
      const free = (100 * bavail) / blocks;
      problem =
        free < leastFreePercent
          ? `the disk of ${directory} has ${free.toFixed(1)} % free, less than ${leastFreePercent} %; make room`
          : null;
    },
  };
}
