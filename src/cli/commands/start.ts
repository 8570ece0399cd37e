import type { Command } from 'commander';

/** Runs Waybill in this process until it is asked to stop; resolves to its exit code. */
export type Start = () => Promise<number>;

export function addStart(program: Command, start: Start, ended: (code: number) => void): void {
  program
    .command('start')
    .description('run Waybill in this process; settings come from config/waybill.yaml and the environment')
    .action(async () => ended(await start()));
}
